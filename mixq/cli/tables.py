"""Short tables on standard output, the same on a terminal and in a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import typer

from mixq.board import REPORT_KEYS, Resources

#: A cell: text stands on the left, numbers on the right.
Cell = str | int | float | None


def show_table(headings: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Write a table; None is shown as ``-``.

    >>> show_table(("layer", "cycles"), [("conv1", 576), ("a", None)])
    layer  cycles
    conv1     576
    a           -
    """
    table = [tuple(row) for row in rows]
    cells = [[_text(cell) for cell in row] for row in table]
    columns = range(len(headings))
    right = [any(isinstance(row[at], int | float) for row in table) for at in columns]
    widths = [max(len(headings[at]), *(len(row[at]) for row in cells), 0) for at in columns]
    for line in (list(headings), *cells):
        parts = [line[at].rjust(widths[at]) if right[at] else line[at].ljust(widths[at]) for at in columns]
        typer.echo("  ".join(parts).rstrip())


def show_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Write names and values, one pair a line.

    >>> show_facts([("graph", "build/a/graph.json"), ("frames", 20)])
    graph   build/a/graph.json
    frames  20
    """
    pairs = [(name, str(value)) for name, value in facts]
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        typer.echo(f"{name.ljust(width)}  {value}")


def show_usage(used: Resources, limits: Resources) -> None:
    """Write how much of each kind of resource is taken, the fullest first."""
    rows: list[tuple[Cell, ...]] = []
    for name, key in REPORT_KEYS.items():
        amount, limit = getattr(used, name), getattr(limits, name)
        if limit or amount:
            rows.append((key, amount, limit, f"{100 * amount / limit:.1f} %" if limit else "none allowed"))
    rows.sort(key=lambda row: -(float(str(row[3]).split()[0]) if row[2] else 1e9))
    show_table(("resource", "estimated", "allowed", "share"), rows)


def _text(cell: Cell) -> str:
    if cell is None:
        return "-"
    return f"{cell:,g}" if isinstance(cell, float) else f"{cell:,}" if isinstance(cell, int) else cell
