"""Batch norm over the whole batch of several processes, on any device (PyTorch's own refuses the CPU)."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mixq.training.distributed import World


@contextmanager
def synchronised_batch_norm(model: nn.Module, world: World) -> Iterator[None]:
    """Context in which the batch norms of ``model`` normalise, when they train, over all processes' samples.

    The modules, their parameters and their names stay what they are; only how they compute is replaced meanwhile.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)] if world.size > 1 else []
    try:
        for norm in norms:
            norm.__dict__["forward"] = functools.partial(_forward, norm)
        yield
    finally:
        for norm in norms:
            norm.__dict__.pop("forward", None)


class _SumOverProcesses(torch.autograd.Function):
    """Sum of a tensor over all processes; each one's gradient is the sum of those that all have for the sum."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


def _summed(value: Tensor) -> Tensor:
    total: Tensor = _SumOverProcesses.apply(value)
    return total


def _forward(norm: _BatchNorm, values: Tensor) -> Tensor:
    if not (norm.training or norm.running_mean is None):
        return type(norm).forward(norm, values)
    # Autocast leaves batch norm in float32; sums of bfloat16 would lose most of their digits.
    wide = values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
    axes = [axis for axis in range(wide.ndim) if axis != 1]
    shape = [1, -1] + [1] * (wide.ndim - 2)
    local = torch.full((1,), wide.numel() // max(1, wide.shape[1]), dtype=wide.dtype, device=wide.device)
    # Two exchanges: the mean of squares less the square of the mean would cancel.
    sums = _summed(torch.cat([wide.sum(axes), local]))
    count = sums[-1].detach()
    mean = sums[:-1] / count
    centred = wide - mean.view(shape)
    variance = _summed(centred.square().sum(axes)) / count
    normal = centred * torch.rsqrt(variance + norm.eps).view(shape)
    if norm.weight is not None:
        normal = normal * norm.weight.view(shape) + norm.bias.view(shape)
    _update(norm, mean.detach(), variance.detach() * (count / (count - 1)))
    return normal.to(values.dtype)


@torch.no_grad()
def _update(norm: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Move the running statistics towards the batch's, ``variance`` being the unbiased one."""
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked.add_(1)
    share = 1.0 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), share)
    norm.running_var.lerp_(variance.to(norm.running_var.dtype), share)
