"""Trains a quantised classifier: SGD with momentum, a cosine schedule, small random shifts.

Training is repeatable: the same model, samples and configuration give the same weights, bit for bit, on
the same machine with the same PyTorch, whatever ran before.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixq.data import Samples
from mixq.determinism import reproducible
from mixq.errors import UserError
from mixq.quantizers import PIXEL_BITS


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Recipe of a training.

    Parameters:
        epochs, batch: passes over the samples, samples a step; both positive.
        learning_rate: at the start; it falls to zero along half a cosine, step by step.
        momentum, weight_decay: of SGD.
        max_shift: images move by up to so many pixels each way, at random; 0 for none.
        seed: of the weights, the order of the samples and the shifts.
        threads: of PyTorch; part of the recipe, since it decides the order of sums.

    Raises:
        ValueError: a value out of range.
    """

    epochs: int = 30
    batch: int = 32
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    max_shift: int = 1
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)!r}")
        for name in ("momentum", "weight_decay", "max_shift", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, not {getattr(self, name)!r}")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(f"learning_rate must be positive, not {self.learning_rate!r}")


@dataclass(frozen=True, kw_only=True)
class EpochResult:
    """What one epoch ended with: number from 1, mean training loss, accuracies in 0..1."""

    epoch: int
    loss: float
    train_accuracy: float
    validation_accuracy: float


Progress = Callable[[EpochResult], None]


def train(
    model: nn.Module,
    samples: Samples,
    *,
    validation: Samples,
    config: TrainConfig,
    progress: Progress | None = None,
) -> tuple[EpochResult, ...]:
    """Initialise ``model`` from the seed, train it, and leave it in evaluation mode.

    Parameters:
        model: takes ``pixel / 256``, float (N, C, H, W), and gives a score for each class.
        samples: to fit; fewer than two in a batch are left out, as batch norm needs two.
        validation: measured after each epoch, never fitted.
        progress: called after each epoch.

    Returns:
        One result an epoch.

    Raises:
        UserError: the loss is not finite; a smaller learning rate helps.
    """
    results: list[EpochResult] = []
    with reproducible(threads=config.threads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        _reset(model)
        generator = torch.Generator().manual_seed(config.seed)
        images, labels = real_images(samples), torch.from_numpy(samples.labels)
        steps = config.epochs * math.ceil(len(samples) / config.batch)
        optimizer = torch.optim.SGD(
            model.parameters(),
            lr=config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for epoch in range(1, config.epochs + 1):
            model.train()
            losses, right, seen = 0.0, 0, 0
            for batch in torch.randperm(len(samples), generator=generator).split(config.batch):
                if len(batch) > 1:
                    scores = model(_shifted(images[batch], config.max_shift, generator))
                    loss = F.cross_entropy(scores.flatten(1), labels[batch])
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    losses += loss.item() * len(batch)
                    right += int((scores.flatten(1).argmax(1) == labels[batch]).sum())
                    seen += len(batch)
                schedule.step()
            if not math.isfinite(losses):
                raise UserError(f"training diverged in epoch {epoch}; try a learning rate below {config.learning_rate}")
            measured = accuracy(model, validation)
            results.append(
                EpochResult(
                    epoch=epoch,
                    loss=losses / seen,
                    train_accuracy=right / seen,
                    validation_accuracy=measured,
                )
            )
            if progress is not None:
                progress(results[-1])
    return tuple(results)


def accuracy(model: nn.Module, samples: Samples, *, batch: int = 256) -> float:
    """Share of ``samples`` whose highest score is at their label; leaves the model in evaluation mode."""
    model.eval()
    right = 0
    with torch.no_grad():
        for start in range(0, len(samples), batch):
            part = samples.take(slice(start, start + batch))
            scores = model(real_images(part)).flatten(1)
            right += int((scores.argmax(1) == torch.from_numpy(part.labels)).sum())
    return right / len(samples)


def real_images(samples: Samples) -> Tensor:
    """The training model's input, ``pixel / 256``, float32 (N, C, H, W)."""
    return torch.from_numpy(samples.images).float() / 2**PIXEL_BITS


def _reset(model: nn.Module) -> None:
    for module in model.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()


def _shifted(images: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Each image moved by its own random number of pixels in -most..most each way, zeros moving in."""
    if most == 0:
        return images
    count, _, height, width = images.shape
    padded = F.pad(images, (most,) * 4)
    offsets = torch.randint(0, 2 * most + 1, (2, count, 1), generator=generator)
    rows = offsets[0] + torch.arange(height)
    columns = offsets[1] + torch.arange(width)
    return padded[torch.arange(count)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
