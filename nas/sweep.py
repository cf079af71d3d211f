"""Sweeps: a grid of independent runs, which may be interrupted, gone on with, and shared among machines.

Every task has a folder of its own, and all that is known of it stands there (`nas.sweep_task`): results are merged from
the folders, whoever wrote them. A task runs in a process of its own (`nas.sweep_worker`), on this machine
(`nas.sweep_local`) or where Ray puts it (`nas.sweep_ray`). Whoever runs a task claims it first (`nas.sweep_claim`), so
that several sweeps in one folder, on one machine or on several, divide the tasks among themselves.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from mixq.errors import CheckFailed, UserError
from nas.sweep_claim import Claims
from nas.sweep_local import LocalRunner
from nas.sweep_ray import RayRunner
from nas.sweep_task import Task, TaskFolder
from nas.sweep_worker import Attempt

__all__ = ["Task", "sweep"]

ATTEMPTS = 2
"""So often may a task's process die, of a signal or without a word, until the task counts as failed."""

LOOK_SECONDS = (0.5, 10.0)
"""How long to wait at first, and at most, before looking again at a task that somebody else runs."""

NAMED = 20
"""So many failed tasks are named."""


class Runner(Protocol):
    """Something that makes attempts at tasks."""

    def is_free(self) -> bool:
        """Whether another attempt can be started now."""

    def start(self, attempt: Attempt) -> None:
        """Start an attempt."""

    def ended(self) -> dict[str, str]:
        """Names of tasks whose attempts ended, and how if they left no result or failure; waits a little.

        "" where somebody else has the task.
        """

    def close(self) -> None:
        """End all attempts now."""


def sweep(
    tasks: Iterable[Task],
    *,
    folder: str | os.PathLike[str],
    jobs: int = 1,
    cores: int | None = None,
    ray: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    fresh: bool = False,
    stale_seconds: float = 600.0,
) -> dict[str, dict[str, Any]]:
    """Run the tasks that are not done, and return the results of all by name, in the order of ``tasks``.

    A task that has a result is not run again. One that fails, or whose process dies twice, leaves the others running;
    the next sweep tries it again. Ctrl-C ends all processes; what was running then runs anew in the next sweep, in the
    same folder, where its function may go on from what it has written. What another sweep in the same folder runs is
    waited for.

    Parameters:
        tasks: with different names. folder: of the sweep, made where it is missing; each task has a folder in it.
        jobs: processes at a time on this machine; without meaning under Ray.
        cores: that each task counts on: threads of PyTorch and NumPy, and what Ray reserves. None for this machine's
            divided by ``jobs``, and for 1 under Ray.
        ray: run the tasks on a Ray cluster, "auto" for the one that runs on this machine, or its address. All its
            machines need this folder under the same path, on a shared file system, and the same Python packages.
        progress: called with the tasks that have ended and all, at the start and whenever one ends.
        fresh: remove the folders of these tasks first.
        stale_seconds: a claim of another machine without a heartbeat for so long may be taken over.

    Raises:
        TypeError, ValueError: a parameter of the wrong type or value.
        UserError: the folder holds a task of this name with another function or other arguments, or cannot be written;
            no Ray cluster answers; ``fresh``, and another sweep is running a task.
        CheckFailed: tasks failed, after all others have ended; names them.
    """
    tasks = _checked(tasks, jobs=jobs, cores=cores, ray=ray, stale_seconds=stale_seconds)
    path = Path(os.path.abspath(folder))
    places = {task.name: TaskFolder(path, task) for task in tasks}
    if fresh:
        for place in places.values():
            _check_idle(place, stale_seconds)
        for place in places.values():
            place.remove()
    for place in places.values():
        place.prepare()
        place.result()
    state = _Sweep(path, places, stale_seconds=stale_seconds, progress=progress)
    if state.open:
        state.run(lambda: LocalRunner(jobs=jobs, cores=cores) if ray is None else RayRunner(ray, cores=cores or 1))
    if state.failed:
        raise CheckFailed(_failure_line(state.failed, len(places), path))
    return state.results


