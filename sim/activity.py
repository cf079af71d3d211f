"""When each part of a simulated accelerator works, waits for its input, or is held up by whoever takes its output.

Read from the handshakes of its streams alone, cycle by cycle:

- "blocked": it offers a beat that is not taken, on any of its outputs;
- else "works": it takes or gives a beat, or takes none of those that it is offered, or is offered all that it reads;
- else "waits": it neither takes nor gives, and would take a beat on an input where none is offered.

So a stage that computes on what it stored while its input stands open waits: it could take more than it is given.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from mixq.graph import Graph
from sim.deadlock import Streams
from sim.parts import Part, parts
from sim.verilated import Window

KINDS = WORKS, WAITS, BLOCKED = ("works", "waits", "blocked")
#: Bytes that the document, on one line, stays below.
MOST_BYTES = 200_000

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Lane:
    """A part, and the number of its kind (of :data:`KINDS`) in each cycle."""

    part: Part
    kinds: IntArray


def activity(window: Window, streams: Streams, graph: Graph, *, most_bytes: int = MOST_BYTES) -> dict[str, Any]:
    """What ``report/activity.json`` holds of the frame in ``window``: intervals of every stage, converter and FIFO.

    Where the document would take ``most_bytes`` or more, pieces of ``resolution`` cycles stand as what most of each
    is. Raises ValueError for Verilog that does not name what its streams carry.
    """
    if not streams.payloads:
        raise ValueError("streams must name their payloads")
    count = len(streams.labels)
    bits = np.unpackbits(window.rows, axis=2, count=count, bitorder="little").astype(bool)
    valid, ready = bits[:, 0], bits[:, 1]
    found = parts(streams.labels, [payload.tensor for payload in streams.payloads], graph)
    lanes = [_Lane(part, kinds(valid, ready, part)) for part in found if part.kind != "bus"]
    resolution = 1
    while True:
        document = _document(window, lanes, resolution)
        if resolution >= window.end - window.start or len(json.dumps(document)) < most_bytes:
            return document
        resolution *= 2


def kinds(valid: npt.NDArray[np.bool_], ready: npt.NDArray[np.bool_], part: Part) -> IntArray:
    """What a part does in each cycle, as places in :data:`KINDS`; ``valid`` and ``ready`` (cycles, streams)."""
    inputs, outputs = list(part.inputs), list(part.outputs)
    blocked = (valid[:, outputs] & ~ready[:, outputs]).any(axis=1)
    moves = (valid[:, inputs + outputs] & ready[:, inputs + outputs]).any(axis=1)
    starved = (ready[:, inputs] & ~valid[:, inputs]).any(axis=1)
    if len(inputs) > 1:  # a join takes nothing before all of its inputs are there
        starved = ~valid[:, inputs].all(axis=1)
    return np.where(blocked, 2, np.where(moves | ~starved, 0, 1))


def _document(window: Window, lanes: Sequence[_Lane], resolution: int) -> dict[str, Any]:
    return {
        "simulator": "verilator",
        "frames": 1,
        "start": window.start,
        "end": window.end,
        "resolution": resolution,
        "stages": [
            {
                "name": lane.part.name,
                "node": lane.part.node,
                "intervals": _intervals(lane.kinds, window.start, resolution),
            }
            for lane in lanes
        ],
    }


def _intervals(kinds: IntArray, start: int, resolution: int) -> list[list[Any]]:
    """[begin, end, kind] of each run of one kind, in pieces of ``resolution`` cycles.

    >>> _intervals(np.array([0, 0, 2, 1, 1, 1]), 7, 1)
    [[7, 9, 'works'], [9, 10, 'blocked'], [10, 13, 'waits']]
    >>> _intervals(np.array([0, 0, 2, 1, 1, 1, 0]), 7, 4)
    [[7, 11, 'works'], [11, 14, 'waits']]
    """
    cells = np.array([np.bincount(kinds[at : at + resolution]).argmax() for at in range(0, len(kinds), resolution)])
    edges = [0, *(np.flatnonzero(np.diff(cells)) + 1).tolist(), len(cells)]
    return [
        [start + first * resolution, min(start + last * resolution, start + len(kinds)), KINDS[cells[first]]]
        for first, last in pairwise(edges)
    ]
