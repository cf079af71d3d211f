"""Packings: how a few DSPs together compute a piece of a convolution on small integers, exactly.

Most packings are one :class:`mixq.packing.product.Product`. Wide operands may be split into a high and a low part whose
products lie in DSPs of their own, with as many pixels and channels as suit each part; a unit then has as many DSPs of
each kind as keep them all busy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, lcm
from typing import Any

import numpy as np
import numpy.typing as npt

from mixq.packing.arithmetic import sums
from mixq.packing.product import Product
from mixq.packing.values import KERNELS, WIDTHS, IntArray, WeightRange, weight_bounds

_MOST_DSPS = 256


@dataclass(frozen=True)
class Part:
    """A product of parts of the operands: bits from ``act_shift`` of the activations, ``weight_shift`` of the weights.

    A part that does not begin at bit 0 is the upper one and keeps the sign; a lower part of weights is unsigned, one of
    activations is recentred.
    """

    product: Product
    act_shift: int = 0
    weight_shift: int = 0

    @property
    def shift(self) -> int:
        """Bits that the part's products are shifted by in the whole."""
        return self.act_shift + self.weight_shift


@dataclass(frozen=True)
class Slot:
    """One product's share of a unit: part of the operands, and its first pixel, tap and channel in the unit.

    acts, weights: index among :attr:`Packing.act_groups` and :attr:`Packing.weight_groups`.
    """

    part: int
    product: Product
    pixel: int
    tap: int
    channel: int
    acts: int
    weights: int


