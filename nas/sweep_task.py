"""A task of a sweep, and its folder: what it is, what it gave, or why it failed.

    task.json     function, arguments and their digest, written before the task runs for the first time
    result.json   the same and the result; the task is done
    error.json    why the last attempt failed, one line
    log.txt       what the attempts printed, tracebacks included
    claim.*       who runs the task, see `nas.sweep_claim`

Beside these lies what the task's function writes. Files are written whole, so a killed task leaves none that is half
written.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import re
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mixq.errors import MixqError, UserError
from mixq.files import MAX_TEXT_BYTES, read_json, write_json

TASK_FILE, RESULT_FILE, ERROR_FILE, LOG_FILE = "task.json", "result.json", "error.json", "log.txt"

FIX = "give another folder, or --fresh to start over"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_FUNCTION = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*")


@dataclass(frozen=True, kw_only=True)
class Task:
    """One run of a sweep: a function and what it is called with.

    Parameters:
        name: of the task and of its folder; up to 100 letters, digits, ".", "_" and "-", a letter or digit first.
        function: "package.module:function". It is called as ``function(folder=Path, **arguments)``, with the task's own
            folder, and returns a dict of plain JSON values.
        arguments: keyword arguments, plain JSON values: dicts with text as keys, lists, text, finite numbers, bools and
            None.

    Raises:
        TypeError: a value of the wrong type. ValueError: a name or function of the wrong form, a number that is not
            finite, or an argument called "folder".
    """

    name: str
    function: str
    arguments: Mapping[str, Any]

    def __post_init__(self) -> None:
        for parameter, pattern, form in (
            ("name", _NAME, "up to 100 letters, digits, '.', '_' and '-', a letter or digit first"),
            ("function", _FUNCTION, "of the form 'package.module:function'"),
        ):
            value = getattr(self, parameter)
            if not isinstance(value, str):
                raise TypeError(f"{parameter} must be text, not {value!r}")
            if not pattern.fullmatch(value):
                raise ValueError(f"{parameter} must be {form}, not {value!r}")
        if not isinstance(self.arguments, Mapping):
            raise TypeError(f"arguments must be a mapping, not {self.arguments!r}")
        arguments = plain("arguments", dict(self.arguments))
        if "folder" in arguments:
            raise ValueError(f"arguments must leave 'folder' to the sweep, not {arguments!r}")
        object.__setattr__(self, "arguments", MappingProxyType(arguments))

    @property
    def digest(self) -> str:
        """SHA-256, hexadecimal, of function and arguments; 1 and 1.0 are different arguments."""
        text = json.dumps([self.function, dict(self.arguments)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def load(self) -> Callable[..., Any]:
        """The function itself.

        Raises:
            UserError: there is no such module or no such function in it.
        """
        module_name, _, name = self.function.partition(":")
        try:
            function = getattr(importlib.import_module(module_name), name, None)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
                raise
            raise UserError(f"no module {error.name} for the function {self.function}") from None
        if not callable(function):
            raise UserError(f"no function {name} in the module {module_name}")
        return function


def plain(parameter: str, value: Any) -> Any:
    """A copy of ``value`` that JSON gives back equal.

    Raises:
        TypeError: something else than dicts with text as keys, lists, text, numbers, bools and None.
        ValueError: a number that is not finite.
    """
    if isinstance(value, dict):
        for key in value:
            if type(key) is not str:
                raise TypeError(f"{parameter} must have text as keys, not {key!r}")
        return {key: plain(parameter, part) for key, part in value.items()}
    if isinstance(value, list):
        return [plain(parameter, part) for part in value]
    if value is not None and type(value) not in (str, int, float, bool):
        raise TypeError(f"{parameter} must hold plain JSON values, not {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{parameter} must hold finite numbers, not {value!r}")
    return value


@dataclass(frozen=True)
class Failure:
    """Why an attempt failed: one line, and a token that no other attempt has."""

    error: str
    attempt: str


class TaskFolder:
    """The folder of one task within that of a sweep.

    Parameters:
        folder: of the sweep. task: whose folder this is.
    """

    def __init__(self, folder: Path, task: Task) -> None:
        self.task = task
        self.path = folder / task.name

    def prepare(self) -> None:
        """Make the folder and write `TASK_FILE`, unless they are there.

        Raises:
            UserError: the folder is that of a task with another function or other arguments, or cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make the folder {self.path}: {error.strerror or error}") from None
        if not (self.path / TASK_FILE).exists():
            write_json(self.path / TASK_FILE, self._facts())
        self.check()

    def check(self) -> None:
        """UserError unless `TASK_FILE` is there and of this very task."""
        self._read(TASK_FILE)

    def result(self) -> dict[str, Any] | None:
        """What the function returned, or None while the task is not done.

        Raises:
            UserError: the file is that of another task, or no result.
        """
        if not (self.path / RESULT_FILE).exists():
            return None
        result = self._read(RESULT_FILE).get("result")
        if not isinstance(result, dict):
            raise UserError(f"{self.path / RESULT_FILE} holds no result; {FIX}")
        return result

    def failure(self) -> Failure | None:
        """Why the last attempt failed, or None where none has, as far as is known."""
        if not (self.path / ERROR_FILE).exists():
            return None
        try:
            content = self._read(ERROR_FILE)
        except UserError:
            return None  # an attempt that succeeds removes the file at any moment
        return Failure(error=str(content.get("error")), attempt=str(content.get("attempt")))

    def write_result(self, value: Any) -> None:
        """Write what the function returned.

        Raises:
            TypeError, ValueError: it is no dict of plain JSON values. UserError: too large, or the system refuses.
        """
        if not isinstance(value, dict):
            raise TypeError(f"the result must be a dict, not {value!r}")
        content = {**self._facts(), "result": plain("the result", value)}
        if 2 * len(json.dumps(content, indent=2)) > MAX_TEXT_BYTES:
            raise UserError(f"the result is larger than {MAX_TEXT_BYTES // 2} bytes; write it into a file of its own")
        write_json(self.path / RESULT_FILE, content)
        (self.path / ERROR_FILE).unlink(missing_ok=True)

    def write_failure(self, error: str) -> None:
        """Write why an attempt failed."""
        write_json(self.path / ERROR_FILE, {**self._facts(), "error": error, "attempt": secrets.token_hex(8)})

    def remove(self) -> None:
        """Remove the folder with all that is in it, if it is a task's."""
        if not (self.path / TASK_FILE).exists():
            return
        # Out of the way as a whole, so that nobody finds a folder of which half is gone.
        away = self.path.with_name(f".removed-{secrets.token_hex(8)}")
        try:
            self.path.rename(away)
            shutil.rmtree(away)
        except OSError as error:
            raise UserError(f"cannot remove {self.path}: {error.strerror or error}") from None

    def _facts(self) -> dict[str, Any]:
        return {
            "digest": self.task.digest,
            "function": self.task.function,
            "arguments": dict(self.task.arguments),
        }

    def _read(self, name: str) -> dict[str, Any]:
        path = self.path / name
        content = read_json(path)
        digest = content.get("digest") if isinstance(content, dict) else None
        if digest != self.task.digest:
            raise UserError(
                f"{path} is of another function or other arguments than task {self.task.name} now has; {FIX}"
            )
        return content


def one_line(error: BaseException) -> str:
    """An exception as one line of up to 300 characters."""
    text = " ".join(str(error).split())
    if not isinstance(error, MixqError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text if len(text) <= 300 else f"{text[:297]}..."
