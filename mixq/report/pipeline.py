"""The pipeline as a picture: a box for each stage, a line for each stream, from top to bottom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mixq.plan import Plan
from mixq.plan.units import INPUT
from mixq.plan.values import SHELL
from mixq.report.edges import Edge
from mixq.report.pictures import tensor_words
from mixq.report.pipeline_layout import Layout, lay_out
from mixq.report.rows import LayerRow
from mixq.report.svg import cut, path, rect, room_for, svg, text, wrapped
from mixq.report.words import TIMES

#: One column of stages is as wide as a telephone shows without scrolling, and so are two narrow ones.
_WIDE, _NARROW, _LINES_ALONE = 260, 172, 92
_MARGIN, _BETWEEN = 4, 12
_PAD, _LINE, _NAME_SIZE, _SIZE = 10, 15, 13, 11
_LABEL, _LANE, _ARROW = 15, 10, 16
_PORT = 14


@dataclass(frozen=True)
class _Box:
    """What stands in a box. load: share of a frame's time that the stage works; None without a plan."""

    name: str
    lines: tuple[str, ...]
    slow: bool
    load: float | None

    @property
    def height(self) -> int:
        """With the name, a line for the bottleneck, and the load's own."""
        return 26 + _LINE * (len(self.lines) + self.slow) + (14 if self.load is not None else 4)


def pipeline_svg(rows: Sequence[LayerRow], edges: Sequence[Edge], plan: Plan | None = None) -> str:
    """The stages from top to bottom, with the tensors, FIFOs and converters between them.

    A line at a stage's foot is as long as the share of a frame's time that the stage works.
    """
    if not rows:
        raise ValueError(f"rows must not be empty, not {rows!r}")
    return _Picture(rows, edges, plan).draw()


