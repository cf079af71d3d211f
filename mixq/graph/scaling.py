"""Nodes that make codes of sums, a channel at a time: requantisation and thresholds."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import numpy as np

from mixq.graph.checks import GraphError, IntArray, check_int, frozen_array
from mixq.graph.node import Shape, Unary
from mixq.graph.tensor import Tensor

MAX_SHIFT = 62
MAX_THRESHOLDS = 255
THRESHOLD_STEPS = (-2, -1, 1, 2)


@dataclass(frozen=True, eq=False)
class Requantise(Unary):
    """Integer scaling to the next activation's codes, a channel at a time.

    ``y = clamp((x * multiplier + bias + half) >> shift, low, high)`` with ``half = 2^(shift - 1)``, 0 for
    shift 0, an arithmetic shift, and low..high the range of the output's format.

    Parameters: ``multiplier`` and ``bias`` int (C,), any sign; ``shift`` 0 to 62.
    """

    op: ClassVar[str] = "requantise"
    arrays: ClassVar[tuple[str, ...]] = ("multiplier", "bias")

    _: KW_ONLY
    multiplier: IntArray
    bias: IntArray
    shift: int

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("multiplier", frozen_array(self._label("multiplier"), self.multiplier, 1))
        self._set("bias", frozen_array(self._label("bias"), self.bias, 1))
        if self.bias.shape != self.multiplier.shape:
            raise GraphError(f"{self._label('bias')} must have {len(self.multiplier)} values, not {len(self.bias)!r}")
        self._set("shift", check_int(self._label("shift"), self.shift, 0, MAX_SHIFT))

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape unchanged."""
        if shape[0] != len(self.multiplier):
            raise GraphError(
                f"{self._label('multiplier')} must have a value for each of {shape[0]} channels, "
                f"not {len(self.multiplier)!r}"
            )
        return shape

    def check_formats(self, source: Tensor, target: Tensor) -> None:
        """Any format goes: the output's is what the result is clamped to."""


@dataclass(frozen=True, eq=False)
class Threshold(Unary):
    """A staircase for each channel: ``y = first + step * (number of thresholds t with x >= t)``.

    Any monotone function of integers with few values is one: a channel whose function falls has a negative
    step. Equal thresholds make higher steps; one that no input reaches stands for a step that is not there.

    Parameters: ``thresholds`` int (C, n), n from 1 to 255, rising along n; ``first`` int (C,); ``step`` int
    (C,), each -2, -1, 1 or 2.
    """

    op: ClassVar[str] = "threshold"
    arrays: ClassVar[tuple[str, ...]] = ("thresholds", "first", "step")

    _: KW_ONLY
    thresholds: IntArray
    first: IntArray
    step: IntArray

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("thresholds", frozen_array(self._label("thresholds"), self.thresholds, 2))
        for name in ("first", "step"):
            self._set(name, frozen_array(self._label(name), getattr(self, name), 1))
            if len(getattr(self, name)) != len(self.thresholds):
                raise GraphError(
                    f"{self._label(name)} must have {len(self.thresholds)} values, not {len(getattr(self, name))!r}"
                )
        if self.thresholds.shape[1] > MAX_THRESHOLDS:
            raise GraphError(
                f"{self._label('thresholds')} must be at most {MAX_THRESHOLDS} for a channel, "
                f"not {self.thresholds.shape[1]!r}"
            )
        if (self.thresholds[:, 1:] < self.thresholds[:, :-1]).any():
            raise GraphError(f"{self._label('thresholds')} must rise in each channel, not fall")
        odd = set(self.step.tolist()) - set(THRESHOLD_STEPS)
        if odd:
            raise GraphError(f"{self._label('step')} must be -2, -1, 1 or 2, not {min(odd)!r}")

    @property
    def last(self) -> IntArray:
        """Codes above all thresholds, (C,)."""
        return self.first + self.step * self.thresholds.shape[1]

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape unchanged."""
        if shape[0] != len(self.thresholds):
            raise GraphError(
                f"{self._label('thresholds')} must be there for each of {shape[0]} channels, "
                f"not {len(self.thresholds)!r}"
            )
        return shape

    def check_formats(self, source: Tensor, target: Tensor) -> None:
        """The output's format holds all codes."""
        codes = np.concatenate([self.first, self.last])
        if not target.format.contains(codes):
            raise GraphError(
                f"format of tensor {target.name} must hold {int(codes.min())}..{int(codes.max())}, "
                f"not {target.format!r}"
            )
