"""What quantisers compute, in the file's float32 arithmetic: Quant, BipolarQuant, Trunc."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mixq.formats import IntFormat
from mixq.qonnx.values import Floats, Integers

ROUNDINGS: dict[str, Callable[[Floats], Floats]] = {
    "ROUND": np.round,
    "CEIL": np.ceil,
    "FLOOR": np.floor,
    "ROUND_TO_ZERO": np.trunc,
    "DOWN": np.trunc,
    "UP": lambda x: np.sign(x) * np.ceil(np.abs(x)),
    "HALF_UP": lambda x: np.sign(x) * np.floor(np.abs(x) + np.float32(0.5)),
    "HALF_DOWN": lambda x: np.sign(x) * np.ceil(np.abs(x) - np.float32(0.5)),
}


def limits(bits: int, signed: bool, narrow: bool) -> tuple[int, int]:
    """Return the least and greatest code."""
    if signed:
        return -(1 << (bits - 1)) + narrow, (1 << (bits - 1)) - 1
    return 0, (1 << bits) - 1 - narrow


@dataclass(frozen=True)
class Quantiser:
    """``clamp(round(x / scale), low, high)``; ``scale`` float32 of any shape, ``bits`` 1 to 32 (2 with sign)."""

    scale: Floats
    bits: int
    signed: bool
    narrow: bool
    rounding: str

    @property
    def spacing(self) -> int:
        """Distance of neighbouring codes."""
        return 1

    @property
    def format(self) -> IntFormat:
        """Format of the codes, of 2 bits or more."""
        return IntFormat(max(self.bits, 2), self.signed, *limits(self.bits, self.signed, self.narrow))

    def codes(self, values: Floats, scale: Floats) -> Integers:
        """Return the codes of ``values``, with the scale in a shape that goes with theirs."""
        low, high = limits(self.bits, self.signed, self.narrow)
        rounded = ROUNDINGS[self.rounding](np.clip(values / scale, low, high).astype(np.float32))
        return np.clip(rounded, low, high).astype(np.int64)


@dataclass(frozen=True)
class BipolarQuantiser:
    """+1 for ``x >= 0``, else -1, times ``scale``; a 1-bit Quant with sign is the same of ``x / scale``."""

    scale: Floats

    @property
    def bits(self) -> int:
        """Bits of a code with sign."""
        return 2

    @property
    def spacing(self) -> int:
        """Distance of the two codes."""
        return 2

    @property
    def format(self) -> IntFormat:
        """Format of the codes."""
        return IntFormat(2, True, -1, 1)

    def codes(self, values: Floats, scale: Floats) -> Integers:
        """Return the codes of ``values``; the scale is positive and changes nothing."""
        return np.where(values >= 0, 1, -1).astype(np.int64)


@dataclass(frozen=True)
class Truncation:
    """Sums that are integers times ``scale`` are divided by ``divisor``, a power of two, and rounded.

    ``ends`` are the least and greatest code; the operator's first version clamps nothing, and they are what its sums
    reach. ``scale`` is that of the sums, in a shape that goes with the values.
    """

    scale: Floats
    divisor: Floats
    rounding: str
    ends: tuple[int, int]
    signed: bool
    bits: int

    @property
    def spacing(self) -> int:
        """Distance of neighbouring codes."""
        return 1

    @property
    def format(self) -> IntFormat:
        """Format of the codes, of 2 bits or more."""
        return IntFormat(max(self.bits, 2), self.signed, *self.ends)

    def codes(self, values: Floats, scale: Floats) -> Integers:
        """Return the codes of ``values``; the output's scale changes nothing."""
        whole = np.round(values / self.scale).astype(np.float32)
        divided = np.clip((whole / self.divisor).astype(np.float32), *self.ends)
        return ROUNDINGS[self.rounding](divided.astype(np.float32)).astype(np.int64)


AnyQuantiser = Quantiser | BipolarQuantiser | Truncation
