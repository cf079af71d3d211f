"""Drawings of packings: every bit where the packing has it, in text and in SVG."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest

from mixq.drawing import Row, draw_svg, draw_text, guard_bits, headline, known_bits, lane_terms, sheets
from mixq.packing import KERNELS, Packing, Part, Product, candidates, default_weight_range, solve

PACKINGS = list(
    dict.fromkeys(
        packing
        for kernel in KERNELS
        for weight_bits, act_bits in [(1, 1), (2, 2), (2, 8), (3, 3), (4, 4), (5, 2), (8, 8)]
        for residue_bits in (0, 1, 2)
        for packing in candidates(weight_bits, act_bits, kernel, residue_bits)
    )
)


def packing_of(weight_bits: int, act_bits: int, kernel: int, *parts: Part) -> Packing:
    """A packing at the range of weights that densities are quoted for."""
    return Packing(weight_bits, act_bits, kernel, parts, weight_range=default_weight_range(weight_bits))


# Geometries that are told about in the documentation, whatever the solver prefers.
PLAIN = packing_of(4, 4, 3, Part(Product(4, -7, 7, 2, 3, 1, 11, 11, 0, False)))
PAIR = packing_of(8, 8, 3, Part(Product(8, -127, 127, 2, 3, 1, 9, 9, 0, False, pair=True)))
TRACKED = packing_of(4, 4, 3, Part(Product(4, -7, 7, 4, 3, 1, 7, 7, 0, True, tracked=True, residue_bits=2)))
BLOCKS = packing_of(4, 2, 1, Part(Product(2, -7, 7, 4, 1, 3, 3, 3, 6, True, residue_bits=2, block=2, block_stride=18)))
CHANNELS = packing_of(2, 2, 1, Part(Product(2, -2, 1, 2, 1, 6, 18, 18, 3, True)))
MANY = packing_of(1, 1, 3, Part(Product(1, -1, 1, 9, 3, 2, 2, 2, 21, False, residue_bits=1)))
SPLIT_ACTS = packing_of(
    4,
    8,
    7,
    Part(Product(5, -7, 7, 6, 4, 1, 4, 4, 0, True, pair=True, residue_bits=2), act_shift=3),
    Part(Product(3, -7, 7, 4, 7, 1, 3, 3, 0, False, pair=True, residue_bits=2)),
)
SPLIT_WEIGHTS = packing_of(
    2,
    1,
    1,
    Part(Product(1, -1, 0, 8, 1, 5, 1, 1, 4, True, block=4, block_stride=20), weight_shift=1),
    Part(Product(1, 0, 1, 8, 1, 5, 1, 1, 4, True, block=4, block_stride=20)),
)
DOCUMENTED = [PLAIN, PAIR, TRACKED, BLOCKS, CHANNELS, MANY, SPLIT_ACTS, SPLIT_WEIGHTS]


def products(packing: Packing) -> list[Product]:
    """The products that a packing draws, one for each sheet."""
    return [product for _, product in dict.fromkeys((slot.part, slot.product) for slot in packing.slots)]


def bits_of(low: int, high: int) -> int:
    """Bits of every value from low to high: two's complement where any is negative."""
    return next(b for b in range(1, 10) if (0 if low >= 0 else -(1 << (b - 1))) <= low and high < 1 << (b - (low < 0)))


def port_places(offsets: list[int], port_bits: int, low: int, high: int, negated: set[int]) -> set[tuple[int, int]]:
    """(offset, width) of values at offsets; each gives way to the next one and to the end of the port."""
    places = set()
    for offset, end in zip(offsets, [*offsets[1:], port_bits], strict=True):
        wanted = bits_of(-high, -low) if offset in negated else bits_of(low, high)
        places.add((offset, min(wanted, end - offset)))
    return places


def expected_rows(product: Product) -> list[tuple[int, set[tuple[int, int]]]]:
    """Bits of each row and (offset, width) of what lies in it, from the geometry's parameters."""
    acts = dict(enumerate(product.act_offsets))
    weights = {(k, m): offset for m, row in enumerate(product.weight_offsets) for k, offset in enumerate(row)}
    found = []
    for places, port, low, high, wide in (
        (acts, product.act_port_bits, -product.half, product.half - 1, product.act_on_wide),
        (weights, product.weight_port_bits, product.weight_low, product.weight_high, not product.act_on_wide),
    ):
        parity = {offset: (key[0] if isinstance(key, tuple) else key) % 2 for key, offset in places.items()}
        offsets = sorted(parity)
        odd = {offset for offset in offsets if parity[offset]}
        if not product.pair:
            found.append((port, port_places(offsets, port, low, high, set())))
        elif wide:
            for chosen in (set(offsets) - odd, odd):
                found.append((port, port_places(sorted(chosen), port, low, high, set())))
        else:
            found.append((port, port_places(offsets, port, low, high, set())))
            found.append((port, port_places(offsets, port, low, high, odd)))
    for word in range(product.words):
        lanes = {(lane.offset, lane.width) for lane in product.lanes if lane.word == word}
        found.append((47 if product.pair else 48, lanes))
    return found


