"""Multipliers of look-up tables alone, under the names by which a packing of DSPs is asked for its sizes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

from mixq.formats import IntFormat
from mixq.packing.values import KERNELS, WIDTHS, IntArray, WeightRange, weight_bounds

_MATRIX = ("adder_bits", "register_bits", "cycles")

_TABLE_BITS = 6
"""Inputs of a look-up table: a product of so few operand bits takes one for each of its own."""


@dataclass(frozen=True)
class SoftMultipliers:
    """Products in look-up tables: a unit multiplies ``pixels`` neighbouring activations by a kernel row of weights.

    A unit gives pixels + kernel - 1 sums, two's complement. Activations are not recentred and nothing is lifted, so
    that padding contributes nothing.

    Parameters
    ----------
    weight_bits, act_bits: widths of the codes, 1 to 8; weights of 1 bit are -1 and +1.
    kernel: taps of a kernel row, 1, 3, 5 or 7.
    pixels: neighbouring activations, at least 1.
    act_signed, weight_range: as of :class:`mixq.packing.packing.Packing`.
    constant: whether weights are part of the circuit: all of the layer's units together are then one constant matrix
    (:mod:`mixq.plan.constant_matrix`).
    adder_bits, register_bits, cycles: look-up tables of the adders of that matrix with the layer's weights, its
    flip-flops and its latency, where they are known: estimates need them, nothing else does.

    Raises
    ------
    TypeError: where a value is of the wrong type.
    ValueError: where one is out of range.
    """

    weight_bits: int
    act_bits: int
    kernel: int
    pixels: int = 1
    act_signed: bool = False
    weight_range: WeightRange = "full"
    constant: bool = False
    adder_bits: int = 0
    register_bits: int = 0
    cycles: int = 0

    def __post_init__(self) -> None:
        for name in ("weight_bits", "act_bits", "kernel", "pixels", *_MATRIX):
            value = getattr(self, name)
            if type(value) is not int:
                raise TypeError(f"{name} must be an integer, not {value!r}")
        for name in ("weight_bits", "act_bits"):
            if getattr(self, name) not in WIDTHS:
                raise ValueError(f"{name} must be from 1 to 8, not {getattr(self, name)!r}")
        if self.kernel not in KERNELS:
            raise ValueError(f"kernel must be 1, 3, 5 or 7, not {self.kernel!r}")
        if self.pixels < 1:
            raise ValueError(f"pixels must be at least 1, not {self.pixels!r}")
        for name in _MATRIX:
            value = getattr(self, name)
            if value < 0 or (value and not self.constant):
                raise ValueError(f"{name} must be at least 0, and 0 where weights are not constant, not {value!r}")
        for name in ("act_signed", "constant"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be True or False, not {getattr(self, name)!r}")
        if self.weight_range not in ("full", "narrow"):
            raise ValueError(f"weight_range must be 'full' or 'narrow', not {self.weight_range!r}")

    # -- sizes -----------------------------------------------------------------------------------------

    device = "lut"
    dsps = 0
    density = 0.0
    """Multiplications per DSP: there is none."""
    channels = 1
    passes = 1
    residue_bits = 0
    recentre = 0
    accumulate_max = 1
    """Products summed before they are read: every product is there for itself."""
    split = False
    tracked = False

    @property
    def taps(self) -> int:
        """Taps of a kernel row in a cycle: all."""
        return self.kernel

    @property
    def positions(self) -> int:
        """Sums of one channel: pixels + taps - 1."""
        return self.pixels + self.kernel - 1

    @property
    def macs(self) -> int:
        """Products of a unit in a cycle."""
        return self.pixels * self.kernel

    @property
    def stored_bits(self) -> int:
        """Bits of one weight word in memory, the first tap's lowest."""
        return self.kernel * self.weight_format.width

    # -- ranges ----------------------------------------------------------------------------------------

    @cached_property
    def weight_bounds(self) -> tuple[int, int]:
        """Lowest and highest weight code."""
        return weight_bounds(self.weight_bits, self.weight_range)

    @cached_property
    def weight_format(self) -> IntFormat:
        """A weight as it is stored, two's complement; one of 1 bit takes two."""
        low, high = self.weight_bounds
        return IntFormat(max(2, self.weight_bits), True, low, high)

    @cached_property
    def act_format(self) -> IntFormat:
        """An activation."""
        return IntFormat(self.act_bits, self.act_signed)

    @cached_property
    def act_bounds(self) -> tuple[int, int]:
        """Lowest and highest activation code."""
        return self.act_format.low, self.act_format.high

    @cached_property
    def product_format(self) -> IntFormat:
        """A product."""
        ends = [weight * act for weight in self.weight_bounds for act in self.act_bounds]
        return IntFormat.for_range(min(ends), max(ends), signed=True)

    def sum_bounds(self, products: int) -> tuple[int, int]:
        """Bounds of what each (pixel, tap) adds over ``products`` products."""
        return products * self.product_format.low, products * self.product_format.high

    def sum_widths(self, low: int, high: int) -> tuple[int, ...]:
        """Bits of each sum, where a (pixel, tap) adds ``low`` to ``high``."""
        pairs = [min(e + 1, self.pixels, self.taps, self.positions - e) for e in range(self.positions)]
        return tuple(IntFormat.for_range(count * low, count * high, signed=True).width for count in pairs)

    # -- products --------------------------------------------------------------------------------------

    @cached_property
    def tabulated(self) -> bool:
        """Whether a product is one table of both operands rather than a sum of multiples (Booth)."""
        inputs = self.weight_format.width + self.act_bits
        return inputs <= _TABLE_BITS and self.product_format.width <= sum(self.row_bits)

    @cached_property
    def row_bits(self) -> tuple[int, ...]:
        """Bits of each row of a product by Booth's recoding, which takes two bits of the weight at a time."""
        largest = 2 * max(-self.act_format.low, self.act_format.high)
        bits, reached = [], 0
        for row in range(ceil(self.weight_format.width / 2)):
            reached += largest << (2 * row)
            width = min(IntFormat.for_range(-reached, reached, signed=True).width, self.product_format.width)
            bits.append(width - 2 * row)
        return tuple(bits)

    # -- operands --------------------------------------------------------------------------------------

    def encode_weights(self, weights: npt.ArrayLike) -> npt.NDArray[Any]:
        """Weight words as they are stored: codes (..., 1, taps) to words (...), the first tap lowest.

        Raises ValueError where a code is out of range.
        """
        codes = np.asarray(weights, np.int64)
        low, high = self.weight_bounds
        if codes.shape[-2:] != (1, self.taps) or (codes.size and (codes.min() < low or codes.max() > high)):
            raise ValueError(f"weights must be (..., 1, {self.taps}) from {low} to {high}, not {codes!r}")
        bits = self.weight_format.width
        fields = codes[..., 0, :] & ((1 << bits) - 1)
        return (fields << (bits * np.arange(self.taps))).sum(-1)

    def decode_weights(self, words: npt.ArrayLike) -> IntArray:
        """The weights that stored words stand for: the inverse of :meth:`encode_weights`."""
        bits = self.weight_format.width
        fields = (np.asarray(words, np.int64)[..., None] >> (bits * np.arange(self.taps))) & ((1 << bits) - 1)
        codes: IntArray = fields - ((fields >> (bits - 1)) << bits)
        return codes[..., None, :]
