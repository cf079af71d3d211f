"""What the hardware makes of one product's operands, step by step as the hardware does it: the exact software model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np

from mixq.packing.product import Product
from mixq.packing.values import ACCUMULATOR_BITS, IntArray, Lane

_MASK = (1 << ACCUMULATOR_BITS) - 1


def operands(product: Product, activations: IntArray, weights: IntArray) -> list[tuple[IntArray, IntArray]]:
    """Both factors of each DSP: recentred activations (..., pixels) and weights (..., channels, taps) to (...)."""
    flat = weights.reshape(*weights.shape[:-2], product.channels * product.taps)
    acts = [operand.value(activations) for operand in product.act_operands]
    words = [operand.value(flat) for operand in product.weight_operands]
    if not product.pair:
        return [(acts[0], words[0])]
    wide, narrow = (acts, words) if product.act_on_wide else (words, acts)
    joined = [wide[0] + wide[1], wide[0] - wide[1]]
    return [(j, n) if product.act_on_wide else (n, j) for j, n in zip(joined, narrow, strict=True)]


def lane_products(product: Product, activations: IntArray, weights: IntArray, lane: Lane) -> IntArray:
    """Sum of the small products of one lane, from the operands' bits alone: (...)."""
    pairs = [(lane.position - k, k) for k in range(product.taps) if 0 <= lane.position - k < product.pixels]
    products = [activations[..., n] * weights[..., lane.channel, k] for n, k in pairs]
    return reduce(np.add, products)


def sums(product: Product, activations: IntArray, weights: IntArray, bounds: tuple[int, int] | None = None) -> IntArray:
    """Sums over L products as read from the lanes, (..., channels, positions).

    activations: recentred (..., L, pixels). weights: (..., L, channels, taps). bounds: of what each (pixel, tap) adds
    over the L products, or in one where carries are tracked; by default whatever the operands.
    """
    products = activations.shape[-2]
    low, high = bounds or product.sum_bounds(1 if product.tracked else products)
    known = product.residues(low, high)
    if known is None:
        raise ValueError(f"activations must hold at most {product.accumulate_max} products, not {products!r}")
    if product.tracked:
        lanes = _tracked(product, activations, weights, low, known)
        return lanes - _lifts(product, low) * products
    accumulators = []
    for (x, w), lift in zip(operands(product, activations, weights), product.lift(low), strict=True):
        # Each product is cut to the accumulator's width first: sums of thousands stay within 64 bits.
        accumulators.append((((x * w) & _MASK).sum(-1) + lift) & _MASK)
    residues = [
        (lane_products(product, activations, weights, lane).sum(-1) + product.lane_lift(lane, low)) & ((1 << bits) - 1)
        if bits
        else 0
        for lane, bits in zip(product.lanes, known, strict=True)
    ]
    lanes = extract(product, halved(product, accumulators), residues, known)
    return lanes - _lifts(product, low)


def halved(product: Product, accumulators: list[Any]) -> list[Any]:
    """Words that lanes lie in: the accumulator itself, or of a pair half the sum and half the difference.

    Of arrays, integers or the like, as :func:`lane_values`.
    """
    if not product.pair:
        return accumulators
    plus, minus = accumulators
    return [((plus + minus) & _MASK) >> 1, ((plus - minus) & _MASK) >> 1]


def extract(product: Product, words: list[IntArray], residues: Sequence[Any], known: tuple[int, ...]) -> IntArray:
    """Lifted lanes (..., channels, positions) from words (...) and, for each lane, its ``known`` low bits (...)."""
    return _arranged(product, lane_values(product, words, residues, known))


def lane_values(product: Product, words: Sequence[Any], residues: Sequence[Any], known: tuple[int, ...]) -> list[Any]:
    """Lifted lanes, in the order of :attr:`Product.lanes`, from words and the ``known`` low bits of each lane.

    Lane i shows f_i in its bits; what spilled into it is h_(i-1) = (f_i - residue_i) mod 2^known_i, and its value is
    f_i - h_(i-1) + h_i * 2^s_i. Of arrays, of integers, or of whatever computes as integers of 64 bits do.
    """
    spilled = [
        ((words[lane.word] >> lane.offset) - residue) & ((1 << bits) - 1)
        for lane, residue, bits in zip(product.lanes, residues, known, strict=True)
    ]
    values = []
    for i, lane in enumerate(product.lanes):
        value = _field(words[lane.word], lane) - spilled[i]
        if i + 1 < len(product.lanes) and product.lanes[i + 1].word == lane.word:
            value = value + (spilled[i + 1] << lane.width)
        values.append(value)
    return values


def carries(product: Product, before: Any, after: Any, terms: Sequence[Any], known: tuple[int, ...]) -> list[Any]:
    """What spilled into each lane in one cycle of a carry-tracked sum, and at the end whether the top lane wrapped.

    before, after: the accumulator. terms: what each lane, lifted, grew by; only its ``known`` low bits matter. Of
    arrays, integers or the like, as :func:`lane_values`.
    """
    spilled = [
        ((after >> lane.offset) - (before >> lane.offset) - term) & ((1 << bits) - 1)
        for lane, term, bits in zip(product.lanes, terms, known, strict=True)
    ]
    return [*spilled, (before >> (ACCUMULATOR_BITS - 1)) & ~(after >> (ACCUMULATOR_BITS - 1)) & 1]


def tracked_values(product: Product, accumulator: Any, counts: Sequence[Any]) -> list[Any]:
    """Lifted lanes of a carry-tracked sum: from the accumulator and the sums of all its :func:`carries`."""
    return [
        _field(accumulator, lane) - below + (above << lane.width)
        for lane, below, above in zip(product.lanes, counts, counts[1:], strict=False)
    ]


def _field(word: Any, lane: Lane) -> Any:
    return (word >> lane.offset) & ((1 << lane.width) - 1)


def _tracked(product: Product, x: IntArray, w: IntArray, low: int, known: tuple[int, ...]) -> IntArray:
    """Lifted lanes of a carry-tracked sum: an accumulator that runs on, and counters of what its lanes spill."""
    (lift,) = product.lift(low)
    p = np.zeros(x.shape[:-2], np.int64)
    counts = [np.zeros(x.shape[:-2], np.int64) for _ in range(len(product.lanes) + 1)]
    for cycle in range(x.shape[-2]):
        act, weight = x[..., cycle, :], w[..., cycle, :, :]
        ((a, b),) = operands(product, act, weight)
        new = (p + a * b + lift) & _MASK
        terms = [
            lane_products(product, act, weight, lane) + product.lane_lift(lane, low) if bits else 0
            for lane, bits in zip(product.lanes, known, strict=True)
        ]
        for count, carry in zip(counts, carries(product, p, new, terms, known), strict=True):
            count += carry
        p = new
    return _arranged(product, tracked_values(product, p, counts))


def _arranged(product: Product, values: Sequence[IntArray]) -> IntArray:
    """Values of lanes as an array (..., channels, positions)."""
    out = np.zeros((*values[0].shape, product.channels, product.positions), np.int64)
    for lane, value in zip(product.lanes, values, strict=True):
        out[..., lane.channel, lane.position] = value
    return out


def _lifts(product: Product, low: int) -> IntArray:
    lifts = np.zeros((product.channels, product.positions), np.int64)
    for lane in product.lanes:
        lifts[lane.channel, lane.position] = product.lane_lift(lane, low)
    return lifts
