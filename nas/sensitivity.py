"""What each layer's widths cost in loss, measured on validation data with a trained supernet.

The supernet holds one width for each layer, the reference. One layer's weights, or its input, then get another width,
and the loss on the samples is compared. Batch norm uses the statistics of the measured batches, as other widths change
them.

Single measurements are as noisy as a supernet of few epochs is, and in most of them nothing is seen at all. So they are
not taken as they are: quantisation adds noise of a known size (:mod:`nas.noise`), the loss rises with it, and measured
is by how much for each tensor, from all its widths around all references together. That is drawn half way towards what
all tensors have in common: a tensor that seems not to matter still does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mixq.plan.choices import FloatArray
from nas.noise import act_noise, image_noise, weight_noise
from nas.space import SearchSpace
from nas.supernet import Supernet

Evaluate = Callable[[], float]
"""Loss of the supernet as it is."""

Progress = Callable[[int, int], None]

LEAST_SLOPE = 1e-3
"""Rise of the loss per share of noise that is taken where less was measured: a supernet that has learned nothing shows
none, and the widths of the least noise are then the best guess."""


@dataclass(frozen=True, kw_only=True)
class Sensitivities:
    """Rises of the loss, by layer.

    widths: the reference, weight and activation widths of every layer. reference: its loss. weights, acts: for each
    weighted layer (widths,), what a width of its weights or of its input adds to that; 0 for the reference's own.
    """

    widths: tuple[tuple[int, ...], tuple[int, ...]]
    reference: float
    weights: tuple[FloatArray, ...]
    acts: tuple[FloatArray, ...]

    def document(self) -> dict[str, Any]:
        """Plain values, for a file."""
        return {
            "widths": [list(row) for row in self.widths],
            "reference": self.reference,
            "weights": [row.tolist() for row in self.weights],
            "acts": [row.tolist() for row in self.acts],
        }

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> Sensitivities:
        """From what `document` gave; KeyError, TypeError or ValueError for anything else."""
        return cls(
            widths=(tuple(document["widths"][0]), tuple(document["widths"][1])),
            reference=float(document["reference"]),
            weights=tuple(np.array(row, np.float64) for row in document["weights"]),
            acts=tuple(np.array(row, np.float64) for row in document["acts"]),
        )


def predicted_losses(space: SearchSpace, measured: Sequence[Sensitivities]) -> list[FloatArray]:
    """For each layer (weight widths, act widths): by how much a pair's loss is above that of the widest pair.

    Positive but for the widest, and the smaller the wider: of two that fit the wider is the better one.

    Parameters:
        measured: around one reference or several, at least one.
    """
    noises = [_noises(space, index) for index in range(len(space.layers))]
    sums = np.zeros((2, len(space.layers), 2))
    for one in measured:
        for index, choices in enumerate(space.layers):
            kinds = (
                (noises[index][0], one.weights[index], choices.weight_widths, one.widths[0][index]),
                (noises[index][1], one.acts[index], choices.act_widths, one.widths[1][index]),
            )
            for kind, (noise, rises, widths, own) in enumerate(kinds):
                added = noise - noise[widths.index(own)]
                sums[:, index, kind] += float(rises @ added), float(added @ added)
    products, squares = sums
    common = max(float(products.sum() / squares.sum()), LEAST_SLOPE) if squares.any() else LEAST_SLOPE
    own_slopes = np.divide(products, squares, out=np.full_like(products, common), where=squares > 0)
    slopes = (np.maximum(own_slopes, 0.0) + common) / 2
    return [
        slope[0] * (weight - weight[-1])[:, None] + slope[1] * (act - act[-1])[None, :]
        for slope, (weight, act) in zip(slopes, noises, strict=True)
    ]


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
                found[kind].append(rises)
    return Sensitivities(widths=reference, reference=base, weights=tuple(found["weights"]), acts=tuple(found["acts"]))


def _noises(space: SearchSpace, index: int) -> tuple[FloatArray, FloatArray]:
    """Noise of each width of a layer's weights, and of its input."""
    choices = space.layers[index]
    acts = act_noise(choices.act_widths) if index else image_noise(choices.act_widths)
    return weight_noise(choices.weight_widths), acts


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
