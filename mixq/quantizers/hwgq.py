"""Quantisers with fixed steps: Gaussian weights, half-wave Gaussian activations.

Steps are the optimal uniform steps for a unit Gaussian (Cai et al., "Deep Learning with Low Precision by Half-wave
Gaussian Quantization", CVPR 2017), as tabulated by the published mixed-precision system that this one follows.
Gradients are straight-through estimates.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mixq.quantizers.base import ActivationQuantizerBase, WeightQuantizerBase, along_channels, weight_multiples, widened

WEIGHT_STEPS = {1: 1.596, 2: 0.996, 3: 0.586, 4: 0.336, 5: 0.190, 6: 0.106, 7: 0.059, 8: 0.032}
"""Step of a weight quantiser of 1..8 bits, in units of the weights' standard deviation."""

ACTIVATION_STEPS = {1: 0.799, 2: 0.538, 3: 0.3217, 4: 0.185, 5: 0.104, 6: 0.058, 7: 0.033, 8: 0.019}
"""Step of an activation quantiser of 1..8 bits (the half-wave Gaussian's, fixed for each width)."""


def weight_deviation(weight: Tensor) -> Tensor:
    """Unbiased standard deviation of all weights of a tensor: a float64 scalar tensor, detached."""
    return weight.detach().double().std()


def channel_deviations(weight: Tensor) -> Tensor:
    """Unbiased standard deviation of each output channel's weights, float64 (C,), detached.

    That of the whole tensor for channels that have none: of a single weight, or of equal ones, such as zeros.
    """
    rows = weight.detach().double().flatten(1)
    whole = weight_deviation(weight)
    if rows.shape[1] < 2:
        return whole.expand(len(rows)).clone()
    own = rows.std(dim=1)
    return torch.where(own > 0, own, whole)


class _RoundWeights(torch.autograd.Function):
    """Nearest multiple of the step in [low * step, high * step], with a gradient of one; the step is detached."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, step: Tensor, low: int, high: int) -> Tensor:
        return weight_multiples(weight, step).clamp_(low, high).mul_(along_channels(step, weight)).to(weight.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return gradients[0], None, None, None


class _RoundActivations(torch.autograd.Function):
    """Nearest multiple of the step in [step * low, step * high], with no gradient outside that range."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, step: float, low: int, high: int) -> Tensor:
        wide = widened(value)
        clamped = wide.clamp(step * low, step * high)
        ctx.save_for_backward(clamped == wide)
        return clamped.div_(step).round_().mul_(step).to(value.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (inside,) = ctx.saved_tensors
        return gradients[0] * inside, None, None, None


class WeightQuantizer(WeightQuantizerBase):
    """Gaussian weight quantiser: codes ``clamp(round(w / s), low, 2^(b-1) - 1)``.

    The step ``s = WEIGHT_STEPS[b] * std(w)`` uses the unbiased standard deviation of the whole tensor, or of a channel
    (`channel_deviations`), and is detached. The gradient is one inside and outside the clamp.

    Parameters, raises: as of `WeightQuantizerBase`.
    """

    def problem(self, weight: Tensor) -> str:
        """Weights that are not finite, or all equal, which leaves the step without a value."""
        # A single weight has no standard deviation; PyTorch would warn and return NaN.
        step = self.step(weight) if weight.numel() > 1 else torch.zeros(())
        sound = bool((torch.isfinite(step) & (step > 0)).all())
        return "" if sound else "its weights must be finite and not all equal"

    def step(self, weight: Tensor) -> Tensor:
        """Step for this tensor: a float64 scalar tensor, or (C,) for channels, detached."""
        deviation = weight_deviation(weight) if self.channels is None else channel_deviations(weight)
        return deviation * WEIGHT_STEPS[self.bits]

    def forward(self, weight: Tensor, deviation: Tensor | None = None) -> Tensor:
        """``codes * step`` in the dtype of the weights.

        ``deviation`` is what `weight_deviation` gives for them, where it is known: a mixture of several widths finds it
        once, and so saves a good part of each quantiser's time.
        """
        step = self.step(weight) if deviation is None else deviation * WEIGHT_STEPS[self.bits]
        value: Tensor = _RoundWeights.apply(weight, step, self.format.low, self.format.high)
        return value


class ActivationQuantizer(ActivationQuantizerBase):
    """Half-wave Gaussian activation quantiser: codes ``round(clamp(x, low * s, high * s) / s)``.

    The step is fixed for each width; that of signed codes is that of weights of a standard deviation of 1. No gradient
    passes outside the clamp.

    Parameters, raises: as of `ActivationQuantizerBase`.
    """

    @property
    def step(self) -> float:
        """The fixed step of this width."""
        return WEIGHT_STEPS[self.bits] if self.signed else ACTIVATION_STEPS[self.bits]

    def problem(self) -> str:
        """Nothing: the step is fixed."""
        return ""

    def codes(self, value: Tensor) -> Tensor:
        """Integer codes of this tensor, in its own dtype, detached; float32 for 16-bit ones."""
        value = widened(value.detach())
        low, high = self.format.low, self.format.high
        return torch.round(value.clamp(self.step * low, self.step * high) / self.step)

    def forward(self, value: Tensor) -> Tensor:
        """``codes * step`` in the dtype of the value."""
        rounded: Tensor = _RoundActivations.apply(value, self.step, self.format.low, self.format.high)
        return rounded
