"""Several small signed integers as one operand of a multiplier: their sum at bit offsets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Term:
    """One value of an operand: ``values[index] * 2^offset``, negated or not."""

    offset: int
    index: int
    negative: bool = False


@dataclass(frozen=True)
class Field:
    """What an operand stores of one term.

    bits: stored, two's complement. gap: bits of the operand up to the next term, None for the top one. index, negative:
    of the term.
    """

    offset: int
    bits: int
    gap: int | None
    index: int
    negative: bool


@dataclass(frozen=True)
class Operand:
    """The sum of ``± values[index] * 2^offset`` over its terms, each value from ``low`` to ``high``.

    A field holds ``± value + floor(field below / 2^gap)``, that is a value less what the terms below it borrow. The
    operand is then the low ``gap`` bits of each field side by side, sign-extended where a field is narrower than its
    gap: wiring alone. The values come back as exactly.
    """

    terms: tuple[Term, ...]
    low: int
    high: int

    @classmethod
    def of(cls, terms: Sequence[Term], low: int, high: int) -> Operand:
        """Terms in any order."""
        return cls(tuple(sorted(terms, key=lambda term: term.offset)), low, high)

    @cached_property
    def bounds(self) -> tuple[int, int]:
        """Lowest and highest sum."""
        lows = [-self.high if t.negative else self.low for t in self.terms]
        highs = [-self.low if t.negative else self.high for t in self.terms]
        offsets = [t.offset for t in self.terms]
        return (
            sum(v << o for v, o in zip(lows, offsets, strict=True)),
            sum(v << o for v, o in zip(highs, offsets, strict=True)),
        )

    def fits(self, bits: int) -> bool:
        """Whether every sum is a two's-complement integer of so many bits."""
        return -(1 << (bits - 1)) <= self.bounds[0] and self.bounds[1] < 1 << (bits - 1)

    @cached_property
    def fields(self) -> tuple[Field, ...]:
        """Stored fields by rising offset."""
        found = []
        low = high = 0
        for i, term in enumerate(self.terms):
            least, most = (-self.high, -self.low) if term.negative else (self.low, self.high)
            low, high = least + low, most + high
            gap = self.terms[i + 1].offset - term.offset if i + 1 < len(self.terms) else None
            bits = max(_magnitude(low), _magnitude(high)) + 1
            found.append(Field(term.offset, bits, gap, term.index, term.negative))
            if gap is not None:
                low, high = low >> gap, high >> gap
        return tuple(found)

    @property
    def bits(self) -> int:
        """Bits of the operand itself."""
        return self.fields[-1].offset + self.fields[-1].bits

    @property
    def stored_bits(self) -> int:
        """Bits of all fields together."""
        return sum(field.bits for field in self.fields)

    def value(self, values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The operand of values (..., terms): sums (...)."""
        total = np.zeros(values.shape[:-1], np.int64)
        for term in self.terms:
            shifted = values[..., term.index] << term.offset
            total += -shifted if term.negative else shifted
        return total

    def encode(self, values: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
        """Stored fields, as unsigned numbers of their bits, of values (..., terms)."""
        stored = []
        below = np.zeros(values.shape[:-1], np.int64)
        for field in self.fields:
            value = values[..., field.index]
            whole = below + (-value if field.negative else value)
            stored.append(whole & ((1 << field.bits) - 1))
            below = whole >> field.gap if field.gap is not None else whole
        return stored

    def decode(self, stored: Sequence[npt.NDArray[np.int64]]) -> dict[int, npt.NDArray[np.int64]]:
        """The values, by index, that :meth:`encode` made the fields of."""
        values: dict[int, Any] = {}
        below: Any = 0
        for field, bits in zip(self.fields, stored, strict=True):
            whole = bits - ((bits >> (field.bits - 1)) << field.bits)
            values[field.index] = below - whole if field.negative else whole - below
            below = whole >> field.gap if field.gap is not None else 0
        return values


def _magnitude(value: int) -> int:
    return value.bit_length() if value >= 0 else (~value).bit_length()
