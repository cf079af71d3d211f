"""A product's arithmetic against sums written out: over every operand there is, and over many drawn at random."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from itertools import product as combinations
from math import prod

import numpy as np

from mixq.packing.arithmetic import sums
from mixq.packing.product import Product
from mixq.packing.values import IntArray

DEEPEST_SUM = 64
"""Products of most of the random sums, where lanes hold as many, and cycles of most carry-tracked ones."""

LONG_RUN = 200
"""Cycles of the longer ones of the random carry-tracked sums."""

_DEEPEST_CONSTANT = 1 << 12

_BLOCK = 1 << 13
"""Values of one operand looked at together: the arrays of all of them stay in the second-level cache."""

_TABLE = 1 << 10


def operand_space(product: Product, products: int) -> int:
    """Number of all activations and weights of a sum of so many products."""
    return prod(_sizes(product)) ** products


def try_all(product: Product) -> tuple[int, str | None]:
    """Every member of the operand space of every sum of 1 up to :attr:`Product.accumulate_max` products.

    Returns how many sums were compared, and what the first wrong one was.
    """
    cases = 0
    for products in range(1, product.accumulate_max + 1):
        for values in _every_operand(product, products):
            cases += values.shape[1]
            failed = _compare(product, values)
            if failed:
                return cases, failed
    return cases, None


def try_random(product: Product, count: int, seed: int) -> tuple[int, str | None]:
    """At least ``count`` products of random operands, half of these at the ends of their ranges.

    Half of the sums are as deep as the lanes allow, at most :data:`DEEPEST_SUM` products; a quarter are of one product
    of extreme operands many times over, which takes the lanes to their bounds; a quarter take every smaller depth in
    turn. Carry-tracked sums run for 64 cycles, or 200. Returns how many products were compared (each a multiplication
    of the DSP or of the pair), and what the first wrong sum was.
    """
    bits = np.random.SFC64(seed)
    mixed, ends = _tables(product)
    deep = min(product.accumulate_max, DEEPEST_SUM)
    done = number = 0
    while done < count:
        constant = number % 4 == 2
        depth = deep
        if constant and not product.tracked:
            depth = min(product.accumulate_max, _DEEPEST_CONSTANT)
        elif number % 4 == 3:
            depth = LONG_RUN if product.tracked else 1 + number // 4 % deep
        # A carry-tracked sum is computed cycle by cycle: as many at once as make up for it.
        rows = _BLOCK // 4 if product.tracked else -(-_BLOCK // depth)
        rows = min(rows, -(-(count - done) // depth))
        values = _draw(bits, ends if number % 4 > 1 else mixed, rows, 1 if constant else depth)
        failed = _compare(product, np.broadcast_to(values, (len(values), rows, depth)))
        done += rows * depth
        number += 1
        if failed:
            return done, failed
    return done, None


def direct_sums(product: Product, values: IntArray) -> IntArray:
    """Sums (rows, channels, positions) of products of operands (operands, rows, products), without any packing."""
    # 32 bits hold sums of 2^12 products of 8-bit operands, and are multiplied several at a time.
    narrow = values.astype(np.int32).swapaxes(1, 2)
    out = np.zeros((product.channels, product.positions, *narrow.shape[1:]), np.int32)
    for m in range(product.channels):
        for k in range(product.taps):
            weight = narrow[product.pixels + m * product.taps + k]
            for n in range(product.pixels):
                out[m, n + k] += narrow[n] * weight
    return np.moveaxis(out.sum(2), -1, 0)


def _sizes(product: Product) -> list[int]:
    """Numbers of values of each operand: the pixels, then the weights channel by channel."""
    weights = product.weight_high - product.weight_low + 1
    return [2 * product.half] * product.pixels + [weights] * (product.channels * product.taps)


def _lowest(product: Product) -> list[int]:
    return [-product.half] * product.pixels + [product.weight_low] * (product.channels * product.taps)


def _every_operand(product: Product, products: int) -> Iterator[IntArray]:
    """All operands of sums of so many products, some rows at a time, as arrays (operands, rows, products)."""
    lows, sizes = _lowest(product) * products, _sizes(product) * products
    inner, rows = 0, 1
    # The last operands take all their values for each of the others' values, as many of these as fill a block.
    while inner < len(sizes) and (rows * sizes[-1 - inner] <= _BLOCK or rows < _BLOCK // 16):
        inner += 1
        rows *= sizes[-inner]
    first = len(sizes) - inner
    together = max(1, _BLOCK // rows)
    flat = np.empty((len(sizes), together, rows), np.int64)
    if inner:
        flat[first:] = np.array(np.unravel_index(np.arange(rows), sizes[first:]))[:, None]
        flat[first:] += np.array(lows[first:])[:, None, None]
    outer = combinations(*(range(low, low + size) for low, size in zip(lows[:first], sizes, strict=False)))
    while chosen := list(islice(outer, together)):
        flat[:first, : len(chosen)] = np.array(chosen, np.int64).T.reshape(first, len(chosen), 1)
        yield flat[:, : len(chosen)].reshape(products, len(sizes) // products, -1).transpose(1, 2, 0)


def _tables(product: Product) -> tuple[IntArray, IntArray]:
    """For each operand values to draw from: half of them at the ends of the range and all others, and ends alone."""
    lows, sizes = np.array(_lowest(product))[:, None], np.array(_sizes(product))[:, None]
    index = np.arange(_TABLE)
    ends = lows + index % 2 * (sizes - 1)
    return np.where(index < _TABLE // 2, ends, lows + index % sizes), ends


def _draw(bits: np.random.SFC64, table: IntArray, rows: int, products: int) -> IntArray:
    """Operands (operands, rows, products), each from its row of a table of :data:`_TABLE` values."""
    values = np.empty((len(table), products * rows), np.int64)
    for choices, row in zip(table, values, strict=True):
        index = bits.random_raw(-(-row.size // 4)).view(np.uint16)[: row.size] & (_TABLE - 1)
        choices.take(index, out=row, mode="clip")
    return values.reshape(len(table), products, rows).swapaxes(1, 2)


def _compare(product: Product, values: IntArray) -> str | None:
    """What the first wrong sum is of operands (operands, rows, products)."""
    pixels, rows, products = product.pixels, *values.shape[1:]
    weights = values[pixels:].reshape(product.channels, product.taps, rows, products)
    seen = sums(product, np.moveaxis(values[:pixels], 0, -1), np.moveaxis(weights, (0, 1), (-2, -1)))
    right = direct_sums(product, values)
    if np.array_equal(seen, right):
        return None
    row, channel, position = (int(i) for i in np.argwhere(seen != right)[0])
    return (
        f"lane ({channel}, {position}) reads {seen[row, channel, position]}, not {right[row, channel, position]}, "
        f"for activations {values[:pixels, row].T.tolist()} and weights {values[pixels:, row].T.tolist()}"
    )
