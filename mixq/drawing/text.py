"""A packing drawn in ASCII, for a terminal."""

from __future__ import annotations

from mixq.drawing.rows import Row, Sheet, headline, sheets
from mixq.packing import Packing

_COLUMNS = 2
"""Characters for each bit: a field of two bits then holds its name."""

_WIDEST = 100


def draw_text(packing: Packing) -> str:
    """Draw a packing in at most 100 columns of ASCII, two columns a bit, ending in a table of the lanes.

    ``|`` begins a field, ``.`` is a bit that no field uses (in a port it repeats the sign of the field below). A name
    that is longer than its field goes on in the next line. ``r`` below a lane is a bit that look-up tables know too.

    >>> from mixq.packing import Packing, Part, Product
    >>> product = Product(4, -7, 7, pixels=2, taps=3, channels=1, pixel_stride=11, tap_stride=11, channel_stride=0,
    ...                   act_on_wide=False)
    >>> print(draw_text(Packing(4, 4, 3, (Part(product),), weight_range="narrow")))
    4-bit narrow weights, 4-bit unsigned activations, kernel 3: 6 multiplications per DSP and cycle
    <BLANKLINE>
    activations, 18-bit port
      . . . |   x1  . . . . . . . |   x0
    weights, 27-bit port
      . |   w2  . . . . . . . |   w1  . . . . . . . |   w0
    accumulator, 48 bits
      |              y3             |          y2         |          y1         |          y0
    <BLANKLINE>
      lane   bits  width  guard  known  sum
      y0     10:0     11      4      0  x0*w0
      y1    21:11     11      3      0  x0*w1 + x1*w0
      y2    32:22     11      3      0  x0*w2 + x1*w1
      y3    47:33     15      8      0  x1*w2
    <BLANKLINE>
    Up to 9 products are summed before the lanes are read.
    """
    lines = [headline(packing)]
    for sheet in sheets(packing):
        lines += ["", *_sheet(sheet)]
    return "\n".join(line.rstrip() for line in lines)


def _sheet(sheet: Sheet) -> list[str]:
    lines = [sheet.caption, ""] if sheet.caption else []
    for row in sheet.rows:
        legend = "; r: known from look-up tables too" if any(field.known for field in row.fields) else ""
        lines += [row.title + legend, *("  " + line for line in _row(row))]
    lines += ["", *_table(sheet), "", *sheet.remarks]
    return lines


def _row(row: Row) -> list[str]:
    """Fields from the top bit down, the rest of long names below, and below those the known bits."""
    columns = _COLUMNS * row.bits
    pieces = {field: _pieces(field.name, _COLUMNS * field.width - 1) for field in row.fields}
    lines = [[" "] * columns for _ in range(max(map(len, pieces.values())))]
    lines[0] = list(". " * row.bits)
    known = [" "] * columns
    for field, parts in pieces.items():
        left = columns - _COLUMNS * (field.offset + field.width)
        for line, part in zip(lines, parts, strict=False):
            line[left + 1 : left + _COLUMNS * field.width] = part.center(_COLUMNS * field.width - 1)
        lines[0][left] = "|"
        for bit in range(field.offset, field.offset + field.known):
            known[columns - _COLUMNS * bit - 1] = "r"
    return ["".join(line) for line in (lines if not any(f.known for f in row.fields) else [*lines, known])]


def _pieces(name: str, room: int) -> list[str]:
    return [name[at : at + room] for at in range(0, len(name), room)]


def _table(sheet: Sheet) -> list[str]:
    names = max(4, *(len(lane.name) for lane in sheet.lanes))
    lines = [f"  {'lane':<{names}}   bits  width  guard  known  sum"]
    for lane in sheet.lanes:
        bits = f"{lane.high}:{lane.low}"
        width = lane.high - lane.low + 1
        prefix = f"  {lane.name:<{names}}{bits:>7}{width:>7}{lane.guard:>7}{lane.known:>7}  "
        lines += _wrapped(prefix, lane.terms)
    return lines


def _wrapped(prefix: str, terms: tuple[str, ...]) -> list[str]:
    """A line of the table, continued under itself where it is longer than a terminal."""
    lines, line = [], prefix
    for i, term in enumerate(terms):
        piece = f" + {term}" if i else term
        if len(line) + len(piece) > _WIDEST:
            lines.append(line)
            line, piece = " " * len(prefix), piece.lstrip()
        line += piece
    return [*lines, line]
