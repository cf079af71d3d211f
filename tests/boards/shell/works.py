"""What the accelerators of the benches do to a frame, and the job that a bench reads."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tests.boards.shell.contract import Contract, Sizes


def same(frame: bytes) -> bytes:
    """What :class:`tests.boards.stand_in.Identity` gives."""
    return frame


def pooled(frame: bytes) -> bytes:
    """Maxima of 2 x 2 pixels of 2 channels in 4 x 4 pixels."""
    return bytes(
        max(frame[2 * (4 * (2 * y + dy) + 2 * x + dx) + channel] for dy in (0, 1) for dx in (0, 1))
        for y in range(2)
        for x in range(2)
        for channel in range(2)
    )


def doubled(frame: bytes) -> bytes:
    """Each of 2 x 3 pixels of 1 channel as 2 x 2 pixels."""
    return bytes(frame[3 * (y // 2) + x // 2] for y in range(4) for x in range(6))


WORKS = {work.__name__: work for work in (same, pooled, doubled)}


def read_job() -> tuple[dict[str, Any], Contract]:
    """What :mod:`tests.boards.shell.run` wrote, and the model of the design that it speaks of."""
    job = json.loads(Path(os.environ["SHELL_BENCH_JOB"]).read_text())
    return job, Contract(Sizes(*job["sizes"]), WORKS[job["work"]])
