"""The folder of a run: its saved state, which a run that was cut short goes on from.

    last.pt     everything that the next step depends on, written after each epoch and every so many seconds
    best.pt     weights of the best epoch in validation, a checkpoint as `mixq.checkpoints` reads them
    log.jsonl   a line for each epoch

Each file is replaced whole. `last.pt` decides: what the others hold beyond it is written anew when the run goes on.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import pickle
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mixq.checkpoints import save_checkpoint
from mixq.data import BoxSamples, Samples
from mixq.errors import UserError
from mixq.files import write_atomic
from mixq.models import TrainingModel
from mixq.training.logs import LOG_FILE

LAST_FILE, BEST_FILE, LOCK_FILE = "last.pt", "best.pt", ".lock"

FORMAT = 1
"""Version of the contents of `LAST_FILE`."""

SPARE_BYTES = 64 << 20
COPIES = 12
"""A state may have so many times the model's bytes (weights, momenta, averages, best weights, twice), and spare."""

FIX = "give another folder, or --fresh to start over"

FINGERPRINT_IMAGES = 256
"""Images, evenly spaced, that tell data sets apart."""


class RunFolder:
    """A run's folder, made where it is missing.

    Raises:
        UserError: the folder cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written = False
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make the folder {path}: {error.strerror or error}") from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Context in which no other process trains in this folder; UserError where one does."""
        try:
            stream = (self.path / LOCK_FILE).open("w")
        except OSError as error:
            raise UserError(f"cannot write {self.path / LOCK_FILE}: {error.strerror or error}") from None
        with stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UserError(f"another training runs in {self.path}; wait for it or give another folder") from None
            yield

    def clear(self, *, everything: bool = False) -> None:
        """Remove what a killed process left half written; ``everything``: the state, best weights and log as well."""
        try:
            for name in (LAST_FILE, BEST_FILE, LOG_FILE):
                for path in self.path.glob(f".{name}.*.tmp"):
                    path.unlink(missing_ok=True)
                if everything:
                    (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"cannot clear {self.path}: {error.strerror or error}") from None

    def read(self, *, max_bytes: int) -> bytes:
        """The saved state's bytes, none where there is no state; UserError where there are too many."""
        path = self.path / LAST_FILE
        try:
            if not path.exists():
                return b""
            size = path.stat().st_size
            if not path.is_file() or size > max_bytes:
                raise UserError(f"{path} is no state of this run ({size} bytes, {max_bytes} at most); {FIX}")
            return path.read_bytes()
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror or error}") from None

    def write(self, state: Mapping[str, Any]) -> None:
        """Replace the saved state; UserError, and the old one stays, where the system refuses.

        Raises:
            TypeError: the state holds what could not be read again, which only an extension's can.
        """
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        if not self._written:
            _check_readable(buffer)
            self._written = True
        write_atomic(self.path / LAST_FILE, buffer.getvalue())

    def write_best(self, model: nn.Module, best: Mapping[str, Tensor]) -> None:
        """Write weights as a checkpoint of ``model``, whose own weights are the same afterwards."""
        path = self.path / BEST_FILE
        if isinstance(model, TrainingModel):
            own = {name: value.clone() for name, value in model.state_dict().items()}
            try:
                model.load_state_dict(best)
                save_checkpoint(model, path)
            finally:
                model.load_state_dict(own)
            return
        buffer = io.BytesIO()
        torch.save({"state_dict": {name: value.cpu() for name, value in best.items()}}, buffer)
        write_atomic(path, buffer.getvalue())


def _check_readable(buffer: io.BytesIO) -> None:
    """TypeError unless a state can be loaded without running pickled code: better at its first writing than later."""
    buffer.seek(0)
    try:
        torch.load(buffer, weights_only=True)
    except pickle.UnpicklingError as error:
        reason = " ".join(str(error).split())[:200]
        raise TypeError(f"state_dict of an extension must hold tensors and plain values only, not {reason!r}") from None


def max_state_bytes(model: nn.Module) -> int:
    """Most bytes that a state of a training of ``model`` may have."""
    return SPARE_BYTES + COPIES * sum(value.nbytes for value in model.state_dict().values())


def parse_state(data: bytes, path: Path, *, max_bytes: int) -> dict[str, Any]:
    """The saved state in ``data``, loaded without running pickled code; its contents are not checked yet.

    Raises:
        UserError: damaged, larger than ``max_bytes`` when unpacked, of another version, or more than plain values.
    """
    reason = "damaged"
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > max_bytes:
            raise UserError(f"{path} unpacks to {size} bytes, {max_bytes} at most; {FIX}")
        with warnings.catch_warnings():  # whatever is odd about the file is told in the error's one line
            warnings.simplefilter("ignore")
            state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except UserError:
        raise
    except pickle.UnpicklingError:
        raise UserError(f"{path} is damaged, or holds more than tensors and plain values; {FIX}") from None
    except Exception as error:  # a damaged file fails in as many ways as there are libraries below
        reason = (str(error).splitlines() or [""])[0][:120] or type(error).__name__
        raise UserError(f"{path} cannot be read as the state of a run ({reason}); {FIX}") from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise UserError(f"{path} is no state of a run, or one of another version; {FIX}")
    return state


def check_tensors(name: str, given: object, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return ``given`` if it has the names, shapes and dtypes of ``expected``, all of them dense.

    Raises:
        ValueError: it has not.
    """
    if not isinstance(given, Mapping) or set(given) != set(expected):
        raise ValueError(f"{name} has other tensors")
    for key, value in given.items():
        like = expected[key]
        if not isinstance(value, Tensor) or value.layout != torch.strided or value.device.type != "cpu":
            raise ValueError(f"{name}: {key} is no dense tensor")
        if value.shape != like.shape or value.dtype != like.dtype:
            raise ValueError(f"{name}: {key} has another shape or dtype")
    return dict(given)


def check_identity(saved: object, own: Mapping[str, Any], folder: Path) -> None:
    """UserError, which says what differs, unless a saved run's identity is that of this one."""
    if not isinstance(saved, Mapping):
        raise UserError(f"{folder / LAST_FILE} does not say what run it is of; {FIX}")
    there, here = dict(_flat(saved)), dict(_flat(own))
    for key in [*here, *(key for key in there if key not in here)]:
        if there.get(key) != here.get(key):
            if key.startswith("digest."):
                difference = f"its {key.removeprefix('digest.')} differs from this one"
            else:
                name = key.partition(".")[2] or key
                difference = f"{name} is {_short(there.get(key))} there and {_short(here.get(key))} here"
            raise UserError(f"{folder} holds another run: {difference}; {FIX}")


def model_digest(model: nn.Module, *, weights: bool) -> str:
    """Tells models apart: by structure, names, shapes and dtypes of tensors, and by their ``weights`` where asked."""
    digest = hashlib.sha256(repr(model).encode())
    for name, value in model.state_dict().items():
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        if weights:
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def data_digest(samples: Samples | BoxSamples) -> str:
    """Tells data sets apart: by shape, all labels or boxes, and some of the images."""
    digest = hashlib.sha256(repr(samples.images.shape).encode())
    targets = samples.labels if isinstance(samples, Samples) else samples.boxes
    digest.update(np.ascontiguousarray(targets).tobytes())
    for start in range(0, len(samples), max(1, len(samples) // FINGERPRINT_IMAGES)):
        digest.update(np.ascontiguousarray(samples.images[start]).tobytes())
    return digest.hexdigest()


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", list(value) if isinstance(value, tuple) else value


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
