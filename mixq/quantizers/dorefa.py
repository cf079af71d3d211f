"""Quantisers of the DoReFa family: weights through a hyperbolic tangent, activations in 0..1, steps fixed by the width.

Zhou et al., "DoReFa-Net: Training Low Bitwidth Convolutional Neural Networks with Low Bitwidth Gradients", 2016, as the
published detection networks of the UltraNet family use it ("dorefa"), and with steps that are powers of two
("dorefa-pow2"). With ``t = tanh(w) / max |tanh(w)|`` over the whole tensor:

============  ============================================================  ==============================
kind          weights                                                       activations
============  ============================================================  ==============================
dorefa        round(t * (2^(b-1) - 1)), step 1 / (2^(b-1) - 1)              round(clamp(x, 0, 1) * (2^b - 1)),
                                                                            step 1 / (2^b - 1)
dorefa-pow2   clamp(round(t * 2^(b-1)), -2^(b-1), 2^(b-1) - 1),             clamp(round(x * 2^b), 0, 2^b - 1),
              step 2^-(b-1)                                                 step 2^-b
============  ============================================================  ==============================

Rounding is half to even. Gradients are straight-through estimates: that of a weight passes the tangent, whose largest
value counts as a constant; that of an activation is one inside the clamp, else zero.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mixq.packing import WeightRange
from mixq.quantizers.base import ActivationQuantizerBase, WeightQuantizerBase, widened


class _RoundTangents(torch.autograd.Function):
    """Codes times step of weights, with the gradient of the tangent."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, codes: Tensor, step: float) -> Tensor:
        ctx.save_for_backward(weight)
        return (codes * step).to(weight.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        tangent = torch.tanh(weight)
        return gradients[0] * (1 - tangent.square()) / tangent.abs().max(), None, None


class _RoundCodes(torch.autograd.Function):
    """Codes times step of activations, with no gradient outside 0..top."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, levels: float, high: int) -> Tensor:
        wide = widened(value)
        clamped = wide.clamp(0, high / levels)
        ctx.save_for_backward(clamped == wide)
        return clamped.mul_(levels).round_().div_(levels).to(value.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (inside,) = ctx.saved_tensors
        return gradients[0] * inside, None, None


class DoReFaWeightQuantizer(WeightQuantizerBase):
    """DoReFa quantiser of weights, see the module; codes of "dorefa" are always narrow.

    Parameters:
        bits: width of a weight, 2..8.
        weight_range: "full" or "narrow"; only powers of two know the difference.
        power_of_two: whether the step is one.

    Raises:
        TypeError, ValueError: ``bits`` is not an integer in 2..8; ``weight_range`` is none.
    """

    def __init__(self, bits: int, weight_range: WeightRange = "full", *, power_of_two: bool = False) -> None:
        super().__init__(bits, weight_range)
        if bits < 2:
            raise ValueError(f"bits must be between 2 and 8 for DoReFa weights, not {bits!r}")
        if not power_of_two:
            self.weight_range = "narrow"
        self.power_of_two = power_of_two

    @property
    def levels(self) -> int:
        """Steps from 0 to 1."""
        return (1 << (self.bits - 1)) - (0 if self.power_of_two else 1)

    def problem(self, weight: Tensor) -> str:
        """Weights that are not finite, or all zero, which leaves their ratios without a value."""
        sound = bool(torch.isfinite(weight).all()) and bool(weight.any())
        return "" if sound else "its weights must be finite and not all zero"

    def step(self, weight: Tensor) -> Tensor:
        """The step of this width: a float64 scalar tensor."""
        return torch.tensor(1 / self.levels, dtype=torch.float64, device=weight.device)

    def codes(self, weight: Tensor) -> Tensor:
        """Integer codes of this tensor, as float64 of the same shape, detached."""
        return self._multiples(weight).clamp_(self.format.low, self.format.high)

    def clamped(self, weight: Tensor) -> int:
        """How many weights of this tensor have another code than in the full range; none of "dorefa"."""
        return int((self._multiples(weight) < self.format.low).sum())

    def forward(self, weight: Tensor) -> Tensor:
        """``codes * step`` in the dtype of the weights."""
        value: Tensor = _RoundTangents.apply(weight, self.codes(weight), 1 / self.levels)
        return value

    def _multiples(self, weight: Tensor) -> Tensor:
        tangent = torch.tanh(weight.detach().double())
        return (tangent / tangent.abs().max() * self.levels).round_()


class DoReFaActivationQuantizer(ActivationQuantizerBase):
    """DoReFa quantiser of activations, see the module.

    Parameters:
        bits: width of an activation, 1..8.
        power_of_two: whether the step is one.

    Raises:
        TypeError, ValueError: ``bits`` is not an integer in 1..8.
    """

    def __init__(self, bits: int, *, power_of_two: bool = False) -> None:
        super().__init__(bits)
        self.power_of_two = power_of_two

    @property
    def levels(self) -> int:
        """Steps from 0 to 1."""
        return (1 << self.bits) - (0 if self.power_of_two else 1)

    @property
    def step(self) -> float:
        """The step of this width."""
        return 1 / self.levels

    def problem(self) -> str:
        """Nothing: the step is fixed."""
        return ""

    def codes(self, value: Tensor) -> Tensor:
        """Integer codes of this tensor, in its own dtype, detached; float32 for 16-bit ones."""
        wide = widened(value.detach())
        return wide.clamp(0, self.format.high / self.levels).mul_(self.levels).round_()

    def forward(self, value: Tensor) -> Tensor:
        """``codes * step`` in the dtype of the value."""
        rounded: Tensor = _RoundCodes.apply(value, float(self.levels), self.format.high)
        return rounded
