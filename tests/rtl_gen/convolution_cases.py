# amaranth: UnusedElaboratable=no
"""Convolutions to try: shapes, packings and foldings between them, and their graphs and stages."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mixq.formats import IntFormat
from mixq.graph import Conv, Graph, Requantise
from mixq.packing import Packing, Part, SoftMultipliers, candidates, default_weight_range, solve, weight_bounds
from mixq.packing.search import search
from mixq.plan.folding import Folding
from mixq.plan.layer_shape import LayerShape
from mixq.plan.weight_order import deepened
from rtl_gen.convolution import Convolution, Scaling
from tests.mixq.graphs import Chain


@dataclass(frozen=True)
class Case:
    """One convolution. ``scaling``: "multiply", "threshold", or "none" for raw sums with a bias.

    ``values``: "random" codes and weights, or "corner": all weights of a channel at one end of their range, or "small":
    weights of a quarter of it. ``deepen``: sums in the DSPs as deep as the weights allow.
    """

    shape: LayerShape
    packing: Packing | SoftMultipliers
    pe: int
    rows: int = 1
    lanes: int = 1
    in_pixels: int = 1
    out_lanes: int = 1
    scaling: str = "none"
    target: str = "dsp48e2"
    values: str = "random"
    deepen: bool = False
    weight_memory: str = "auto"
    pump: int = 1

    @property
    def folding(self) -> Folding:
        folding = Folding(
            self.shape,
            self.packing,
            self.pe,
            self.rows,
            self.lanes,
            self.in_pixels,
            self.out_lanes,
            weight_memory=self.weight_memory,
            pump=self.pump,
        )
        return deepened(folding, weights_of(self)) if self.deepen else folding

    @property
    def seed(self) -> int:
        # Of what is as it mostly is, the seed does not depend.
        return zlib.crc32(repr(self).replace(", groups=1, dilation=1", "").encode())


def weights_of(case: Case) -> npt.NDArray[np.int64]:
    """Weights (C_out, C_in, K, K)."""
    rng = np.random.default_rng(case.seed)
    shape = case.shape
    low, high = case.packing.weight_bounds
    size = shape.weight_shape
    if case.values == "corner":
        return np.broadcast_to(rng.choice([low, high], (size[0], 1, 1, 1)), size)
    if case.values == "small":
        low, high = low // 4, high // 4
    return rng.integers(low, high + 1, size)


def graph_of(case: Case) -> Graph:
    """The layer as the interpreter runs it, with weights, biases and scales of either sign."""
    rng = np.random.default_rng(case.seed + 1)
    shape, packing = case.shape, case.packing
    weights = weights_of(case)
    size = weights.shape
    chain = Chain((shape.in_channels, shape.height, shape.width), IntFormat(packing.act_bits, packing.act_signed))
    bias = rng.integers(-99, 100, size[0]) if case.scaling == "none" else None
    chain.conv(
        weights,
        packing.weight_bits,
        bias,
        stride=shape.stride,
        padding=shape.sides,
        groups=shape.groups,
        dilation=shape.dilation,
    )
    if case.scaling == "none":
        return chain.graph()
    multiplier = rng.integers(30, 61, (size[0],)) * rng.choice([-1, 1, 1], size[0])
    if len(multiplier) > 2:
        multiplier[:2] = [0, -37]
    # Most sums lie within the codes, the rest below and above.
    low, high = packing.act_bounds
    flat = weights.reshape(size[0], -1)
    spread = np.abs(flat).sum(1) / 2 if case.values == "corner" else np.sqrt((flat**2).sum(1) / 6)
    shift = max(1, int(60 * (high - low) * spread.max() / 8).bit_length())
    middle = 0 if case.scaling == "threshold" else 8 << shift
    offset = middle - multiplier * flat.sum(1) * (low + high) // 2 + rng.integers(-(2 << shift), 2 << shift, size[0])
    return chain.requantise(multiplier, offset, shift, IntFormat(4, case.scaling == "threshold")).graph()


def stage_of(case: Case, graph: Graph) -> Convolution:
    """The stage of a case's graph."""
    conv, *rest = graph.nodes
    assert isinstance(conv, Conv)
    target: Any = case.target
    if rest:
        (node,) = rest
        assert isinstance(node, Requantise)
        scaling = Scaling(
            tuple(node.multiplier.tolist()),
            tuple(node.bias.tolist()),
            node.shift,
            graph.tensor(graph.output).format,
            case.scaling,
        )
    else:
        assert conv.bias is not None
        scaling = Scaling.none(tuple(conv.bias.tolist()), graph.tensor(graph.output).format)
    return Convolution(case.folding, conv.weights, scaling, name="layer", target=target)


