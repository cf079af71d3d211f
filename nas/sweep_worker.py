"""A process that runs one task of a sweep: ``python -m nas.sweep_worker``, with the task on its standard input.

The end of the standard input says that whoever started the process is gone; then it ends too, with all that it started.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Collection
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from nas.sweep_claim import Claims, Owner
from nas.sweep_task import Task, TaskFolder, one_line


class Status(IntEnum):
    """How an attempt ended, as the exit status of its process; that it is done or failed, only the folder proves."""

    DONE = 0
    FAILED = 10
    TAKEN = 113


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt at a task, as it is sent to the process that makes it.

    Parameters:
        task: what to run. folder: of the sweep. stale_seconds: see `Claims`.
        known: token of the failure that is to be tried again, or empty.
        node: the Ray node that it runs on, or empty. dead_nodes: Ray nodes known to be gone.
    """

    task: Task
    folder: str
    stale_seconds: float
    known: str = ""
    node: str = ""
    dead_nodes: Collection[str] = ()

    def to_json(self) -> str:
        """The attempt as one line of JSON."""
        task = {"name": self.task.name, "function": self.task.function, "arguments": dict(self.task.arguments)}
        content = {name: getattr(self, name) for name in ("folder", "stale_seconds", "known", "node")}
        return json.dumps({**content, "task": task, "dead_nodes": list(self.dead_nodes)})

    @classmethod
    def from_json(cls, text: str) -> Attempt:
        """The attempt that `to_json` wrote."""
        content = json.loads(text)
        return cls(**{**content, "task": Task(**content["task"])})

    def run(self) -> Status:
        """Run the task in this process, unless it is done, another process has it, or has failed at it meanwhile."""
        place = TaskFolder(Path(self.folder), self.task)
        place.check()
        claims = Claims(place.path, stale_seconds=self.stale_seconds, dead_nodes=self.dead_nodes)
        with claims.claimed(Owner.this_process(self.node)) as claim:
            if claim is None:
                return Status.TAKEN
            if place.result() is not None:
                claims.clear()
                return Status.DONE
            failure = place.failure()
            if failure is not None and failure.attempt != self.known:
                return Status.FAILED
            try:
                result = self.task.load()(folder=place.path, **self.task.arguments)
                if not claim.holds():
                    return Status.TAKEN
                place.write_result(result)
            except BaseException as error:  # SystemExit too: what a function ends with, it does not end the sweep with
                traceback.print_exc()
                if not claim.holds():
                    return Status.TAKEN
                place.write_failure(one_line(error))
                return Status.FAILED
            claims.clear()
            return Status.DONE


def _end_with_parent(pipe: int) -> None:
    """Wait for the end of a pipe, then kill this process and all of its group."""
    while os.read(pipe, 4096):
        pass
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Make the attempt that the first line of the standard input describes."""
    with open(os.dup(0), encoding="utf-8", closefd=False) as stream:
        text = stream.readline()
        pipe = stream.fileno()
    if not text.endswith("\n"):
        return
    # The function's standard input is empty; the pipe itself stays open for the watcher alone.
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    threading.Thread(target=_end_with_parent, args=(pipe,), daemon=True, name="parent").start()
    status = Attempt.from_json(text).run()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # threads and exit handlers of the function have no say in when its task ends


if __name__ == "__main__":
    main()
