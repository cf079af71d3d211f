"""What a network is trained for: its loss, and the metric that tells how good it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from mixq.data import BoxSamples, Samples


class Task(Protocol):
    """Loss and metric. ``outputs`` are the model's, (N, ...); ``targets`` those of `targets`, (N, ...)."""

    @property
    def metric(self) -> str:
        """Name of the metric."""

    def targets(self, samples: Samples | BoxSamples) -> Tensor:
        """What the samples' outputs are compared with, on the CPU; TypeError for the wrong kind of samples."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean over the N samples: a scalar that is N times less than the sum of the samples' own losses."""

    def measure(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Metric of each sample, 0..1, (N,); a data set's metric is the mean."""


@dataclass(frozen=True, kw_only=True)
class Classification:
    """One class for an image: cross entropy, and the share of highest scores that stand at the label.

    Parameters:
        label_smoothing: share, 0..1, of the target that is spread over all classes.

    Raises:
        ValueError: a share out of range.
    """

    label_smoothing: float = 0.0
    metric: ClassVar[str] = "top1"

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must be in 0..1, below 1, not {self.label_smoothing!r}")

    def targets(self, samples: Samples | BoxSamples) -> Tensor:
        """The labels, int64 (N,)."""
        if not isinstance(samples, Samples):
            raise TypeError(f"samples must be Samples, with labels, not {type(samples).__name__!r}")
        return torch.from_numpy(samples.labels)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross entropy of scores (N, classes, ...) and labels (N,)."""
        return F.cross_entropy(outputs.flatten(1), targets, label_smoothing=self.label_smoothing)

    def measure(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """1 where the highest score stands at the label, else 0; float64 (N,)."""
        return (outputs.flatten(1).argmax(1) == targets).double()


def distillation_loss(outputs: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Mean divergence of a classifier's distribution from its teacher's, both softened; scores (N, classes, ...).

    ``T^2 * KL(softmax(teacher / T) || softmax(outputs / T))``: the factor keeps gradients at the size of the cross
    entropy's (Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015).
    """
    ours, theirs = (F.log_softmax(scores.flatten(1) / temperature, dim=1) for scores in (outputs, teacher))
    return F.kl_div(ours, theirs, reduction="batchmean", log_target=True) * temperature**2
