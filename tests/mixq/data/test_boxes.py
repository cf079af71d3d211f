"""Boxes from label files: the three forms agree, and what is wrong is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mixq.data.boxes import relative_box, table_boxes, text_box, xml_box
from mixq.errors import UserError


def refusal(call: Callable[..., Any], *arguments: Any) -> str:
    with pytest.raises(UserError) as raised:
        call(*arguments)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def voc(edges: tuple[Any, ...] = (10, 20, 50, 40), size: tuple[Any, Any] | None = (100, 80), objects: int = 1) -> bytes:
    names = ("xmin", "ymin", "xmax", "ymax")
    box = "".join(f"<{name}>{edge}</{name}>" for name, edge in zip(names, edges, strict=True))
    said = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>" if size else ""
    thing = f"<object><name>0</name><bndbox>{box}</bndbox></object>"
    return f"<annotation>{said}{thing * objects}</annotation>".encode()


def test_the_three_forms_agree() -> None:
    assert xml_box(voc(), "x") == ((10, 20, 50, 40), (100, 80))
    assert xml_box(voc(size=None), "x") == ((10, 20, 50, 40), None)
    table = table_boxes(b"ymin,image,xmin,xmax,ymax,note\n20,7,10,50,40,a\n1,8,2,3,4,b\n", "t")
    assert table == {"7": (10, 20, 50, 40), "8": (2, 1, 3, 4)}
    assert text_box(b"0 0.3 0.375 0.4 0.25\n\n", "t", (100, 80)) == pytest.approx((10, 20, 50, 40))
    assert relative_box((10, 20, 50, 40), (100, 80), "x") == pytest.approx((0.3, 0.375, 0.4, 0.25))


def test_a_byte_order_mark_is_left_out() -> None:
    assert xml_box(b"\xef\xbb\xbf" + voc(), "x")[0] == (10, 20, 50, 40)
    assert table_boxes(b"\xef\xbb\xbfimage,xmin,xmax,ymin,ymax\r\na,1,2,3,4\r\n", "t") == {"a": (1, 3, 2, 4)}


LAUGHS = b'<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;">]>'
DECLARES = "a.xml: declares a document type, which annotations never do; remove that"


@pytest.mark.parametrize("declaration", [LAUGHS, b"<!DOCTYPE a>", b'<!DOCTYPE a SYSTEM "file:///etc/passwd">'])
def test_entities_are_refused(declaration: bytes) -> None:
    assert refusal(xml_box, declaration + voc(), "a.xml") == DECLARES
    assert refusal(xml_box, b"<?xml version='1.0' encoding='latin-1'?> <!-- x --> " + declaration + voc(), "a") == (
        DECLARES.replace("a.xml", "a")
    )


def test_another_encoding_does_not_hide_them() -> None:
    hidden = (LAUGHS + voc()).decode()
    assert "not UTF-8 text" in refusal(xml_box, b"\xff\xfe" + hidden.encode("utf-16-le"), "a.xml")
    for encoding in ("utf-16-le", "utf-16-be"):
        assert refusal(xml_box, hidden.encode(encoding), "a.xml") == DECLARES
    seven = b'<?xml version="1.0" encoding="utf-7"?>' + hidden.encode("utf-7")
    assert refusal(xml_box, seven, "a.xml") == DECLARES


def test_an_entity_that_nobody_declares() -> None:
    assert "undefined entity" in refusal(xml_box, voc(("&b;", 1, 2, 3)), "a.xml")
    assert xml_box(voc(("&#49;0", 20, 50, 40)), "a.xml")[0] == (10, 20, 50, 40)


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "a.xml: not well-formed XML (no element found: line 1, column 0)"),
        (voc()[:-5], "a.xml: not well-formed XML ("),
        (voc(objects=0), "a.xml: must have one object, not 0; leave images with others out"),
        (voc(objects=2), "a.xml: must have one object, not 2; leave images with others out"),
        (voc(("left", 1, 2, 3)), "a.xml: xmin must be a number, not 'left'; correct it"),
        (voc((1, "nan", 2, 3)), "a.xml: ymin must be a number, not 'nan'; correct it"),
        (voc((1, 2, "1e999", 3)), "a.xml: xmax must be a number, not '1e999'; correct it"),
        (voc().replace(b"ymax", b"top"), "a.xml: ymax must be a number, not None; correct it"),
        (voc(size=("", 2)), "a.xml: width must be a number, not ''; correct it"),
        (voc() * 2, "a.xml: not well-formed XML ("),
        (b"\x80" + voc(), "a.xml: not UTF-8 text (byte 0); save it as UTF-8"),
        (b"<a>" * 100_000, "a.xml: not well-formed XML ("),
    ],
)
def test_wrong_annotations(data: bytes, message: str) -> None:
    assert refusal(xml_box, data, "a.xml").startswith(message)


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "t.csv: lacks the column image; its first line must be image,xmin,xmax,ymin,ymax"),
        (b"image,xmin,xmax,ymin\n", "t.csv: lacks the column ymax; its first line must be image,xmin,xmax,ymin,ymax"),
        (b"image,xmin,xmax,ymin,ymax\na,1,2,3\n", "t.csv, line 2: ymax must be a number, not None; correct it"),
        (b"image,xmin,xmax,ymin,ymax\na,1,2,3,4\na,1,2,3,4\n", "t.csv, line 3: image 'a' must be named, and once"),
        (b"image,xmin,xmax,ymin,ymax\n,1,2,3,4\n", "t.csv, line 2: image '' must be named, and once"),
        (b'image,xmin,xmax,ymin,ymax\n"a,1,2,3,4\n', "t.csv: not a table of comma-separated values ("),
        (b"image,xmin,xmax,ymin,ymax\n" + b"a" * 200_000, "t.csv: not a table of comma-separated values ("),
    ],
)
def test_wrong_tables(data: bytes, message: str) -> None:
    assert refusal(table_boxes, data, "t.csv").startswith(message)


@pytest.mark.parametrize(
    "data", [b"", b"0 0.5 0.5 0.1", b"0 0.5 0.5 0.1 0.1\n0 0.5 0.5 0.1 0.1", b"0 0.5 0.5 0.1 0.1 1"]
)
def test_wrong_lines(data: bytes) -> None:
    expected = "a.txt: must be one line of class, x, y, width and height; leave images with others out"
    assert refusal(text_box, data, "a.txt", (10, 10)) == expected


@pytest.mark.parametrize(
    "edges",
    [(-1, 0, 5, 5), (0, 0, 101, 5), (0, -1, 5, 5), (0, 0, 5, 81), (5, 0, 5, 5), (0, 6, 5, 5), (9, 0, 5, 5)],
)
def test_boxes_that_are_empty_or_outside(edges: tuple[float, float, float, float]) -> None:
    left, top, right, bottom = edges
    assert refusal(relative_box, edges, (100, 80), "a.xml") == (
        f"a.xml: the box {left}..{right} by {top}..{bottom} is empty or not inside the image of 100 x 80; correct it"
    )


def test_a_box_may_touch_the_edges_and_rounding_is_cut_off() -> None:
    assert relative_box((0, 0, 100, 80), (100, 80), "x") == (0.5, 0.5, 1, 1)
    assert relative_box((-0.005, 0, 100.005, 80), (100, 80), "x") == (0.5, 0.5, 1, 1)
