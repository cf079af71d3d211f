"""Softmax-weighted sums of one tensor quantised at several widths, computed without keeping the summands.

Autograd would keep a tensor or two for each width and go over memory some ten times a width. Here forward keeps the
input alone (for weights: the codes, a byte each), and activations are worked on in pieces that stay in the cache.

With Q_j the quantiser of width j and p the probabilities, the value is ``y = sum_j p_j * Q_j(x)``, and with ``g`` the
gradient of y

    dp_j = sum(g * Q_j(x)),    dx = g * sum_j p_j * inside_j(x),

where inside_j is 1 where the straight-through estimate of quantiser j passes the gradient: everywhere for weights and
images, within the clamp for activations. Values are those of `mixq.quantizers`, operation by operation: where one
probability is 1 the sum *is* that quantiser's output.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

_CHUNK = 1 << 18
"""Elements worked on at a time on a CPU: with a scratch of the same size they stay in its second-level cache."""


class Codes(Protocol):
    """Codes of an elementwise quantiser. step: value of one code."""

    @property
    def step(self) -> float:
        """Value of one code."""

    def write(self, value: Tensor, out: Tensor) -> None:
        """Write the codes of ``value`` into ``out``, of the same shape and dtype."""

    def inside(self, value: Tensor, out: Tensor) -> None:
        """Write 1 into ``out`` where the quantiser passes a gradient, 0 elsewhere."""


@dataclass(frozen=True, kw_only=True)
class ClampedCodes:
    """Half-wave codes ``round(clamp(x, 0, step * high) / step)``; gradients pass within the clamp."""

    step: float
    high: int

    def write(self, value: Tensor, out: Tensor) -> None:
        """Write the codes of ``value`` into ``out``."""
        torch.clamp(value, 0, self.step * self.high, out=out)
        out.div_(self.step).round_()

    def inside(self, value: Tensor, out: Tensor) -> None:
        """Write 1 where ``value`` is at most the upper bound; the lower bound is common to all widths."""
        torch.le(value, self.step * self.high, out=out)


@dataclass(frozen=True, kw_only=True)
class TruncatedCodes:
    """Codes of an image, ``floor(x * 2^bits)``; gradients pass everywhere."""

    bits: int

    @property
    def step(self) -> float:
        """Value of one code, ``2^-bits``."""
        return 2.0**-self.bits

    def write(self, value: Tensor, out: Tensor) -> None:
        """Write the codes of ``value`` into ``out``."""
        torch.mul(value, 2.0**self.bits, out=out)
        out.floor_()

    def inside(self, value: Tensor, out: Tensor) -> None:
        """Write 1 everywhere."""
        out.fill_(1)


@dataclass(frozen=True, kw_only=True)
class GaussianCodes:
    """Codes of weights, ``clamp(round(w / s), low, high)`` with ``s = scale * std(w)``; gradients pass everywhere."""

    scale: float
    low: int
    high: int


def mixed_activations(value: Tensor, probabilities: Tensor, codes: Sequence[ClampedCodes]) -> Tensor:
    """``sum_j probabilities[j] * codes_j(value) * step_j``, of the shape and dtype of ``value``.

    Half precision is summed in float32.
    """
    return _mix(value, probabilities, tuple(codes), True)


def mixed_images(value: Tensor, probabilities: Tensor, codes: Sequence[TruncatedCodes]) -> Tensor:
    """``sum_j probabilities[j] * codes_j(value) * step_j`` for ``pixel / 256``, of its shape and dtype."""
    return _mix(value, probabilities, tuple(codes), False)


def mixed_weights(weight: Tensor, probabilities: Tensor, codes: Sequence[GaussianCodes], *, shared: bool) -> Tensor:
    """``sum_i probabilities[i] * codes_i(w_i) * s_i``, in the dtype of the weights.

    Parameters:
        weight: one tensor for all widths, or, not ``shared``, (widths, ...) with a tensor for each.
    """
    mixed: Tensor = _MixedWeights.apply(weight, probabilities, tuple(codes), shared)
    return mixed


def _mix(value: Tensor, probabilities: Tensor, codes: tuple[Codes, ...], half_wave: bool) -> Tensor:
    wide = value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
    mixed: Tensor = _MixedCodes.apply(wide, probabilities.to(wide.dtype), codes, half_wave)
    return mixed.to(value.dtype)


class _MixedCodes(torch.autograd.Function):
    """Sum over elementwise quantisers; half_wave: no gradient passes where the value is negative."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, probabilities: Tensor, codes: tuple[Codes, ...], half_wave: bool) -> Tensor:
        value = dense(value)
        ctx.save_for_backward(value, probabilities)
        ctx.codes, ctx.half_wave = codes, half_wave
        factors = _factors(probabilities, codes)
        mixed = torch.zeros_like(value)
        for part, total, scratch in pieces(value, mixed):
            for quantiser, factor in zip(codes, factors, strict=True):
                quantiser.write(part, scratch)
                total.addcmul_(scratch, factor)
        return mixed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        value, probabilities = ctx.saved_tensors
        gradient = dense(gradients[0])
        to_value = _value_gradient(ctx, value, probabilities, gradient) if ctx.needs_input_grad[0] else None
        to_probabilities = _code_gradients(ctx, value, gradient) if ctx.needs_input_grad[1] else None
        return to_value, to_probabilities, None, None


