"""The least that a network takes on a board, by its layers' sizes alone: no weights and no folding are needed.

All weights are held on the chip, and a convolution holds the rows that its kernel reaches back to. That takes memory
however slow the design is: block RAM, or look-up tables of 64 bits each. What is said here is a lower bound: a network
beyond it fits in no folding, one within it may fit or not, which :func:`mixq.plan.plan` decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log2, prod

from mixq.board import Resources
from mixq.graph import Conv, Dense, Graph
from mixq.networks import ConvSpec, DenseSpec, NetworkTable
from mixq.plan.soft_options import MOST_WEIGHTS

BLOCK_RAM_BITS = 36 * 1024
LUT_BITS = 64
"""Bits that a look-up table of 6 inputs holds; LUT RAM holds fewer of each."""

# Memories of so few words have equal columns, which synthesis merges: their bits do not bound what they take.
_FEW_WORDS = 8
# Bits of a DSP's two operands, and DSPs of a two-point pair, whose operands are each spread over both.
_PORTS, _PAIRED = (27, 18), 2


@dataclass(frozen=True, kw_only=True)
class LayerSize:
    """Sizes of one layer with weights.

    weights: how many. macs: multiplications of a frame. line_values: values of its input that its line buffer holds at
    least, the rows that a kernel reaches back to. weight_bits, act_bits: widths.
    """

    name: str
    weights: int
    macs: int
    line_values: int
    weight_bits: int
    act_bits: int

    @property
    def weight_memory_bits(self) -> int:
        """Bits of its weights."""
        return self.weights * self.weight_bits

    @property
    def line_bits(self) -> int:
        """Bits of its line buffer, at least."""
        return self.line_values * self.act_bits

    def needs_memory(self, dsps: int) -> bool:
        """Whether its weights need memory for all their bits in a design of at most so many DSPs.

        They do not where so many are multiplied in a cycle that a memory has 8 words or fewer, nor where there are
        few enough for a constant matrix. A DSP multiplies at most as many weights and activations as its operands have
        room for.
        """
        dense = _PAIRED * prod(_PORTS) / (log2(max(2, 2**self.weight_bits - 1)) * self.act_bits)
        return self.weights > max(MOST_WEIGHTS, _FEW_WORDS * dsps * dense)


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """The least memory of a network, in bits: of weights that cannot do without, and of line buffers."""

    weight_bits: int
    line_bits: int

    @property
    def memory_bits(self) -> int:
        """Both together."""
        return self.weight_bits + self.line_bits

    def least_luts(self, limits: Resources) -> int:
        """Look-up tables that hold what block RAM has no room for, at least."""
        return max(0, ceil((self.memory_bits - block_ram_bits(limits)) / LUT_BITS))

    def lacking_bits(self, limits: Resources) -> int:
        """Bits that find no room even if every block RAM and every look-up table holds memory; 0 where all may fit."""
        return max(0, self.memory_bits - block_ram_bits(limits) - limits.lut * LUT_BITS)


def block_ram_bits(limits: Resources) -> int:
    """Bits of all block RAMs."""
    return int(limits.bram36 * BLOCK_RAM_BITS)


def footprint(layers: Sequence[LayerSize], limits: Resources) -> Footprint:
    """The least memory of these layers in a design within ``limits``; a lower bound."""
    return Footprint(
        weight_bits=sum(layer.weight_memory_bits for layer in layers if layer.needs_memory(limits.dsp)),
        line_bits=sum(layer.line_bits for layer in layers),
    )


def sizes_of_table(
    table: NetworkTable, *, weight_bits: Sequence[int] | None = None, act_bits: Sequence[int] | None = None
) -> tuple[LayerSize, ...]:
    """Sizes of a network's weighted layers; widths as of :meth:`mixq.networks.NetworkTable.resolve_act_bits`.

    Raises UserError for wrong widths.
    """
    widths = zip(table.resolve_weight_bits(weight_bits), table.resolve_act_bits(act_bits), strict=True)
    lines = [
        _line_values(spec.kernel if isinstance(spec, ConvSpec) else 1, source)
        for spec, source in zip(table.layers, table.input_shapes(), strict=True)
        if isinstance(spec, ConvSpec | DenseSpec)
    ]
    return tuple(
        LayerSize(name=c.name, weights=c.weights, macs=c.macs, line_values=line, weight_bits=w, act_bits=a)
        for c, line, (w, a) in zip(table.counts(), lines, widths, strict=True)
    )


def sizes_of_graph(graph: Graph) -> tuple[LayerSize, ...]:
    """Sizes of a graph's convolutions and dense layers."""
    return tuple(
        LayerSize(
            name=node.name,
            weights=node.weights.size,
            macs=node.macs(graph.tensor(node.output).shape),
            line_values=_line_values(node.extent if isinstance(node, Conv) else 1, graph.tensor(node.input).shape),
            weight_bits=node.weight_format.width,
            act_bits=graph.tensor(node.input).format.width,
        )
        for node in graph.nodes
        if isinstance(node, Conv | Dense)
    )


def _line_values(extent: int, source: tuple[int, int, int]) -> int:
    """Values of the rows that a kernel spans beside its last; a low image has fewer."""
    channels, height, width = source
    return channels * width * (min(extent, height) - 1)
