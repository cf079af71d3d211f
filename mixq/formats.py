"""Integer formats: how wide a code is, whether it has a sign, and the range it really takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

MAX_WIDTH = 64


def _checked_int(name: str, value: object) -> int:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    return int(value)


@dataclass(frozen=True, init=False)
class IntFormat:
    """Format of an integer code: two's complement when signed, plain binary otherwise.

    ``low`` and ``high`` are the inclusive range that values really take; they default to the whole range
    of the width: 4 bits unsigned is 0..15, 4 bits signed is -8..7, and a narrow 4-bit weight says
    ``IntFormat(4, True, -7, 7)``.

    Parameters: ``width`` in bits, 1 to 64; ``signed``; ``low`` <= ``high``, both inside the width's range.
    Raises: TypeError for anything but integers and a bool, ValueError for values out of range.
    """

    width: int
    signed: bool
    low: int
    high: int

    def __init__(self, width: int, signed: bool, low: int | None = None, high: int | None = None) -> None:
        width = _checked_int("width", width)
        if not isinstance(signed, (bool, np.bool_)):
            raise TypeError(f"signed must be a bool, not {signed!r}")
        if not 1 <= width <= MAX_WIDTH:
            raise ValueError(f"width must be 1 to {MAX_WIDTH} bits, not {width!r}")
        least = -(1 << (width - 1)) if signed else 0
        most = (1 << (width - 1)) - 1 if signed else (1 << width) - 1
        low = least if low is None else _checked_int("low", low)
        high = most if high is None else _checked_int("high", high)
        if not least <= low <= most:
            raise ValueError(f"low must be {least} to {most} in {width} bits, not {low!r}")
        if not low <= high <= most:
            raise ValueError(f"high must be {low} to {most} in {width} bits, not {high!r}")
        for name, value in (("width", width), ("signed", bool(signed)), ("low", low), ("high", high)):
            object.__setattr__(self, name, value)

    @classmethod
    def for_range(cls, low: int, high: int, *, signed: bool | None = None, min_width: int = 1) -> IntFormat:
        """Return the narrowest format that holds ``low``..``high``.

        ``signed`` None means signed exactly when ``low`` is negative; ``min_width`` is a lower bound of
        the width in bits. ValueError when the range is empty, negative in an unsigned format, or needs
        more than 64 bits.
        """
        low, high = _checked_int("low", low), _checked_int("high", high)
        if low > high:
            raise ValueError(f"low must be at most high = {high}, not {low!r}")
        if signed is None:
            signed = low < 0
        if low < 0 and not signed:
            raise ValueError(f"low must be at least 0 in an unsigned format, not {low!r}")
        bits = max(_magnitude_bits(low), _magnitude_bits(high)) + (1 if signed else 0)
        return cls(max(bits, min_width, 1), signed, low, high)

    @property
    def full_range(self) -> bool:
        """Whether every code of the width occurs."""
        return self.high - self.low == (1 << self.width) - 1

    def contains(self, array: Any) -> bool:
        """Whether every element of ``array`` (integers of any shape) lies in ``low``..``high``.

        An empty array does. TypeError for an array that is not of integers.
        """
        values = np.asarray(array)
        if values.size == 0:
            return True
        if values.dtype.kind not in "iuO":
            raise TypeError(f"array must hold integers, not {values.dtype}")
        return self.low <= int(values.min()) and int(values.max()) <= self.high


def _magnitude_bits(value: int) -> int:
    """Bits of ``value`` beside the sign bit: 3 for 7, 3 for -8, 4 for 8."""
    return value.bit_length() if value >= 0 else (~value).bit_length()