def packing_of(weight_bits: int, act_bits: int, kernel: int, residue_bits: int = 0, **wanted: Any) -> Packing:
    """Any single product with these fields and so many residue bits, e.g. pixels=1, taps=2, channels=1, pair=True."""
    weight_range = default_weight_range(weight_bits)
    operands = (act_bits, *weight_bounds(weight_bits, weight_range))
    wanted = {"pair": False, "tracked": False, "residue_bits": residue_bits} | wanted
    for found in search(*operands, kernel, "dsp48e2"):
        product = found.product(*operands, "dsp48e2")
        if all(getattr(product, name) == value for name, value in wanted.items()):
            return Packing(weight_bits, act_bits, kernel, (Part(product),), weight_range=weight_range)
    raise ValueError(f"wanted must be found, not {wanted!r}")


def split_of(weight_bits: int, act_bits: int, kernel: int, residue_bits: int = 0) -> Packing:
    """The candidate whose operand is split."""
    return next(p for p in candidates(weight_bits, act_bits, kernel, residue_bits) if p.split)


def soft(weight_bits: int, act_bits: int, kernel: int, pixels: int = 1, **others: Any) -> SoftMultipliers:
    """Multipliers of look-up tables, for weights as narrow as densities are quoted for."""
    weight_range = default_weight_range(weight_bits)
    return SoftMultipliers(weight_bits, act_bits, kernel, pixels, weight_range=weight_range, **others)


def constant(weight_bits: int, act_bits: int, kernel: int, pixels: int = 1, **others: Any) -> SoftMultipliers:
    """A constant matrix, likewise."""
    return soft(weight_bits, act_bits, kernel, pixels, constant=True, **others)


P44, P22, P88 = solve(4, 4, accumulate=9), packing_of(2, 2, 3, pixels=5, taps=3), packing_of(8, 8, 3, pixels=2, taps=1)
P48 = packing_of(4, 8, 3, pixels=1, taps=3)
P22D = packing_of(2, 2, 1, pixels=1, channels=2)
PAIR_WIDE = packing_of(4, 4, 3, pixels=5, taps=3, pair=True)
PAIR_NARROW = packing_of(8, 8, 3, pixels=2, taps=3, pair=True)
PAIR_KNOWN = packing_of(4, 8, 3, 1, pixels=4, taps=3, pair=True)
KNOWN = packing_of(4, 4, 3, 2, pixels=4, taps=3)
TRACKED = packing_of(4, 4, 3, 2, pixels=4, taps=3, tracked=True)
TRACKED_DENSE = packing_of(4, 4, 1, 1, pixels=1, channels=4, tracked=True)
E1 = candidates(4, 4, 3, device="dsp48e1", pixels=2)[0]
SPLIT_ACTS, SPLIT_WEIGHTS = split_of(7, 8, 3, 2), split_of(8, 4, 3)

