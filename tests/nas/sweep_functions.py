"""Functions that the tests of sweeps run in processes of their own."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any


def square(folder: Path, value: int, seconds: float = 0.0) -> dict[str, Any]:
    """The square of a value, after a while; each run leaves a line, which says whether there was a result before it."""
    with (folder / "runs.txt").open("a") as stream:
        stream.write(f"{'again' if (folder / 'result.json').exists() else 'run'} {os.getpid()}\n")
    time.sleep(seconds)
    return {"square": value * value, "third": value / 3, "text": "ä", "none": None, "list": [True, {"a": 1}]}


def refuse(folder: Path, message: str) -> dict[str, Any]:
    """Fail until there is a file ``mended`` in the folder above."""
    if (folder.parent / "mended").exists():
        return {"mended": True}
    print("before the failure")  # noqa: T201
    raise ValueError(message)


def die(folder: Path, times: int, status: int = -9) -> dict[str, Any]:
    """End the process so many times, by a signal or with an exit status."""
    deaths = folder / "deaths.txt"
    with deaths.open("a") as stream:
        stream.write("died\n")
    if len(deaths.read_text().splitlines()) <= times:
        if status >= 0:
            os._exit(status)
        os.kill(os.getpid(), -status)
    return {"deaths": times}


def leave(folder: Path) -> dict[str, Any]:
    """End as a script does."""
    raise SystemExit(3)


def give(folder: Path, kind: str) -> Any:
    """Something that is no dict of plain JSON values."""
    return {"set": {"a": {1}}, "tuple": {"a": (1, 2)}, "nan": {"a": float("nan")}, "list": [1], "key": {1: 2}}[kind]


def threads(folder: Path) -> dict[str, Any]:
    """How many threads the libraries are told to use."""
    return {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}


def ask(folder: Path) -> dict[str, Any]:
    """What the standard input holds, which must not be the sweep's own pipe."""
    return {"input": os.read(0, 10).decode(), "tty": os.isatty(0)}


def sleep(folder: Path, seconds: float, stop: bool = False) -> dict[str, Any]:
    """Start a process that sleeps, and sleep with it; ``stop`` holds this process as a debugger would."""
    import subprocess

    child = subprocess.Popen(["sleep", str(seconds)])
    (folder / "processes.txt").write_text(f"{os.getpid()} {child.pid}")
    if stop:
        os.kill(os.getpid(), signal.SIGSTOP)
    child.wait()
    return {"slept": seconds}
