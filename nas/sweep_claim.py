"""Who runs a task: claims that several machines make in a folder that they share.

The claims of a task are the files ``claim.1``, ``claim.2`` and so on in its folder; the last one holds. A claim is made
by a hard link, which fails where the name is taken, on NFS too, and is never changed or taken away while the task is
not done: who takes a claim over makes the next one. So of two who find the same claim stale only one gets the task.

The file's time is the owner's heartbeat. A claim is stale when it has had none for a while, by the clock of the file
system, or at once when its owner is known to be dead: a process of this very machine that is gone, or one of a Ray
node that is.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import socket
import tempfile
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from mixq.errors import UserError

_CLAIM = re.compile(r"claim\.([1-9][0-9]{0,8})")
_MAX_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class Owner:
    """The process that made a claim.

    Parameters:
        host: name of the machine. boot: the machine's boot and the space of process numbers, empty where unknown.
        pid, started: number of the process, and its start in clock ticks after the boot.
        node: its Ray node, or empty. token: nobody else's.
    """

    host: str
    boot: str
    pid: int
    started: str
    node: str
    token: str

    @classmethod
    def this_process(cls, node: str = "") -> Owner:
        """This process with a new token."""
        pid = os.getpid()
        return cls(
            host=socket.gethostname(),
            boot=_boot(),
            pid=pid,
            started=_started(pid),
            node=node,
            token=secrets.token_hex(8),
        )

    def is_gone(self, dead_nodes: Collection[str] = ()) -> bool:
        """Whether the process is known to have ended; False where this machine cannot tell."""
        if self.node and self.node in dead_nodes:
            return True
        return bool(self.boot) and self.boot == _boot() and self.started != _started(self.pid)

    def __str__(self) -> str:
        return f"process {self.pid} of {self.host}"


class Claims:
    """The claims of one task.

    Parameters:
        folder: of the task. stale_seconds: a claim without a heartbeat for longer than this may be taken over.
        dead_nodes: Ray nodes that are known to be gone.
    """

    def __init__(self, folder: Path, *, stale_seconds: float, dead_nodes: Collection[str] = ()) -> None:
        self._folder = folder
        self._stale_seconds = stale_seconds
        self._dead_nodes = dead_nodes

    def holder(self) -> Owner | None:
        """Who runs the task now, or None: it may be claimed."""
        return self._last()[1]

    @contextmanager
    def claimed(self, owner: Owner) -> Iterator[Claim | None]:
        """Context in which ``owner`` has the task, None where somebody else has it.

        Raises:
            UserError: the folder cannot be written.
        """
        try:
            claim = self._take(owner)
        except OSError as error:
            raise UserError(f"cannot claim {self._folder}: {error.strerror or error}") from None
        if claim is None:
            yield None
            return
        with claim.beating():
            yield claim

    def clear(self) -> None:
        """Remove the claims of a task that is done, and what writers that were killed left behind."""
        for pattern in ("claim.*", ".*.tmp"):
            for path in self._folder.glob(pattern):
                with contextlib.suppress(OSError):
                    path.unlink()

    def last_number(self) -> int:
        """The number of the claim that holds, 0 where there is none."""
        numbers = [int(found[1]) for name in os.listdir(self._folder) if (found := _CLAIM.fullmatch(name))]
        return max(numbers, default=0)

    def _last(self) -> tuple[int, Owner | None]:
        """Number of the last claim, 0 for none, and who holds it, None where nobody does any longer."""
        number = self.last_number()
        if number == 0:
            return 0, None
        try:
            with (self._folder / f"claim.{number}").open("rb") as stream:
                beat = os.fstat(stream.fileno()).st_mtime
                owner = _parsed(stream.read(_MAX_BYTES))
        except FileNotFoundError:
            return self._last()  # removed by its owner, whose task is done
        if owner.is_gone(self._dead_nodes) or self._now() - beat > self._stale_seconds:
            return number, None
        return number, owner

    def _now(self) -> float:
        """The time by the clock that stamps the folder's files, which may be another machine's."""
        with tempfile.TemporaryFile(dir=self._folder) as stream:
            return os.fstat(stream.fileno()).st_mtime

    def _take(self, owner: Owner) -> Claim | None:
        number, holder = self._last()
        if holder is not None:
            return None
        path = self._folder / f"claim.{number + 1}"
        handle, temporary = tempfile.mkstemp(prefix=".claim.", suffix=".tmp", dir=self._folder)
        try:
            with os.fdopen(handle, "w") as stream:
                stream.write(json.dumps(asdict(owner)))
                stream.flush()
                os.fsync(stream.fileno())
            os.link(temporary, path)
        except FileExistsError:
            return None
        finally:
            os.unlink(temporary)
        return Claim(self, path, number + 1, beat_seconds=self._stale_seconds / 40)


class Claim:
    """A claim that this process made.

    Parameters:
        claims: of the task. path, number: of the claim's file. beat_seconds: between two heartbeats.
    """

    def __init__(self, claims: Claims, path: Path, number: int, *, beat_seconds: float) -> None:
        self._claims = claims
        self._number = number
        self._beat_seconds = beat_seconds
        # Heartbeats go to the file itself: the name may be somebody else's one day.
        self._handle = os.open(path, os.O_RDWR)

    def holds(self) -> bool:
        """Whether nobody has taken the task over."""
        try:
            return self._claims.last_number() == self._number
        except OSError:
            return False

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Context with a heartbeat, at the end of which the claim is given up."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(self._beat_seconds):
                with contextlib.suppress(OSError):  # of a file server that is away for a moment
                    os.utime(self._handle)

        thread = threading.Thread(target=beat, daemon=True, name="heartbeat")
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            with contextlib.suppress(OSError):
                os.utime(self._handle, (0, 0))  # stale at once
            os.close(self._handle)


def _parsed(data: bytes) -> Owner:
    """The owner that a claim names; one that nobody knows where the file was tampered with."""
    try:
        content = json.loads(data)
        values = {field.name: content[field.name] for field in fields(Owner)}
    except (ValueError, KeyError, TypeError):
        values = {}
    if all(isinstance(values.get(field.name), int if field.name == "pid" else str) for field in fields(Owner)):
        return Owner(**values)
    return Owner(host="an unknown machine", boot="", pid=0, started="", node="", token="")


def _boot() -> str:
    """What two processes have in common if they may know each other by number; empty where the system does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process started, in clock ticks after the boot; empty for one that has ended."""
    try:
        # The name in parentheses may hold anything, spaces and parentheses too: count from behind it.
        state, *values = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()
    except (OSError, ValueError):
        return ""
    return "" if state in (b"Z", b"X") else values[18].decode()
