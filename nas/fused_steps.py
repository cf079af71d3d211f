"""Softmax-weighted sums of one tensor quantised at several widths with learned steps, in one pass over memory.

As in :mod:`nas.fused` forward keeps the input alone, and backward computes what it needs anew, in pieces that stay in
the cache. With steps s_j, codes ``q_j = round(clamp(x / s_j, low_j, high_j))`` and probabilities p, the value is
``y = sum_j p_j * s_j * q_j``, and with ``g`` the gradient of y and ``inside_j`` 1 where ``low_j < x / s_j < high_j``

    dx = g * sum_j p_j * inside_j,    dp_j = s_j * A_j,    ds_j = p_j * scale_j * (A_j - B_j / s_j),

where ``A_j = sum(g * q_j)`` and ``B_j = sum(g * x * inside_j)``: the gradients of `mixq.quantizers.lsq`, whose scales
these are, weighted by probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mixq.quantizers.base import widened
from mixq.quantizers.lsq import positive_step
from nas.fused import dense, pieces


@dataclass(frozen=True, kw_only=True)
class SteppedCodes:
    """Codes from ``low`` to ``high`` times a learned step, whose gradient is multiplied by ``scale``."""

    low: int
    high: int
    scale: float


def mixed_steps(
    value: Tensor, probabilities: Tensor, steps: Sequence[Tensor], codes: Sequence[SteppedCodes], *, exact: bool
) -> Tensor:
    """``sum_j probabilities[j] * codes_j(value) * step_j``, of the shape and dtype of ``value``.

    Half precision is summed in float32.

    Parameters:
        steps: the steps' parameters, scalars, of which the absolute value counts. exact: find codes in float64, as
            those of weights are.
    """
    wide = widened(value)
    stacked = torch.stack([step.to(wide.dtype) for step in steps])
    mixed: Tensor = _MixedSteps.apply(wide, probabilities.to(wide.dtype), stacked, tuple(codes), exact)
    return mixed.to(value.dtype)


class _MixedSteps(torch.autograd.Function):
    """The sum and its gradients, for the value, the probabilities (widths,) and the steps (widths,)."""

    @staticmethod
    def forward(
        ctx: Any, value: Tensor, probabilities: Tensor, steps: Tensor, codes: tuple[SteppedCodes, ...], exact: bool
    ) -> Tensor:
        value = dense(value)
        ctx.save_for_backward(value, probabilities, steps)
        ctx.codes = codes
        dtype = torch.float64 if exact else value.dtype
        positive = positive_step(steps)
        divisors, factors = positive.to(dtype).unbind(), (probabilities * positive).unbind()
        mixed = torch.zeros_like(value)
        for part, total, scratch in pieces(value, mixed):
            # In float64 the quotients are a tensor of their own, of the same size.
            ratio, exactly = (scratch.to(dtype), part.to(dtype)) if exact else (scratch, part)
            for quantiser, divisor, factor in zip(codes, divisors, factors, strict=True):
                torch.div(exactly, divisor, out=ratio)
                ratio.clamp_(quantiser.low, quantiser.high).round_()
                total.addcmul_(ratio.to(total.dtype), factor)
        return mixed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        value, probabilities, steps = ctx.saved_tensors
        gradient = dense(gradients[0])
        positive = positive_step(steps)
        of_value = torch.zeros_like(value)
        of_codes, of_inside = _accumulate(ctx.codes, value, gradient, probabilities, positive, of_value)
        scales = torch.tensor([own.scale for own in ctx.codes], dtype=steps.dtype, device=steps.device)
        # The step is the parameter's absolute value.
        sign = torch.where(steps < 0, -1.0, 1.0)
        of_steps = probabilities * (of_codes - of_inside / positive) * sign * scales
        return of_value, of_codes * positive, of_steps, None, None


def _accumulate(
    codes: tuple[SteppedCodes, ...],
    value: Tensor,
    gradient: Tensor,
    probabilities: Tensor,
    steps: Tensor,
    of_value: Tensor,
) -> tuple[Tensor, Tensor]:
    """Write the value's gradient into ``of_value``, zeros; return the sums A and B of the module's docstring."""
    of_codes, of_inside = steps.new_zeros(len(codes)), steps.new_zeros(len(codes))
    shares, divisors = probabilities.unbind(), steps.unbind()
    # Where all codes start at 0, one comparison with 0 serves all widths.
    half_wave = all(own.low == 0 for own in codes)
    for part, incoming, total, ratio, inside, product in pieces(value, gradient, of_value, scratch=3):
        if half_wave:
            torch.gt(part, 0, out=ratio)
            torch.mul(part, incoming, out=product).mul_(ratio)
        else:
            torch.mul(part, incoming, out=product)
        for index, quantiser in enumerate(codes):
            torch.div(part, divisors[index], out=ratio)
            torch.lt(ratio, quantiser.high, out=inside)
            if not half_wave:
                inside.mul_(ratio > quantiser.low)
            total.addcmul_(inside, shares[index])
            of_inside[index] += _inner(inside, product)
            ratio.clamp_(quantiser.low, quantiser.high).round_()
            of_codes[index] += _inner(ratio, incoming)
        if half_wave:
            torch.gt(part, 0, out=ratio)
            total.mul_(ratio)
        total.mul_(incoming)
    return of_codes, of_inside


def _inner(first: Tensor, second: Tensor) -> Tensor:
    """Sum of the products of two tensors of one shape."""
    return torch.dot(first, second) if first.dim() == 1 else (first * second).sum()
