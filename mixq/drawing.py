"""Drawings of a packing: its operands and its accumulator, bit by bit.

Both forms show the same rows, most significant bit on the left: the port that holds the activations, the port that
holds the weights, and the accumulator with its lanes. Names: ``x1`` is activation 1, ``w2`` the weight of tap 2,
``y3`` the lane of position 3; with several output channels the channel comes first, ``w12`` and ``y13``, and an index
that can only be 0 is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from mixq.packing import ACCUMULATOR_BITS, Lane, Packing

_COLUMNS = 2
"""Characters for each bit: a field of two bits then holds its name."""

_CELL, _ROW, _LEFT = 20, 64, 16
_FILLS = ("#c6dbef", "#fdd0a2", "#c7e9c0", "#dadaeb", "#fcbba1", "#d9d9d9", "#fee391", "#b2e2e2", "#fde0dd")


@dataclass(frozen=True)
class Field:
    """Bits ``offset`` up to ``offset + width`` (exclusive) of a row, their name, and the channel they belong to."""

    name: str
    offset: int
    width: int
    channel: int


@dataclass(frozen=True)
class Row:
    """A port or the accumulator: its title, its bits, and the fields in them by rising offset."""

    title: str
    bits: int
    fields: tuple[Field, ...]


def rows(packing: Packing) -> tuple[Row, Row, Row]:
    """Activations, weights and accumulator of a packing, which both drawings show."""

    acts = [Field(f"x{n}", offset, packing.act_bits, -1) for n, offset in enumerate(packing.act_offsets)]
    weights = [
        Field(_weight_name(packing, m, k), offset, packing.weight_bits, m)
        for m, taps in enumerate(packing.weight_offsets)
        for k, offset in enumerate(taps)
    ]
    lanes = [Field(_lane_name(packing, lane), lane.offset, lane.width, lane.channel) for lane in packing.lanes]
    return (
        Row(f"activations, {packing.act_port_bits}-bit port", packing.act_port_bits, tuple(acts)),
        Row(
            f"weights, {packing.weight_port_bits}-bit port",
            packing.weight_port_bits,
            tuple(sorted(weights, key=lambda field: field.offset)),
        ),
        Row(f"accumulator, {ACCUMULATOR_BITS} bits", ACCUMULATOR_BITS, tuple(lanes)),
    )


def headline(packing: Packing) -> str:
    """One line: widths, density and how many products may be summed."""
    sign = "signed" if packing.act_signed else "unsigned"
    density = f"{packing.density:.2f}".rstrip("0").rstrip(".")
    return (
        f"{packing.weight_bits}-bit {packing.weight_range} weights, {packing.act_bits}-bit {sign} activations, "
        f"kernel {packing.kernel}: {density} multiplications per DSP and cycle"
    )


def lane_terms(packing: Packing, lane: Lane) -> str:
    """The products that a lane adds up, e.g. ``x0*w1 + x1*w0``."""
    terms = [(lane.position - k, k) for k in range(packing.taps) if 0 <= lane.position - k < packing.pixels]
    return " + ".join(f"x{n}*{_weight_name(packing, lane.channel, k)}" for n, k in sorted(terms))


def guard_bits(packing: Packing, lane: Lane) -> int:
    """Bits of a lane beyond what one product of operands needs."""
    low, high = packing.product_bounds
    return lane.width - (lane.terms * (high - low)).bit_length()


def draw_text(packing: Packing) -> str:
    """Draw a packing in at most 100 columns of ASCII, two columns a bit, ending in a table of the lanes.

    ``|`` begins a field, ``.`` is a bit that no field uses (in a port it repeats the sign of the field below).

    >>> from mixq.packing import solve
    >>> print(draw_text(solve(4, 4)))
    4-bit narrow weights, 4-bit unsigned activations, kernel 3: 6 multiplications per DSP and cycle
    <BLANKLINE>
    activations, 18-bit port
      . . . |   x1  . . . . . . . |   x0
    weights, 27-bit port
      . |   w2  . . . . . . . |   w1  . . . . . . . |   w0
    accumulator, 48 bits
      |              y3             |          y2         |          y1         |          y0
    <BLANKLINE>
      lane   bits  width  guard  sum
      y0     10:0     11      4  x0*w0
      y1    21:11     11      3  x0*w1 + x1*w0
      y2    32:22     11      3  x0*w2 + x1*w1
      y3    47:33     15      8  x1*w2
    <BLANKLINE>
    Up to 9 products are summed before the lanes are read.
    """
    lines = [headline(packing), ""]
    for row in rows(packing):
        lines += [row.title, "  " + _text_row(row)]
    lines += ["", "  lane   bits  width  guard  sum"]
    for field, lane in zip(rows(packing)[2].fields, packing.lanes, strict=True):
        bits = f"{lane.offset + lane.width - 1}:{lane.offset}"
        guard = guard_bits(packing, lane)
        prefix = f"  {field.name:<5}{bits:>6}{lane.width:>7}{guard:>7}  "
        lines += _wrapped(prefix, lane_terms(packing, lane))
    lines += ["", _depth(packing)]
    return "\n".join(line.rstrip() for line in lines)


def draw_svg(packing: Packing) -> str:
    """Draw a packing as an SVG image, a square for each bit, lanes in the colour of their channel.

    The text is the same for the same packing; it names no font and loads nothing.
    """
    width = 2 * _LEFT + ACCUMULATOR_BITS * _CELL
    drawn = rows(packing)
    top = 40
    parts = [f'<text x="{_LEFT}" y="24" font-size="14" font-weight="bold">{escape(headline(packing))}</text>']
    for row in drawn:
        parts += _svg_row(row, top)
        top += _ROW + 14
    for field, lane in zip(drawn[2].fields, packing.lanes, strict=True):
        text = f"{field.name} = {lane_terms(packing, lane)}, {guard_bits(packing, lane)} guard bits"
        parts.append(f'<text x="{_LEFT}" y="{top}" font-size="12">{escape(text)}</text>')
        top += 18
    parts.append(f'<text x="{_LEFT}" y="{top + 6}" font-size="12">{escape(_depth(packing))}</text>')
    height = top + 20
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="monospace" role="img">'
    )
    title = f"<title>{escape(headline(packing))}</title>"
    paper = f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
    return "\n".join([head, title, paper, *parts, "</svg>"]) + "\n"


def _weight_name(packing: Packing, channel: int, tap: int) -> str:
    return "w" + _index((channel, packing.channels), (tap, packing.taps))


def _lane_name(packing: Packing, lane: Lane) -> str:
    return "y" + _index((lane.channel, packing.channels), (lane.position, packing.positions))


def _index(*pairs: tuple[int, int]) -> str:
    """Digits of the indices that can be other than 0; each is below 10 where there are two."""
    return "".join(str(value) for value, count in pairs if count > 1) or "0"


def _depth(packing: Packing) -> str:
    count = packing.accumulate_max
    products = "1 product is" if count == 1 else f"{count} products are"
    return f"Up to {products} summed before the lanes are read."


def _text_row(row: Row) -> str:
    """Fields from the top bit down."""
    text, top = "", row.bits
    for field in reversed(row.fields):
        end = field.offset + field.width
        # In front of a top field that ends above the port nothing is free: its sign is the port's.
        text += ". " * (top - end)
        text += "|" + field.name.center(_COLUMNS * min(field.width, row.bits - field.offset) - 1)
        top = field.offset
    return text + ". " * top


def _wrapped(prefix: str, terms: str) -> list[str]:
    """A line of the table, continued under itself where it is longer than 100 columns."""
    lines, line = [], prefix
    for i, term in enumerate(terms.split(" + ")):
        piece = f" + {term}" if i else term
        if len(line) + len(piece) > 100:
            lines.append(line)
            line, piece = " " * len(prefix), piece.lstrip()
        line += piece
    return [*lines, line]


def _svg_row(row: Row, top: int) -> list[str]:
    """Title, bit numbers, squares and field names of one row, bit 0 at the right."""

    def left(bit: int) -> int:
        return _LEFT + (ACCUMULATOR_BITS - 1 - bit) * _CELL

    box = top + 24
    parts = [f'<text x="{left(row.bits - 1)}" y="{top + 8}" font-size="12">{escape(row.title)}</text>']
    used = {bit: field for field in row.fields for bit in range(field.offset, field.offset + field.width)}
    for bit in range(row.bits - 1, -1, -1):
        field = used.get(bit)
        fill = "#f7f7f7" if field is None else "#e5f5e0" if field.channel < 0 else _FILLS[field.channel % len(_FILLS)]
        parts.append(
            f'<rect x="{left(bit)}" y="{box}" width="{_CELL}" height="{_CELL}" fill="{fill}" stroke="#bdbdbd"/>'
        )
        parts.append(
            f'<text x="{left(bit) + _CELL // 2}" y="{box - 4}" font-size="8" fill="#636363" '
            f'text-anchor="middle">{bit}</text>'
        )
    for field in row.fields:
        end = min(field.offset + field.width, row.bits)
        x, wide = left(end - 1), (end - field.offset) * _CELL
        parts.append(
            f'<rect x="{x}" y="{box}" width="{wide}" height="{_CELL}" fill="none" stroke="#252525" stroke-width="2"/>'
        )
        parts.append(
            f'<text x="{x + wide // 2}" y="{box + 14}" font-size="12" text-anchor="middle">{escape(field.name)}</text>'
        )
    return parts