class _Sweep:
    """What one call of `sweep` knows: results, failures, and the tasks that are open."""

    def __init__(
        self,
        folder: Path,
        places: dict[str, TaskFolder],
        *,
        stale_seconds: float,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._folder = folder
        self._places = places
        self._stale_seconds = stale_seconds
        self._progress = progress
        self._found: dict[str, dict[str, Any]] = {}
        self.failed: dict[str, str] = {}
        # Failures of earlier sweeps are tried again, those that come up from now on are not.
        failures = {name: place.failure() for name, place in places.items()}
        self._known = {name: failure.attempt for name, failure in failures.items() if failure is not None}
        self._deaths = dict.fromkeys(places, 0)
        self._wait = dict.fromkeys(places, LOOK_SECONDS[0])
        self._look_at = dict.fromkeys(places, 0.0)
        self.open: set[str] = set(places)
        for name in places:
            self._settle(name)
        self._tell()

    @property
    def results(self) -> dict[str, dict[str, Any]]:
        """The results in the order of the tasks."""
        return {name: self._found[name] for name in self._places if name in self._found}

    def run(self, make_runner: Callable[[], Runner]) -> None:
        """Attempt all open tasks until there are none."""
        runner = make_runner()
        running: set[str] = set()
        try:
            while self.open:
                for name in self._places:
                    if not runner.is_free():
                        break
                    if name in self.open and name not in running and self._may_start(name):
                        runner.start(self._attempt(name))
                        running.add(name)
                for name, death in runner.ended().items():
                    running.discard(name)
                    self._after(name, death)
        finally:
            runner.close()

    def _attempt(self, name: str) -> Attempt:
        return Attempt(
            task=self._places[name].task,
            folder=str(self._folder),
            stale_seconds=self._stale_seconds,
            known=self._known.get(name, ""),
        )

    def _may_start(self, name: str) -> bool:
        """Whether an open task is free; looks into its folder only every so often while somebody else has it."""
        if time.monotonic() < self._look_at[name] or self._settle(name, tell=True):
            return False
        if Claims(self._places[name].path, stale_seconds=self._stale_seconds).holder() is None:
            return True
        self._look_later(name)
        return False

    def _look_later(self, name: str) -> None:
        self._look_at[name] = time.monotonic() + self._wait[name]
        self._wait[name] = min(2 * self._wait[name], LOOK_SECONDS[1])

    def _after(self, name: str, death: str) -> None:
        """An attempt ended: the task's folder says with what."""
        if self._settle(name, tell=True):
            return
        if not death:
            self._look_later(name)  # somebody else has it
            return
        self._deaths[name] += 1
        if self._deaths[name] == ATTEMPTS:
            self._places[name].write_failure(f"{death}, {ATTEMPTS} times")
            self._settle(name, tell=True)

    def _settle(self, name: str, *, tell: bool = False) -> bool:
        """Take a task off the open ones if it has a result or a new failure."""
        place = self._places[name]
        result = place.result()
        failure = place.failure() if result is None else None
        if result is not None:
            self._found[name] = result
        elif failure is not None and failure.attempt != self._known.get(name):
            self.failed[name] = failure.error
        else:
            return False
        self.open.discard(name)
        if tell:
            self._tell()
        return True

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(len(self._places) - len(self.open), len(self._places))


def _checked(
    tasks: Iterable[Task], *, jobs: int, cores: int | None, ray: str | None, stale_seconds: float
) -> Sequence[Task]:
    """The tasks, once they and the other parameters are as they must be."""
    found = list(tasks)
    names: set[str] = set()
    for task in found:
        if not isinstance(task, Task):
            raise TypeError(f"tasks must hold Task, not {task!r}")
        # There are file systems that take upper and lower case for the same.
        if task.name.lower() in names:
            raise ValueError(f"tasks must have names that differ in more than case, not {task.name!r} twice")
        names.add(task.name.lower())
    for name, value in (("jobs", jobs), ("cores", 1 if cores is None else cores)):
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{name} must be an integer, not {value!r}")
        if value < 1:
            raise ValueError(f"{name} must be positive, not {value!r}")
    if ray is not None and not isinstance(ray, str):
        raise TypeError(f"ray must be text or None, not {ray!r}")
    if ray == "":
        raise ValueError(f"ray must be 'auto' or an address, not {ray!r}")
    if not isinstance(stale_seconds, int | float) or isinstance(stale_seconds, bool):
        raise TypeError(f"stale_seconds must be a number, not {stale_seconds!r}")
    if not (stale_seconds > 0 and math.isfinite(stale_seconds)):
        raise ValueError(f"stale_seconds must be positive and finite, not {stale_seconds!r}")
    return found


def _check_idle(place: TaskFolder, stale_seconds: float) -> None:
    """UserError where somebody runs the task."""
    if place.path.is_dir():
        holder = Claims(place.path, stale_seconds=stale_seconds).holder()
        if holder is not None:
            raise UserError(f"{place.path} is in use by {holder}; wait for it or give another folder")


def _failure_line(failed: dict[str, str], total: int, folder: Path) -> str:
    """All failed tasks in one line, with what the first one failed of."""
    names = list(failed)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    named = ", ".join(names[:NAMED])
    first = names[0]
    return (
        f"{len(names)} of {total} tasks failed: {named}{more}; {first}: {failed[first]}; "
        f"see {folder / first / 'log.txt'}, then run the sweep again"
    )
