"""The frontier of a network on a board, speed against resources: a JSON file and a picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from math import ceil, floor, log10
from pathlib import Path
from typing import Any

from mixq.board import REPORT_KEYS, Resources
from mixq.files import write_atomic, write_json
from mixq.plan import FrontierPoint
from mixq.report.json_files import REPORT_FOLDER

FRONTIER_FILES = ("frontier.json", "frontier.svg")

_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 44, 56
_WIDTH, _HEIGHT = 620, 300
_COLOURS = {"lut": "#2b6cb0", "ff": "#8a6d1d", "dsp": "#b2182b", "bram36": "#2f7d4f", "uram": "#6b4c9a"}
_INK, _SOFT, _GRID = "#252525", "#636363", "#dddddd"


def frontier_document(points: Sequence[FrontierPoint]) -> list[dict[str, Any]]:
    """A design a line, the fastest first: cycles a frame, frames per second, and the resources as in other reports."""
    return [{"cycles": point.cycles, "fps": point.fps, **point.resources.report()} for point in points]


def write_frontier(build_dir: str | os.PathLike[str], points: Sequence[FrontierPoint], limits: Resources) -> None:
    """Write ``report/frontier.json`` and ``report/frontier.svg``; the folder is made where missing."""
    folder = Path(build_dir) / REPORT_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / FRONTIER_FILES[0], frontier_document(points))
    write_atomic(folder / FRONTIER_FILES[1], frontier_svg(points, limits))


def remove_frontier(build_dir: str | os.PathLike[str]) -> None:
    """Remove the files of an earlier plan, which another board or other limits may have had."""
    for name in FRONTIER_FILES:
        (Path(build_dir) / REPORT_FOLDER / name).unlink(missing_ok=True)


def frontier_svg(points: Sequence[FrontierPoint], limits: Resources) -> str:
    """Frames per second, on a scale of powers of ten, against the share of each limit, as an SVG image.

    Kinds of resources that no design takes, or of which none is allowed, are left out.
    """
    if not points:
        raise ValueError(f"points must not be empty, not {points!r}")
    kinds = [
        name
        for name in REPORT_KEYS
        if getattr(limits, name) and any(getattr(point.resources, name) for point in points)
    ]
    shares = {name: [getattr(p.resources, name) / getattr(limits, name) for p in points] for name in kinds}
    top_share = max((share for values in shares.values() for share in values), default=1.0)
    low, high = floor(log10(min(p.fps for p in points))), ceil(log10(max(p.fps for p in points)))
    decades = range(low, max(high, low + 1) + 1)
    ticks = _ticks(top_share)

    def across(fps: float) -> float:
        return _LEFT + (log10(fps) - decades[0]) / (len(decades) - 1) * _WIDTH

    def down(share: float) -> float:
        return _TOP + (1 - share / ticks[-1]) * _HEIGHT

    parts = []
    for tick in ticks:
        y = down(tick)
        parts.append(f'<path d="M{_LEFT} {y:.1f}h{_WIDTH}" stroke="{_GRID}"/>')
        parts.append(_text(_LEFT - 8, y + 4, f"{100 * tick:.0f} %", _SOFT, "end"))
    for decade in decades:
        x = across(10.0**decade)
        parts.append(f'<path d="M{x:.1f} {_TOP}v{_HEIGHT}" stroke="{_GRID}"/>')
        parts.append(_text(x, _TOP + _HEIGHT + 18, f"{10**decade:,}" if decade >= 0 else f"{10**decade:g}", _SOFT))
    parts.append(_text(_LEFT + _WIDTH / 2, _TOP + _HEIGHT + 42, "frames per second", _INK))
    parts.append(_text(8, 22, "share of the limit", _INK, "start"))
    for number, name in enumerate(kinds):
        colour = _COLOURS[name]
        places = [(across(p.fps), down(share)) for p, share in zip(points, shares[name], strict=True)]
        line = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        parts.append(f'<path d="M{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        left = _LEFT + _WIDTH - 96 * (len(kinds) - number) + 8
        parts.append(f'<path d="M{left} 18h18" stroke="{colour}" stroke-width="2"/>')
        parts.append(_text(left + 24, 22, REPORT_KEYS[name], _INK, "start"))
    width, height = _LEFT + _WIDTH + _RIGHT, _TOP + _HEIGHT + _BOTTOM
    title = "Resources of the smallest design for each frame rate"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12" role="img">'
    )
    paper = f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
    return "\n".join([head, f"<title>{title}</title>", paper, *parts, "</svg>"]) + "\n"


def _ticks(most: float) -> list[float]:
    """From 0 in four or five equal round steps to at least ``most``."""
    step = next(
        base * 10.0**power for power in range(-6, 3) for base in (1, 2, 2.5, 5) if base * 10.0**power * 5 >= most
    )
    return [step * number for number in range(ceil(round(most / step, 9)) + 1)]


def _text(x: float, y: float, text: str, colour: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}">{escape(text)}</text>'
