"""The log of a training: one line of JSON for each epoch, and TensorBoard's files where it is installed."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mixq.errors import UserError
from mixq.files import write_atomic
from mixq.training.progress import EpochResult

LOG_FILE = "log.jsonl"


def log_line(result: EpochResult, metric: str) -> str:
    """One epoch as one line of JSON, without its end.

    Keys: epoch, loss, penalty, metric (its name), train, validation, learning_rate, facts, and seconds, which alone
    differs between two equal runs. A fact that is not finite is null.
    """
    content = {
        "epoch": result.epoch,
        "loss": result.loss,
        "penalty": result.penalty,
        "metric": metric,
        "train": result.train_metric,
        "validation": result.validation_metric,
        "learning_rate": result.learning_rate,
        "facts": {name: value if math.isfinite(value) else None for name, value in result.facts.items()},
        "seconds": round(result.seconds, 3),
    }
    return json.dumps(content, ensure_ascii=False, allow_nan=False)


class EpochLog:
    """Writes `LOG_FILE` in a run's folder, and TensorBoard's files in its subfolder ``tensorboard``.

    Parameters:
        folder: of the run. metric: name of the task's metric.
        results: of epochs that are done; the file is made to hold them and nothing else, whatever it held.

    Raises:
        UserError: the file cannot be written.
    """

    def __init__(self, folder: Path, metric: str, results: Sequence[EpochResult] = ()) -> None:
        self._path = folder / LOG_FILE
        self._metric = metric
        write_atomic(self._path, "".join(log_line(result, metric) + "\n" for result in results))
        self._board = _summary_writer(folder / "tensorboard", first=len(results) + 1)

    def append(self, result: EpochResult) -> None:
        """Add an epoch; the line is on the disk when this returns."""
        try:
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(log_line(result, self._metric) + "\n")
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise UserError(f"cannot write {self._path}: {error.strerror or error}") from error
        if self._board is not None:
            values = {
                "loss": result.loss,
                f"{self._metric}/train": result.train_metric,
                f"{self._metric}/validation": result.validation_metric,
                "learning rate": result.learning_rate,
                **{f"facts/{name}": value for name, value in result.facts.items()},
            }
            for name, value in values.items():
                self._board.add_scalar(name, value, result.epoch)
            self._board.flush()

    def close(self) -> None:
        """Close TensorBoard's file."""
        if self._board is not None:
            self._board.close()


def _summary_writer(folder: Path, *, first: int) -> Any:
    """TensorBoard's writer, which forgets epochs from ``first`` on, or None where the package is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    try:
        return SummaryWriter(str(folder), purge_step=first)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror or error}") from error
