"""Attempts at tasks on the machines of a Ray cluster.

Each attempt is a Ray task, which starts the same process as on one machine and waits for it. When a machine or a Ray
worker dies, Ray starts the attempt anew elsewhere; it is told which machines are gone, so that it need not wait for
claims of theirs.
"""

from __future__ import annotations

import logging
import socket
import time
from pathlib import Path
from typing import Any

from mixq.errors import UserError
from nas.sweep_local import POLL_SECONDS, WorkerProcess, ending, search_path
from nas.sweep_task import TaskFolder, one_line
from nas.sweep_worker import Attempt

MAX_RETRIES = 3
"""So often Ray starts an attempt anew whose machine or worker died."""

WAIT_SECONDS = 0.2
ANSWER_SECONDS = 10.0


class RayRunner:
    """Makes attempts on a Ray cluster, as many at a time as it has room for.

    Parameters:
        address: "auto" for the cluster of this machine, or the cluster's. cores: that Ray reserves for each attempt.

    Raises:
        UserError: Ray is not installed, or no cluster answers.
    """

    def __init__(self, address: str, *, cores: int) -> None:
        try:
            import ray
        except ModuleNotFoundError:
            raise UserError(
                "sweeps over machines need Ray; install it with: python -m pip install 'mixq[ray]'"
            ) from None
        self._ray = ray
        self._cores = cores
        self._connected_here = not ray.is_initialized()
        if self._connected_here:
            try:
                _check_answers(address)
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            except (OSError, RuntimeError, ValueError) as error:
                raise UserError(
                    f"no Ray cluster at {address} ({one_line(error)}); start one with: ray start --head"
                ) from None
            # Ray prints what it does about a dead machine to the standard output, whatever log_to_driver says. This
            # switch, which its debugger uses, is the only one.
            self._printed = ray._private.worker._worker_logs_enabled
            ray._private.worker._worker_logs_enabled = False
        self._submit = ray.remote(_attempt).options(
            num_cpus=cores, max_retries=MAX_RETRIES, scheduling_strategy="SPREAD"
        )
        self._running: dict[Any, str] = {}

    def is_free(self) -> bool:
        """True: what finds no room at once waits in the cluster."""
        return True

    def start(self, attempt: Attempt) -> None:
        """Hand an attempt to the cluster."""
        self._running[self._submit.remote(attempt.to_json(), self._cores, search_path())] = attempt.task.name

    def ended(self) -> dict[str, str]:
        """Names of tasks whose attempts ended since the last call, and how if they left nothing; waits a little.

        Raises:
            UserError: a machine does not see the sweep's folder.
        """
        if not self._running:
            time.sleep(WAIT_SECONDS)
            return {}
        ready, _ = self._ray.wait(list(self._running), num_returns=1, timeout=WAIT_SECONDS)
        found = {}
        for reference in ready:
            name = self._running.pop(reference)
            try:
                refusal, death = self._ray.get(reference)
            except self._ray.exceptions.RayError as error:
                refusal, death = "", one_line(error)
            if refusal:
                raise UserError(refusal)
            found[name] = death
        return found

    def close(self) -> None:
        """End all attempts now, and the connection if it was made here."""
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        self._running.clear()
        if self._connected_here:
            self._ray.shutdown()
            self._ray._private.worker._worker_logs_enabled = self._printed


def _check_answers(address: str) -> None:
    """OSError where nothing answers at "host:port" at all: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.rpartition("//")[2].strip("[]"), int(port)), timeout=ANSWER_SECONDS).close()


def _attempt(text: str, cores: int, path: list[str]) -> tuple[str, str]:
    """The Ray task: one line where it cannot be made here, and how the attempt ended, see `ending`."""
    import ray

    own = Attempt.from_json(text)
    attempt = Attempt(
        task=own.task,
        folder=own.folder,
        stale_seconds=own.stale_seconds,
        known=own.known,
        node=ray.get_runtime_context().get_node_id(),
        dead_nodes=[node["NodeID"] for node in ray.nodes() if not node["Alive"]],
    )
    try:
        TaskFolder(Path(attempt.folder), attempt.task).check()
        process = WorkerProcess(attempt, threads=cores, path=search_path(path))
    except UserError as error:
        return f"{socket.gethostname()} does not see the sweep's folder ({error}); use one on a shared file system", ""
    try:
        while (status := process.poll()) is None:
            time.sleep(POLL_SECONDS)
    finally:
        process.end()
    return "", ending(status)
