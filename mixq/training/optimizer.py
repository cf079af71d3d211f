"""The trainer's own optimiser, and the schedule of its learning rate."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler

from mixq.training.config import TrainConfig

STEP_RATIO = 1.02
"""A learned step of a quantiser changes at most by this factor in one step of the optimiser."""


def make_optimizer(
    model: nn.Module,
    config: TrainConfig,
    *,
    skip: Collection[nn.Parameter] = (),
    without_decay: Collection[nn.Parameter] = (),
) -> SGD:
    """SGD over the parameters of ``model`` but ``skip``; those ``without_decay`` are not pulled towards zero."""
    skipped, exempt = ({id(parameter) for parameter in group} for group in (skip, without_decay))
    trained = [parameter for parameter in model.parameters() if id(parameter) not in skipped]
    decayed = [parameter for parameter in trained if id(parameter) not in exempt]
    others = [parameter for parameter in trained if id(parameter) in exempt]
    groups = [{"params": decayed}] + ([{"params": others, "weight_decay": 0.0}] if others else [])
    return SGD(groups, lr=config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay)


def make_schedule(optimizer: Optimizer, steps: int, *, warmup: int = 0) -> LRScheduler:
    """Half a cosine from the optimiser's learning rate to zero over ``steps``, behind a rise of ``warmup`` of them."""
    if warmup == 0:
        return CosineAnnealingLR(optimizer, steps)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    return LambdaLR(optimizer, factor)


@contextmanager
def limited_steps(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Context in which numbers may change by a factor of `STEP_RATIO` at most, and keep their sign.

    A quantiser's step that is carried across zero has all codes at their ends for a moment. Behind batch norm weights
    so small have gradients as much larger, and the layer may never come back.
    """
    before = [parameter.detach().flatten() for parameter in parameters]
    before = [torch.cat(before)] if before else []
    yield
    if before:
        with torch.no_grad():
            ends = before[0] * torch.tensor([[1 / STEP_RATIO], [STEP_RATIO]]).to(before[0])
            least, most = ends.amin(0), ends.amax(0)
            limited = torch.cat([parameter.flatten() for parameter in parameters]).clamp(least, most)
            parts = limited.split([parameter.numel() for parameter in parameters])
            shaped = [part.reshape(own.shape) for part, own in zip(parts, parameters, strict=True)]
            torch._foreach_copy_(list(parameters), shaped)
