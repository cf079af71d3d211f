"""Every geometry of a product, many at a time: which fit a pair of widths, and how many products each sums.

The positions of fields and lanes do not depend on the widths, so they are laid out once for each kernel; what a pair of
widths needs of them is then a few operations on arrays. :class:`mixq.packing.product.Product` checks the same
conditions once more, one geometry at a time, in plain integers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
import numpy.typing as npt

from mixq.packing.product import Product
from mixq.packing.values import ACCUMULATOR_BITS, PORTS, RESIDUE_BITS, TRACKED_PRODUCTS, IntArray

_DEEPEST = 1 << 13
"""Sums are told apart up to so many products; no chain of DSPs is longer."""


@dataclass(frozen=True)
class Shape:
    """One geometry without widths; strides as in :class:`mixq.packing.product.Product`."""

    pixels: int
    taps: int
    channels: int
    pixel_stride: int
    tap_stride: int
    channel_stride: int
    pair: bool
    block: int = 0
    block_stride: int = 0

    def act_offsets(self) -> list[int]:
        """Bit offset of each pixel."""
        block = self.block or self.pixels
        return [n % block * self.pixel_stride + n // block * self.block_stride for n in range(self.pixels)]

    def lanes(self) -> list[list[tuple[int, int]]]:
        """Offset and terms of each lane, word by word; empty where lanes coincide."""
        positions = self.pixels + self.taps - 1
        starts = self.act_offsets() if self.taps == 1 else [e * self.tap_stride for e in range(positions)]
        words: list[dict[int, int]] = [{}, {}] if self.pair else [{}]
        for m in range(self.channels):
            for e in range(positions):
                word = words[e % 2 if self.pair else 0]
                offset = m * self.channel_stride + starts[e]
                if offset in word:
                    return []
                word[offset] = min(e + 1, self.pixels, self.taps, positions - e)
        return [sorted(word.items()) for word in words]


@dataclass(frozen=True)
class _Words:
    """Lanes of words as arrays (words, lanes): width, 0 beyond the last lane of a word, and terms."""

    width: IntArray
    terms: IntArray
    count: IntArray

    def take(self, rows: IntArray) -> _Words:
        return _Words(self.width[rows], self.terms[rows], self.count[rows])

    def most_products(self, span: int, residue_bits: int) -> IntArray:
        """Products (words,) that lanes hold with so many residue bits where nothing spills into them from below."""
        above = np.pad(self.width[:, 1:], ((0, 0), (0, 1)))
        room = self.width + np.minimum(residue_bits, above)
        used = np.arange(self.width.shape[1]) < self.count[:, None]
        most = (np.left_shift(1, room) - 1) // (np.maximum(self.terms, 1) * span)
        return np.min(np.where(used, most, _DEEPEST), axis=1)

    def residues(self, span: IntArray, *, tracked: bool) -> IntArray:
        """Most low bits that any lane must know (words,), 99 where lanes overflow; span: of a (pixel, tap)."""
        worst = np.zeros(len(self.count), np.int64)
        spill = np.zeros(len(self.count), np.int64)
        for i in range(self.width.shape[1]):
            here, width = i < self.count, self.width[:, i]
            most = self.terms[:, i] * span + spill
            top = i == self.count - 1
            room = width - 1 if tracked else width
            worst = np.where(top & (most >= np.left_shift(1, np.maximum(room, 0))), 99, worst)
            if i + 1 == self.width.shape[1]:
                break
            inner = here & ~top
            if tracked:
                most = most + np.left_shift(1, width) - 1
            # frexp gives the bit length, exactly for numbers below 2^53.
            bits = np.maximum(np.frexp(most.astype(np.float64))[1].astype(np.int64) - width, 0)
            bits = np.where(bits > self.width[:, i + 1], 99, bits)
            worst = np.where(inner, np.maximum(worst, bits), worst)
            spill = np.where(inner, most >> width, 0)
        return worst


@dataclass(frozen=True)
class _Table:
    """Every geometry of a kernel and device on one of the two ports."""

    shapes: tuple[Shape, ...]
    pair: bool
    act_on_wide: bool
    act_sum: IntArray
    weight_sum: IntArray
    act_gap: IntArray
    words: tuple[_Words, ...]


@dataclass(frozen=True)
class Found:
    """A geometry that fits operands, with its residue bits and the products that it then sums."""

    shape: Shape
    act_on_wide: bool
    tracked: bool
    residue_bits: int
    accumulate_max: int

    def product(self, act_bits: int, weight_low: int, weight_high: int, device: str) -> Product:
        """The geometry with the operands that it was found for."""
        shape = self.shape
        return Product(
            act_bits,
            weight_low,
            weight_high,
            shape.pixels,
            shape.taps,
            shape.channels,
            shape.pixel_stride,
            shape.tap_stride,
            shape.channel_stride,
            self.act_on_wide,
            pair=shape.pair,
            tracked=self.tracked,
            residue_bits=self.residue_bits,
            device=device,
            block=shape.block,
            block_stride=shape.block_stride,
        )


@cache
def search(act_bits: int, weight_low: int, weight_high: int, kernel: int, device: str) -> tuple[Found, ...]:
    """Geometries for these operands that sum at least one product, for each number of residue bits that they can use.

    act_bits: of recentred activations. kernel: most taps. Of geometries that differ in strides alone, the one that sums
    most products is kept.
    """
    best: dict[tuple[object, ...], tuple[tuple[int, ...], Found]] = {}
    half = 1 << (act_bits - 1)
    corners = [x * w for x in (-half, half - 1) for w in (weight_low, weight_high)]
    span = max(corners) - min(corners)
    for table in _tables(kernel, device):
        rows = _fitting(table, act_bits, weight_low, weight_high, device)
        for tracked, residue_bits in product((False, True), RESIDUE_BITS):
            if tracked and (residue_bits == 0 or device != "dsp48e2" or table.pair):
                continue
            for row, depth in _depths(table, rows, span, residue_bits, tracked=tracked):
                shape = table.shapes[row]
                key = (shape.pixels, shape.taps, shape.channels, shape.pair, residue_bits, tracked)
                # Activations on the wide port cost no adders before the multiplier.
                merit = (depth, int(table.act_on_wide), -shape.channel_stride, -shape.pixel_stride)
                if key not in best or merit > best[key][0]:
                    best[key] = merit, Found(shape, table.act_on_wide, tracked, residue_bits, depth)
    return tuple(found for _, found in best.values())


def _fitting(table: _Table, act_bits: int, weight_low: int, weight_high: int, device: str) -> IntArray:
    """Rows whose operands fit their ports."""
    ports = PORTS[device]
    act_port, weight_port = (ports.wide, ports.narrow) if table.act_on_wide else (ports.narrow, ports.wide)
    half = 1 << (act_bits - 1)
    # A pair negates every other field in one of its DSPs.
    lowest = min(weight_low, -weight_high) if table.pair else weight_low
    highest = max(weight_high, -weight_low) if table.pair else weight_high
    act_highest = half if table.pair else half - 1
    fits = (
        (half * table.act_sum <= 1 << (act_port - 1))
        & (act_highest * table.act_sum < 1 << (act_port - 1))
        & (-lowest * table.weight_sum <= 1 << (weight_port - 1))
        & (highest * table.weight_sum < 1 << (weight_port - 1))
        & (table.act_gap >= act_bits)
    )
    return np.flatnonzero(fits)


def _depths(table: _Table, rows: IntArray, span: int, residue_bits: int, *, tracked: bool) -> Iterator[tuple[int, int]]:
    """Rows that hold one product with so many residue bits, and how many products they sum."""

    def enough(some: IntArray, products: IntArray) -> npt.NDArray[np.bool_]:
        worst = [word.take(some).residues(products * span, tracked=tracked) for word in table.words]
        return np.max(worst, axis=0) <= residue_bits

    if tracked:
        rows = rows[enough(rows, np.ones(len(rows), np.int64))]
        yield from ((int(row), TRACKED_PRODUCTS) for row in rows)
        return
    # What spills from below lowers these bounds by little.
    bounds = [word.take(rows).most_products(span, residue_bits) for word in table.words]
    depths = np.minimum(np.min(bounds, axis=0), _DEEPEST)
    rows, depths = rows[depths > 0], depths[depths > 0]
    open_ = np.arange(len(rows))
    while len(open_):
        open_ = open_[~enough(rows[open_], depths[open_])]
        depths[open_] -= 1
        open_ = open_[depths[open_] > 0]
    yield from ((int(row), int(depth)) for row, depth in zip(rows, depths, strict=True) if depth)


@cache
def _tables(kernel: int, device: str) -> tuple[_Table, ...]:
    """Every geometry, laid out once: single products and pairs, on either port."""
    tables = []
    for pair in (False, True):
        for act_on_wide in (True, False):
            ports = PORTS[device]
            act_port, weight_port = (ports.wide, ports.narrow) if act_on_wide else (ports.narrow, ports.wide)
            shapes = _pairs if pair else _singles
            kept = []
            for shape in shapes(kernel, act_port, weight_port):
                lanes = shape.lanes()
                if lanes and max(word[-1][0] for word in lanes) < ACCUMULATOR_BITS - pair:
                    kept.append((shape, lanes))
            if kept:
                tables.append(_table(kept, act_on_wide, ACCUMULATOR_BITS - pair))
    return tuple(tables)


def _table(kept: list[tuple[Shape, list[list[tuple[int, int]]]]], act_on_wide: bool, word_bits: int) -> _Table:
    shapes = tuple(shape for shape, _ in kept)
    acts = [s.act_offsets() for s in shapes]
    weights = [
        [k * s.tap_stride + m * s.channel_stride for k in range(s.taps) for m in range(s.channels)] for s in shapes
    ]
    words = []
    for word in range(len(kept[0][1])):
        most = max(len(lanes[word]) for _, lanes in kept)
        width, terms = np.zeros((len(kept), most), np.int64), np.zeros((len(kept), most), np.int64)
        for row, (_, lanes) in enumerate(kept):
            offsets = [offset for offset, _ in lanes[word]] + [word_bits]
            width[row, : len(lanes[word])] = np.diff(offsets)
            terms[row, : len(lanes[word])] = [count for _, count in lanes[word]]
        words.append(_Words(width, terms, np.array([len(lanes[word]) for _, lanes in kept], np.int64)))
    return _Table(
        shapes,
        shapes[0].pair,
        act_on_wide,
        np.array([sum(1 << o for o in offsets) for offsets in acts], np.int64),
        np.array([sum(1 << o for o in offsets) for offsets in weights], np.int64),
        np.array([99 if s.pair else min(np.diff(sorted(s.act_offsets())), default=99) for s in shapes], np.int64),
        tuple(words),
    )


def _singles(kernel: int, act_port: int, weight_port: int) -> Iterator[Shape]:
    """Geometries of one DSP whose lowest bits fit the ports at all."""
    for taps in range(1, kernel + 1):
        for pixels in range(1, act_port + 1):
            if taps == 1:
                yield from _outer_products(pixels, act_port, weight_port)
                continue
            for stride in range(1, (weight_port - 1) // (taps - 1) + 1):
                if (pixels - 1) * stride + 1 > act_port:
                    break
                yield Shape(pixels, taps, 1, stride, stride, 0, False)
                block = (pixels + taps - 2) * stride
                for channels in range(2, weight_port + 1):
                    if (channels - 1) * (block + 1) + (taps - 1) * stride + 1 > weight_port:
                        break
                    for last in range(1, stride + 1):
                        yield Shape(pixels, taps, channels, stride, stride, block + last, False)


def _outer_products(pixels: int, act_port: int, weight_port: int) -> Iterator[Shape]:
    """Geometries of one tap, where every lane is one product: pixels inside channels, or channels inside pixels.

    Or between: channels inside blocks of pixels, and outside the pixels of a block.
    """
    for channels in range(1, weight_port + 1):
        if pixels == channels == 1:
            yield Shape(1, 1, 1, 0, 0, 0, False)
        elif channels == 1:
            yield from (Shape(pixels, 1, 1, s, s, 0, False) for s in range(1, (act_port - 1) // (pixels - 1) + 1))
        elif pixels == 1:
            yield from (
                Shape(1, 1, channels, 0, 0, s, False) for s in range(1, (weight_port - 1) // (channels - 1) + 1)
            )
        else:
            for stride in range(1, max(act_port, weight_port)):
                for last in range(1, stride + 1):
                    outer = (pixels - 1) * stride + last
                    if (pixels - 1) * stride < act_port and (channels - 1) * outer < weight_port:
                        yield Shape(pixels, 1, channels, stride, stride, outer, False)
                    outer = (channels - 1) * stride + last
                    if (channels - 1) * stride < weight_port and (pixels - 1) * outer < act_port:
                        yield Shape(pixels, 1, channels, outer, outer, stride, False)
                for block in (n for n in range(2, pixels) if pixels % n == 0):
                    for between in range((block - 1) * stride + 1, block * stride + 1):
                        outer = channels * between
                        wide = (block - 1) * stride + (pixels // block - 1) * outer
                        if wide < act_port and (channels - 1) * between < weight_port:
                            yield Shape(pixels, 1, channels, stride, stride, between, False, block, outer)


def _pairs(kernel: int, act_port: int, weight_port: int) -> Iterator[Shape]:
    """Geometries of two-point pairs."""
    for taps in range(2, kernel + 1):
        for stride in range(1, (weight_port - 1) // (taps - 1) + 1):
            for pixels in range(2, act_port + 1):
                if (pixels - 1) * stride + 1 > act_port:
                    break
                yield Shape(pixels, taps, 1, stride, stride, 0, True)
