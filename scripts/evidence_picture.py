"""The picture of the comparison: test accuracy against cycles of a frame."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import ceil, floor, log10

from scripts.evidence_page import Trained

_LEFT, _TOP, _WIDTH, _HEIGHT, _GAP, _BOTTOM = 56, 48, 380, 300, 56, 56
_COLOURS = {"EdMIPS": "#b2182b", "MixQ": "#2b6cb0", "uniform": "#8a8a8a"}
_INK, _SOFT, _GRID = "#252525", "#636363", "#dddddd"


def picture(trained: Sequence[Trained]) -> str:
    """A plot for each quantiser on the same scales, as SVG: MixQ and EdMIPS as dots, uniform widths joined in order."""
    kinds = list(dict.fromkeys(network.quantizer for network in trained)) or ["nothing was run yet"]
    width = _LEFT + len(kinds) * (_WIDTH + _GAP)
    height = _TOP + _HEIGHT + _BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12" role="img">',
        "<title>Test accuracy against cycles of a frame</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for index, (arm, colour) in enumerate(_COLOURS.items()):
        x = _LEFT + 90 * index
        parts.append(f'<circle cx="{x + 5}" cy="14" r="4" fill="{colour}"/>')
        parts.append(_text(x + 14, 18, arm, _INK, "start"))
    axes = _Axes(trained)
    for index, kind in enumerate(kinds):
        own = [network for network in trained if network.quantizer == kind]
        parts += _plot(_LEFT + index * (_WIDTH + _GAP), kind, own, axes)
    return "\n".join([*parts, "</svg>"]) + "\n"


class _Axes:
    """Cycles on a logarithmic scale, accuracy on a linear one, of all networks."""

    def __init__(self, trained: Sequence[Trained]) -> None:
        cycles = [network.cycles for network in trained] or [1000, 10000]
        points = [100 * network.top1 for network in trained] or [0.0, 100.0]
        self._low, self._high = log10(min(cycles)) - 0.05, log10(max(cycles)) + 0.05
        step = next(size for size in (1, 2, 5, 10, 20) if (max(points) - min(points)) / size <= 8)
        first = floor(min(points) / step)
        self.ticks = [step * number for number in range(first, max(ceil(max(points) / step), first + 1) + 1)]
        decades = range(floor(self._low), ceil(self._high) + 1)
        bases = (1, 2, 5) if self._high - self._low > 1 else range(1, 10)
        marks = [base * 10**power for power in decades if power >= 0 for base in bases]
        self.cycles = [mark for mark in marks if self._low <= log10(mark) <= self._high]

    def across(self, cycles: float) -> float:
        return (log10(cycles) - self._low) / (self._high - self._low) * _WIDTH

    def down(self, points: float) -> float:
        return _TOP + (self.ticks[-1] - points) / (self.ticks[-1] - self.ticks[0]) * _HEIGHT


def _plot(left: int, kind: str, own: Sequence[Trained], axes: _Axes) -> list[str]:
    parts = [_text(left + _WIDTH / 2, _TOP - 10, kind, _INK)]
    for tick in axes.ticks:
        y = axes.down(tick)
        parts.append(f'<path d="M{left} {y:.1f}h{_WIDTH}" stroke="{_GRID}"/>')
        parts.append(_text(left - 6, y + 4, f"{tick} %", _SOFT, "end"))
    for mark in axes.cycles:
        x = left + axes.across(mark)
        parts.append(f'<path d="M{x:.1f} {_TOP}v{_HEIGHT}" stroke="{_GRID}"/>')
        parts.append(_text(x, _TOP + _HEIGHT + 18, f"{mark:,}", _SOFT))
    parts.append(_text(left + _WIDTH / 2, _TOP + _HEIGHT + 42, "cycles of a frame", _INK))
    places = {
        arm: [
            (left + axes.across(network.cycles), axes.down(100 * network.top1)) for network in own if network.arm == arm
        ]
        for arm in _COLOURS
    }
    if places["uniform"]:
        line = "L".join(f"{x:.1f} {y:.1f}" for x, y in places["uniform"])
        parts.append(f'<path d="M{line}" fill="none" stroke="{_COLOURS["uniform"]}" stroke-width="1.5"/>')
    for arm in ("uniform", "EdMIPS", "MixQ"):
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{_COLOURS[arm]}" fill-opacity="0.8"/>'
            for x, y in places[arm]
        ]
    return parts


def _text(x: float, y: float, text: str, colour: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}">{escape(text)}</text>'
