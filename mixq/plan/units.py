"""A graph as the stages that the hardware makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from mixq.errors import UserError
from mixq.formats import IntFormat
from mixq.graph import Add, Concat, Conv, Dense, Graph, Node, Requantise, Tensor, Threshold
from mixq.packing import SoftMultipliers, WeightRange
from mixq.plan.folding import Folding
from mixq.plan.layer_shape import LayerShape
from mixq.plan.spatial import STAGES
from mixq.plan.stage_features import Constants
from mixq.plan.sum_widths import exact_sum_bits, exact_sum_format, reach

IntArray = npt.NDArray[np.int64]

INPUT = -1
"""Place of the graph's input among the units."""


@dataclass(frozen=True)
class Unit:
    """One stage: a node, and the requantisation, or the thresholds, that are built into a layer or an addition.

    sources: the tensors it reads. target: the tensor it gives out. reads: places of the units that give the sources,
    `INPUT` for the graph's input.
    """

    node: Node
    requantise: Requantise | Threshold | None
    sources: tuple[Tensor, ...]
    target: Tensor
    reads: tuple[int, ...] = (INPUT,)

    @property
    def source(self) -> Tensor:
        """The tensor it reads, the first of several."""
        return self.sources[0]

    @property
    def first(self) -> bool:
        """Whether it reads the graph's input."""
        return INPUT in self.reads

    @property
    def joins(self) -> bool:
        """Whether it reads several tensors."""
        return len(self.sources) > 1

    @property
    def is_layer(self) -> bool:
        """Whether it multiplies by weights."""
        return isinstance(self.node, Conv | Dense)

    @cached_property
    def shape(self) -> LayerShape:
        """Sizes of a convolution; a dense layer is one of a single pixel with all inputs as channels."""
        channels, height, width = self.source.shape
        if isinstance(self.node, Dense):
            return LayerShape(channels * height * width, len(self.node.weights), 1, 1)
        assert isinstance(self.node, Conv)
        node = self.node
        return LayerShape(
            channels,
            len(node.weights),
            height,
            width,
            node.kernel,
            node.stride,
            node.sides,
            groups=node.groups,
            dilation=node.dilation,
        )

    @cached_property
    def stream_weights(self) -> IntArray:
        """Weights (C_out, C_in / groups, K, K) with the input channels in the order of the stream."""
        node = self.node
        if isinstance(node, Conv):
            return node.weights
        assert isinstance(node, Dense)
        channels, height, width = self.source.shape
        ordered = node.weights.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(ordered).reshape(len(node.weights), -1, 1, 1)

    @property
    def scaling(self) -> Requantise | Threshold:
        """The requantisation of the stage, in a layer or on its own. Raises TypeError where there is none."""
        node = self.requantise or self.node
        if not isinstance(node, Requantise | Threshold):
            raise TypeError(f"unit must have a requantisation, not {node.op!r}")
        return node

    @cached_property
    def constants(self) -> Constants:
        """Of that requantisation."""
        scaling = self.scaling
        if isinstance(scaling, Threshold):
            return Constants.of_steps(scaling.thresholds.shape[1], scaling.first.tolist(), scaling.step.tolist())
        return Constants.of(scaling.multiplier.tolist(), scaling.bias.tolist())

    @cached_property
    def weight_bits(self) -> int:
        """Width of the weights."""
        assert isinstance(self.node, Conv | Dense)
        return self.node.weight_format.width

    def sum_bits(self, folding: Folding) -> int:
        """Width of the sums of a folding of the layer, by its weights."""
        return self.sum_format(folding).width

    def sum_format(self, folding: Folding) -> IntFormat:
        """Format of these sums; those of DSPs are taken to use all of their width."""
        packing = folding.packing
        if isinstance(packing, SoftMultipliers):
            return self._soft_sum_format
        ends = tuple(bound - packing.recentre for bound in packing.act_bounds)
        if ends not in self._reaches:
            assert isinstance(self.node, Conv | Dense)
            self._reaches[ends] = reach(packing, self.node.weights)
        return IntFormat(exact_sum_bits(folding, self._reaches[ends]), False)

    @cached_property
    def _soft_sum_format(self) -> IntFormat:
        source = self.source.format
        packing = SoftMultipliers(self.weight_bits, source.width, self.shape.kernel, act_signed=source.signed)
        return exact_sum_format(packing, self.stream_weights)

    @cached_property
    def _reaches(self) -> dict[tuple[int, ...], int]:
        return {}

    @cached_property
    def weight_range(self) -> WeightRange:
        """Whether the most negative weight really occurs: packings that exclude it are denser."""
        assert isinstance(self.node, Conv | Dense)
        return "full" if int(self.node.weights.min()) == -(1 << (self.weight_bits - 1)) else "narrow"


def units(graph: Graph) -> list[Unit]:
    """The stages of a graph, each behind those that it reads.

    Raises UserError for a node that no stage is built for.
    """
    found: list[Unit] = []
    makers: dict[str, int] = {graph.input: INPUT}
    fused: set[str] = set()
    for node in graph.nodes:
        if node.name in fused:
            continue
        if not isinstance(node, (Conv, Dense, Add, Concat, *STAGES)):
            raise UserError(f"node {node.name}: no stage is built for {node.op!r}")
        scaling = _scaling(graph, node)
        if scaling is not None:
            fused.add(scaling.name)
        target = graph.tensor((scaling or node).output)
        sources = tuple(graph.tensor(name) for name in node.reads)
        reads = tuple(makers[name] for name in node.reads)
        found.append(Unit(node, scaling, sources, target, reads))
        makers[target.name] = len(found) - 1
    return found


def _scaling(graph: Graph, node: Node) -> Requantise | Threshold | None:
    """What makes codes of a node's sums, where nothing else reads them."""
    if not isinstance(node, Conv | Dense | Add) or node.output == graph.output:
        return None
    readers = graph.consumers(node.output)
    return readers[0] if len(readers) == 1 and isinstance(readers[0], Requantise | Threshold) else None


def output_unit(graph: Graph, found: list[Unit]) -> int:
    """Place of the unit that gives the graph's output."""
    return next(index for index, unit in enumerate(found) if unit.target.name == graph.output)
