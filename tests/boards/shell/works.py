"""What the accelerators of the benches do to a frame, and the job that a bench reads."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from mixq.containers import from_bytes, to_bytes
from mixq.execute import run
from mixq.graph import Graph
from mixq.plan.layer_shape import LayerShape
from tests.boards.shell.contract import Contract, Sizes
from tests.rtl_gen.convolution_cases import CASES, graph_of

#: A convolution of which a part has a clock of twice the frequency; its frames are small.
PUMPED = replace(CASES["pumped_generic"], shape=LayerShape(4, 2, 2, 2, 3, 1, 1))


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


@cache
def _graph() -> Graph:
    return graph_of(PUMPED)


def convolved(frame: bytes) -> bytes:
    """What the interpreter gives for :data:`PUMPED`, of the lower bits of each byte: a code has no more."""
    graph = _graph()
    given, taken = graph.tensor(graph.input), graph.tensor(graph.output)
    codes = from_bytes(bytes(byte & given.format.high for byte in frame), given.format, given.shape)
    return to_bytes(run(graph, codes), taken.format)


WORKS = {work.__name__: work for work in (same, pooled, doubled, convolved)}


def read_job() -> tuple[dict[str, Any], Contract]:
    """What :mod:`tests.boards.shell.run` wrote, and the model of the design that it speaks of."""
    job = json.loads(Path(os.environ["SHELL_BENCH_JOB"]).read_text())
    return job, Contract(Sizes(*job["sizes"]), WORKS[job["work"]])
