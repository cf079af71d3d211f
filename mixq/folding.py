"""Folds batch norm and the quantisers' steps into integer multipliers, biases and a shift.

A layer computes ``MAC = conv(x, w)`` on codes; its real output is ``MAC * weight_step * act_step``, batch
norm maps that to ``scale * (..) + shift`` per channel, and the next layer's quantiser divides by its step.
In units of that next step:

    inc  = scale * weight_step * act_step / next_step
    bias = shift / next_step
    code = clamp((MAC * round(inc * 2^T) + round(bias * 2^T) + 2^(T-1)) >> T, 0, 2^a_next - 1)

Rounding moves ``inc * 2^T`` and ``bias * 2^T`` by at most a half each, so before the final rounding the
integer form is off by at most ``(|MAC| + 1) * 2^-(T+1)`` next steps: `rounding_bound`. Values are float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixq.errors import UserError

FRACTION_BITS = 16
"""Bits of precision that a layer's shift T adds to the widths of weights and activations."""

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Affine:
    """Per-channel map ``scale * x + shift`` of real values: batch norm, a bias, or both; float64 (C,)."""

    scale: FloatArray
    shift: FloatArray

    def __post_init__(self) -> None:
        if self.scale.ndim != 1 or self.scale.shape != self.shift.shape:
            raise ValueError(f"scale and shift must be of one shape (C,), not {self.scale.shape!r}")

    @classmethod
    def of_bias(cls, channels: int, bias: FloatArray | None) -> Affine:
        """The map of a layer's own bias: scale 1, shift ``bias`` (zero where None)."""
        shift = np.zeros(channels) if bias is None else np.asarray(bias, dtype=np.float64)
        return cls(scale=np.ones(channels), shift=shift)

    def then_norm(
        self, *, gamma: FloatArray, beta: FloatArray, mean: FloatArray, variance: FloatArray, epsilon: float
    ) -> Affine:
        """This map followed by batch norm ``gamma * (y - mean) / sqrt(variance + epsilon) + beta``."""
        # Values that are not finite are refused, with the layer's name, where the map is folded.
        with np.errstate(all="ignore"):
            factor = gamma / np.sqrt(variance + epsilon)
            return Affine(scale=self.scale * factor, shift=(self.shift - mean) * factor + beta)


@dataclass(frozen=True, kw_only=True)
class Fold:
    """Integers of one requantisation: ``(sum of x_i * multipliers_i + bias + 2^(shift-1)) >> shift``; int64 (C,)."""

    multipliers: tuple[IntArray, ...]
    bias: IntArray
    shift: int


def requantise_shift(weight_bits: int, act_bits: int, *, fraction_bits: int = FRACTION_BITS) -> int:
    """The shift T = fraction_bits + w + a - 1 of a layer with these widths of weights and input.

    >>> requantise_shift(4, 4)
    23
    """
    return fraction_bits + weight_bits + act_bits - 1


def fold_terms(
    terms: Sequence[tuple[FloatArray, Sequence[float | FloatArray]]],
    offset: FloatArray,
    *,
    next_step: float,
    shift: int,
    layer: str,
) -> Fold:
    """Integers of the requantisation of a sum of terms; the module's docstring has the formula for one.

    terms: for each what its integers are multiplied by: a scale (C,), and steps, of weights first, one number or one
    for each channel. offset: (C,), added. next_step: of the codes. layer: as errors call it.

    Raises:
        UserError: a step is not positive, or a value is not finite or needs more than 62 bits.
    """
    for _, steps in terms:
        for name, step in zip(
            ("weight step", "activation step") if len(steps) > 1 else ("activation step",), steps, strict=False
        ):
            _check_step(name, step, layer)
    _check_step("next step", next_step, layer)
    multipliers = []
    with np.errstate(all="ignore"):
        for scale, steps in terms:
            product = scale
            for step in steps:
                product = product * step
            multipliers.append(_rounded(product / next_step, shift, "batch norm scale", layer))
        bias = _rounded(offset / next_step, shift, "batch norm shift", layer)
    return Fold(multipliers=tuple(multipliers), bias=bias, shift=shift)


def fold_final_bias(offset: FloatArray, *, weight_step: float | FloatArray, act_step: float, layer: str) -> IntArray:
    """Integer bias ``round(offset / (weight_step * act_step))`` of the last layer, int64 (C,).

    Raises:
        UserError: the step is not positive and finite, or a bias is not finite or needs more than 62 bits.
    """
    _check_step("weight step", weight_step, layer)
    return _rounded(offset / (weight_step * act_step), 0, "bias", layer)


def rounding_bound(mac: FloatArray, shift: int) -> FloatArray:
    """How far from a rounding boundary a code may differ, in next steps: ``(|MAC| + 1) * 2^-(T+1)``."""
    return (np.abs(mac) + 1.0) * 2.0 ** -(shift + 1)


def _check_step(name: str, step: float | FloatArray, layer: str) -> None:
    values = np.atleast_1d(step)
    wrong = values[~(np.isfinite(values) & (values > 0))]
    if wrong.size:
        raise UserError(f"layer {layer}: the {name} must be positive and finite, not {float(wrong[0])!r}")


def _rounded(values: FloatArray, shift: int, what: str, layer: str) -> IntArray:
    """``round(values * 2^shift)``; a product with a power of two is exact in float64."""
    if not np.isfinite(values).all():
        raise UserError(f"layer {layer}: its {what} is not finite; retrain it or repair the checkpoint")
    with np.errstate(over="ignore"):
        scaled = np.rint(np.ldexp(values, shift))
    if np.abs(scaled).max(initial=0.0) >= 2.0**62:
        raise UserError(f"layer {layer}: its {what} is too large for 62 bits at shift {shift}")
    return scaled.astype(np.int64)
