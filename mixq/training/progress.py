"""What a training tells while it runs, and what each epoch ended with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class EpochResult:
    """What one epoch ended with.

    Attributes:
        epoch: number, from 1.
        loss: mean of the task's loss over the epoch's samples, teacher included.
        penalty: mean of the extension's penalty over the steps; 0 without one.
        train_metric: metric of the samples as they were trained on, 0..1.
        validation_metric: metric of the validation samples after the epoch, 0..1, by the averaged weights where they
            are averaged.
        learning_rate: of the epoch's last step.
        facts: what the extension says after the epoch.
        seconds: that the epoch took, measured; two equal runs differ in it alone, so it is not compared.
    """

    epoch: int
    loss: float
    penalty: float = 0.0
    train_metric: float
    validation_metric: float
    learning_rate: float
    facts: Mapping[str, float] = field(default_factory=dict)
    seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a training has come; told a few times a second and after each epoch.

    Attributes:
        epoch, epochs: the epoch that runs or has just ended, from 1, of so many.
        step, steps: steps done since the training's beginning, of so many.
        loss, metric: means over the epoch so far.
        facts: what the extension says, such as predicted cycles.
        seconds_left: estimate for the whole training; None before there is a measure.
        result: the epoch's result where it has just ended, else None.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    metric: float
    facts: Mapping[str, float]
    seconds_left: float | None
    result: EpochResult | None = None


ProgressCallback = Callable[[Progress], None]


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a training ended with.

    Attributes:
        epochs: result of each, in order; those before an interruption too.
        metric: name of the task's metric, "top1" or "iou".
        best_epoch: the first one with the highest validation metric.
        kept_epoch: whose weights the model has.
    """

    epochs: tuple[EpochResult, ...]
    metric: str
    best_epoch: int
    kept_epoch: int

    @property
    def kept(self) -> EpochResult:
        """Result of the epoch whose weights the model has."""
        return self.epochs[self.kept_epoch - 1]
