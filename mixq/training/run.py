"""One run of a training in one process: epochs, batches in random order, measuring, saving, going on."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from mixq.data import BoxSamples, Samples
from mixq.data.augment import Augmentation
from mixq.errors import UserError
from mixq.quantizers import parameters_without_decay
from mixq.training.config import TrainConfig
from mixq.training.distributed import World
from mixq.training.evaluation import measure
from mixq.training.extension import Extension
from mixq.training.feed import Feed
from mixq.training.learner import Learner
from mixq.training.logs import EpochLog
from mixq.training.progress import EpochResult, Progress, ProgressCallback, TrainResult
from mixq.training.state import (
    FIX,
    FORMAT,
    LAST_FILE,
    RunFolder,
    check_identity,
    check_tensors,
    max_state_bytes,
    parse_state,
)
from mixq.training.task import Task

TELL_SECONDS = 0.25
"""The least time between two calls of ``progress`` within an epoch; each waits for the device."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a training consists of; see `mixq.training.Trainer`."""

    model: nn.Module
    train: Samples | BoxSamples
    validation: Samples | BoxSamples
    task: Task
    config: TrainConfig
    extension: Extension | None
    progress: ProgressCallback | None
    teacher: nn.Module | None


class Run:
    """One run, in one process of its world.

    Parameters:
        parts: with the model and the teacher on ``device``. folder: of the run's state, locked; None: nothing is
        written. identity: what must be equal for a saved state to be gone on with.
    """

    def __init__(
        self, parts: Parts, world: World, device: torch.device, folder: RunFolder | None, identity: dict[str, Any]
    ) -> None:
        self._model, self._task, self._config = parts.model, parts.task, parts.config
        self._world, self._device, self._folder, self._identity = world, device, folder, identity
        self._extension = parts.extension
        self._progress = parts.progress if world.is_first else None
        self._boxes = isinstance(parts.train, BoxSamples)
        self._feed = Feed(parts.train, self._task.targets(parts.train), device)
        self._validation = Feed(parts.validation, self._task.targets(parts.validation), device)
        self._augmentation = Augmentation(
            **{choice.name: getattr(self._config, choice.name) for choice in fields(Augmentation)}
        )
        self._epoch_steps = math.ceil(len(parts.train) / self._config.batch)
        self._steps = self._config.epochs * self._epoch_steps
        self._learner = Learner(
            self._model,
            self._task,
            self._config,
            steps=self._steps,
            device=device,
            world=world,
            extension=parts.extension,
            teacher=parts.teacher,
            without_decay=parameters_without_decay(self._model),
        )
        self._generator = torch.Generator().manual_seed(self._config.seed)
        self._epoch_start = self._generator.get_state()
        self._step = 0
        self._results: list[EpochResult] = []
        self._best: dict[str, Any] | None = None
        self._spent = 0.0

    def finish(self) -> TrainResult:
        """Everything that is still to do, from the saved state on where there is one.

        Raises UserError as `mixq.training.Trainer.run` does.
        """
        self._restore()
        log = None
        if self._folder is not None and self._world.is_first:
            if self._best is not None:
                self._folder.write_best(self._model, self._best["model"])
            log = EpochLog(self._folder.path, self._task.metric, self._results)
        try:
            self._began, self._began_at = time.monotonic(), self._done
            self._saved = self._told = self._began
            while len(self._results) < self._config.epochs:
                self._epoch()
                self._end_epoch(log)
        finally:
            if log is not None:
                log.close()
        return self._result()

    @property
    def _done(self) -> int:
        """Steps that are done, of all."""
        return len(self._results) * self._epoch_steps + self._step

    def _epoch(self) -> None:
        """The steps of an epoch that are still to do."""
        self._clock = time.monotonic()
        self._model.train()
        if self._step == 0:
            self._learner.start_epoch()
            self._epoch_start = self._generator.get_state()
            order = torch.randperm(len(self._feed), generator=self._generator)
        else:
            start = torch.Generator()
            start.set_state(self._epoch_start)
            order = torch.randperm(len(self._feed), generator=start)
        batches = order.split(self._config.batch)
        # Batch norm needs two samples: a last batch of one is left out.
        todo = [batch for batch in batches[self._step :] if len(batch) > 1]
        mine = [batch[self._world.slice_of(len(batch))] for batch in todo]
        for batch, (images, targets) in zip(todo, self._feed.batches(mine), strict=True):
            draws = self._augmentation.draw(len(batch), self._generator)
            if self._world.size > 1 and self._done == 0:
                self._prime(batch, draws)
            own = draws[self._world.slice_of(len(batch))]
            self._learner.step(*self._augmented(images, targets, own), len(batch))
            self._step += 1
            self._between_steps()
        if self._step < self._epoch_steps:
            self._learner.advance()
            self._step += 1

    def _augmented(self, images: Tensor, targets: Tensor, draws: Any) -> tuple[Tensor, Tensor]:
        if self._boxes:
            return self._augmentation.apply_boxes(images, targets, draws)
        return self._augmentation.apply(images, draws), targets

    def _prime(self, batch: Tensor, draws: Any) -> None:
        """Show the whole first batch to every process, see `Learner.prime`."""
        for images, targets in self._feed.batches([batch]):
            self._learner.prime(self._augmented(images, targets, draws)[0])

    def _between_steps(self) -> None:
        """Save and tell where it is time to."""
        now = time.monotonic()
        if self._folder is not None and now - self._saved >= self._config.checkpoint_seconds:
            self._save()
        if self._progress is not None and now - self._told >= TELL_SECONDS and self._step < self._epoch_steps:
            self._told = now
            loss, metric, _ = self._learner.means()
            self._tell(self._progress, len(self._results) + 1, loss, metric, self._facts())

    def _end_epoch(self, log: EpochLog | None) -> None:
        """Measure, note, save, tell."""
        epoch = len(self._results) + 1
        loss, metric, penalty = self._learner.means()
        if not math.isfinite(loss + penalty):
            rate = self._config.learning_rate
            raise UserError(f"training diverged in epoch {epoch}; try a learning rate below {rate}")
        with self._measured_weights():
            validation = self._measure()
            if self._best is None or validation > self._best["metric"]:
                state = {name: value.detach().clone() for name, value in self._model.state_dict().items()}
                self._best = {"epoch": epoch, "metric": validation, "model": state}
        result = EpochResult(
            epoch=epoch,
            loss=loss,
            penalty=penalty,
            train_metric=metric,
            validation_metric=validation,
            learning_rate=self._learner.last_rate,
            facts=self._facts(),
            seconds=self._spent + time.monotonic() - self._clock,
        )
        self._results.append(result)
        self._step, self._spent = 0, 0.0
        self._epoch_start = self._generator.get_state()
        if log is not None:
            log.append(result)
        self._save()
        if self._folder is not None and self._world.is_first and self._best["epoch"] == epoch:
            self._folder.write_best(self._model, self._best["model"])
        if self._progress is not None:
            self._tell(self._progress, epoch, loss, metric, result.facts, result)

    def _measure(self) -> float:
        bf16 = self._config.precision == "bf16"
        return measure(self._model, self._validation, self._task, world=self._world, autocast=bf16)

    @contextmanager
    def _measured_weights(self) -> Iterator[None]:
        """Context in which the model has the weights that count: the averaged ones where there are any."""
        average = self._learner.average
        if average is None:
            yield
        else:
            with average.applied(self._model):
                yield

    def _facts(self) -> dict[str, float]:
        if self._extension is None:
            return {}
        return {str(name): float(value) for name, value in self._extension.facts().items()}

    def _tell(
        self,
        progress: ProgressCallback,
        epoch: int,
        loss: float,
        metric: float,
        facts: Mapping[str, float],
        result: EpochResult | None = None,
    ) -> None:
        done = self._done - self._began_at
        seconds = time.monotonic() - self._began
        left = seconds * (self._steps - self._done) / done if done else None
        progress(
            Progress(
                epoch=epoch,
                epochs=self._config.epochs,
                step=self._done,
                steps=self._steps,
                loss=loss,
                metric=metric,
                facts=facts,
                seconds_left=left,
                result=result,
            )
        )

    def _save(self) -> None:
        """Write the state, in the first process."""
        if self._folder is None or not self._world.is_first:
            return
        random = {
            "epoch_start": self._epoch_start,
            "now": self._generator.get_state(),
            "torch": torch.get_rng_state(),
        }
        if self._device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self._device)
        spent = self._spent + time.monotonic() - self._clock if self._step else 0.0
        state = {
            "format": FORMAT,
            "identity": self._identity,
            "step": self._step,
            "results": [asdict(result) for result in self._results],
            "best": self._best,
            "random": random,
            "seconds": spent,
            "learner": self._learner.state_dict(),
        }
        self._folder.write(state)
        self._saved = time.monotonic()

    def _restore(self) -> None:
        """Take over the saved state; in several processes the first one reads it for all."""
        folder = self._folder
        if folder is None:
            self._learner.share_first()
            return
        most = max_state_bytes(self._model)
        data = self._world.read_first(lambda: folder.read(max_bytes=most), self._device)
        if not data:
            self._learner.share_first()
            return
        path = folder.path / LAST_FILE
        state = parse_state(data, path, max_bytes=most)
        check_identity(state.get("identity"), self._identity, folder.path)
        try:
            self._load(state)
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            reason = (str(error).splitlines() or [""])[0][:120] or type(error).__name__
            raise UserError(f"{path} does not fit this run ({reason}); {FIX}") from None

    def _load(self, state: dict[str, Any]) -> None:
        self._results = [EpochResult(**result) for result in state["results"]]
        self._step = int(state["step"])
        if not (0 <= self._step <= self._epoch_steps and len(self._results) <= self._config.epochs):
            raise ValueError("its position is outside the training")
        self._spent = float(state["seconds"])
        best = state["best"]
        if best is not None:
            weights = check_tensors("best", best["model"], self._model.state_dict())
            weights = {name: value.to(self._device) for name, value in weights.items()}
            best = {"epoch": int(best["epoch"]), "metric": float(best["metric"]), "model": weights}
        if (best is None) != (not self._results) or (best and not 1 <= best["epoch"] <= len(self._results)):
            raise ValueError("its best epoch is none of its epochs")
        self._best = best
        self._learner.load_state_dict(state["learner"])
        random = state["random"]
        self._generator.set_state(random["epoch_start"])
        self._epoch_start = self._generator.get_state()
        self._generator.set_state(random["now"])
        torch.set_rng_state(random["torch"])
        if self._device.type == "cuda" and "cuda" in random:
            torch.cuda.set_rng_state(random["cuda"], self._device)

    def _result(self) -> TrainResult:
        """Leave the model with the weights that are kept."""
        assert self._best is not None
        kept = self._config.epochs
        if self._config.keep == "best":
            kept = self._best["epoch"]
            self._model.load_state_dict(self._best["model"])
        elif self._learner.average is not None:
            self._learner.average.copy_to(self._model)
        self._model.eval()
        return TrainResult(
            epochs=tuple(self._results),
            metric=self._task.metric,
            best_epoch=self._best["epoch"],
            kept_epoch=kept,
        )
