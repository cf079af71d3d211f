"""Charts of the page: lines and points over two axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from mixq.report.svg import path, rect, svg, text

_WIDTH, _HEIGHT = 360, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 12, 34, 40


@dataclass(frozen=True)
class Series:
    """Points (x, y) that are joined by a line, in their order. A line of the page's first colours by its place."""

    name: str
    points: tuple[tuple[float, float], ...]


def chart_svg(
    series: Sequence[Series], *, title: str, across: str, up: str, decades: bool = False, percent: bool = False
) -> str:
    """Lines with their points marked. across, up: what the axes count, under the chart and over it.

    decades: a scale of powers of ten from left to right, for positive values. percent: heights are shares.

    Raises ValueError without a point.
    """
    points = [point for one in series for point in one.points]
    if not points:
        raise ValueError(f"series must have points, not {list(series)!r}")
    if decades:
        left, right = float(floor(log10(min(x for x, _ in points)))), float(ceil(log10(max(x for x, _ in points))))
    else:
        left, right = min(x for x, _ in points), max(x for x, _ in points)
    if left == right:
        left, right = left - 1, right + 1
    ticks = _ticks(min(y for _, y in points), max(y for _, y in points))
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def place_x(x: float) -> float:
        return _LEFT + ((log10(x) if decades else x) - left) / (right - left) * width

    def place_y(y: float) -> float:
        return _TOP + (ticks[-1] - y) / (ticks[-1] - ticks[0]) * height

    parts = [text("tiny", 4, 14, up)]
    for tick in ticks:
        y = place_y(tick)
        parts.append(path("grid", f"M{_LEFT} {y:.1f}h{width}"))
        parts.append(
            text("tiny", _LEFT - 6, round(y, 1) + 4, _number(100 * tick) + " %" if percent else _number(tick), "end")
        )
    marks = range(int(left), int(right) + 1) if decades else _whole_ticks(left, right)
    for mark in marks:
        value = 10.0**mark if decades else float(mark)
        if decades or left <= value <= right:
            parts.append(text("tiny", round(place_x(value), 1), _TOP + height + 16, _number(value), "middle"))
            parts.append(path("grid", f"M{place_x(value):.1f} {_TOP}v{height}"))
    parts.append(text("tiny", _LEFT + width // 2, _HEIGHT - 6, across, "middle"))
    for number, one in enumerate(series):
        colour = f"series{number % 4}"
        line = "L".join(f"{place_x(x):.1f} {place_y(y):.1f}" for x, y in one.points)
        parts.append(path(f"curve {colour}", f"M{line}"))
        # A mark of its own for each, so that lines differ without colours too.
        parts += [_mark(number, colour, place_x(x), place_y(y)) for x, y in one.points]
    if len(series) > 1:
        parts += _legend(series)
    told = "; ".join(
        f"{one.name}: from {_number(one.points[0][1])} to {_number(one.points[-1][1])}" for one in series if one.points
    )
    return svg(_WIDTH, _HEIGHT, title, told, parts, "chart")


def _mark(number: int, colour: str, x: float, y: float) -> str:
    if number % 2 == 0:
        return f'<circle class="dot {colour}" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>'
    return rect(f"dot {colour}", x - 2.2, y - 2.2, 4.4, 4.4)


def _legend(series: Sequence[Series]) -> list[str]:
    parts = []
    left = float(_WIDTH - _RIGHT)
    for number, one in reversed(list(enumerate(series))):
        left -= 7 * len(one.name) + 8
        parts.append(text("tiny", left, 14, one.name))
        parts.append(_mark(number, f"series{number % 4}", left - 8, 10))
        left -= 16
    return parts


def _ticks(low: float, high: float) -> list[float]:
    """Three to six round values from at most ``low`` to at least ``high``."""
    span = high - low or abs(high) or 1.0
    step = next(
        base * 10.0**power
        for power in range(floor(log10(span)) - 2, floor(log10(span)) + 2)
        for base in (1, 2, 2.5, 5)
        if base * 10.0**power * 4 >= span
    )
    first, last = floor(round(low / step, 9)), ceil(round(high / step, 9))
    return [step * number for number in range(first, max(last, first + 1) + 1)]


def _whole_ticks(low: float, high: float) -> list[int]:
    """At most six whole values from ``low`` to ``high``."""
    step = next(base * 10**power for power in range(12) for base in (1, 2, 5) if base * 10**power * 5 >= high - low)
    return [step * number for number in range(ceil(low / step), floor(high / step) + 1)]


def _number(value: float) -> str:
    """A tick's value, short.

    >>> _number(0.25), _number(1000.0), _number(2.5e6), _number(-3.0)
    ('0.25', '1,000', '2.5M', '-3')
    """
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"
