"""The drawing of the table of networks: cycles of a frame as bars, three for each network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import ceil, floor, log10

Group = tuple[str, Sequence[int | None]]
"""A network and its cycles, in the order of the bars; None where nothing fits."""

_BARS = (("MixQ", "#2b6cb0"), ("the original's densities", "#b2182b"), ("FINN's lanes", "#8a8a8a"))
_INK, _SOFT, _GRID = "#252525", "#636363", "#dddddd"
_LEFT, _TOP, _WIDTH, _RIGHT, _BOTTOM = 136, 40, 620, 130, 44
_BAR, _GAP = 13, 12


def picture(groups: Sequence[Group]) -> str:
    """Bars on a logarithmic scale, with cycles behind them and how many times the first bar's they are, as SVG."""
    step = len(_BARS) * _BAR + _GAP
    width, height = _LEFT + _WIDTH + _RIGHT, _TOP + len(groups) * step + _BOTTOM
    axis = _Axis([cycles for _, bars in groups for cycles in bars if cycles is not None])
    bottom = height - _BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="11" role="img">',
        "<title>Cycles of a frame, by network</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for index, (name, colour) in enumerate(_BARS):
        x = _LEFT + 170 * index
        parts.append(f'<rect x="{x}" y="10" width="11" height="11" fill="{colour}"/>')
        parts.append(_text(x + 17, 20, name, _INK, "start"))
    for mark in axis.marks:
        where = _LEFT + axis.across(mark)
        parts.append(f'<path d="M{where:.1f} {_TOP - 6}V{bottom}" stroke="{_GRID}"/>')
        parts.append(_text(where, bottom + 16, f"{mark:,}", _SOFT, "middle"))
    caption = "cycles of a frame (logarithmic), fewer is faster"
    parts.append(_text(_LEFT + _WIDTH / 2, bottom + 34, caption, _INK, "middle"))
    for index, group in enumerate(groups):
        parts += _group(group, _TOP + index * step, axis)
    return "\n".join([*parts, "</svg>"]) + "\n"


class _Axis:
    """A logarithmic scale over whole powers of ten that hold all of these numbers."""

    def __init__(self, cycles: Sequence[int]) -> None:
        low, high = floor(log10(min(cycles))), ceil(log10(max(cycles)))
        self._low, self._span = low, max(high - low, 1)
        self.marks = [10**power for power in range(low, low + self._span + 1)]

    def across(self, cycles: int) -> float:
        """How far from the left edge."""
        return (log10(cycles) - self._low) / self._span * _WIDTH


def _group(group: Group, top: int, axis: _Axis) -> list[str]:
    name, bars = group
    parts = [_text(_LEFT - 8, top + len(_BARS) * _BAR / 2 + 4, name, _INK, "end")]
    for index, ((_, colour), cycles) in enumerate(zip(_BARS, bars, strict=True)):
        y = top + index * _BAR
        if cycles is None:
            parts.append(_text(_LEFT + 5, y + 10, "does not fit", _SOFT, "start"))
            continue
        # A bar of no length would be none.
        wide = max(axis.across(cycles), 1)
        parts.append(f'<rect x="{_LEFT}" y="{y}" width="{wide:.1f}" height="{_BAR - 2}" fill="{colour}"/>')
        times = f" ({cycles / bars[0]:.2f}x)" if index and bars[0] is not None else ""
        parts.append(_text(_LEFT + wide + 5, y + 10, f"{cycles:,}{times}", _SOFT, "start"))
    return parts


def _text(x: float, y: float, text: str, colour: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}">{escape(text)}</text>'
