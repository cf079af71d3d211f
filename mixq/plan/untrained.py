"""The graph of a network before it is trained: what planner and search ask what widths would take.

Its weights are random, but spread over the codes as those of trained layers are, and its requantisations have
multipliers and biases of the size that trained ones have. A layer's numbers follow from its place, its widths and the
width that it gives out alone: they are the same whatever the other layers have. PyTorch is not needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mixq.folding import requantise_shift
from mixq.graph import Conv, Dense, Graph, MaxPool, Node, Requantise, Tensor, accumulator_format
from mixq.graph.names import legal_name
from mixq.networks import ConvSpec, DenseSpec, NetworkTable, PoolSpec
from mixq.packing import WeightRange
from mixq.plan.untrained_branches import branched_graph
from mixq.plan.untrained_values import (
    PIXEL_BITS,
    SEED,
    affine,
    code_tensor,
    random_weights,
    spread_of_sums,
    truncation,
    weight_format,
    weight_shape,
)

__all__ = ["PIXEL_BITS", "Piece", "image_piece", "layer_numbers", "layer_piece", "pool_piece", "untrained_graph"]


@dataclass(frozen=True, kw_only=True)
class Piece:
    """What a layer of a table becomes: its nodes in order, and what the first reads and each gives out."""

    source: Tensor
    nodes: tuple[Node, ...]
    targets: tuple[Tensor, ...]


def untrained_graph(
    table: NetworkTable,
    *,
    weight_bits: Sequence[int] | None = None,
    act_bits: Sequence[int] | None = None,
    weight_range: WeightRange = "narrow",
) -> Graph:
    """The graph of a network with these widths (None: the table's own), as :mod:`mixq.lowering` makes of a trained one.

    weight_range: "narrow" where layers of 4 bits or more do without the most negative weight.

    Raises UserError for a wrong number or wrong values of the widths.
    """
    weights, acts = table.resolve_weight_bits(weight_bits), table.resolve_act_bits(act_bits)
    if not table.is_chain:
        return branched_graph(table, weights, acts, weight_range)
    pieces = [image_piece(table, acts[0])]
    numbers = layer_numbers(table)
    for index, number in enumerate(numbers):
        if number is None:
            pieces.append(pool_piece(table, index, pieces[-1].targets[-1].format.width))
            continue
        out_bits = acts[number + 1] if number + 1 < len(acts) else None
        pieces.append(layer_piece(table, index, weights[number], acts[number], out_bits, weight_range=weight_range))
    pixels = pieces[0].source
    return Graph(
        name=legal_name(table.name),
        tensors=(pixels, *(tensor for piece in pieces for tensor in piece.targets)),
        nodes=tuple(node for piece in pieces for node in piece.nodes),
        input=pixels.name,
        output=pieces[-1].targets[-1].name,
        metadata={"network": table.name, "origin": "untrained"},
    )


def layer_numbers(table: NetworkTable) -> tuple[int | None, ...]:
    """Of each entry of the table, which weighted layer it is, from 0; None for pooling."""
    found: list[int | None] = []
    for spec in table.layers:
        weighted = sum(number is not None for number in found)
        found.append(None if isinstance(spec, PoolSpec) else weighted)
    return tuple(found)


def image_piece(table: NetworkTable, bits: int) -> Piece:
    """The truncation of 8-bit pixels to ``bits``; none of 8."""
    pixels = code_tensor("pixels", table.input_shape, PIXEL_BITS)
    if bits == PIXEL_BITS:
        return Piece(source=pixels, nodes=(), targets=())
    fields = truncation(table.input_shape[0], bits)
    node = Requantise(name="input", input=pixels.name, output="input_out", **fields)
    return Piece(source=pixels, nodes=(node,), targets=(code_tensor(node.output, table.input_shape, bits),))


def pool_piece(table: NetworkTable, index: int, bits: int) -> Piece:
    """The max-pooling at ``index`` of the table's entries, on codes of ``bits``."""
    spec = table.layers[index]
    assert isinstance(spec, PoolSpec)
    source = _input(table, index, bits)
    name = f"pool{sum(isinstance(layer, PoolSpec) for layer in table.layers[: index + 1])}"
    node = MaxPool(name=name, input=source.name, output=f"{name}_out", kernel=spec.kernel, stride=spec.stride)
    return Piece(source=source, nodes=(node,), targets=(code_tensor(node.output, table.shapes()[index], bits),))


def layer_piece(
    table: NetworkTable,
    index: int,
    weight_bits: int,
    act_bits: int,
    out_bits: int | None,
    *,
    weight_range: WeightRange = "narrow",
) -> Piece:
    """The convolution or dense layer at ``index`` of the table's entries, with its requantisation.

    out_bits: width of the codes it gives out, that of the next layer's input; None for the last, which gives its sums.
    """
    number = layer_numbers(table)[index]
    spec = table.layers[index]
    assert number is not None and isinstance(spec, ConvSpec | DenseSpec)
    source = _input(table, index, act_bits)
    name = table.weighted_names[number]
    format = weight_format(weight_bits, weight_range)
    weights = random_weights(weight_shape(spec, source.shape), format, number)
    random = np.random.default_rng((SEED, number, weight_bits, act_bits, out_bits or 0))
    bias = None if out_bits is not None or not spec.bias else random.integers(-64, 64, len(weights))
    node: Conv | Dense
    if isinstance(spec, ConvSpec):
        node = Conv(
            name=name,
            input=source.name,
            output=f"{name}_out",
            weights=weights,
            weight_format=format,
            stride=spec.stride,
            padding=spec.padding,
            groups=spec.groups,
            dilation=spec.dilation,
            bias=bias,
        )
    else:
        node = Dense(
            name=name, input=source.name, output=f"{name}_out", weights=weights, weight_format=format, bias=bias
        )
    shape = table.shapes()[index]
    sums = Tensor(node.output, shape, accumulator_format(weights, source.format, bias), 1.0)
    if out_bits is None:
        return Piece(source=source, nodes=(node,), targets=(sums,))
    shift = requantise_shift(weight_bits, act_bits)
    multiplier, offset = affine(spread_of_sums(weights, source.format), out_bits, shift, random)
    scale = Requantise(
        name=f"{name}_act",
        input=sums.name,
        output=f"{name}_act_out",
        multiplier=multiplier,
        bias=offset,
        shift=shift,
    )
    return Piece(source=source, nodes=(node, scale), targets=(sums, code_tensor(scale.output, shape, out_bits)))


def _input(table: NetworkTable, index: int, bits: int) -> Tensor:
    """What the entry at ``index`` reads, with codes of ``bits``."""
    if index == 0:
        return code_tensor("pixels" if bits == PIXEL_BITS else "input_out", table.input_shape, bits)
    before = table.layers[index - 1]
    entries = table.layers[:index]
    if isinstance(before, PoolSpec):
        name = f"pool{sum(isinstance(layer, PoolSpec) for layer in entries)}"
    else:
        name = f"{table.weighted_names[len(entries) - sum(isinstance(layer, PoolSpec) for layer in entries) - 1]}_act"
    return code_tensor(f"{name}_out", table.shapes()[index - 1], bits)
