"""Every network on the smaller of two boards that holds it, in Markdown: ``python -m scripts.network_table``.

Writes the part of ``docs/networks.md`` between two marks, and ``docs/networks.svg``, from the plans that
``python -m scripts.network_plans`` makes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mixq.board import REPORT_KEYS
from mixq.files import write_atomic
from mixq.networks import network as table_of
from scripts.network_picture import picture
from scripts.network_plans import (
    ALL,
    CHOICES,
    FINN,
    NETWORKS,
    ORIGINAL,
    STORED,
    Key,
    Lacking,
    Line,
    Planned,
    boards,
    load,
)
from scripts.packing_tables import mean, table

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE, DRAWING = DOCS / "networks.md", DOCS / "networks.svg"

BEGIN = "<!-- What follows is written by python -m scripts.network_table -->\n"
END = "<!-- The end of what python -m scripts.network_table writes -->\n"

_INTRODUCTION = """\
## On the smaller of two boards that holds them

The fastest design that the planner finds for each network on the first of the two boards listed here that holds it, all
layers on the chip at once; [other boards](boards.md) are not tried. Weights are those of `random:1`, widths the
defaults of the tables in `mixq/networks.py`:
the image has 8 bits, dense layers have 8-bit weights and inputs, depthwise layers and `ultranet_ismart`'s first and
last layer 8-bit weights, and all else has 4 bits; `digits_cnn` has weights of 4, 3, 2 and 6 bits and inputs of 5, 4, 3
and 6.

    mixq import random:1 --network NETWORK --out BUILD_DIR
    mixq plan BUILD_DIR --board BOARD --fastest

Cycles and DSPs are those of the hardware, LUTs and flip-flops [estimates](estimates.md); the clock is what the board's
file assumes, and no place and route has confirmed it. The slowest layer is the first of several as slow; *limited by*
has the resources each of which alone, were there more of it, would let a faster design in, or the stage that cannot be
faster. The fastest designs fill a board; `--budget` leaves room for what the estimates are off by.
"""

_PROVED = "It is proved of every plan here that no design of the same choices that fits takes fewer cycles.\n"

_UNPROVED = """\
Of most plans here it is proved that no design of the same choices that fits takes fewer cycles; the solver ran out of
its time for these:
"""

_WITHOUT = """\
*Without DSPs*: layers with weights whose multipliers are look-up tables, of all. Some are circuits of the very weights,
which other weights may make larger or smaller; *stored* is the fastest plan's cycles without any such circuit
(`constant_weights=False` from Python), which depend little on the weights.
"""

_LACKING = """\
What the smaller board, or both, lack for the smallest design:
"""

_HELD = """\
## Held to the packings of other systems