def _value_gradient(ctx: Any, value: Tensor, probabilities: Tensor, gradient: Tensor) -> Tensor:
    if not ctx.half_wave:
        return gradient * probabilities.sum()
    result = torch.zeros_like(value)
    shares = probabilities.unbind()
    for part, incoming, total, scratch in pieces(value, gradient, result):
        for quantiser, share in zip(ctx.codes, shares, strict=True):
            quantiser.inside(part, scratch)
            total.addcmul_(scratch, share)
        torch.ge(part, 0, out=scratch)
        total.mul_(scratch).mul_(incoming)
    return result


def _code_gradients(ctx: Any, value: Tensor, gradient: Tensor) -> Tensor:
    sums = torch.zeros(len(ctx.codes), dtype=value.dtype, device=value.device)
    for part, incoming, scratch in pieces(value, gradient):
        for index, quantiser in enumerate(ctx.codes):
            quantiser.write(part, scratch)
            sums[index] += scratch.mul_(incoming).sum()
    return torch.stack([own * quantiser.step for own, quantiser in zip(sums, ctx.codes, strict=True)])


class _MixedWeights(torch.autograd.Function):
    """Sum over Gaussian weight quantisers; codes and steps are float64, as in `mixq.quantizers`."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, probabilities: Tensor, codes: tuple[GaussianCodes, ...], shared: bool
    ) -> Tensor:
        mixed = torch.zeros_like(weight if shared else weight[0])
        shares = probabilities.to(mixed.dtype)
        kept, steps = [], []
        exact = weight.double() if shared else None
        deviation = None if exact is None else exact.std()
        for index, quantiser in enumerate(codes):
            own = weight[index].double() if exact is None else exact
            step = (own.std() if deviation is None else deviation) * quantiser.scale
            nearest = torch.round(own / step).clamp_(quantiser.low, quantiser.high)
            kept.append(nearest.to(torch.int8))
            steps.append(step)
            mixed.addcmul_(nearest.mul_(step).to(mixed.dtype), shares[index])
        ctx.save_for_backward(probabilities, torch.stack(kept), torch.stack(steps))
        ctx.shared = shared
        return mixed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        gradient = gradients[0]
        probabilities, codes, steps = ctx.saved_tensors
        shares = probabilities.to(gradient.dtype)
        to_weight = to_probabilities = None
        if ctx.needs_input_grad[0]:
            each = shares.view(-1, *(1,) * gradient.dim())
            to_weight = gradient * shares.sum() if ctx.shared else gradient * each
        if ctx.needs_input_grad[1]:
            sums = torch.stack([(gradient * own).sum() for own in codes])
            to_probabilities = (sums * steps.to(sums.dtype)).to(probabilities.dtype)
        return to_weight, to_probabilities, None, None


def _factors(probabilities: Tensor, codes: tuple[Codes, ...]) -> list[Tensor]:
    """Probability times step of each width.

    They are made and stay tensors on their device: moving numbers from or to it would make a GPU wait.
    """
    shares = probabilities.unbind()
    return [share * quantiser.step for share, quantiser in zip(shares, codes, strict=True)]


def dense(tensor: Tensor) -> Tensor:
    """The tensor in a form that `pieces` can cut; elsewhere than on a CPU nothing is cut."""
    return tensor.contiguous() if tensor.device.type == "cpu" else tensor


def pieces(*tensors: Tensor, scratch: int = 1) -> Iterator[tuple[Tensor, ...]]:
    """Matching pieces of tensors of one shape, each time with so many scratch tensors of the piece's shape."""
    if tensors[0].device.type != "cpu":
        yield (*tensors, *(torch.empty_like(tensors[0]) for _ in range(scratch)))
        return
    flat = [tensor.view(-1) for tensor in tensors]
    spare = [flat[0].new_empty(min(_CHUNK, flat[0].numel())) for _ in range(scratch)]
    for parts in zip(*(tensor.split(_CHUNK) for tensor in flat), strict=True):
        yield (*parts, *(own[: parts[0].numel()] for own in spare))
