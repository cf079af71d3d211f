"""Boxes of single objects from untrusted label files: VOC-like XML, a table, or relative text.

Whatever the form, a box comes as its edges in pixels, (left, top, right, bottom) with 0 <= left < right <= width.
"""

from __future__ import annotations

import csv
import io
import math
import xml.etree.ElementTree as ElementTree
from typing import TYPE_CHECKING

from mixq.errors import UserError

if TYPE_CHECKING:
    from typing import TypeAlias

MAX_LABEL_BYTES = 1 << 20
"""Largest label file of one image."""
MAX_TABLE_BYTES = 256 << 20
"""Largest table of all boxes."""

# As text: the driver takes this file to boards, whose Python may not know types of that form when it runs.
Box: TypeAlias = "tuple[float, float, float, float]"
Size: TypeAlias = "tuple[int, int]"

_COLUMNS = ("image", "xmin", "xmax", "ymin", "ymax")


class _DeclarationError(Exception):
    """The document has a document type, where alone entities can be declared."""


class _PlainTree(ElementTree.TreeBuilder):
    """Builds a tree of a document without declarations: entities of entities grow without bounds.

    The parser asks it, so that no encoding hides a declaration as it would from a search in the text.
    """

    def doctype(self, *_: str | None) -> None:
        raise _DeclarationError


def xml_box(data: bytes, where: str) -> tuple[Box, Size | None]:
    """Box of a VOC-like annotation, and the image's (width, height) in pixels if it says so.

    Raises:
        UserError: no XML, XML with a document type, or not exactly one object with a box.
    """
    try:
        parser = ElementTree.XMLParser(target=_PlainTree())
        parser.feed(_text(data, where))
        root = parser.close()
    except _DeclarationError:
        raise UserError(f"{where}: declares a document type, which annotations never do; remove that") from None
    except (ElementTree.ParseError, ValueError) as error:
        raise UserError(f"{where}: not well-formed XML ({error}); replace it") from None
    objects = root.findall("object")
    if len(objects) != 1:
        raise UserError(f"{where}: must have one object, not {len(objects)}; leave images with others out")
    edges = [_number(objects[0].findtext(f"bndbox/{name}"), name, where) for name in ("xmin", "ymin", "xmax", "ymax")]
    size = None
    if root.find("size") is not None:
        width, height = (_number(root.findtext(f"size/{name}"), name, where) for name in ("width", "height"))
        size = (int(width), int(height))
    return (edges[0], edges[1], edges[2], edges[3]), size


def xml_share(data: bytes, where: str, size: Size) -> Box:
    """Box of a VOC-like annotation of an image of ``size``, as :func:`relative_box` gives it.

    Raises:
        UserError: as of :func:`xml_box` and :func:`relative_box`, or the annotation is for an image of another size.
    """
    box, stated = xml_box(data, where)
    if stated is not None and stated != size:
        shapes = f"{stated[0]} x {stated[1]}, not {size[0]} x {size[1]}"
        raise UserError(f"{where}: is for an image of {shapes}; correct it")
    return relative_box(box, size, where)


def text_box(data: bytes, where: str, size: Size) -> Box:
    """Box of a line "class x y width height" in shares of the image, as YOLO has it; ``size`` is (width, height)."""
    lines = [line.split() for line in _text(data, where).splitlines() if line.strip()]
    if len(lines) != 1 or len(lines[0]) != 5:
        raise UserError(f"{where}: must be one line of class, x, y, width and height; leave images with others out")
    names = ("x", "y", "width", "height")
    x, y, width, height = (_number(lines[0][1 + place], name, where) for place, name in enumerate(names))
    left, right = (x - width / 2) * size[0], (x + width / 2) * size[0]
    top, bottom = (y - height / 2) * size[1], (y + height / 2) * size[1]
    return left, top, right, bottom


def table_boxes(data: bytes, where: str) -> dict[str, Box]:
    """Boxes in pixels by the image's name, from a table with columns image, xmin, xmax, ymin, ymax in any order."""
    boxes: dict[str, Box] = {}
    try:
        rows = csv.DictReader(io.StringIO(_text(data, where)), strict=True)
        missing = [name for name in _COLUMNS if name not in (rows.fieldnames or ())]
        if missing:
            raise UserError(f"{where}: lacks the column {missing[0]}; its first line must be {','.join(_COLUMNS)}")
        for row in rows:
            line = f"{where}, line {rows.line_num}"
            name = row["image"]
            if not name or name in boxes:
                raise UserError(f"{line}: image {name or ''!r} must be named, and once; correct the line")
            left, top, right, bottom = (_number(row[key], key, line) for key in ("xmin", "ymin", "xmax", "ymax"))
            boxes[name] = (left, top, right, bottom)
    except csv.Error as error:
        raise UserError(f"{where}: not a table of comma-separated values ({error}); replace it") from None
    return boxes


def relative_box(box: Box, size: Size, where: str) -> Box:
    """(x centre, y centre, width, height) in shares of an image of ``size``; a UserError where it is not inside."""
    left, top, right, bottom = box
    width, height = size
    # A text file's six digits may put an edge a little outside.
    slack = 1e-4 * max(size)
    if not (-slack <= left < right <= width + slack and -slack <= top < bottom <= height + slack):
        edges = f"{left:g}..{right:g} by {top:g}..{bottom:g}"
        raise UserError(f"{where}: the box {edges} is empty or not inside the image of {width} x {height}; correct it")
    left, right = max(left, 0.0) / width, min(right, float(width)) / width
    top, bottom = max(top, 0.0) / height, min(bottom, float(height)) / height
    return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top


def _text(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: not UTF-8 text (byte {error.start}); save it as UTF-8") from None


def _number(text: str | None, name: str, where: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{where}: {name} must be a number, not {text!r:.40}; correct it")
    return value
