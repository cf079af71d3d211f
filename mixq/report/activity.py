"""When each stage works, waits for its input, or is held up by its output: ``report/activity.json``, and as lanes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from mixq.errors import UserError
from mixq.files import read_json
from mixq.report.svg import rect

ACTIVITY_FILE = "activity.json"
KINDS = ("works", "waits", "blocked")

_MAX_BYTES = 64 << 20
_COLUMNS = 400
"""Pieces that a lane is cut into; in each the kinds stand on each other by their shares of its time."""

_LANE_WIDTH, _LANE_HEIGHT = 1000, 20

Interval = tuple[int, int, str]


@dataclass(frozen=True)
class StageActivity:
    """What a stage did. node: the layer's name in the graph, None for a converter or a FIFO.

    intervals: (begin, end, kind) in cycles, sorted, and one behind the other from the start to the end.
    """

    name: str
    node: str | None
    intervals: tuple[Interval, ...]

    @property
    def shares(self) -> dict[str, float]:
        """Share of the time of each kind."""
        whole = self.intervals[-1][1] - self.intervals[0][0]
        return {kind: sum(end - begin for begin, end, own in self.intervals if own == kind) / whole for kind in KINDS}


@dataclass(frozen=True)
class Activity:
    """Stages over the cycles from ``start`` to ``end``, counted from reset."""

    simulator: str
    start: int
    end: int
    stages: tuple[StageActivity, ...]


def read_activity(path: Path) -> Activity | None:
    """What the file holds, None where there is none; UserError where it is not what it must be."""
    if not path.is_file():
        return None
    document = read_json(path, max_bytes=_MAX_BYTES)
    try:
        start, end = _count(document["start"]), _count(document["end"])
        if start >= end:
            raise ValueError(f"end must be after {start}, not {end!r}")
        stages = tuple(_stage(entry, start, end) for entry in document["stages"])
        return Activity(str(document["simulator"]), start, end, stages)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} must hold what every stage did ({error}); remove it and simulate again") from error


def _stage(entry: Mapping[str, Any], start: int, end: int) -> StageActivity:
    name, node = entry["name"], entry["node"]
    if not isinstance(name, str) or not isinstance(node, str | None):
        raise TypeError(f"name and node must be texts, not {name!r} and {node!r}")
    intervals = tuple((_count(begin), _count(stop), kind) for begin, stop, kind in entry["intervals"])
    place = start
    for begin, stop, kind in intervals:
        if begin != place or stop <= begin or kind not in KINDS:
            raise ValueError(f"intervals of {name} must follow each other, not {[begin, stop, kind]!r} at {place}")
        place = stop
    if place != end:
        raise ValueError(f"intervals of {name} must end at {end}, not {place}")
    return StageActivity(name, node, intervals)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TypeError(f"a cycle must be a whole number, not {value!r}")
    return value


def lane_svg(stage: StageActivity, start: int, end: int) -> str:
    """A stage's time from left to right, to be stretched to any size; text stands beside it.

    Where a piece of the time holds several kinds, each is as high as its share of it: works below, then blocked, then
    what it waits.
    """
    pieces = min(_COLUMNS, end - start)
    bounds = [start + (end - start) * piece // pieces for piece in range(pieces + 1)]
    shares = _shares(stage.intervals, bounds)
    parts = []
    first = 0
    for piece in range(1, pieces + 1):
        if piece < pieces and shares[piece] == shares[first]:
            continue
        left = _LANE_WIDTH * (bounds[first] - start) / (end - start)
        right = _LANE_WIDTH * (bounds[piece] - start) / (end - start)
        bottom = float(_LANE_HEIGHT)
        for kind in ("works", "blocked", "waits"):
            height = _LANE_HEIGHT * shares[first][KINDS.index(kind)]
            if height:
                bottom -= height
                parts.append(rect(kind, left, bottom, right - left, height))
        first = piece
    told = ", ".join(f"{kind} {100 * share:.0f} % of the time" for kind, share in stage.shares.items())
    head = f'<svg class="lane" viewBox="0 0 {_LANE_WIDTH} {_LANE_HEIGHT}" preserveAspectRatio="none" role="img">'
    return "\n".join([head, f"<title>{stage.name}: {told}</title>", *parts, "</svg>"])


def _shares(intervals: Sequence[Interval], bounds: Sequence[int]) -> list[tuple[float, ...]]:
    """For each piece between two bounds the share of every kind."""
    found = []
    place = 0
    for begin, end in pairwise(bounds):
        times = dict.fromkeys(KINDS, 0)
        while True:
            left, right, kind = intervals[place]
            times[kind] += max(0, min(right, end) - max(left, begin))
            if right > end or place + 1 == len(intervals):
                break
            place += 1
        found.append(tuple(times[kind] / (end - begin) for kind in KINDS))
    return found
