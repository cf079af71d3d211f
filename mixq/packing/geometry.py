"""Packings: several small exact multiplications in one product of a DSP.

One operand holds ``pixels`` neighbouring activations, the other ``taps`` weights of a kernel row for each of
``channels`` output channels. With activations at the bit offsets ``n * pixel_stride`` and weights at
``k * tap_stride + m * channel_stride``, the product holds the sums

    lane (m, e) = sum over n + k = e of activation[n] * weight[m, k],    e = 0 .. pixels + taps - 2,

a piece of a one-dimensional convolution for ``taps > 1`` (HiKonv, Liu et al. 2022) and an outer product for
``taps == 1``. Two ideas make the lanes narrow:

* Unsigned activations are recentred, ``x' = x - 2^(act_bits - 1)``: the range of a lane halves, and what is missing,
  ``2^(act_bits - 1)`` times the sum of the weights, is a constant of the output channel.
* A constant lifts every lane so that it never goes negative: a lane is then read by wiring, without borrows.

Up to ``accumulate_max`` products are summed before the lanes are read; beyond that a lane could overflow into the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import ceil
from typing import Literal

import numpy as np
import numpy.typing as npt

ACCUMULATOR_BITS = 48
"""Width of the accumulator P of a DSP48E1 or DSP48E2."""

WIDTHS = range(2, 9)
"""Weight and activation widths that are supported."""

KERNELS = (1, 3, 5)
"""Kernel sizes along the row that are supported."""

_MOST_OPERANDS = 64

WeightRange = Literal["full", "narrow"]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Ports:
    """Multiplier operand widths in bits, both signed; only the wide one has a pre-adder before it."""

    wide: int
    narrow: int


PORTS = {"dsp48e2": Ports(wide=27, narrow=18)}


@dataclass(frozen=True)
class Lane:
    """Where one sum lies in the accumulator.

    offset, width: bits ``offset`` up to ``offset + width`` (exclusive) of the accumulator.
    channel: output channel within the packing. position: ``n + k``. terms: products added in it per multiplication.
    """

    offset: int
    width: int
    channel: int
    position: int
    terms: int


def default_weight_range(weight_bits: int) -> WeightRange:
    """The range that densities are quoted for: weights of 2 and 3 bits full, wider ones without the most negative."""
    return "full" if weight_bits <= 3 else "narrow"


def weight_bounds(weight_bits: int, weight_range: WeightRange) -> tuple[int, int]:
    """Lowest and highest weight code, e.g. (-8, 7) for 4 bits full and (-7, 7) narrow."""
    high = (1 << (weight_bits - 1)) - 1
    return (-high - 1 if weight_range == "full" else -high), high


@dataclass(frozen=True)
class Packing:
    """How one DSP holds several multiplications; :meth:`compute` is its exact reference arithmetic.

    Parameters
    ----------
    weight_bits, act_bits: widths of the codes, 2 to 8.
    act_signed: whether activation codes are two's complement; unsigned ones are recentred.
    weight_range: "full", or "narrow" where the most negative weight is excluded.
    kernel: taps of a kernel row, 1, 3 or 5; where ``taps`` is less, a row takes :attr:`passes` multiplications.
    pixels, taps, channels: activations in one operand; weights of a row and output channels in the other.
    pixel_stride, tap_stride, channel_stride: distances in bits.
    act_on_wide: whether activations lie on the wide port (with the pre-adder) or on the narrow one.
    device: "dsp48e2".

    Raises
    ------
    TypeError: where a flag is no bool.
    ValueError: where an operand does not fit its port, lanes overlap, or not even one product fits its lanes.
    """

    weight_bits: int
    act_bits: int
    kernel: int
    pixels: int
    taps: int
    channels: int
    pixel_stride: int
    tap_stride: int
    channel_stride: int
    act_on_wide: bool
    act_signed: bool = False
    weight_range: WeightRange = "full"
    device: str = "dsp48e2"

    def __post_init__(self) -> None:
        for name in ("weight_bits", "act_bits"):
            if getattr(self, name) not in WIDTHS:
                raise ValueError(f"{name} must be from 2 to 8, not {getattr(self, name)!r}")
        if self.kernel not in KERNELS:
            raise ValueError(f"kernel must be 1, 3 or 5, not {self.kernel!r}")
        if self.weight_range not in ("full", "narrow"):
            raise ValueError(f"weight_range must be 'full' or 'narrow', not {self.weight_range!r}")
        if self.device not in PORTS:
            raise ValueError(f"device must be one of {', '.join(PORTS)}, not {self.device!r}")
        if not 1 <= self.taps <= self.kernel:
            raise ValueError(f"taps must be from 1 to kernel, not {self.taps!r}")
        for name in ("act_on_wide", "act_signed"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be True or False, not {getattr(self, name)!r}")
        # Each takes at least a bit of a port; the bound keeps a hostile plan from being looked at for hours.
        if not (1 <= self.pixels <= _MOST_OPERANDS and 1 <= self.channels <= _MOST_OPERANDS):
            raise ValueError(
                f"pixels and channels must be from 1 to {_MOST_OPERANDS}, not {(self.pixels, self.channels)!r}"
            )
        if not self._fits():
            raise ValueError(f"operands must fit their ports and lanes must hold one product, not {self!r}")

    # -- geometry --------------------------------------------------------------------------------------

    @property
    def ports(self) -> Ports:
        """Operand widths of the device."""
        return PORTS[self.device]

    @property
    def act_port_bits(self) -> int:
        """Width of the port that holds the activations."""
        return self.ports.wide if self.act_on_wide else self.ports.narrow

    @property
    def weight_port_bits(self) -> int:
        """Width of the port that holds the weights."""
        return self.ports.narrow if self.act_on_wide else self.ports.wide

    @property
    def weight_bounds(self) -> tuple[int, int]:
        """Lowest and highest weight code."""
        return weight_bounds(self.weight_bits, self.weight_range)

    @property
    def recentre(self) -> int:
        """What is subtracted from an activation code before it is multiplied: 2^(act_bits - 1), or 0 if signed."""
        return 0 if self.act_signed else 1 << (self.act_bits - 1)

    @property
    def act_offsets(self) -> tuple[int, ...]:
        """Bit offset of each pixel in its operand."""
        return tuple(n * self.pixel_stride for n in range(self.pixels))

    @property
    def weight_offsets(self) -> tuple[tuple[int, ...], ...]:
        """Bit offset of each weight in its operand, indexed [channel][tap]."""
        return tuple(
            tuple(m * self.channel_stride + k * self.tap_stride for k in range(self.taps)) for m in range(self.channels)
        )

    @property
    def positions(self) -> int:
        """Lanes of one channel: pixels + taps - 1."""
        return self.pixels + self.taps - 1

    @property
    def passes(self) -> int:
        """Multiplications that a kernel row takes: ceil(kernel / taps)."""
        return ceil(self.kernel / self.taps)

    @property
    def macs(self) -> int:
        """Products in one multiplication, useful or not: pixels * taps * channels."""
        return self.pixels * self.taps * self.channels

    @property
    def density(self) -> float:
        """Useful multiplications per DSP and cycle."""
        return self.pixels * self.channels * self.kernel / self.passes

    @property
    def product_bounds(self) -> tuple[int, int]:
        """Lowest and highest product of a (recentred) activation and a weight."""
        half = 1 << (self.act_bits - 1)
        corners = [x * w for x in (-half, half - 1) for w in self.weight_bounds]
        return min(corners), max(corners)

    @cached_property
    def lanes(self) -> tuple[Lane, ...]:
        """The lanes by rising offset; the top one has the rest of the accumulator."""
        found = sorted(_lane_offsets(self))
        ends = [offset for offset, *_ in found[1:]] + [ACCUMULATOR_BITS]
        return tuple(
            Lane(offset, end - offset, channel, position, terms)
            for (offset, channel, position, terms), end in zip(found, ends, strict=True)
        )

    @cached_property
    def accumulate_max(self) -> int:
        """Products that may be summed before the lanes are read, exactly, whatever the operands."""
        low, high = self.product_bounds
        return min(((1 << lane.width) - 1) // (lane.terms * (high - low)) for lane in self.lanes)

    def lift(self, products: int) -> int:
        """Constant that keeps every lane from going negative over ``products`` products, for the whole accumulator."""
        return sum(self.lane_lift(lane, products) << lane.offset for lane in self.lanes) % (1 << ACCUMULATOR_BITS)

    def lane_lift(self, lane: Lane, products: int) -> int:
        """What :meth:`lift` adds to one lane: ``products * terms * -(lowest product)``."""
        return -products * lane.terms * self.product_bounds[0]

    def _fits(self) -> bool:
        offsets = sorted(offset for offset, *_ in _lane_offsets(self))
        if len(set(offsets)) != len(offsets) or offsets[0] < 0 or offsets[-1] >= ACCUMULATOR_BITS:
            return False
        # Products of one position lie in one lane only where a tap is as far from the next as a pixel is.
        if self.pixels > 1 and self.taps > 1 and self.pixel_stride != self.tap_stride:
            return False
        half = 1 << (self.act_bits - 1)
        acts = sum(1 << o for o in self.act_offsets)
        if self.pixels > 1 and self.pixel_stride < self.act_bits:
            return False
        fields = sorted(o for row in self.weight_offsets for o in row)
        if any(b - a < self.weight_bits for a, b in pairwise(fields)):
            return False
        low, high = self.weight_bounds
        weights = sum(1 << o for o in fields)
        return (
            half * acts <= 1 << (self.act_port_bits - 1)
            and -low * weights <= 1 << (self.weight_port_bits - 1)
            and high * weights < 1 << (self.weight_port_bits - 1)
            and self.accumulate_max >= 1
        )

    # -- operands --------------------------------------------------------------------------------------

    @cached_property
    def weight_fields(self) -> tuple[tuple[int, int, int, int], ...]:
        """Stored weight fields by rising offset: (offset, stored bits, channel, tap).

        A weight is stored less the borrow of the fields below it, so that the operand is made by sign extension alone.
        That fits ``weight_bits`` where the most negative weight is excluded, and takes one bit more where it is not.
        """
        order = sorted((o, m, k) for m, row in enumerate(self.weight_offsets) for k, o in enumerate(row))
        extra = 1 if self.weight_range == "full" else 0
        return tuple((o, self.weight_bits + (extra if i else 0), m, k) for i, (o, m, k) in enumerate(order))

    @property
    def stored_bits(self) -> int:
        """Bits of one weight word in memory."""
        return sum(bits for _, bits, _, _ in self.weight_fields)

    def encode_weights(self, weights: npt.ArrayLike) -> IntArray:
        """Weight words as they are stored: codes (..., channels, taps) to words (...), first field lowest."""
        codes = np.asarray(weights, dtype=np.int64)
        low, high = self.weight_bounds
        if codes.shape[-2:] != (self.channels, self.taps):
            raise ValueError(f"weights must end in shape {(self.channels, self.taps)}, not {codes.shape!r}")
        if codes.size and (codes.min() < low or codes.max() > high):
            raise ValueError(f"weights must be from {low} to {high}, not {int(codes.min())}..{int(codes.max())}")
        words = np.zeros(codes.shape[:-2], np.int64)
        below = np.zeros(codes.shape[:-2], np.int64)
        position = 0
        for offset, bits, m, k in self.weight_fields:
            field = codes[..., m, k] - (below < 0)
            words |= (field & ((1 << bits) - 1)) << position
            below += codes[..., m, k] << offset
            position += bits
        return words

    def decode_weights(self, words: npt.ArrayLike) -> IntArray:
        """The weights that stored words stand for: the inverse of :meth:`encode_weights`."""
        stored = np.asarray(words, dtype=np.int64)
        codes = np.zeros((*stored.shape, self.channels, self.taps), np.int64)
        below = np.zeros(stored.shape, np.int64)
        position = 0
        for offset, bits, m, k in self.weight_fields:
            field = (stored >> position) & ((1 << bits) - 1)
            field -= (field >> (bits - 1)) << bits
            codes[..., m, k] = field + (below < 0)
            below += codes[..., m, k] << offset
            position += bits
        return codes

    def pack_activations(self, activations: npt.ArrayLike) -> IntArray:
        """The activation operand: codes (..., pixels) to signed values (...)."""
        codes = np.asarray(activations, dtype=np.int64) - self.recentre
        return sum((codes[..., n] << o for n, o in enumerate(self.act_offsets)), np.zeros(codes.shape[:-1], np.int64))

    def pack_weights(self, weights: npt.ArrayLike) -> IntArray:
        """The weight operand: codes (..., channels, taps) to signed values (...)."""
        codes = np.asarray(weights, dtype=np.int64)
        total = np.zeros(codes.shape[:-2], np.int64)
        for m, row in enumerate(self.weight_offsets):
            for k, offset in enumerate(row):
                total += codes[..., m, k] << offset
        return total

    # -- reference arithmetic --------------------------------------------------------------------------

    def read_lanes(self, accumulator: npt.ArrayLike) -> IntArray:
        """Lifted lanes (..., channels, positions) of accumulator values (...)."""
        p = np.asarray(accumulator, dtype=np.int64)
        out = np.zeros((*p.shape, self.channels, self.positions), np.int64)
        for lane in self.lanes:
            out[..., lane.channel, lane.position] = (p >> lane.offset) & ((1 << lane.width) - 1)
        return out

    def compute(self, activations: npt.ArrayLike, weights: npt.ArrayLike) -> IntArray:
        """What the hardware computes, step by step as the hardware does.

        activations: codes (..., L, pixels); weights: codes (..., L, channels, taps), with L <= accumulate_max products
        summed before the lanes are read. Returns (..., channels, pixels + taps - 1): the exact sums of products of the
        codes as given (what recentring and lifting added is taken out again).
        """
        x, w = np.asarray(activations, np.int64), np.asarray(weights, np.int64)
        products = x.shape[-2]
        if not 1 <= products <= self.accumulate_max:
            raise ValueError(f"activations must hold from 1 to {self.accumulate_max} products, not {products!r}")
        low, high = (-self.half, self.half - 1) if self.act_signed else (0, 2 * self.half - 1)
        if x.size and (x.min() < low or x.max() > high):
            raise ValueError(f"activations must be from {low} to {high}, not {int(x.min())}..{int(x.max())}")
        if w.size and (w.min() < self.weight_bounds[0] or w.max() > self.weight_bounds[1]):
            raise ValueError(f"weights must be from {self.weight_bounds[0]} to {self.weight_bounds[1]}")
        p = (self.pack_activations(x) * self.pack_weights(w)).sum(-1) + self.lift(products)
        lanes = self.read_lanes(p & ((1 << ACCUMULATOR_BITS) - 1))
        for lane in self.lanes:
            taps = [k for k in range(self.taps) if 0 <= lane.position - k < self.pixels]
            missing = self.recentre * w[..., lane.channel, taps].sum((-1, -2)) if taps else 0
            lanes[..., lane.channel, lane.position] += missing - self.lane_lift(lane, products)
        return lanes

    @property
    def half(self) -> int:
        """Half the number of activation codes, 2^(act_bits - 1)."""
        return 1 << (self.act_bits - 1)


def _lane_offsets(packing: Packing) -> Iterator[tuple[int, int, int, int]]:
    """Offset, channel, position and number of terms of every lane."""
    step = packing.pixel_stride if packing.taps == 1 else packing.tap_stride
    for m in range(packing.channels):
        for e in range(packing.positions):
            terms = min(e + 1, packing.pixels, packing.taps, packing.positions - e)
            yield m * packing.channel_stride + e * step, m, e, terms
