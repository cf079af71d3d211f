"""What flows through a QONNX graph while it is read: activations, quantised weights, quantisers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Step = Callable[[Floats], Floats]
"""Arithmetic element by element on float32 values (C, n), monotone in each channel."""

_ROUNDINGS: dict[str, Callable[[Floats], Floats]] = {
    "ROUND": np.round,
    "CEIL": np.ceil,
    "FLOOR": np.floor,
    "ROUND_TO_ZERO": np.trunc,
    "DOWN": np.trunc,
    "UP": lambda x: np.sign(x) * np.ceil(np.abs(x)),
    "HALF_UP": lambda x: np.sign(x) * np.floor(np.abs(x) + np.float32(0.5)),
    "HALF_DOWN": lambda x: np.sign(x) * np.ceil(np.abs(x) - np.float32(0.5)),
}
ROUNDINGS = tuple(_ROUNDINGS)


@dataclass(frozen=True)
class Quantiser:
    """``clamp(round(x / scale), low, high)``, in float32; ``scale`` float32, any shape."""

    scale: Floats
    bits: int
    signed: bool
    narrow: bool
    rounding: str

    @property
    def low(self) -> int:
        """Least code."""
        return -(1 << (self.bits - 1)) + self.narrow if self.signed else 0

    @property
    def high(self) -> int:
        """Greatest code."""
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1 - self.narrow

    def codes(self, values: Floats, scale: Floats) -> npt.NDArray[np.int64]:
        """Return the codes of ``values``, with the scale in a shape that goes with theirs."""
        rounded = _ROUNDINGS[self.rounding](np.clip(values / scale, self.low, self.high).astype(np.float32))
        return np.clip(rounded, self.low, self.high).astype(np.int64)


@dataclass(frozen=True)
class Weight:
    """Quantised constant: ``codes`` int64 and ``scale`` float32, both of the constant's shape."""

    codes: npt.NDArray[np.int64]
    scale: Floats
    bits: int


@dataclass(frozen=True)
class Signal:
    """An activation: codes of a tensor of the integer graph, their scale, and arithmetic not yet done.

    ``scale`` has a value for each channel. ``steps`` are what the file does to the float32 values since, in
    order; ``gain`` and ``offset`` are the same as an exact affine function of the code where it is one, else None.
    ``rank``: axes of the tensor in the file, 2 or 4.
    """

    tensor: str
    scale: tuple[Fraction, ...]
    rank: int
    steps: tuple[Step, ...] = ()
    gain: tuple[Fraction, ...] | None = None
    offset: tuple[Fraction, ...] | None = None

    def then(self, step: Step, gain: list[Fraction] | None, offset: list[Fraction] | None) -> Signal:
        """Return the signal with one more operation, ``gain * x + offset`` by channel unless None."""
        own_gain, own_offset = self.affine
        if gain is None or offset is None or own_gain is None or own_offset is None:
            return replace(self, steps=(*self.steps, step), gain=None, offset=None)
        gains = tuple(g * o for g, o in zip(gain, own_gain, strict=True))
        offsets = tuple(g * o + b for g, o, b in zip(gain, own_offset, offset, strict=True))
        return replace(self, steps=(*self.steps, step), gain=gains, offset=offsets)

    @property
    def affine(self) -> tuple[tuple[Fraction, ...] | None, tuple[Fraction, ...] | None]:
        """Gain and offset by channel, from codes to values."""
        if not self.steps:
            return self.scale, (Fraction(0),) * len(self.scale)
        return self.gain, self.offset

    def values(self, codes: npt.NDArray[np.int64]) -> Floats:
        """Return the float32 values of codes (C, n): the scaled code, rounded to float32, then every step."""
        top = np.array([float(scale.numerator) for scale in self.scale])[:, None]
        bottom = np.array([float(scale.denominator) for scale in self.scale])[:, None]
        result: Floats = (codes * top / bottom).astype(np.float32)
        for step in self.steps:
            result = step(result).astype(np.float32)
        return result


def staircase(
    function: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.int64]], channels: int, low: int, high: int, levels: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return thresholds (C, n), first and step (C,) of a function of codes (C, n) that is monotone in each channel.

    Found by bisection over ``low``..``high``, at most ``levels`` thresholds;
    those that no code reaches are ``high + 1``. ValueError for more.
    """
    ends = function(np.tile(np.array([low, high], np.int64), (channels, 1)))
    step = np.where(ends[:, 1] < ends[:, 0], -1, 1)
    # All channels span the codes of all, so that none ends beyond them: thresholds at ``low`` are always reached.
    first = np.where(step > 0, ends.min(), ends.max())
    count = max(1, int(ends.max() - ends.min()))
    if count > levels:
        raise ValueError(f"{count} thresholds, more than {levels}")
    reach = np.arange(1, count + 1)[None, :]
    below = np.full((channels, count), low - 1, np.int64)
    above = np.full((channels, count), high + 1, np.int64)
    while (above - below > 1).any():
        middle = (below + above) // 2
        reached = (function(np.clip(middle, low, high)) - first[:, None]) * step[:, None] >= reach
        above, below = np.where(reached & (above - below > 1), middle, above), np.where(reached, below, middle)
    return above, first, step


def as_fractions(values: npt.NDArray[Any]) -> list[Fraction]:
    """Return the exact values of floats."""
    return [Fraction(float(value)) for value in values.ravel()]
