"""Attempts at tasks in processes of this machine, each with its share of threads."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from mixq.errors import UserError
from nas.sweep_task import LOG_FILE
from nas.sweep_worker import Attempt, Status

POLL_SECONDS = 0.05

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""What PyTorch, NumPy and SciPy take their number of threads from."""


def usable_cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0))


class WorkerProcess:
    """A new Python, in a process group of its own, that makes one attempt; what it prints goes into the task's log.

    Parameters:
        attempt: to make. threads: for PyTorch and NumPy, unless the environment says how many. path: of imports.

    Raises:
        UserError: the log or the process cannot be made.
    """

    def __init__(self, attempt: Attempt, *, threads: int, path: Iterable[str]) -> None:
        environment = {
            **dict.fromkeys(THREAD_VARIABLES, str(threads)),
            "PYTHONUNBUFFERED": "1",
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path),
        }
        log = Path(attempt.folder) / attempt.task.name / LOG_FILE
        try:
            with log.open("ab") as stream:
                # -P: the current folder comes first only if it does so here.
                # A session of its own: Ctrl-C reaches this process alone.
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "nas.sweep_worker"],
                    stdin=subprocess.PIPE,
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    start_new_session=True,
                )
        except OSError as error:
            raise UserError(f"cannot start a process with the log {log}: {error.strerror or error}") from None
        assert self._process.stdin is not None
        self._input = self._process.stdin
        with contextlib.suppress(OSError):  # of a process that is killed already
            self._input.write(attempt.to_json().encode() + b"\n")
            self._input.flush()

    def poll(self) -> int | None:
        """The exit status, negative for the signal that ended it, or None while it runs."""
        # Look without reaping: until it is reaped, its number and that of its group stay its own.
        if os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            return None
        return self.end()

    def end(self) -> int:
        """Kill what is left of the process and its group, and return the exit status."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            with contextlib.suppress(OSError):
                self._input.close()
        return self._process.returncode


def ending(status: int) -> str:
    """How an attempt ended without result or failure, in words; empty where somebody else has the task."""
    if status == Status.TAKEN:
        return ""
    return f"killed by signal {-status}" if status < 0 else f"ended without a result, exit status {status}"


def search_path(more: Sequence[str] = ()) -> list[str]:
    """Where this process imports from, and ``more``."""
    own = [entry or os.getcwd() for entry in sys.path]
    return list(dict.fromkeys([*own, *more]))


class LocalRunner:
    """Makes up to ``jobs`` attempts at a time.

    Parameters:
        jobs: processes at a time. cores: that each attempt counts on, None for its share of this machine.
    """

    def __init__(self, *, jobs: int, cores: int | None) -> None:
        self._jobs = jobs
        self._threads = cores if cores is not None else max(1, usable_cores() // jobs)
        self._running: dict[str, WorkerProcess] = {}

    def is_free(self) -> bool:
        """Whether another attempt can be started now."""
        return len(self._running) < self._jobs

    def start(self, attempt: Attempt) -> None:
        """Start an attempt."""
        self._running[attempt.task.name] = WorkerProcess(attempt, threads=self._threads, path=search_path())

    def ended(self) -> dict[str, str]:
        """Names of tasks whose attempts ended since the last call, and how if they left nothing; waits a little."""
        found = {}
        for name, process in list(self._running.items()):
            status = process.poll()
            if status is not None:
                del self._running[name]
                found[name] = ending(status)
        if not found:
            time.sleep(POLL_SECONDS)
        return found

    def close(self) -> None:
        """End all attempts now."""
        for process in self._running.values():
            process.end()
        self._running.clear()
