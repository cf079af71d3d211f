"""Drawings of packings: every bit where the packing has it, in text and in SVG."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

from mixq.drawing import draw_svg, draw_text, guard_bits, lane_terms, rows
from mixq.packing import KERNELS, Packing, candidates, solve

PACKINGS = [
    packing
    for kernel in KERNELS
    for weight_bits, act_bits in [(2, 2), (2, 8), (3, 3), (4, 4), (5, 2), (8, 8)]
    for packing in candidates(weight_bits, act_bits, kernel)
]


def drawn_fields(line: str, bits: int) -> dict[str, tuple[int, int]]:
    """Name -> (offset, columns up to the next field's or the free bits' beginning) of a row of text."""
    row = line[2:].ljust(2 * bits)
    found = {}
    for match in re.finditer(r"\|([^|.]*)", row):
        start = 2 * bits - match.start()
        assert start % 2 == 0  # fields begin at bits
        found[match[1].strip()] = (start // 2, match.end() - match.start())
    return found


@pytest.mark.parametrize("packing", PACKINGS, ids=lambda p: "")
def test_text_shows_every_field_at_its_bits(packing: Packing) -> None:
    text = draw_text(packing)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    assert text.isascii()
    places = [
        {(offset, packing.act_bits) for offset in packing.act_offsets},
        {(offset, packing.weight_bits) for row in packing.weight_offsets for offset in row},
        {(lane.offset, lane.width) for lane in packing.lanes},
    ]
    for at, bits, expected in zip(
        (3, 5, 7), (packing.act_port_bits, packing.weight_port_bits, 48), places, strict=True
    ):
        fields = drawn_fields(lines[at], bits)
        # `end` is one above the field's top bit.
        assert {(end - columns // 2, columns // 2) for end, columns in fields.values()} == expected
    assert len(lines) >= 10 + len(packing.lanes)


@pytest.mark.parametrize("packing", PACKINGS[::7], ids=lambda p: "")
def test_svg_shows_every_field_at_its_bits(packing: Packing) -> None:
    root = ElementTree.fromstring(draw_svg(packing))
    space = "{http://www.w3.org/2000/svg}"
    outlines = [node for node in root.iter(space + "rect") if node.get("fill") == "none"]
    expected = [
        *((offset, packing.act_bits) for offset in packing.act_offsets),
        *sorted((offset, packing.weight_bits) for row in packing.weight_offsets for offset in row),
        *((lane.offset, lane.width) for lane in packing.lanes),
    ]
    right = max(int(node.get("x", "")) + int(node.get("width", "")) for node in outlines)
    cell = int(outlines[0].get("height", ""))
    seen = []
    for node in outlines:
        x, width = int(node.get("x", "")), int(node.get("width", ""))
        assert x >= 0 and x % cell == right % cell
        seen.append(((right - x - width) // cell, width // cell))
    assert seen == expected
    height = int(root.get("height", ""))
    assert all(int(node.get("y", "")) < height for node in root.iter(space + "text"))
    squares = [node for node in root.iter(space + "rect") if node.get("stroke") == "#bdbdbd"]
    assert len(squares) == 48 + 18 + 27
    assert "href" not in draw_svg(packing) and "font-face" not in draw_svg(packing)


def test_drawings_do_not_change() -> None:
    assert draw_svg(solve(2, 8)) == draw_svg(solve(2, 8))
    assert draw_text(solve(2, 8)) == draw_text(solve(2, 8))


def test_names_tell_channels_apart() -> None:
    activations, weights, lanes = rows(solve(2, 2, kernel=1))
    assert [field.name for field in activations.fields] == ["x0", "x1"]
    assert [field.name for field in weights.fields] == [f"w{m}" for m in range(6)]
    assert {field.name for field in lanes.fields} == {f"y{m}{n}" for m in range(6) for n in range(2)}
    both = next(p for p in candidates(2, 2, 3) if p.channels == 2 and p.taps == 3)
    assert {field.name for field in rows(both)[1].fields} == {f"w{m}{k}" for m in range(2) for k in range(3)}


def test_terms_of_a_lane_are_its_products() -> None:
    packing = solve(4, 4)
    assert [lane_terms(packing, lane) for lane in packing.lanes] == [
        "x0*w0",
        "x0*w1 + x1*w0",
        "x0*w2 + x1*w1",
        "x1*w2",
    ]
    for packing in PACKINGS:
        assert [lane_terms(packing, lane).count("*") for lane in packing.lanes] == [
            lane.terms for lane in packing.lanes
        ]


def test_guard_bits_are_what_one_product_leaves() -> None:
    # -8..7 times -7..7 spans -56..56, 7 bits; two of them 8 bits.
    packing = solve(4, 4)
    assert [guard_bits(packing, lane) for lane in packing.lanes] == [4, 3, 3, 15 - 7]
    assert all(guard_bits(packing, lane) >= 0 for packing in PACKINGS for lane in packing.lanes)


def test_packed_mac_shows_the_same_drawing() -> None:
    from rtl_gen import PackedMac

    drawn = draw_text(solve(4, 4)).splitlines()[2:8]
    documented = [line.strip() for line in (PackedMac.__doc__ or "").splitlines()]
    assert [line.strip() for line in drawn] == documented[documented.index(drawn[0]) :][:6]
