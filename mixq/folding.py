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
    """Integers of one requantisation: ``(MAC * multiplier + bias + 2^(shift-1)) >> shift``; int64 (C,)."""

    multiplier: IntArray
    bias: IntArray
    shift: int


def requantise_shift(weight_bits: int, act_bits: int, *, fraction_bits: int = FRACTION_BITS) -> int:
    """The shift T = fraction_bits + w + a - 1 of a layer with these widths of weights and input.

    >>> requantise_shift(4, 4)
    23
    """
    return fraction_bits + weight_bits + act_bits - 1


def fold_affine(
    affine: Affine, *, weight_step: float, act_step: float, next_step: float, shift: int, layer: str
) -> Fold:
    """Integers of the requantisation that follows ``layer``; the module's docstring has the formula.

    Raises:
        UserError: a step is not positive, or a value is not finite or needs more than 62 bits.
    """
    steps = {"weight step": weight_step, "activation step": act_step, "next step": next_step}
    for name, step in steps.items():
        if not (np.isfinite(step) and step > 0):
            raise UserError(f"layer {layer}: the {name} must be positive and finite, not {step!r}")
    with np.errstate(all="ignore"):
        inc = affine.scale * weight_step * act_step / next_step
        bias = affine.shift / next_step
    return Fold(
        multiplier=_rounded(inc, shift, "batch norm scale", layer),
        bias=_rounded(bias, shift, "batch norm shift", layer),
        shift=shift,
    )


def fold_final_bias(affine: Affine, *, weight_step: float, act_step: float, layer: str) -> IntArray:
    """Integer bias ``round(bias / (weight_step * act_step))`` of the last layer, int64 (C,).

    Raises:
        UserError: the step is not positive and finite, or a bias is not finite or needs more than 62 bits.
    """
    step = weight_step * act_step
    if not (np.isfinite(step) and step > 0):
        raise UserError(f"layer {layer}: the weight step must be positive and finite, not {weight_step!r}")
    return _rounded(affine.shift / step, 0, "bias", layer)


def rounding_bound(mac: FloatArray, shift: int) -> FloatArray:
    """How far from a rounding boundary a code may differ, in next steps: ``(|MAC| + 1) * 2^-(T+1)``."""
    return (np.abs(mac) + 1.0) * 2.0 ** -(shift + 1)


def _rounded(values: FloatArray, shift: int, what: str, layer: str) -> IntArray:
    """``round(values * 2^shift)``; a product with a power of two is exact in float64."""
    if not np.isfinite(values).all():
        raise UserError(f"layer {layer}: its {what} is not finite; retrain it or repair the checkpoint")
    with np.errstate(over="ignore"):
        scaled = np.rint(np.ldexp(values, shift))
    if np.abs(scaled).max(initial=0.0) >= 2.0**62:
        raise UserError(f"layer {layer}: its {what} is too large for 62 bits at shift {shift}")
    return scaled.astype(np.int64)