def drawn_fields(line: str, bits: int) -> set[tuple[int, int]]:
    """(offset, width) of what a row of text shows."""
    row = line[2:].ljust(2 * bits)
    assert len(row) == 2 * bits
    found = set()
    for match in re.finditer(r"\|[^|.]*", row):
        start = 2 * bits - match.start()
        assert start % 2 == 0 and len(match[0]) % 2 == 0  # fields begin at bits
        found.add(((start - len(match[0])) // 2, len(match[0]) // 2))
    return found


@pytest.mark.parametrize("kernel", KERNELS)
def test_text_shows_every_field_at_its_bits(kernel: int) -> None:
    for packing in (p for p in [*PACKINGS, *DOCUMENTED] if p.kernel == kernel):
        text = draw_text(packing)
        lines = text.splitlines()
        assert max(map(len, lines)) <= 100 and text.isascii()
        drawn = [line for line in lines if re.match(r"  [.|]", line)]
        for product in products(packing):
            for bits, places in expected_rows(product):
                assert drawn_fields(drawn.pop(0), bits) == places
        assert drawn == []
        assert sum("*" in line for line in lines) >= sum(len(p.lanes) for p in products(packing))


def test_text_marks_the_known_bits() -> None:
    lines = draw_text(TRACKED).splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("accumulator"))
    marked = {(96 - 1 - (column - 2)) // 2 for column, mark in enumerate(lines[at + 2]) if mark == "r"}
    # The documented geometry: seven bits a lane, of which 0, 1, 2, 2, 2 and 2 are known.
    assert marked == {7, 14, 15, 21, 22, 28, 29, 35, 36}
    assert "; r: known from look-up tables too" in lines[at]
    assert "r:" not in draw_text(PLAIN)


def test_long_names_go_on_below() -> None:
    lines = draw_text(
        packing_of(1, 1, 1, Part(Product(1, -1, 1, 1, 1, 13, 0, 0, 1, False, residue_bits=1)))
    ).splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("weights"))
    assert lines[at + 1].endswith("|w|w")
    assert lines[at + 2].endswith(" 1 0")
    assert lines[at + 3].rstrip().endswith(" 1 0")  # of w11 and w10; the top one, w12, has room


def svg_rects(packing: Packing) -> list[ElementTree.Element]:
    root = ElementTree.fromstring(draw_svg(packing))
    return list(root.iter("{http://www.w3.org/2000/svg}rect"))


@pytest.mark.parametrize("packing", [*PACKINGS[::29], *DOCUMENTED], ids=lambda p: "")
def test_svg_shows_every_field_at_its_bits(packing: Packing) -> None:
    root = ElementTree.fromstring(draw_svg(packing))
    space = "{http://www.w3.org/2000/svg}"
    outlines = [node for node in root.iter(space + "rect") if node.get("fill") == "none"]
    rows = [row for product in products(packing) for row in expected_rows(product)]
    right, cell = 16 + 48 * 20, 20
    seen: dict[int, set[tuple[int, int]]] = {}
    for node in outlines:
        x, width = int(node.get("x", "")), int(node.get("width", ""))
        assert x >= 0 and (right - x) % cell == 0
        seen.setdefault(int(node.get("y", "")), set()).add(((right - x - width) // cell, width // cell))
    assert [seen[y] for y in sorted(seen)] == [places for _, places in rows]
    height, width = int(root.get("height", "")), int(root.get("width", ""))
    for node in root.iter(space + "text"):
        assert int(node.get("y", "")) < height
        room = len(node.text or "") * int(node.get("font-size", "")) * 0.62
        assert node.get("text-anchor") or int(node.get("x", "")) + room < width
    squares = [node for node in root.iter(space + "rect") if node.get("stroke") == "#bdbdbd"]
    assert len(squares) == sum(bits for bits, _ in rows)
    shaded = [int(node.get("width", "")) for node in svg_rects(packing) if node.get("fill-opacity")]
    known = [bits for product in products(packing) for bits in known_bits(product) if bits]
    assert [width // cell for width in shaded if width >= cell] == known
    assert "href" not in draw_svg(packing) and "font-face" not in draw_svg(packing)


def test_drawings_do_not_change() -> None:
    for packing in DOCUMENTED:
        assert draw_svg(packing) == draw_svg(replace(packing))
        assert draw_text(packing) == draw_text(replace(packing))


def names(row: Row) -> list[str]:
    return [field.name for field in row.fields]


def test_names_tell_channels_apart() -> None:
    activations, weights, lanes = sheets(CHANNELS)[0].rows
    assert names(activations) == ["x0", "x1"]
    assert names(weights) == [f"w{m}" for m in range(6)]
    assert names(lanes) == [f"y{m}{n}" for n in range(2) for m in range(6)]
    _, weights, lanes = sheets(MANY)[0].rows
    assert names(weights) == [f"w{m}{k}" for m in range(2) for k in range(3)]
    assert names(lanes) == [f"y{m}_{e}" for m in range(2) for e in range(11)]


def test_a_pair_has_two_operands_on_each_port_and_two_words() -> None:
    rows = sheets(PAIR)[0].rows
    assert [row.title for row in rows] == [
        "activations, 18-bit port of the first DSP",
        "activations, 18-bit port of the second DSP",
        "weights, 27-bit port: D, even taps",
        "weights, 27-bit port: A, odd taps",
        "half the sum of both accumulators, 47 bits: even lanes",
        "half the difference of both accumulators, 47 bits: odd lanes",
    ]
    assert [names(row) for row in rows] == [
        ["+x0", "+x1"],
        ["+x0", "-x1"],
        ["w0", "w2"],
        ["w1"],
        ["y0", "y2"],
        ["y1", "y3"],
    ]
    assert "D + A" in draw_text(PAIR) and "D - A" in draw_svg(PAIR)


def test_blocks_of_pixels_are_told_apart() -> None:
    activations, *_ = sheets(BLOCKS)[0].rows
    assert activations.title == "activations, 27-bit port, blocks of 2 pixels"
    colours = [field.group for field in activations.fields]
    assert colours == [colours[0], colours[0], colours[2], colours[2]] and colours[0] != colours[2]


def test_carry_tracking_is_said_and_its_counters_are_drawn() -> None:
    assert TRACKED.tracked
    for text in (draw_text(TRACKED), draw_svg(TRACKED)):
        assert "Carries are tracked: after each product, a counter" in text
        assert "Up to 1,048,576 products" in text
    counters = sum(bits > 0 for bits in known_bits(TRACKED.product))
    assert draw_svg(TRACKED).count("<path") == counters + 1  # and one in the legend
    for packing in (PLAIN, BLOCKS):
        assert "<path" not in draw_svg(packing) and "counter" not in draw_text(packing)


def test_a_split_operand_is_drawn_part_by_part() -> None:
    assert [sheet.caption for sheet in sheets(SPLIT_WEIGHTS)] == [
        "bit 1 of the weights: once in a unit of 2 DSPs",
        "bit 0 of the weights: once in a unit of 2 DSPs",
    ]
    # A row of seven taps is four and three of one part; 12 pixels are twice six, and three times four.
    assert [sheet.caption for sheet in sheets(SPLIT_ACTS)] == [
        "bits 7 to 3 of the activations with taps 0 to 3: twice in a unit of 14 DSPs",
        "bits 7 to 3 of the activations with taps 4 to 6: twice in a unit of 14 DSPs",
        "bits 2 to 0 of the activations: 3 times in a unit of 14 DSPs",
    ]
    for sheet in sheets(SPLIT_ACTS):
        assert sheet.caption in draw_text(SPLIT_ACTS) and sheet.caption in draw_svg(SPLIT_ACTS)
    assert all(sheet.caption == "" for sheet in sheets(PAIR))


def test_terms_of_a_lane_are_its_products() -> None:
    product = PLAIN.product
    assert [lane_terms(product, lane) for lane in product.lanes] == [
        ("x0*w0",),
        ("x0*w1", "x1*w0"),
        ("x0*w2", "x1*w1"),
        ("x1*w2",),
    ]
    for packing in PACKINGS:
        for part in packing.parts:
            assert [len(lane_terms(part.product, lane)) for lane in part.product.lanes] == [
                lane.terms for lane in part.product.lanes
            ]


def test_guard_bits_are_what_one_product_leaves() -> None:
    # -8..7 times -7..7 spans -56..56, 7 bits; two of them 8 bits.
    product = PLAIN.product
    assert [guard_bits(product, lane) for lane in product.lanes] == [4, 3, 3, 15 - 7]
    # With known bits lanes may be narrower: 7 bits for up to three products.
    assert [guard_bits(TRACKED.product, lane) for lane in TRACKED.product.lanes] == [0, -1, -2, -2, -1, 6]
    plain = [p.product for p in PACKINGS if p.residue_bits == 0 and not p.split]
    assert all(guard_bits(product, lane) >= 0 for product in plain for lane in product.lanes)


def test_weights_of_one_bit_have_no_range() -> None:
    assert headline(solve(1, 1)).startswith("1-bit weights, 1-bit unsigned activations, kernel 3: ")
    assert headline(solve(4, 4, act_signed=True)).startswith("4-bit narrow weights, 4-bit signed activations")


def test_packed_mac_shows_the_same_drawing() -> None:
    from rtl_gen import PackedMac

    documented = [line.strip() for line in (PackedMac.__doc__ or "").splitlines()]
    at = documented.index("::") + 2
    drawings = [draw_text(p).splitlines()[2:8] for p in (PLAIN, *candidates(4, 4, 3, 2))]
    assert documented[at : at + 6] in [[line.strip() for line in drawing] for drawing in drawings]


def test_the_documented_picture_is_current(root: Path) -> None:
    assert (root / "docs/packing-w4a4.svg").read_text() == draw_svg(solve(4, 4, residue_bits=2))