class _Picture:
    """Sizes and places, worked out once."""

    def __init__(self, rows: Sequence[LayerRow], edges: Sequence[Edge], plan: Plan | None) -> None:
        self._rows, self._edges, self._plan = rows, edges, plan
        self._layout: Layout = lay_out(edges, len(rows))
        boxed = self._layout.boxed
        self._width = _WIDE if sum(boxed) == 1 else _NARROW
        self._boxes = self._all_boxes()
        self._lefts: list[int] = []
        left = _MARGIN
        for has_box in boxed:
            self._lefts.append(left)
            left += (self._width if has_box else _LINES_ALONE) + _BETWEEN
        self.width = left - _BETWEEN + _MARGIN
        self._tops: dict[int, int] = {}
        self._fork_lanes: dict[int, int] = {}
        self._join_lanes: dict[int, int] = {}
        self.height = self._place_lines()

    def draw(self) -> str:
        """The image."""
        parts: list[str] = []
        ports = self._ports()
        for number, edge in enumerate(self._edges):
            parts += self._edge(number, edge, ports[number])
        for place in self._boxes:
            parts += self._tensor_label(place)
            parts += self._box(place)
        names = ", ".join(row.name for row in self._rows)
        return svg(
            self.width,
            self.height,
            "The network as a pipeline",
            f"Stages from top to bottom: {names}",
            parts,
            "pipeline",
        )

    # -- places ----------------------------------------------------------------------------------------

    def _all_boxes(self) -> dict[int, _Box]:
        room = room_for(self._width - 2 * _PAD, _SIZE)
        shell = self._plan is not None and self._plan.bottleneck == SHELL
        source = () if not shell else tuple(wrapped("the AXI4-Streams are slowest", room))
        boxes = {INPUT: _Box("input", source, shell, None)}
        for place, row in enumerate(self._rows):
            boxes[place] = _stage_box(row, self._plan, room)
        boxes[len(self._rows)] = _Box("output", (), False, None)
        return boxes

    def _place_lines(self) -> int:
        """Top of every line of boxes, lanes of forks and joins between them; returns the height of all."""
        top = _MARGIN
        for rank in range(max(self._layout.ranks.values()) + 1):
            here = [place for place in self._boxes if self._layout.ranks[place] == rank]
            joins = [place for place in here if len(self._into(place)) > 1]
            labels = max((self._labels(number) for place in here for number in self._into(place)), default=0)
            top += _LABEL * labels
            for place in joins:
                self._join_lanes[place] = top
                top += _LANE
            top += _ARROW if rank else 0
            for place in here:
                self._tops[place] = top
            top += max(self._boxes[place].height for place in here)
            top += _LABEL + 6 if any(self._out_of(place) for place in here) else 0
            for place in here:
                if len(self._out_of(place)) > 1:
                    self._fork_lanes[place] = top
                    top += _LANE
        return top + _MARGIN

    def _into(self, place: int) -> list[int]:
        return [number for number, edge in enumerate(self._edges) if edge.target == place]

    def _out_of(self, place: int) -> list[int]:
        return [number for number, edge in enumerate(self._edges) if edge.source == place]

    def _labels(self, number: int) -> int:
        """Lines of text that an edge has in front of its target."""
        edge = self._edges[number]
        return bool(edge.fifo) + bool(edge.converters)

    def _line_at(self, track: int) -> int:
        """Where lines go down on a track: in the middle of the boxes, or at its left where there are none."""
        has_box = self._layout.boxed[track]
        return self._lefts[track] + (self._width // 2 if has_box else 10)

    def _ports(self) -> list[int]:
        """Where each edge ends in its target: the one of the same track in the middle, the others beside it."""
        found = [0] * len(self._edges)
        for place in self._boxes:
            middle = self._line_at(self._layout.tracks[place])
            into = sorted(self._into(place), key=lambda number: self._layout.edge_tracks[number])
            step = min(_PORT, (self._width // 2 - _PAD) // max(1, len(into) - 1))
            for position, number in enumerate(into):
                found[number] = middle + position * step
        return found

    # -- drawing ---------------------------------------------------------------------------------------

    def _edge(self, number: int, edge: Edge, end: int) -> list[str]:
        layout, boxes = self._layout, self._boxes
        start = self._line_at(layout.tracks[edge.source])
        own = self._line_at(layout.edge_tracks[number])
        top = self._tops[edge.target]
        points = f"M{start} {self._tops[edge.source] + boxes[edge.source].height}"
        parts = []
        if own != start:
            lane = self._fork_lanes[edge.source]
            points += f"V{lane}H{own}"
            parts.append(f'<circle class="head" cx="{start}" cy="{lane}" r="3"/>')
        if own != end:
            points += f"V{self._join_lanes[edge.target]}H{end}"
        parts.append(path("arrow", f"{points}V{top - 3}"))
        parts.append(path("head", f"M{end} {top - 1}l-4 -7h8z"))
        lines = [f"FIFO {edge.fifo:,}"] if edge.fifo else []
        if edge.converters:
            lines.append("1 converter" if edge.converters == 1 else f"{edge.converters} converters")
        # Just above where the line turns to its target, or its arrow.
        bottom = self._join_lanes.get(edge.target, top - _ARROW) - 4
        for position, line in enumerate(reversed(lines)):
            parts.append(
                self._beside(layout.edge_tracks[number], own, bottom - _LABEL * position, line, "tiny between")
            )
        return parts

    def _tensor_label(self, place: int) -> list[str]:
        """What a stage gives out, beside the line below it."""
        out = self._out_of(place)
        if not out:
            return []
        shape, width = tensor_words(self._edges[out[0]].tensor)
        track = self._layout.tracks[place]
        bottom = self._tops[place] + self._boxes[place].height
        return [self._beside(track, self._line_at(track), bottom + _LABEL, f"{shape}, {width}", "tiny")]

    def _beside(self, track: int, x: int, y: int, line: str, kind: str) -> str:
        """A label at the right of a line; at its left where boxes stand on a track that is not the first."""
        if track and self._layout.boxed[track]:
            return text(kind, x - 7, y, line, "end")
        return text(kind, x + 7, y, line)

    def _box(self, place: int) -> list[str]:
        box, left, top = self._boxes[place], self._lefts[self._layout.tracks[place]], self._tops[place]
        inner = self._width - 2 * _PAD
        parts = [
            rect("stage slow" if box.slow else "stage", left, top, self._width, box.height, 6),
            text("name", left + _PAD, top + 19, cut(box.name, room_for(inner, _NAME_SIZE))),
        ]
        y = top + 21
        if box.slow:
            y += _LINE
            parts.append(text("small slow", left + _PAD, y, "bottleneck"))
        for line in box.lines:
            y += _LINE
            parts.append(text("small", left + _PAD, y, line))
        if box.load is not None:
            foot = top + box.height - 10
            fill = "bar slow" if box.slow else "bar"
            parts.append(rect("track", left + _PAD, foot, inner, 4, 2))
            parts.append(rect(fill, left + _PAD, foot, max(1.0, inner * box.load), 4, 2))
        return parts


def _stage_box(row: LayerRow, plan: Plan | None, room: int) -> _Box:
    words = [row.kind + (" + requantise" if row.fused else "")]
    if row.weight_bits is not None:
        words.append(f"weights {row.weight_bits} bit, input {row.act_bits} bit")
    else:
        words.append(f"{row.act_bits} → {row.target.format.width} bit")
    if row.packing is not None:
        words.append(row.packing_name.partition(": ")[2] + (", double-pumped" if row.pumped else ""))
        dsps = row.layer.folding.dsps if row.layer is not None and row.layer.folding is not None else 0
        counted = f", {dsps:,} DSP{'s' if dsps > 1 else ''}" if dsps else ""
        words.append(f"PE {TIMES} SIMD {TIMES} px {row.folding_name}{counted}")
    if row.cycles is not None:
        words.append(f"{row.cycles:,} cycles")
    lines = tuple(line for one in words for line in wrapped(one, room))
    load = None if plan is None or row.cycles is None else row.cycles / plan.cycles
    return _Box(row.name, lines, row.bottleneck, load)