The same planner for the same networks and widths on the same boards, with all of their resources, but held to the
densities that DeepBurning-MixQ (ICCAD 2023) publishes, where they are exact, or to the lanes of a DSP in FINN's
matrix-vector unit: `mixq plan --packings original` and `--packings finn`, see [restrictions](planner.md#restrictions).
This compares packings and choices, not the systems: buffers, converters, requantisation and estimates are MixQ's
throughout. What it does not give the others: multipliers without DSPs, which FINN has; and, with FINN's lanes, the
columns of a kernel side by side: they come one after the other, so that a layer with a KxK kernel takes K cycles for a
pixel at least. A DSP of a depthwise layer does one product of FINN's lanes. Where a layer or a stream and not a
resource limits a plan, it is named behind the cycles: nothing faster can be built of these choices.
"""

_RATIOS = """\
Ratios are cycles divided by those of MixQ's fastest plan, then by those of its fastest with stored weights. Geometric
means: {original} and {original_stored} for the original's densities, {finn} and {finn_stored} for FINN's lanes.

![cycles of a frame](networks.svg)

The plans are in `scripts/data/network_plans.jsonl`: `python -m scripts.network_plans` makes those that are missing
there, `python -m scripts.network_table` writes this part of the page and the drawing. Tests plan the smallest networks
again; where the planner finds other designs by now, remove the file's lines and make them anew.
"""


@dataclass(frozen=True)
class Row:
    """The plans of one network on the board that holds it, by what they choose from."""

    network: str
    lines: Mapping[str, Line]

    @property
    def own(self) -> Planned:
        """The plan with all choices."""
        line = self.lines[ALL]
        assert isinstance(line, Planned)
        return line

    def cycles(self, choices: str) -> int | None:
        """Cycles of a frame; None where no design of these choices fits."""
        line = self.lines[choices]
        return line.cycles if isinstance(line, Planned) else None

    def ratio(self, choices: str, to: str = ALL) -> float | None:
        """Cycles divided by those of the choices ``to``; None where either does not fit."""
        above, below = self.cycles(choices), self.cycles(to)
        return None if above is None or below is None else above / below


def main() -> None:
    """Write both files."""
    found, lacking = rows(load())
    write_atomic(PAGE, renewed(PAGE.read_text(), "\n".join(section(found, lacking))))
    write_atomic(DRAWING, drawing(found))


def renewed(page: str, text: str) -> str:
    """The page with another text between the marks.

    >>> renewed(f"a\\n{BEGIN}b\\n{END}c\\n", "d\\n") == f"a\\n{BEGIN}d\\n{END}c\\n"
    True
    """
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}{text}{END}{rest.split(END)[1]}"


def rows(known: Mapping[Key, Line]) -> tuple[list[Row], list[Lacking]]:
    """A row for each network that a board holds, and what the boards lack that do not hold one.

    Raises KeyError for a plan that is missing.
    """
    found, lacking = [], []
    for network in NETWORKS:
        for board in boards():
            line = known[network, board.name, ALL]
            if isinstance(line, Planned):
                found.append(Row(network, {choices: known[network, board.name, choices] for choices in CHOICES}))
                break
            lacking.append(line)
    return found, lacking


def drawing(found: Sequence[Row]) -> str:
    """The drawing of the rows, as SVG."""
    return picture([(row.network, [row.cycles(choices) for choices in (ALL, ORIGINAL, FINN)]) for row in found])


def section(found: Sequence[Row], lacking: Sequence[Lacking]) -> Iterator[str]:
    """What stands between the marks, piece by piece."""
    yield _INTRODUCTION
    yield "".join(_board_line(board.name) for board in boards())
    headings = ("network", "board", "cycles / frame", "frames / s", *REPORT_KEYS.values())
    yield table(
        (
            *(heading.replace("_36K", "") for heading in headings),
            "slowest layer",
            "limited by",
            "without DSPs",
            "stored",
        ),
        [_planned(row) for row in found],
    )
    yield _WITHOUT
    if lacking:
        yield _LACKING
        yield "".join(f"- `{line.network}`: {line.lacking}\n" for line in lacking)
    yield _HELD
    yield table(
        ("network", "MixQ", "DSP", "LUT", "original", "DSP", "LUT", "ratios", "FINN's lanes", "DSP", "LUT", "ratios"),
        [_held(row) for row in found],
    )
    refused = [line for row in found for line in row.lines.values() if isinstance(line, Lacking)]
    if refused:
        yield "".join(f"- `{line.network}`, {line.choices}: {line.lacking}\n" for line in refused)
    yield _proofs(found)
    means = {
        f"{choices}{name}": _mean([row.ratio(choices, to) for row in found])
        for choices in (ORIGINAL, FINN)
        for to, name in ((ALL, ""), (STORED, "_stored"))
    }
    yield _RATIOS.format(**means)


def _proofs(found: Sequence[Row]) -> str:
    """What is proved of the plans."""
    made = [line for row in found for line in row.lines.values() if isinstance(line, Planned)]
    open_ = [line for line in made if line.least_cycles < line.cycles]
    if not open_:
        return _PROVED
    return (
        _UNPROVED
        + "\n"
        + "".join(
            f"- `{line.network}`, {line.choices}: fewer than {line.least_cycles:,} cycles are proved impossible, "
            f"{line.cycles:,} were found\n"
            for line in open_
        )
    )


def _mean(ratios: Sequence[float | None]) -> str:
    """The geometric mean of those that there are."""
    there = [ratio for ratio in ratios if ratio is not None]
    return f"{mean(there):.2f}" if there else "none"


def _board_line(name: str) -> str:
    (board,) = (board for board in boards() if board.name == name)
    counts = ", ".join(f"{getattr(board.resources, key):,} {label}" for key, label in REPORT_KEYS.items())
    return f"- `{board.name}`, {board.description}: {counts}; {board.clock_mhz:g} MHz\n".replace("_36K", "")


def _planned(row: Row) -> tuple[str, ...]:
    """A line of the first table."""
    own = row.own
    used = own.resources
    numbers = (own.cycles, round(own.fps), used.lut, used.ff, used.dsp, used.bram36, used.uram)
    layers = len(table_of(row.network).weighted_layers)
    return (
        f"`{row.network}`",
        own.board,
        *(f"{number:,g}" if isinstance(number, float) else f"{number:,}" for number in numbers),
        own.slowest,
        " or ".join(own.limited_by).replace("_36K", ""),
        f"{len(own.without_dsps)} of {layers}",
        _cycles(row.lines[STORED]),
    )


def _held(row: Row) -> tuple[str, ...]:
    """A line of the second table."""
    cells = [f"`{row.network}`", *_numbers(row.own)]
    for choices in (ORIGINAL, FINN):
        line = row.lines[choices]
        if isinstance(line, Lacking):
            cells += ["does not fit", "", "", ""]
            continue
        ratios = [row.ratio(choices, to) for to in (ALL, STORED)]
        cells += _numbers(line)
        cells.append(", ".join("-" if ratio is None else f"{ratio:.2f}" for ratio in ratios))
    return tuple(cells)


def _numbers(line: Planned) -> tuple[str, str, str]:
    """Cycles, DSPs and look-up tables."""
    return _cycles(line), f"{line.resources.dsp:,}", f"{line.resources.lut:,}"


def _cycles(line: Line) -> str:
    """Cycles, and what limits them where that is no kind of resource; "does not fit" where nothing does."""
    if isinstance(line, Lacking):
        return "does not fit"
    stages = [name for name in line.limited_by if not set(name.split(" and ")) <= set(REPORT_KEYS.values())]
    return f"{line.cycles:,}" + (f" ({stages[0]})" if stages else "")


if __name__ == "__main__":
    main()
