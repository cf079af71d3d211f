"""The foldings of a layer that take no DSP: multipliers of look-up tables, and constant matrices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np

from mixq.packing import SoftMultipliers
from mixq.plan.folding import Folding
from mixq.plan.matrix_search import MOST_PAIRS, constant_matrix, digit_pairs
from mixq.plan.units import Unit
from mixq.plan.weight_order import layer_matrix

PIXELS = (1, 2, 4)
"""Pixels in a cycle that are offered."""

MOST_PRODUCTS = 512
"""Products in a cycle up to which multipliers of look-up tables are offered: more would fill a small device."""

MOST_WEIGHTS = 20_000
"""Weights, times pixels, beyond which no matrix is looked at: it would hardly have few enough pairs of digits."""


def soft_foldings(unit: Unit, *, constant: bool = True) -> list[Folding]:
    """All foldings of a layer without DSPs that are offered, in beats of one pixel.

    Constant matrices where all weights are used in every cycle and there are at most
    :data:`mixq.plan.matrix_search.MOST_PAIRS` pairs of digits to search; multipliers of look-up tables elsewhere.

    None of dilated layers. constant: with constant matrices; without, nothing depends on the values of the weights.
    """
    shape, source = unit.shape, unit.source.format
    found: list[Folding] = []
    if shape.dilation > 1:
        return found
    for pixels in PIXELS:
        if pixels > shape.width:
            continue
        packing = SoftMultipliers(
            unit.weight_bits,
            source.width,
            shape.kernel,
            pixels,
            act_signed=source.signed,
            weight_range=unit.weight_range,
        )
        found += _multipliers(unit, packing)
        matrix = _constant(unit, replace(packing, constant=True)) if constant else None
        found += [] if matrix is None else [matrix]
    return found


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]


def _multipliers(unit: Unit, packing: SoftMultipliers) -> Iterator[Folding]:
    shape = unit.shape
    inputs, outputs = shape.group_inputs, shape.group_outputs
    shares = [(pe, lanes) for pe in _divisors(outputs) for lanes in _divisors(inputs)]
    shares += [(number * outputs, number * inputs) for number in _divisors(shape.groups) if number > 1]
    for pe, lanes in shares:
        for rows in sorted({1, shape.kernel}):
            if pe * rows * min(lanes, inputs) * packing.macs > MOST_PRODUCTS:
                continue
            folding = Folding(shape, packing, pe, rows, lanes, out_lanes=pe)
            if folding.weight_depth > 1:
                yield replace(folding, out_lanes=next(d for d in _divisors(pe) if pe // d <= folding.steps))


def _constant(unit: Unit, packing: SoftMultipliers) -> Folding | None:
    """The whole layer as one matrix, with what that takes."""
    shape, weights = unit.shape, unit.stream_weights
    if weights.size * packing.pixels > MOST_WEIGHTS:
        return None
    pe = shape.out_channels
    folding = Folding(shape, packing, pe, shape.kernel, shape.in_channels, out_lanes=pe)
    sizes = _sizes(folding, np.asarray(weights, np.int64).tobytes())
    if sizes is None:
        return None
    adder_bits, register_bits, cycles = sizes
    known = replace(packing, adder_bits=adder_bits, register_bits=register_bits, cycles=cycles)
    return replace(folding, packing=known)


@lru_cache(maxsize=256)
def _sizes(folding: Folding, weights: bytes) -> tuple[int, int, int] | None:
    """Look-up tables of adders, flip-flops and latency of a layer's matrix; None where its search would take long."""
    shape, packing = folding.shape, folding.packing
    assert isinstance(packing, SoftMultipliers)
    size = shape.weight_shape
    elements = layer_matrix(folding, np.frombuffer(weights, np.int64).reshape(size))
    if digit_pairs(elements) > MOST_PAIRS:
        return None
    matrix = constant_matrix(elements, packing.act_format, interleaved=packing.pixels)
    return matrix.adder_bits, matrix.register_bits, matrix.latency
