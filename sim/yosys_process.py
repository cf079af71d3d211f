"""Yosys processes side by side, each with a script of its own."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mixq.errors import CheckFailed
from sim.tools import Yosys

_SECONDS_TO_STOP = 5.0


def relative(path: Path, folder: Path) -> str:
    """``path`` as Yosys finds it from ``folder``, its working folder."""
    return Path(os.path.relpath(path, folder)).as_posix()


def share_out(sizes: Mapping[str, int], workers: int) -> list[list[str]]:
    """Names in as many lists, the largest first, each to the list that has the least."""
    shares: list[list[str]] = [[] for _ in range(workers)]
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        min(shares, key=lambda share: sum(sizes[other] for other in share)).append(name)
    return [share for share in shares if share]


def run_script(yosys: Yosys, folder: Path, script: str) -> None:
    """Run a script, a file in ``folder``, there, with a log beside it. Raises CheckFailed where Yosys fails."""
    run = subprocess.run(
        [*yosys.command, "-q", "-l", f"{Path(script).stem}.log", "-s", script],
        cwd=folder,
        env=dict(yosys.environment),
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        raise CheckFailed(f"Yosys ended with {(run.stderr.strip().splitlines() or [str(run.returncode)])[-1]}")


class YosysProcess:
    """One Yosys process with its script and its log, which are files ``<stem>.ys`` and ``<stem>.log``."""

    def __init__(self, yosys: Yosys, folder: Path, stem: Path, script: str) -> None:
        self.log = stem.with_suffix(".log")
        self._errors = stem.with_suffix(".err")
        path = stem.with_suffix(".ys")
        path.write_text(script)
        # Standard output ends with the first technology mapping; the log goes on.
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [*yosys.command, "-q", "-l", relative(self.log, folder), "-s", relative(path, folder)],
                cwd=folder,
                env=dict(yosys.environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )

    def poll(self) -> bool:
        """Whether it has ended well; CheckFailed with the first error where it has ended otherwise."""
        status = self._process.poll()
        if status:
            lines: list[str] = []
            for path in (self.log, self._errors):
                if path.is_file():
                    lines += [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
            errors = [line for line in lines if "ERROR:" in line]
            raise CheckFailed(f"Yosys ended with {(errors or lines[-1:] or [f'exit status {status}'])[0].strip()}")
        return status == 0

    def stop(self) -> None:
        """End it if it still runs."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_SECONDS_TO_STOP)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def wait(
    processes: Sequence[YosysProcess],
    results: Sequence[Path],
    *,
    arrived: Callable[[int], None],
    progress: Callable[[int, int], None] | None,
) -> None:
    """Wait until all processes have ended; CheckFailed as soon as one has ended otherwise than well.

    ``arrived`` is called with the index of each result, once, when its file is there; ``progress`` with how many have
    arrived, and of how many.
    """
    missing = list(range(len(results)))
    if progress is not None:
        progress(0, len(results))
    while missing:
        ended = _have_ended(processes)
        for index in [index for index in missing if ended or results[index].is_file()]:
            arrived(index)
            missing.remove(index)
            if progress is not None:
                progress(len(results) - len(missing), len(results))
        if missing:
            time.sleep(0.1)
    while not _have_ended(processes):
        time.sleep(0.1)


def _have_ended(processes: Sequence[YosysProcess]) -> bool:
    """Whether all have; each of them is asked, so that none fails unseen."""
    ended = [process.poll() for process in processes]
    return all(ended)