@dataclass(frozen=True)
class Packing:
    """How DSPs hold many multiplications; :meth:`compute` is its exact reference arithmetic.

    In each cycle a unit of :attr:`dsps` DSPs multiplies :attr:`pixels` neighbouring activations by :attr:`taps` weights
    of :attr:`channels` output channels.

    Parameters
    ----------
    weight_bits, act_bits: widths of the codes, 1 to 8; weights of 1 bit are -1 and +1.
    kernel: taps of a kernel row, 1, 3, 5 or 7; where ``taps`` is less, a row takes :attr:`passes` multiplications.
    parts: one product, or two that share a split operand.
    act_signed: whether activation codes are two's complement; unsigned ones are recentred.
    weight_range: "full", or "narrow" where the most negative weight is excluded.

    Raises
    ------
    TypeError: where a value is of the wrong type.
    ValueError: where parts do not make up the operands.
    """

    weight_bits: int
    act_bits: int
    kernel: int
    parts: tuple[Part, ...]
    act_signed: bool = False
    weight_range: WeightRange = "full"

    def __post_init__(self) -> None:
        for name in ("weight_bits", "act_bits"):
            value = getattr(self, name)
            if type(value) is not int or value not in WIDTHS:
                raise ValueError(f"{name} must be from 1 to 8, not {value!r}")
        if self.kernel not in KERNELS:
            raise ValueError(f"kernel must be 1, 3, 5 or 7, not {self.kernel!r}")
        if self.weight_range not in ("full", "narrow"):
            raise ValueError(f"weight_range must be 'full' or 'narrow', not {self.weight_range!r}")
        if not isinstance(self.act_signed, bool):
            raise TypeError(f"act_signed must be True or False, not {self.act_signed!r}")
        if not isinstance(self.parts, tuple) or not all(isinstance(part, Part) for part in self.parts):
            raise TypeError(f"parts must be a tuple of Part, not {self.parts!r}")
        shares = [(part.act_shift, part.weight_shift, self._operand_of(part)) for part in self.parts]
        if not shares or self._expected() != shares:
            raise ValueError(f"parts must make up the operands, not {self.parts!r}")
        if any(part.product.taps > self.kernel for part in self.parts):
            raise ValueError(f"taps must be from 1 to kernel, not {max(p.product.taps for p in self.parts)!r}")
        if len({part.product.device for part in self.parts}) > 1 or (self.split and self.tracked):
            raise ValueError(f"parts must be for one device and not tracked, not {self.parts!r}")
        if self.dsps > _MOST_DSPS:
            raise ValueError(f"parts must make a unit of at most {_MOST_DSPS} DSPs, not {self.dsps!r}")

    @staticmethod
    def _operand_of(part: Part) -> tuple[int, int, int]:
        return part.product.act_bits, part.product.weight_low, part.product.weight_high

    def _expected(self) -> list[tuple[int, int, tuple[int, int, int]]]:
        """Shifts and operands that the parts must have, the upper one first."""
        low, high = self.weight_bounds
        if not 1 <= len(self.parts) <= 2:
            return []
        if not self.split:
            return [(0, 0, (self.act_bits, low, high))]
        act, weight = self.parts[0].act_shift, self.parts[0].weight_shift
        if act and not weight and 0 < act < self.act_bits:
            return [(act, 0, (self.act_bits - act, low, high)), (0, 0, (act, low, high))]
        if weight and not act and 0 < weight < self.weight_bits:
            upper, lower = (low >> weight, high >> weight), (0, (1 << weight) - 1)
            return [(0, weight, (self.act_bits, *upper)), (0, 0, (self.act_bits, *lower))]
        return []

    # -- sizes -----------------------------------------------------------------------------------------

    @property
    def split(self) -> bool:
        """Whether an operand is split between two products."""
        return len(self.parts) > 1

    @property
    def product(self) -> Product:
        """The product of a packing that has only one."""
        (part,) = self.parts
        return part.product

    @property
    def device(self) -> str:
        """ "dsp48e2" or "dsp48e1"."""
        return self.parts[0].product.device

    @property
    def tracked(self) -> bool:
        """Whether carries are tracked, so that sums may be long."""
        return self.parts[0].product.tracked

    def skew(self, accumulate: int) -> int:
        """Cycles that a unit of a chain works later than the one before, where each sums ``accumulate`` cycles.

        A cascade adds the product of one cycle in the next; carry-tracked units hand on finished sums.
        """
        return accumulate if self.tracked else 1

    @property
    def residue_bits(self) -> int:
        """Most bits of a lane that look-up tables know."""
        return max(part.product.residue_bits for part in self.parts)

    @cached_property
    def pixels(self) -> int:
        """Neighbouring activations in a unit."""
        return lcm(*(part.product.pixels for part in self.parts))

    @cached_property
    def channels(self) -> int:
        """Output channels in a unit."""
        return lcm(*(part.product.channels for part in self.parts))

    @cached_property
    def taps(self) -> int:
        """Taps of a kernel row in a cycle."""
        return self.kernel if self.split else self.parts[0].product.taps

    @property
    def positions(self) -> int:
        """Sums of one channel: pixels + taps - 1."""
        return self.pixels + self.taps - 1

    @cached_property
    def passes(self) -> int:
        """Cycles that a kernel row takes: ceil(kernel / taps)."""
        return ceil(self.kernel / self.taps)

    @property
    def macs(self) -> int:
        """Products of a unit in a cycle, useful or not: pixels * taps * channels."""
        return self.pixels * self.taps * self.channels

    @cached_property
    def dsps(self) -> int:
        """DSPs of a unit."""
        return sum(
            (self.pixels // p.pixels) * (self.channels // p.channels) * ceil(self.taps / p.taps) * p.dsps
            for p in (part.product for part in self.parts)
        )

    @property
    def density(self) -> float:
        """Useful multiplications per DSP and cycle."""
        return self.pixels * self.channels * self.kernel / (self.passes * self.dsps)

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The products of a unit, part by part."""
        found = []
        acts: dict[tuple[int, int], int] = {}
        weights: dict[tuple[int, int, int], int] = {}
        for index, part in enumerate(self.parts):
            product = part.product
            for tap in range(0, self.taps, product.taps):
                # The last share of a kernel row may be of fewer taps.
                share = replace(product, taps=min(product.taps, self.taps - tap)) if self.split else product
                for channel in range(0, self.channels, product.channels):
                    word = weights.setdefault((index, tap, channel), len(weights))
                    for pixel in range(0, self.pixels, product.pixels):
                        group = acts.setdefault((index, pixel), len(acts))
                        found.append(Slot(index, share, pixel, tap, channel, group, word))
        return tuple(found)

    @cached_property
    def act_groups(self) -> tuple[Slot, ...]:
        """A slot for each different group of activations."""
        return tuple({slot.acts: slot for slot in reversed(self.slots)}[i] for i in range(self._count("acts")))

    @cached_property
    def weight_groups(self) -> tuple[Slot, ...]:
        """A slot for each different group of weights."""
        return tuple({slot.weights: slot for slot in reversed(self.slots)}[i] for i in range(self._count("weights")))

    def _count(self, name: str) -> int:
        return 1 + max(getattr(slot, name) for slot in self.slots)

    # -- ranges ----------------------------------------------------------------------------------------

    @property
    def weight_bounds(self) -> tuple[int, int]:
        """Lowest and highest weight code."""
        return weight_bounds(self.weight_bits, self.weight_range)

    @property
    def act_bounds(self) -> tuple[int, int]:
        """Lowest and highest activation code."""
        half = 1 << (self.act_bits - 1)
        return (-half, half - 1) if self.act_signed else (0, 2 * half - 1)

    @property
    def recentre(self) -> int:
        """What is subtracted from an activation code before it is multiplied.

        2^(act_bits - 1) of unsigned codes, and half the range of a lower part where activations are split.
        """
        lower = self.parts[0].act_shift
        return (0 if self.act_signed else 1 << (self.act_bits - 1)) + (1 << (lower - 1) if lower else 0)

    @cached_property
    def accumulate_max(self) -> int:
        """Products that may be summed before the lanes are read, exactly, whatever the operands."""
        return min(part.product.accumulate_max for part in self.parts)

    def sum_bounds(self, products: int) -> tuple[int, int]:
        """Bounds of what each (pixel, tap) adds over ``products`` products."""
        found = [part.product.sum_bounds(products) for part in self.parts]
        return (
            sum(low << part.shift for part, (low, _) in zip(self.parts, found, strict=True)),
            sum(high << part.shift for part, (_, high) in zip(self.parts, found, strict=True)),
        )

    def sum_widths(self, low: int, high: int) -> tuple[int, ...]:
        """Bits of each lifted sum, channel * positions + position, where a (pixel, tap) adds ``low`` to ``high``."""
        pairs = [min(e + 1, self.pixels, self.taps, self.positions - e) for e in range(self.positions)]
        return tuple(max(1, (count * (high - low)).bit_length()) for count in pairs) * self.channels

    # -- operands --------------------------------------------------------------------------------------

    @property
    def stored_bits(self) -> int:
        """Bits of one weight word in memory: the fields of all weight groups, the first lowest."""
        return sum(group.product.stored_bits for group in self.weight_groups)

    def act_part(self, part: Part, activations: IntArray) -> IntArray:
        """A part of activation codes of any shape, recentred: what its product multiplies."""
        centred = activations - (0 if self.act_signed else 1 << (self.act_bits - 1))
        upper = self.parts[0].act_shift
        if not upper:
            return centred
        return centred >> upper if part.act_shift else (centred & ((1 << upper) - 1)) - (1 << (upper - 1))

    def weight_part(self, part: Part, weights: IntArray) -> IntArray:
        """A part of weight codes of any shape: the upper bits signed, the lower ones unsigned."""
        upper = self.parts[0].weight_shift
        if not upper:
            return weights
        return weights >> upper if part.weight_shift else weights & ((1 << upper) - 1)

    def encode_weights(self, weights: npt.ArrayLike) -> npt.NDArray[Any]:
        """Weight words as they are stored: codes (..., channels, taps) to words (...), first field lowest.

        Words of more than 62 bits come as Python integers in an array of objects.
        """
        codes = self._checked_weights(np.asarray(weights, dtype=np.int64))
        kind: Any = np.int64 if self.stored_bits <= 62 else object
        words = np.zeros(codes.shape[:-2], kind)
        position = 0
        for group in self.weight_groups:
            own = self._weights_of(group, codes)
            flat = own.reshape(*own.shape[:-2], -1)
            for operand in group.product.weight_operands:
                for field, stored in zip(operand.fields, operand.encode(flat), strict=True):
                    words = words | (stored.astype(kind) << position)
                    position += field.bits
        return words

    def decode_weights(self, words: npt.ArrayLike) -> IntArray:
        """The weights that stored words stand for: the inverse of :meth:`encode_weights`."""
        stored = np.asarray(words)
        codes = np.zeros((*stored.shape, self.channels, self.taps), np.int64)
        position = 0
        for group in self.weight_groups:
            for number, operand in enumerate(group.product.weight_operands):
                fields = []
                for field in operand.fields:
                    fields.append(((stored >> position) & ((1 << field.bits) - 1)).astype(np.int64))
                    position += field.bits
                # Parts of activations, and both operands of a pair on the narrow port, hold the same weights again.
                if (self.parts[0].act_shift and group.part) or (number and group.product.act_on_wide):
                    continue
                for index, value in operand.decode(fields).items():
                    channel, tap = divmod(index, group.product.taps)
                    codes[..., group.channel + channel, group.tap + tap] += value << self.parts[group.part].weight_shift
        return codes

    def compute(self, activations: npt.ArrayLike, weights: npt.ArrayLike) -> IntArray:
        """What the hardware computes, step by step as the hardware does.

        activations: codes (..., L, pixels); weights: codes (..., L, channels, taps), with L <= accumulate_max products
        summed before the lanes are read. Returns (..., channels, positions): the exact sums of products of the codes as
        given (what recentring and lifting added is taken out again).
        """
        x, w = np.asarray(activations, np.int64), self._checked_weights(np.asarray(weights, np.int64))
        products = x.shape[-2]
        if not 1 <= products <= self.accumulate_max:
            raise ValueError(f"activations must hold from 1 to {self.accumulate_max} products, not {products!r}")
        low, high = self.act_bounds
        if x.size and (x.min() < low or x.max() > high):
            raise ValueError(f"activations must be from {low} to {high}, not {int(x.min())}..{int(x.max())}")
        out = np.zeros((*x.shape[:-2], self.channels, self.positions), np.int64)
        for slot in self.slots:
            product, part = slot.product, self.parts[slot.part]
            own = self.act_part(part, x[..., slot.pixel : slot.pixel + product.pixels])
            lanes = sums(product, own, self._weights_of(slot, w)) << part.shift
            first = slot.pixel + slot.tap
            rows = slice(slot.channel, slot.channel + product.channels)
            out[..., rows, first : first + product.positions] += lanes
        return out + self._recentring(w)

    def _weights_of(self, slot: Slot, weights: IntArray) -> IntArray:
        """The part of the weights (..., channels, taps) that a slot multiplies by."""
        product = slot.product
        own = weights[..., slot.channel : slot.channel + product.channels, slot.tap : slot.tap + product.taps]
        return self.weight_part(self.parts[slot.part], own)

    def _recentring(self, weights: IntArray) -> IntArray:
        """What recentring takes from the sums: ``recentre`` times the weights of each position, over all products."""
        missing = np.zeros((*weights.shape[:-3], self.channels, self.positions), np.int64)
        total = self.recentre * weights.sum(-3)
        for n in range(self.pixels):
            missing[..., n : n + self.taps] += total
        return missing

    def _checked_weights(self, codes: IntArray) -> IntArray:
        low, high = self.weight_bounds
        if codes.shape[-2:] != (self.channels, self.taps):
            raise ValueError(f"weights must end in shape {(self.channels, self.taps)}, not {codes.shape!r}")
        if codes.size and (codes.min() < low or codes.max() > high):
            raise ValueError(f"weights must be from {low} to {high}, not {int(codes.min())}..{int(codes.max())}")
        return codes
