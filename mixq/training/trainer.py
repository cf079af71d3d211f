"""The trainer: what a training is made of, checked, and the place where it runs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mixq.data import BoxSamples, Dataset, Samples
from mixq.determinism import reproducible
from mixq.errors import UserError
from mixq.training.batch_norm import synchronised_batch_norm
from mixq.training.config import TrainConfig
from mixq.training.detection import Detection
from mixq.training.distributed import World
from mixq.training.extension import Extension
from mixq.training.progress import EpochResult, ProgressCallback, TrainResult
from mixq.training.run import Parts, Run
from mixq.training.state import RunFolder, data_digest, model_digest
from mixq.training.task import Classification, Task


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
        train: Samples | BoxSamples = dataset.train
        own_task = _default_task(train, config) if task is None else task
        _check_parts(own_task, config, teacher)
        if len(train) < 2 or config.batch < 2:
            what = f"a batch of {config.batch}" if len(train) > 1 else "1 sample"
            raise UserError(f"batch norm cannot train on {what}; take at least 2")
        self._parts = Parts(
            model=model,
            train=train,
            validation=dataset.validation,
            task=own_task,
            config=config,
            extension=extension,
            progress=progress,
            teacher=teacher,
        )
        self._run_dir, self._device_name = run_dir, device
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
            stack.enter_context(reproducible(threads=self._parts.config.threads, deterministic=on_cpu))
            stack.enter_context(torch.random.fork_rng(devices=[] if on_cpu else [device]))
            world.join(device)
            identity = self._identity()
            torch.manual_seed(self._parts.config.seed)
            if self._initialise:
                _reset(self._parts.model)
            self._parts.model.to(device)
            stack.callback(self._parts.model.to, "cpu")
            if self._parts.teacher is not None:
                self._parts.teacher.to(device).eval()
            stack.enter_context(synchronised_batch_norm(self._parts.model, world))
            folder = self._folder(world, device, stack)
            return Run(self._parts, world, device, folder, identity).finish()

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
        recipe = asdict(self._parts.config)
        del recipe["checkpoint_seconds"]
        teacher = None if self._parts.teacher is None else model_digest(self._parts.teacher, weights=True)
        extension = None if self._parts.extension is None else type(self._parts.extension).__name__
        return {
            "config": recipe,
            "settings": self._settings,
            "run": {"task": repr(self._parts.task), "extension": extension},
            "digest": {
                "model": model_digest(self._parts.model, weights=not self._initialise),
                "training data": data_digest(self._parts.train),
                "validation data": data_digest(self._parts.validation),
                "teacher": teacher,
            },
        }


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
