"""What a name of a QONNX file stands for while the file is read: a constant, quantised weights, an activation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Step = Callable[[Floats], Floats]
"""Arithmetic element by element on float32 values (C, n), monotone in each channel; on float64 of wide signals."""

CHANNELS_FIRST = (0, 1, 2, 3)
CHANNELS_LAST = (0, 2, 3, 1)
NO_PADS = (0, 0, 0, 0)


class Unmappable(Exception):
    """Why a node cannot be mapped, and what to do about it."""


@dataclass(frozen=True)
class Weight:
    """Quantised constant: ``codes`` int64 and ``scale`` float32, both of the constant's shape; ``bits`` with sign."""

    codes: Integers
    scale: Floats
    bits: int

    def transpose(self, order: Any) -> Weight:
        """Return the constant with its axes in another order."""
        return Weight(self.codes.transpose(order), self.scale.transpose(order), self.bits)


@dataclass(frozen=True)
class Move:
    """Pixels picked without arithmetic: a kind of node and its fields. Rising functions may come before or after it."""

    kind: Any
    fields: tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Signal:
    """An activation: codes of a tensor of the integer graph, their scale, and arithmetic not yet done.

    ``tensor`` has the shape ``shape`` (C, H, W) and ``scale`` a value for each channel. ``coded``: a quantiser wrote
    the tensor, else it holds sums. ``steps`` are what the file does to the float32 values since, in order; ``gain`` and
    ``offset`` are the same as an exact affine function of the code where it is one, else None. ``moves`` are done on
    the codes of the next quantiser. ``axes``: which of (N, C, H, W) each axis in the file is; ``flat``: the file has
    (N, features) instead, all but N in that order. ``pads``: zeros around the image, (top, left, bottom, right).
    ``wide``: the file computes in float64.
    ``raw``: it is the model's input, as no quantiser has seen it.
    """

    tensor: str
    shape: tuple[int, int, int]
    scale: tuple[Fraction, ...]
    coded: bool
    axes: tuple[int, ...] = CHANNELS_FIRST
    flat: bool = False
    pads: tuple[int, int, int, int] = NO_PADS
    steps: tuple[Step, ...] = ()
    gain: tuple[Fraction, ...] | None = None
    offset: tuple[Fraction, ...] | None = None
    moves: tuple[Move, ...] = ()
    raw: bool = False
    wide: bool = False

    @property
    def dtype(self) -> Any:
        """NumPy's type of the values."""
        return np.float64 if self.wide else np.float32

    @property
    def file_shape(self) -> tuple[int, ...]:
        """The shape in the file, of one frame, zeros around it left out; before the moves."""
        if self.flat:
            return 1, self.shape[0] * self.shape[1] * self.shape[2]
        return tuple((1, *self.shape)[axis] for axis in self.axes)

    @property
    def is_codes(self) -> bool:
        """Whether a quantiser wrote it and nothing has happened since."""
        return self.coded and not self.steps and not self.moves

    def then(self, step: Step, gain: list[Fraction] | None, offset: list[Fraction] | None) -> Signal:
        """Return the signal with one more operation, ``gain * x + offset`` by channel, or rising if None."""
        if self.pads != NO_PADS:
            raise Unmappable("works on zeros that a Pad added; move the Pad behind it, in front of the Conv")
        if self.moves and gain is not None and min(gain) < 0:
            raise Unmappable("turns values behind MaxPool round; put a Quant in front of the MaxPool")
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

    def values(self, codes: Array) -> Floats:
        """Return the values of codes (C, n), or of numbers between them, of :attr:`dtype`.

        The scaled code, rounded to that, then every step.
        """
        top = np.array([float(scale.numerator) for scale in self.scale])[:, None]
        bottom = np.array([float(scale.denominator) for scale in self.scale])[:, None]
        result: Floats = (codes * top / bottom).astype(self.dtype)
        for step in self.steps:
            result = step(result).astype(self.dtype)
        return result


def as_fractions(values: Array) -> list[Fraction]:
    """Return the exact values of floats."""
    return [Fraction(float(value)) for value in values.ravel()]


def as_floats(value: Any) -> Any:
    """Return the float32 values of a quantised constant; anything else as it is."""
    return np.asarray(value.codes * value.scale, np.float32) if isinstance(value, Weight) else value


def by_channel(constant: Array, signal: Signal) -> Floats:
    """Return a constant that a signal meets element by element as (C, 1), of the signal's type."""
    channels = len(signal.scale)
    if constant.dtype != signal.dtype:
        wanted = np.dtype(signal.dtype)
        raise Unmappable(f"meets an activation of {wanted} with a constant of {constant.dtype}; export float32")
    if constant.size == 1:
        return np.full((channels, 1), constant.ravel()[0], signal.dtype)
    if signal.flat:
        expected: tuple[int, ...] = (1, channels)
        if signal.shape[1:] != (1, 1):
            raise Unmappable("has a constant for each feature of a flattened image; move it in front of Flatten")
    else:
        expected = tuple(channels if axis == 1 else 1 for axis in signal.axes)
    if (1,) * (len(expected) - constant.ndim) + constant.shape != expected:
        raise Unmappable(f"constant must be one number or one for each of {channels} channels, not {constant.shape}")
    return constant.reshape(channels, 1)


def require_image(value: Any) -> Signal:
    """Return ``value``, an activation (N, C, H, W)."""
    if not isinstance(value, Signal) or value.flat:
        raise Unmappable("must read an activation (N, C, H, W)")
    if value.axes != CHANNELS_FIRST:
        raise Unmappable("reads channels-last pixels; transpose to (N, C, H, W) in front of it")
    return value


def without_pads(signal: Signal) -> Signal:
    """Return ``signal``, around which no Pad has put zeros."""
    if signal.pads != NO_PADS:
        raise Unmappable("reads what a Pad enlarged; only Conv can, so move the Pad in front of a Conv or leave it out")
    return signal
