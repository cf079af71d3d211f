"""What each layer's widths cost in loss, measured on validation data with a trained supernet.

The supernet holds one width for each layer, the reference. One layer's weights, or its input, then get another width,
and the loss on the samples is compared. Batch norm uses the statistics of the measured batches, as other widths change
them. A wider layer can do what a narrower one does: where a measurement says otherwise that is noise, and the narrower
one's is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mixq.plan.choices import FloatArray
from nas.space import SearchSpace
from nas.supernet import Supernet

Evaluate = Callable[[], float]
"""Loss of the supernet as it is."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Sensitivities:
    """Rises of the loss, by layer.

    reference: loss of the reference. weights, acts: for each weighted layer (widths,), what a width of its weights or
    of its input adds to that; it never rises with the width.
    """

    reference: float
    weights: tuple[FloatArray, ...]
    acts: tuple[FloatArray, ...]

    def losses(self) -> list[FloatArray]:
        """For each layer (weight widths, act widths): what a pair adds, taken to be the sum of what each does."""
        return [weight[:, None] + act[None, :] for weight, act in zip(self.weights, self.acts, strict=True)]


def measure(
    supernet: Supernet,
    evaluate: Evaluate,
    reference: tuple[tuple[int, ...], tuple[int, ...]],
    *,
    progress: Progress | None = None,
) -> Sensitivities:
    """Measure every width of every layer around a reference.

    Parameters:
        evaluate: the loss of the supernet on the samples, see `batch_loss`; it is called once for each width but the
            reference's, of weights and of inputs. reference: weight and activation widths of every layer.
    """
    space = supernet.space
    total = 1 + sum(len(c.weight_widths) + len(c.act_widths) - 2 for c in space.layers)
    done = 0

    def told(loss: float) -> float:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)
        return loss

    with supernet.fixed(*reference):
        base = told(evaluate())
        found: dict[str, list[FloatArray]] = {"weights": [], "acts": []}
        for index, choices in enumerate(space.layers):
            for kind, widths, own in (
                ("weights", choices.weight_widths, reference[0][index]),
                ("acts", choices.act_widths, reference[1][index]),
            ):
                rises = np.zeros(len(widths))
                for place, bits in enumerate(widths):
                    if bits != own:
                        with supernet.fixed(**{kind: {choices.name: bits}}):  # type: ignore[arg-type]
                            rises[place] = told(evaluate()) - base
                found[kind].append(falling(rises))
    return Sensitivities(reference=base, weights=tuple(found["weights"]), acts=tuple(found["acts"]))


def falling(rises: FloatArray) -> FloatArray:
    """The rises with none above that of a smaller width; the last axis is of rising widths.

    >>> falling(np.array([0.5, 0.1, 0.2, 0.0]))
    array([0.5, 0.1, 0.1, 0. ])
    """
    return np.minimum.accumulate(rises, -1)


def batch_loss(
    model: nn.Module, images: Tensor, targets: Tensor, loss: Callable[[Tensor, Tensor], Tensor], *, batch: int
) -> Evaluate:
    """A function that gives the mean loss of ``model`` on samples, with batch norm by the batches' own statistics.

    Parameters:
        images: uint8 (N, C, H, W), on the model's device. targets: of the samples. loss: mean of a batch, of outputs
            and targets. batch: images at a time, part of what is measured.
    """

    def evaluate() -> float:
        total = torch.zeros((), dtype=torch.float64, device=images.device)
        with torch.no_grad(), batch_statistics(model):
            for start in range(0, len(images), batch):
                part = slice(start, start + batch)
                own = loss(model(images[part].float() / 256), targets[part])
                total += own.double() * len(targets[part])
        return float(total) / len(images)

    return evaluate


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """Context in which ``model`` is in evaluation mode but for batch norm, which uses its batch and learns nothing."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    modes = [(module, module.training) for module in model.modules()]
    tracked = [(norm, norm.track_running_stats) for norm in norms]
    try:
        model.eval()
        for norm in norms:
            # In evaluation mode batch norm uses running statistics only where it keeps some.
            norm.train()
            norm.track_running_stats = False
        yield
    finally:
        for norm, value in tracked:
            norm.track_running_stats = value
        for module, training in modes:
            module.training = training


def widest(space: SearchSpace) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The largest widths of every layer."""
    return (
        tuple(layer.weight_widths[-1] for layer in space.layers),
        tuple(layer.act_widths[-1] for layer in space.layers),
    )
