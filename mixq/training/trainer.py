"""The trainer: epochs, batches in random order, measuring, saving, going on where a run was cut short."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mixq.data import BoxSamples, Dataset, Samples
from mixq.data.augment import Augmentation
from mixq.determinism import reproducible
from mixq.errors import UserError
from mixq.quantizers import parameters_without_decay
from mixq.training.batch_norm import synchronised_batch_norm
from mixq.training.config import TrainConfig
from mixq.training.detection import Detection
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
    data_digest,
    max_state_bytes,
    model_digest,
    parse_state,
)
from mixq.training.task import Classification, Task

TELL_SECONDS = 0.25
"""The least time between two calls of ``progress`` within an epoch; each waits for the device."""

Random = dict[str, Tensor]


class Trainer:
    """Trains a model on one part of a data set and measures it on another after each epoch.

    Parameters:
        model: takes ``pixel / 256``, float (N, C, H, W); its weights are computed in their own dtype.
        dataset: ``train`` is fitted, ``validation`` measured; ``test`` is not touched.
        config: the recipe.
        task: loss and metric; by default that of the data, with the recipe's label smoothing.
        run_dir: folder of the run's state and log. A run that was cut short there goes on and ends with the bits that
            it would have ended with. None: nothing is written.
        device: "cpu", "cuda" (of several GPUs this process's own) or "cuda:N".
        extension: takes part in each step, see `Extension`.
        progress: told how far the training is, in the first process.
        teacher: a trained classifier whose outputs the model also learns from, where ``config.distill_weight`` > 0.
        initialise: draw the weights anew from the seed; else the training starts from those the model has.
        settings: what else must be equal for a run to be gone on with, such as a search's settings; plain values.
        fresh: forget the run in ``run_dir`` and start over.

    Raises:
        UserError: too few samples. TypeError, ValueError: parts that do not fit each other.
    """

    def __init__(
        self,
        model: nn.Module,
        dataset: Dataset[Samples] | Dataset[BoxSamples],
        config: TrainConfig,
        *,
        task: Task | None = None,
        run_dir: Path | None = None,
        device: str = "cpu",
        extension: Extension | None = None,
        progress: ProgressCallback | None = None,
        teacher: nn.Module | None = None,
        initialise: bool = True,
        settings: Mapping[str, Any] | None = None,
        fresh: bool = False,
    ) -> None:
        self._train: Samples | BoxSamples = dataset.train
        self._validation: Samples | BoxSamples = dataset.validation
        self._task = _default_task(self._train, config) if task is None else task
        _check_parts(self._task, config, teacher)
        if len(self._train) < 2 or config.batch < 2:
            what = f"a batch of {config.batch}" if len(self._train) > 1 else "1 sample"
            raise UserError(f"batch norm cannot train on {what}; take at least 2")
        self._model, self._config, self._extension, self._progress = model, config, extension, progress
        self._run_dir, self._device_name, self._teacher = run_dir, device, teacher
        self._initialise, self._settings, self._fresh = initialise, dict(settings or {}), fresh

    def run(self) -> TrainResult:
        """Train, or finish what was begun in ``run_dir``; leaves the model in evaluation mode, on the CPU.

        Raises:
            UserError: the loss is not finite; ``run_dir`` holds another run, a damaged one or one that goes on in
                another process; a file cannot be written; the device is not there.
        """
        world = World.of_environment()
        device = world.device(self._device_name)
        on_cpu = device.type == "cpu"
        with ExitStack() as stack:
            stack.enter_context(reproducible(threads=self._config.threads, deterministic=on_cpu))
            stack.enter_context(torch.random.fork_rng(devices=[] if on_cpu else [device]))
            world.join(device)
            identity = self._identity()
            torch.manual_seed(self._config.seed)
            if self._initialise:
                _reset(self._model)
            self._model.to(device)
            stack.callback(self._model.to, "cpu")
            if self._teacher is not None:
                self._teacher.to(device).eval()
            stack.enter_context(synchronised_batch_norm(self._model, world))
            folder = self._folder(world, device, stack)
            run = _Run(self, world, device, folder, identity)
            return run.finish()

    def _folder(self, world: World, device: torch.device, stack: ExitStack) -> RunFolder | None:
        """The run's folder, locked and cleared by the first process; errors reach all of them."""
        if self._run_dir is None:
            return None
        opened: list[RunFolder] = []
        path = self._run_dir

        def prepare() -> bytes:
            opened.append(RunFolder(path))
            stack.enter_context(opened[0].locked())
            opened[0].clear(everything=self._fresh)
            return b""

        world.read_first(prepare, device)
        return opened[0] if opened else RunFolder(path)

    def _identity(self) -> dict[str, Any]:
        """What must be equal for a run to be gone on with; keys of ``digest`` have no value to show."""
        recipe = asdict(self._config)
        del recipe["checkpoint_seconds"]
        teacher = None if self._teacher is None else model_digest(self._teacher, weights=True)
        extension = None if self._extension is None else type(self._extension).__name__
        return {
            "config": recipe,
            "settings": self._settings,
            "run": {"task": repr(self._task), "extension": extension},
            "digest": {
                "model": model_digest(self._model, weights=not self._initialise),
                "training data": data_digest(self._train),
                "validation data": data_digest(self._validation),
                "teacher": teacher,
            },
        }


class _Run:
    """One run of a trainer, in one process of its world."""

    def __init__(
        self, trainer: Trainer, world: World, device: torch.device, folder: RunFolder | None, identity: dict[str, Any]
    ) -> None:
        self._model, self._task, self._config = trainer._model, trainer._task, trainer._config
        self._world, self._device, self._folder, self._identity = world, device, folder, identity
        self._extension = trainer._extension
        self._progress = trainer._progress if world.is_first else None
        train = trainer._train
        self._boxes = isinstance(train, BoxSamples)
        self._feed = Feed(train, self._task.targets(train), device)
        self._validation = Feed(trainer._validation, self._task.targets(trainer._validation), device)
        self._augmentation = Augmentation(shift=self._config.shift, flip=self._config.flip)
        self._epoch_steps = math.ceil(len(train) / self._config.batch)
        self._steps = self._config.epochs * self._epoch_steps
        self._learner = Learner(
            self._model,
            self._task,
            self._config,
            steps=self._steps,
            device=device,
            world=world,
            extension=trainer._extension,
            teacher=trainer._teacher,
            without_decay=parameters_without_decay(self._model),
        )
        self._generator = torch.Generator().manual_seed(self._config.seed)
        self._epoch_start = self._generator.get_state()
        self._step = 0
        self._results: list[EpochResult] = []
        self._best: dict[str, Any] | None = None
        self._spent = 0.0

    def finish(self) -> TrainResult:
        """Everything that is still to do, from the saved state on where there is one."""
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


def train(
    model: nn.Module,
    samples: Samples,
    *,
    validation: Samples,
    config: TrainConfig,
    progress: ProgressCallback | None = None,
) -> tuple[EpochResult, ...]:
    """Initialise a classifier from the seed, train it on the CPU, and leave it in evaluation mode; nothing is written.

    Returns:
        One result an epoch.

    Raises:
        UserError: the loss is not finite; a smaller learning rate helps.
    """
    classes = 1 + max(int(part.labels.max()) for part in (samples, validation))
    names = tuple(str(label) for label in range(classes))
    dataset = Dataset(name="samples", train=samples, validation=validation, test=validation, class_names=names)
    return Trainer(model, dataset, config, progress=progress).run().epochs


def _default_task(samples: Samples | BoxSamples, config: TrainConfig) -> Task:
    if isinstance(samples, BoxSamples):
        return Detection()
    return Classification(label_smoothing=config.label_smoothing)


def _check_parts(task: Task, config: TrainConfig, teacher: nn.Module | None) -> None:
    """Raise ValueError where the recipe asks for what the task or the teacher cannot give."""
    if (config.distill_weight > 0) != (teacher is not None):
        raise ValueError(f"teacher must be given where distill_weight is above 0, and only there, not {teacher!r}")
    smoothing = task.label_smoothing if isinstance(task, Classification) else 0.0
    if smoothing != config.label_smoothing:
        raise ValueError(f"label_smoothing must be the task's, {smoothing!r}, not {config.label_smoothing!r}")
    if teacher is not None and not isinstance(task, Classification):
        raise ValueError(f"task must be Classification where a teacher is given, not {task!r}")


def _reset(model: nn.Module) -> None:
    for module in model.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
