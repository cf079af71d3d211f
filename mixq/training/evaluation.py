"""Measures a model on samples."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mixq.data import BoxSamples, Samples
from mixq.quantizers import PIXEL_BITS
from mixq.training.distributed import ALONE, World
from mixq.training.feed import Feed, real_pixels
from mixq.training.task import Classification, Task

EVALUATION_BATCH = 256
"""Samples at a time where nothing is learned."""


def evaluate(
    model: nn.Module, samples: Samples | BoxSamples, task: Task, *, batch: int = EVALUATION_BATCH, device: str = "cpu"
) -> float:
    """Mean of the task's metric over ``samples``, 0..1; leaves the model on ``device``, in evaluation mode."""
    place = torch.device(device)
    return measure(model.to(place), Feed(samples, task.targets(samples), place), task, batch=batch)


def measure(
    model: nn.Module,
    feed: Feed,
    task: Task,
    *,
    batch: int = EVALUATION_BATCH,
    world: World = ALONE,
    autocast: bool = False,
) -> float:
    """As `evaluate`, of samples on the model's device; the processes of ``world`` share the batches out."""
    model.eval()
    parameter = next(model.parameters(), None)
    dtype = torch.float32 if parameter is None else parameter.dtype
    mine = list(torch.arange(len(feed)).split(batch))[world.rank :: world.size]
    total: Tensor | None = None
    with torch.no_grad():
        for images, targets in feed.batches(mine):
            with torch.autocast(images.device.type, torch.bfloat16, enabled=autocast):
                outputs = model(real_pixels(images, dtype))
            part = task.measure(outputs, targets).double().sum()
            total = part if total is None else total + part
    device = None if parameter is None else parameter.device
    summed = torch.zeros((), dtype=torch.float64, device=device) if total is None else total
    world.sum_all([summed])
    return float(summed) / len(feed)


def accuracy(model: nn.Module, samples: Samples, *, batch: int = EVALUATION_BATCH) -> float:
    """Share of ``samples`` whose highest score is at their label; leaves the model in evaluation mode, on the CPU."""
    return evaluate(model, samples, Classification(), batch=batch)


def real_images(samples: Samples | BoxSamples) -> Tensor:
    """The training model's input, ``pixel / 256``, float32 (N, C, H, W)."""
    return torch.tensor(samples.images).float() / 2**PIXEL_BITS
