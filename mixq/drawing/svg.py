"""A packing drawn as an SVG image."""

from __future__ import annotations

from html import escape

from mixq.drawing.rows import ACTIVATION, SECOND_BLOCK, Field, Row, Sheet, headline, sheets
from mixq.packing import ACCUMULATOR_BITS, Packing

_CELL, _LEFT = 20, 16
_GLYPH = 0.62
"""Width of a character of a monospaced font, in its size."""

_FILLS = ("#c6dbef", "#fdd0a2", "#c7e9c0", "#dadaeb", "#fcbba1", "#d9d9d9", "#fee391", "#b2e2e2", "#fde0dd")
_ACT_FILLS = {ACTIVATION: "#e5f5e0", SECOND_BLOCK: "#c9e8c4"}
_FREE, _GRID, _INK, _SOFT, _COUNTER = "#f7f7f7", "#bdbdbd", "#252525", "#636363", "#b2182b"


def draw_svg(packing: Packing) -> str:
    """Draw a packing as an SVG image, a square for each bit, lanes in the colour of their channel.

    Bits of a lane that look-up tables know are darker; a red mark at the lower end of a lane is a counter. The text is
    the same for the same packing; it names no font beyond "monospace" and loads nothing.
    """
    width = 2 * _LEFT + ACCUMULATOR_BITS * _CELL
    parts = [_text(_LEFT, 24, 14, headline(packing), 'font-weight="bold"')]
    top = 40
    for sheet in sheets(packing):
        drawn, top = _sheet(sheet, top)
        parts += drawn
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{top}" viewBox="0 0 {width} {top}" '
        f'font-family="monospace" role="img">'
    )
    title = f"<title>{escape(headline(packing))}</title>"
    paper = f'<rect width="{width}" height="{top}" fill="#ffffff"/>'
    return "\n".join([head, title, paper, *parts, "</svg>"]) + "\n"


def _sheet(sheet: Sheet, top: int) -> tuple[list[str], int]:
    """The elements of one product, and where the next begins."""
    parts = []
    if sheet.caption:
        parts.append(_text(_LEFT, top + 16, 13, sheet.caption, 'font-weight="bold"'))
        top += 34
    for row in sheet.rows:
        drawn, top = _row(row, top)
        parts += drawn
    parts += _legend(sheet, top)
    top += 20 * bool(_marks(sheet))
    table, top = _table(sheet, top + 8)
    parts += table
    for remark in sheet.remarks:
        parts.append(_text(_LEFT, top + 6, 12, remark))
        top += 18
    return parts, top + 16


def _row(row: Row, top: int) -> tuple[list[str], int]:
    """Title, bit numbers, squares, and the fields with their names, bit 0 at the right."""
    box = top + 26
    parts = [_text(_left(row.bits - 1), top + 8, 12, row.title)]
    used = {bit: field for field in row.fields for bit in range(field.offset, field.offset + field.width)}
    for bit in range(row.bits - 1, -1, -1):
        x, fill = _left(bit), _fill(used.get(bit))
        parts.append(f'<rect x="{x}" y="{box}" width="{_CELL}" height="{_CELL}" fill="{fill}" stroke="{_GRID}"/>')
        parts.append(_text(x + _CELL // 2, box - 4, 8, str(bit), f'fill="{_SOFT}" text-anchor="middle"'))
    for field in row.fields:
        parts += _field(field, box)
    return parts, box + _CELL + (26 if any(field.counted for field in row.fields) else 14)


def _field(field: Field, box: int) -> list[str]:
    x, wide = _left(field.offset + field.width - 1), field.width * _CELL
    parts = []
    if field.known:
        shade = field.known * _CELL
        parts.append(_shade(x + wide - shade, box, shade, _CELL))
    parts.append(
        f'<rect x="{x}" y="{box}" width="{wide}" height="{_CELL}" fill="none" stroke="{_INK}" stroke-width="2"/>'
    )
    size = max(5, min(12, int((wide - 3) / (_GLYPH * len(field.name)))))
    parts.append(_text(x + wide // 2, box + _CELL // 2 + size // 3, size, field.name, 'text-anchor="middle"'))
    if field.counted:
        parts.append(_counter(x + wide, box + _CELL + 2))
    return parts


def _marks(sheet: Sheet) -> list[str]:
    """What the legend explains: "known", "counter"."""
    fields = [field for row in sheet.rows for field in row.fields]
    known = ["known"] if any(field.known for field in fields) else []
    return [*known, "counter"] if any(field.counted for field in fields) else known


def _legend(sheet: Sheet, top: int) -> list[str]:
    parts, x = [], _LEFT
    for mark in _marks(sheet):
        if mark == "known":
            parts += [f'<rect x="{x}" y="{top}" width="12" height="12" fill="{_FILLS[0]}"/>', _shade(x, top, 12, 12)]
            words = "known from look-up tables too"
        else:
            parts.append(_counter(x + 6, top + 1))
            words = "counter of what the lane below spilled"
        parts.append(_text(x + 20, top + 10, 12, words))
        x += 20 + int(12 * _GLYPH * len(words)) + 30
    return parts


def _table(sheet: Sheet, top: int) -> tuple[list[str], int]:
    """Name, bits, guard and known bits, and sum of each lane, in columns."""
    columns = (0, 70, 130, 190, 250)
    lines = [("lane", "bits", "guard", "known", "sum")]
    for lane in sheet.lanes:
        lines.append((lane.name, f"{lane.high}:{lane.low}", str(lane.guard), str(lane.known), " + ".join(lane.terms)))
    parts = []
    for number, line in enumerate(lines):
        look = "" if number else f'fill="{_SOFT}"'
        parts += [_text(_LEFT + x, top + 8, 12, cell, look) for x, cell in zip(columns, line, strict=True)]
        top += 17
    return parts, top + 8


def _left(bit: int) -> int:
    return _LEFT + (ACCUMULATOR_BITS - 1 - bit) * _CELL


def _fill(field: Field | None) -> str:
    if field is None:
        return _FREE
    return _ACT_FILLS[field.group] if field.group < 0 else _FILLS[field.group % len(_FILLS)]


def _shade(x: int, y: int, width: int, height: int) -> str:
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="#000000" fill-opacity="0.22"/>'


def _counter(x: int, y: int) -> str:
    """An arrow head that points up at (x, y)."""
    return f'<path d="M{x} {y}l5 9h-10z" fill="{_COUNTER}"/>'


def _text(x: int, y: int, size: int, words: str, look: str = "") -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}"{" " + look if look else ""}>{escape(words)}</text>'
