"""Numbers for people."""

from __future__ import annotations

from math import ceil

TIMES, DASH = "\N{MULTIPLICATION SIGN}", "\N{EN DASH}"


def words(value: float | None, digits: int = 0) -> str:
    """A number for people: thousands apart, halves as they are, a dash for none.

    >>> words(12345), words(2.5), words(3.0), words(None), words(1.234, 2)
    ('12,345', '2.5', '3', '–', '1.23')
    """
    if value is None:
        return DASH
    if digits:
        return f"{value:,.{digits}f}"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def rate(fps: float) -> str:
    """Frames per second for people.

    >>> rate(146484.375), rate(12.34)
    ('146,484', '12.3')
    """
    return f"{fps:,.0f}" if fps >= 100 else f"{fps:,.1f}"


def percent(part: float, whole: float) -> int:
    """Share in whole percent, rounded up, so that what is used never reads as nothing.

    >>> percent(1, 1000), percent(0, 10), percent(1, 2)
    (1, 0, 50)
    """
    return ceil(100 * part / whole) if whole else 0