CASES: dict[str, Case] = {
    # 3x3, two pixels: one fold and all in parallel; serial; and between.
    "same_parallel": Case(LayerShape(2, 2, 4, 8, 3, 1, 1), P44, 2, 3, 2, 2, 2, "multiply"),
    "same_serial": Case(LayerShape(4, 4, 4, 7, 3, 1, 1), P44, 1, 1, 1, 1, 1, "threshold"),
    "same_rows": Case(LayerShape(4, 6, 5, 6, 3, 1, 1), P44, 3, 3, 1, 2, 1, "multiply"),
    "valid": Case(LayerShape(3, 2, 5, 9, 3, 1, 0), P44, 2, 3, 1, 1, 1),
    "full_padding": Case(LayerShape(2, 4, 3, 5, 3, 1, 2), P44, 2, 1, 2, 2, 1, "threshold"),
    "column": Case(LayerShape(2, 2, 4, 1, 3, 1, 1), P44, 2, 3, 1, 1, 2),
    "narrower_than_group": Case(LayerShape(4, 2, 3, 2, 3, 1, 1), P22, 1, 1, 2, 5, 1),
    "wider_than_group": Case(LayerShape(2, 2, 4, 7, 3, 1, 1), P22, 2, 3, 1, 1, 1, "multiply"),
    "one_row": Case(LayerShape(3, 4, 1, 6, 3, 1, 1), P44, 2, 3, 1, 2, 1),
    "one_pixel": Case(LayerShape(4, 4, 1, 1, 3, 1, 1), P44, 4, 1, 1, 1, 1),
    "kernel_fills_image": Case(LayerShape(2, 2, 3, 3, 3, 1, 0), P44, 2, 1, 2, 1, 1),
    "stride_2": Case(LayerShape(4, 4, 6, 7, 3, 2, 1), P44, 2, 1, 2, 2, 1, "multiply"),
    "stride_2_valid": Case(LayerShape(2, 2, 5, 8, 3, 2, 0), P44, 1, 3, 1, 1, 1),
    "stride_2_left_over": Case(LayerShape(2, 2, 6, 3, 3, 2, 0), KNOWN, 2, 1, 2, 4, 1, "multiply"),
    "stride_2_single": Case(
        LayerShape(3, 4, 5, 5, 3, 2, 1), packing_of(8, 2, 3, pixels=1, taps=1, channels=2), 2, 1, 3, 1, 1, "threshold"
    ),
    # Several passes over the taps, and several channels in one DSP.
    "passes_8x8": Case(LayerShape(2, 2, 4, 5, 3, 1, 1), P88, 2, 3, 2, 1, 1, "multiply"),
    "passes_5x5": Case(LayerShape(2, 2, 5, 6, 5, 1, 2), packing_of(6, 4, 5, pixels=2, taps=3), 1, 1, 2, 1, 1),
    "channels_in_a_dsp": Case(
        LayerShape(2, 6, 3, 4, 3, 1, 1), packing_of(2, 8, 3, taps=1, channels=2, pixels=1), 2, 1, 1, 1, 1, "threshold"
    ),
    # 5x5.
    "5x5_same": Case(LayerShape(2, 6, 6, 7, 5, 1, 2), packing_of(4, 4, 5, pixels=2, taps=3), 3, 5, 1, 1, 1, "multiply"),
    "5x5_valid": Case(LayerShape(1, 2, 6, 6, 5, 1, 0), packing_of(2, 2, 5, taps=4), 1, 1, 1, 1, 1),
    "5x5_stride_2": Case(LayerShape(2, 2, 6, 9, 5, 2, 1), packing_of(4, 4, 5, pixels=2, taps=2), 2, 1, 1, 2, 1),
    # 1x1 and dense.
    "1x1": Case(LayerShape(4, 6, 3, 5, 1, 1, 0), packing_of(4, 4, 1, pixels=2, channels=3), 6, 1, 2, 2, 3, "multiply"),
    "1x1_stride_2": Case(LayerShape(4, 4, 5, 6, 1, 2, 0), packing_of(8, 4, 1, pixels=1, channels=2), 2, 1, 2, 1, 1),
    "dense": Case(LayerShape(48, 6, 1, 1), packing_of(4, 4, 1, pixels=1, channels=3), 3, 1, 4),
    "dense_deep": Case(LayerShape(96, 2, 1, 1), packing_of(2, 2, 1, pixels=1, channels=2), 2, 1, 8, scaling="multiply"),
    # Lanes at the ends of their range, several chains added in look-up tables.
    "corner_chains": Case(LayerShape(6, 2, 3, 4, 3, 1, 1), P22, 2, 3, 6, P22.pixels, 2, values="corner"),
    "corner_deep": Case(LayerShape(8, 2, 3, 5, 3, 1, 1), P44, 1, 1, 8, 2, 1, values="corner"),
    "corner_8x8": Case(LayerShape(4, 2, 3, 4, 3, 1, 1), P88, 2, 1, 4, 1, 1, values="corner", target="generic"),
    "signed": Case(
        LayerShape(2, 2, 4, 5, 3, 1, 1), replace(P44, act_signed=True), 2, 3, 1, 1, 1, "multiply", target="generic"
    ),
    # Residues, carry tracking, pairs, split operands.
    "residues": Case(LayerShape(4, 2, 4, 9, 3, 1, 1), KNOWN, 2, 3, 2, 1, 1, "multiply"),
    "residues_corner": Case(LayerShape(2, 2, 3, 8, 3, 1, 1), KNOWN, 2, 3, 2, 4, 2, values="corner"),
    "residues_deep": Case(
        LayerShape(8, 2, 3, 5, 3, 1, 1), packing_of(4, 4, 3, 1, pixels=2, taps=3), 1, 1, 8, 2, 1, values="corner"
    ),
    "residues_dense": Case(LayerShape(24, 6, 1, 1), packing_of(3, 3, 1, 2, pixels=1, channels=6), 6, 1, 4, 1, 1),
    "tracked": Case(LayerShape(4, 2, 4, 9, 3, 1, 1), TRACKED, 2, 1, 2, 1, 1, "threshold"),
    "tracked_in_block": Case(LayerShape(6, 4, 3, 8, 3, 1, 1), TRACKED, 2, 3, 6, 4, 2, weight_memory="block"),
    "tracked_rows": Case(LayerShape(4, 2, 3, 8, 3, 1, 1), TRACKED, 2, 3, 2, 4, 1, "multiply"),
    "tracked_parallel": Case(LayerShape(1, 2, 3, 8, 3, 1, 1), TRACKED, 2, 3, 1, 4, 2, values="corner"),
    "tracked_corner": Case(LayerShape(32, 1, 3, 4, 3, 1, 1), TRACKED, 1, 1, 1, 4, 1, values="corner"),
    "tracked_passes": Case(
        LayerShape(4, 2, 3, 5, 3, 1, 1), packing_of(4, 4, 3, 1, pixels=3, taps=2, tracked=True), 1, 1, 2, 1, 1
    ),
    "tracked_stride_2": Case(LayerShape(4, 2, 5, 8, 3, 2, 1), TRACKED, 1, 1, 4, 1, 1, "multiply", target="generic"),
    "tracked_dense": Case(LayerShape(96, 8, 1, 1), TRACKED_DENSE, 8, 1, 8, 1, 1, "multiply"),
    "pair_wide": Case(LayerShape(3, 2, 4, 9, 3, 1, 1), PAIR_WIDE, 2, 3, 1, 1, 1, "multiply"),
    "pair_narrow": Case(LayerShape(4, 2, 4, 5, 3, 1, 1), PAIR_NARROW, 1, 1, 4, 2, 1, "threshold"),
    "pair_corner": Case(LayerShape(4, 2, 3, 4, 3, 1, 1), PAIR_NARROW, 2, 3, 4, 1, 2, values="corner"),
    "pair_residues": Case(LayerShape(2, 2, 3, 6, 3, 1, 1), PAIR_KNOWN, 2, 3, 1, 4, 1, values="corner"),
    "pair_stride_2": Case(LayerShape(2, 2, 5, 7, 3, 2, 1), PAIR_NARROW, 2, 1, 2, 1, 1, target="generic"),
    "split_activations": Case(LayerShape(2, 2, 3, 7, 3, 1, 1), SPLIT_ACTS, 2, 1, 2, 1, 1, "multiply"),
    "split_weights": Case(
        LayerShape(2, SPLIT_WEIGHTS.channels, 3, 9, 3, 1, 1), SPLIT_WEIGHTS, SPLIT_WEIGHTS.channels, 1, 1, 1, 1
    ),
    # Weights smaller than their width allows: more products in each sum.
    "real_weights": Case(LayerShape(8, 2, 3, 5, 3, 1, 1), P44, 2, 3, 8, 2, 2, "multiply", values="small", deepen=True),
    "real_weights_deep": Case(LayerShape(16, 2, 3, 6, 3, 1, 1), KNOWN, 1, 1, 8, 1, 1, values="small", deepen=True),
    # DSPs at twice the clock: chains of one unit, of two and of three; single reads and several; pairs.
    "pumped_alone": Case(LayerShape(2, 2, 4, 7, 3, 1, 1), P44, 1, 1, 2, 1, 1, pump=2),
    "pumped_chain": Case(LayerShape(4, 4, 4, 6, 3, 1, 1), P44, 2, 1, 4, 2, 1, "multiply", pump=2),
    "pumped_odd_chain": Case(LayerShape(2, 2, 4, 8, 3, 1, 1), P44, 2, 3, 2, 2, 2, "threshold", pump=2),
    "pumped_chains": Case(LayerShape(8, 2, 3, 5, 3, 1, 1), P44, 1, 3, 8, 2, 1, values="corner", pump=2),
    "pumped_generic": Case(LayerShape(4, 4, 4, 6, 3, 1, 1), P22, 2, 1, 2, 1, 1, "threshold", target="generic", pump=2),
    "pumped_dense": Case(LayerShape(96, 2, 1, 1), P22D, 2, 1, 8, scaling="multiply", pump=2),
    "pumped_real_weights": Case(
        LayerShape(8, 2, 3, 5, 3, 1, 1), P44, 2, 3, 8, 2, 2, "multiply", values="small", deepen=True, pump=2
    ),
    "pumped_pair": Case(LayerShape(4, 2, 3, 4, 3, 1, 1), PAIR_NARROW, 2, 3, 4, 1, 2, values="corner", pump=2),
    # More rows than a look-up table tells apart.
    "tall": Case(LayerShape(1, 2, 70, 5, 3, 1, 1), P48, 2, 1, 1, 1, 2, "threshold"),
    "tall_stride_2": Case(LayerShape(2, 2, 134, 8, 3, 2, 1), P44, 1, 3, 2, 1, 1, "multiply"),
    # Foldings that do not divide the channels.
    "uneven_outputs": Case(LayerShape(2, 10, 3, 5, 3, 1, 1), P44, 4, 1, 1, 1, 2, "multiply"),
    "uneven_inputs": Case(LayerShape(3, 2, 4, 7, 3, 1, 1), P44, 2, 3, 2, 2, 1, "threshold"),
    "uneven_both": Case(LayerShape(5, 6, 3, 6, 3, 1, 1), P44, 4, 1, 4, 1, 2, values="corner"),
    "uneven_tracked": Case(LayerShape(5, 3, 4, 9, 3, 1, 1), TRACKED, 2, 1, 4, 1, 1, "threshold"),
    "uneven_dense": Case(LayerShape(96, 10, 1, 1), TRACKED_DENSE, 4, 1, 36, 1, 2),
    "uneven_head": Case(LayerShape(4, 36, 2, 4, 3, 1, 1), P44, 8, 1, 1, 1, 4, "multiply"),
    "uneven_rows": Case(LayerShape(5, 3, 4, 5, 3, 1, 1), P44, 2, 3, 2, 2, 1, "threshold"),
    "uneven_stride_2": Case(LayerShape(3, 5, 5, 8, 3, 2, 1), P44, 2, 1, 2, 2, 1, "multiply"),
    "uneven_stride_2_single": Case(
        LayerShape(3, 5, 5, 5, 3, 2, 1), packing_of(8, 2, 3, pixels=1, taps=1, channels=2), 2, 1, 2, 1, 1, "threshold"
    ),
    "uneven_pair": Case(LayerShape(3, 3, 3, 6, 3, 1, 1), PAIR_NARROW, 2, 1, 2, 1, 1, "multiply", values="corner"),
    "uneven_split_weights": Case(
        LayerShape(3, SPLIT_WEIGHTS.channels + 1, 2, 9, 3, 1, 1), SPLIT_WEIGHTS, SPLIT_WEIGHTS.channels, 1, 2, 1, 1
    ),
    "uneven_split_activations": Case(LayerShape(3, 3, 3, 7, 3, 1, 1), SPLIT_ACTS, 2, 1, 2, 1, 1, "multiply"),
    "uneven_8x8": Case(LayerShape(3, 3, 4, 5, 3, 1, 1), P88, 2, 3, 2, 2, 1, values="corner"),
    "uneven_residues": Case(LayerShape(3, 5, 3, 9, 3, 1, 1), KNOWN, 3, 1, 2, 4, 1, "multiply", values="corner"),
    "uneven_5x5": Case(LayerShape(3, 4, 5, 6, 5, 1, 2), packing_of(4, 4, 5, pixels=2, taps=3), 3, 1, 2, 1, 1),
    # More channels at a time than there are.
    "wider_than_outputs": Case(
        LayerShape(4, 5, 3, 5, 1, 1, 0), packing_of(4, 4, 1, pixels=2, channels=3), 6, 1, 3, 2, 5, "multiply"
    ),
    "wider_than_outputs_serial": Case(LayerShape(96, 6, 1, 1), TRACKED_DENSE, 8, 1, 10, 1, 2, "threshold"),
    "uneven_dsp48e1": Case(LayerShape(5, 5, 3, 6, 3, 1, 1), E1, 3, 1, 3, 1, 1, "multiply", target="dsp48e1"),
    # Multipliers without DSPs: in look-up tables, Booth's and tabulated ones, and as constant matrices.
    "soft_parallel": Case(LayerShape(2, 2, 4, 7, 3, 1, 1), soft(4, 4, 3), 2, 3, 2, 1, 2, "multiply"),
    "soft_serial": Case(LayerShape(4, 4, 3, 6, 3, 1, 1), soft(3, 3, 3), 1, 1, 1, 1, 1, "threshold"),
    "soft_pixels": Case(LayerShape(3, 4, 4, 9, 3, 1, 1), soft(2, 4, 3, 4), 2, 1, 3, 4, 1, "multiply"),
    "soft_pixels_single": Case(LayerShape(2, 2, 4, 7, 3, 1, 2), soft(5, 3, 3, 2), 1, 3, 1, 1, 1),
    "soft_corner": Case(LayerShape(4, 2, 3, 5, 3, 1, 1), soft(8, 8, 3, 2), 2, 1, 2, 1, 1, values="corner"),
    "soft_corner_table": Case(LayerShape(3, 2, 3, 5, 3, 1, 0), soft(3, 3, 3), 2, 1, 3, 1, 1, values="corner"),
    "soft_signed": Case(LayerShape(2, 2, 4, 5, 3, 1, 1), soft(4, 4, 3, act_signed=True), 2, 1, 2, 1, 1, "multiply"),
    "soft_signed_table": Case(LayerShape(2, 2, 4, 5, 3, 1, 1), soft(3, 3, 3, 2, act_signed=True), 1, 3, 1, 2, 1),
    "soft_two_bits": Case(LayerShape(4, 4, 3, 5, 3, 1, 1), soft(2, 5, 3), 2, 3, 1, 1, 1, "multiply"),
    "soft_5x5": Case(LayerShape(2, 2, 6, 7, 5, 1, 2), soft(4, 4, 5, 2), 1, 1, 1, 1, 1, "threshold"),
    "soft_stride_2": Case(LayerShape(4, 4, 6, 7, 3, 2, 1), soft(4, 4, 3, 2), 2, 1, 2, 2, 1, "multiply"),
    "soft_stride_2_single": Case(LayerShape(2, 2, 5, 5, 3, 2, 1), soft(4, 3, 3), 2, 3, 1, 1, 1),
    "soft_1x1": Case(LayerShape(4, 6, 3, 5, 1, 1, 0), soft(4, 4, 1, 2), 6, 1, 2, 1, 3, "multiply"),
    "soft_dense": Case(LayerShape(48, 6, 1, 1), soft(6, 4, 1), 3, 1, 4),
    "constant": Case(LayerShape(3, 4, 5, 7, 3, 1, 1), constant(4, 8, 3), 4, 3, 3, 1, 4, "multiply"),
    "constant_pixels": Case(LayerShape(2, 3, 4, 9, 3, 1, 1), constant(4, 8, 3, 2), 3, 3, 2, 2, 3, "threshold"),
    "constant_four": Case(LayerShape(2, 2, 4, 10, 3, 1, 0), constant(3, 4, 3, 4), 2, 3, 2, 1, 2),
    "constant_signed": Case(
        LayerShape(2, 3, 4, 5, 3, 1, 1), constant(5, 6, 3, act_signed=True), 3, 3, 2, 1, 3, "multiply"
    ),
    "constant_corner": Case(LayerShape(3, 4, 3, 5, 3, 1, 1), constant(8, 8, 3), 4, 3, 3, 1, 4, values="corner"),
    "constant_joined": Case(LayerShape(2, 2, 3, 5, 3, 1, 1), constant(8, 2, 3), 2, 3, 2, 1, 2),
    "constant_5x5": Case(LayerShape(1, 2, 6, 7, 5, 1, 2), constant(4, 8, 5), 2, 5, 1, 1, 2, "multiply"),
    "constant_stride_2": Case(LayerShape(3, 4, 6, 8, 3, 2, 1), constant(4, 8, 3, 2), 4, 3, 3, 1, 4, "multiply"),
    "constant_stride_2_single": Case(LayerShape(3, 2, 5, 5, 3, 2, 1), constant(4, 8, 3), 2, 3, 3, 1, 2),
    "constant_1x1": Case(LayerShape(4, 3, 3, 5, 1, 1, 0), constant(4, 4, 1), 3, 1, 4, 1, 3, "multiply"),
    "constant_wires": Case(LayerShape(1, 2, 3, 4, 1, 1, 0), constant(2, 4, 1), 2, 1, 1, 1, 2),
    "constant_dense": Case(LayerShape(12, 5, 1, 1), constant(4, 4, 1), 5, 1, 12, 1, 5),
    "generic": Case(LayerShape(4, 4, 4, 6, 3, 1, 1), P48, 2, 1, 2, 1, 1, "threshold", target="generic"),
}
