"""Pieces of the page's pictures, as text.

Colours come from the page's style sheet by class, so that pictures follow its light and dark form.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

#: Width of a character in its size, of the widest of the page's fonts: what is cut to it fits.
GLYPH = 0.64


def svg(width: float, height: float, title: str, description: str, parts: Sequence[str], kind: str = "") -> str:
    """An image with its title and, for those who do not see it, a description."""
    head = f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" role="img"'
    named = f'{head} class="{kind}">' if kind else f"{head}>"
    return "\n".join(
        [named, f"<title>{escape(title)}</title>", f"<desc>{escape(description)}</desc>", *parts, "</svg>"]
    )


def text(kind: str, x: float, y: float, content: str, anchor: str = "start") -> str:
    """A line of text."""
    side = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text class="{kind}" x="{x:g}" y="{y:g}"{side}>{escape(content)}</text>'


def rect(kind: str, x: float, y: float, width: float, height: float, radius: float = 0) -> str:
    """A rectangle, with round corners if asked for."""
    corner = f' rx="{radius:g}"' if radius else ""
    place = f'x="{_short(x)}" y="{_short(y)}" width="{_short(width)}" height="{_short(height)}"'
    return f'<rect class="{kind}" {place}{corner}/>'


def path(kind: str, points: str) -> str:
    """A line, or a filled shape, by its class."""
    return f'<path class="{kind}" d="{points}"/>'


def room_for(width: float, size: float) -> int:
    """Characters of a font size that surely fit into a width."""
    return int(width / (GLYPH * size))


def cut(content: str, most: int) -> str:
    """A text of at most so many characters; what is longer ends with three points.

    >>> cut("convolution", 6), cut("conv", 6)
    ('convo…', 'conv')
    """
    return content if len(content) <= most else content[: most - 1] + "…"


def wrapped(content: str, most: int) -> list[str]:
    """A text in lines of at most so many characters, broken at blanks.

    >>> wrapped("4 px × 3 taps × 1 ch", 12)
    ['4 px × 3', 'taps × 1 ch']
    """
    lines: list[str] = []
    for word in content.split():
        if lines and len(lines[-1]) + 1 + len(word) <= most:
            lines[-1] += f" {word}"
        else:
            lines.append(cut(word, most))
    return lines


def _short(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
