"""The table of networks is what the script makes of the stored plans, and the planner still makes these plans."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest

from mixq.board import Resources
from mixq.networks import ConvSpec, DenseSpec, network, network_names
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
    graph_of,
    load,
    main,
    missing,
    planned,
    written,
)
from scripts.network_table import BEGIN, END, Row, drawing, rows, section

RENEW = "renew it with: python -m scripts.network_plans, then python -m scripts.network_table"
SMALL, LARGE = (board.name for board in boards())


@pytest.fixture(scope="module")
def known() -> dict[Key, Line]:
    return load()


def made_up(name: str, board: str, choices: str, cycles: int) -> Planned:
    return Planned(
        network=name,
        board=board,
        choices=choices,
        clock_mhz=300.0,
        cycles=cycles,
        resources=Resources(lut=1000, ff=2000, dsp=3, bram36=4.5, uram=6),
        slowest="conv1",
        limited_by=("DSP",),
        least_cycles=cycles,
        price_gap=0.0,
        without_dsps=("conv2",),
    )


def test_the_page_is_current(root: Path, known: dict[Key, Line]) -> None:
    page = (root / "docs/networks.md").read_text()
    assert page.split(BEGIN)[1].split(END)[0] == "\n".join(section(*rows(known))), RENEW
    assert (root / "docs/networks.svg").read_text() == drawing(rows(known)[0]), RENEW


def test_every_plan_is_there_and_is_within_its_board(known: dict[Key, Line]) -> None:
    assert all(list(missing(known, name)) == [] for name in NETWORKS)
    limits = {board.name: board for board in boards()}
    for line in known.values():
        if isinstance(line, Planned):
            assert not line.resources.excess(limits[line.board].resources)
            assert line.clock_mhz == limits[line.board].clock_mhz


def test_fewer_choices_are_never_faster(known: dict[Key, Line]) -> None:
    for row in rows(known)[0]:
        # Of a plan that is not proved best no more is known than the proved bound.
        least = row.own.least_cycles
        assert all(cycles >= least for choices in CHOICES if (cycles := row.cycles(choices)) is not None)


@pytest.mark.parametrize("choices", [pytest.param(ALL, marks=pytest.mark.slow), STORED, ORIGINAL, FINN])
def test_the_smallest_network_is_planned_so(choices: str, known: dict[Key, Line]) -> None:
    made = planned("digits_cnn", graph_of("digits_cnn"), boards()[0], choices)
    assert made == known["digits_cnn", SMALL, choices]


@pytest.mark.parametrize("choices", [ORIGINAL, FINN])
def test_a_network_with_depthwise_layers_is_planned_so(choices: str, known: dict[Key, Line]) -> None:
    assert planned("ds_cnn", graph_of("ds_cnn"), boards()[0], choices) == known["ds_cnn", SMALL, choices]


def test_only_what_is_missing_is_planned(tmp_path: Path, known: dict[Key, Line]) -> None:
    lines = [line for line in known.values() if line.network == "digits_cnn"]
    path = tmp_path / "plans.jsonl"
    path.write_text("".join(written(line) for line in lines if line.choices != FINN))
    before = path.read_text()
    main(["digits_cnn"], path)
    assert path.read_text() == before + written(known["digits_cnn", SMALL, FINN])
    assert load(path) == {(line.network, line.board, line.choices): line for line in lines}


def test_the_next_board_is_asked_where_the_smaller_does_not_hold_a_network() -> None:
    found: dict[Key, Line] = {}
    asked = []
    for board, choices in missing(found, "ds_cnn"):
        asked.append((board.name, choices))
        refused = Lacking(network="ds_cnn", board=board.name, choices=choices, lacking="LUT 2 of 1 (1 too many)")
        fits = board.name == LARGE and choices != FINN
        found["ds_cnn", board.name, choices] = made_up("ds_cnn", LARGE, choices, 10) if fits else refused
    assert asked == [(SMALL, ALL), *((LARGE, choices) for choices in CHOICES)]


def test_what_does_not_fit_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.network_table.NETWORKS", ("ds_cnn", "resnet8"))
    lacking = {
        (name, board, choices): Lacking(network=name, board=board, choices=choices, lacking=f"{name} lacks on {board}")
        for name, board, choices in (
            ("ds_cnn", SMALL, ALL),
            ("ds_cnn", LARGE, FINN),
            ("resnet8", SMALL, ALL),
            ("resnet8", LARGE, ALL),
        )
    }
    made = {
        ("ds_cnn", LARGE, choices): made_up("ds_cnn", LARGE, choices, cycles)
        for choices, cycles in ((ALL, 1000), (STORED, 1600), (ORIGINAL, 4000))
    }
    found, left = rows({**lacking, **made})
    assert [row.network for row in found] == ["ds_cnn"]
    text = "\n".join(section(found, left))
    counts = "1,000 | 300,000 | 1,000 | 2,000 | 3 | 4.5 | 6"
    assert f"| `ds_cnn` | {LARGE} | {counts} | conv1 | DSP | 1 of 10 | 1,600 |\n" in text
    assert "| `ds_cnn` | 1,000 | 3 | 1,000 | 4,000 | 3 | 1,000 | 4.00, 2.50 | does not fit |  |  |  |\n" in text
    for name, board in (("ds_cnn", SMALL), ("resnet8", SMALL), ("resnet8", LARGE)):
        assert f"- `{name}`: {name} lacks on {board}\n" in text
    assert f"- `ds_cnn`, finn: ds_cnn lacks on {LARGE}\n" in text
    assert "does not fit" in drawing(found)


def test_what_limits_a_plan_and_what_is_not_proved_is_said() -> None:
    lines = {choices: made_up("ds_cnn", SMALL, choices, 100) for choices in CHOICES}
    lines[FINN] = replace(lines[FINN], limited_by=("conv7",), cycles=300, least_cycles=250)
    text = "\n".join(section([Row("ds_cnn", lines)], []))
    assert "| 300 (conv7) | 3 | 1,000 | 3.00, 3.00 |\n" in text
    assert "- `ds_cnn`, finn: fewer than 250 cycles are proved impossible, 300 were found\n" in text


def test_bars_are_as_long_as_the_logarithm_of_their_cycles() -> None:
    tree = ElementTree.fromstring(picture([("one", [10, 100, 1000]), ("two", [100, None, 10])]))
    bars = [float(rect.attrib["width"]) for rect in tree.iter("{http://www.w3.org/2000/svg}rect")][4:]
    # Between 10 and 1000 lie two powers of ten; a bar at the edge is a hair wide.
    assert bars == [1, 310, 620, 310, 1]
    words = [text.text for text in tree.iter("{http://www.w3.org/2000/svg}text")]
    assert {"one", "two", "10", "100 (10.00x)", "1,000 (100.00x)", "does not fit", "10 (0.10x)"} <= set(words)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "digits_cnn"])
def test_default_widths_are_those_that_the_page_states(name: str) -> None:
    table = network(name)
    weights, acts = table.resolve_weight_bits(), table.resolve_act_bits()
    for index, layer in enumerate(table.weighted_layers):
        dense = isinstance(layer, DenseSpec)
        edge = name == "ultranet_ismart" and index in (0, len(weights) - 1)
        depthwise = isinstance(layer, ConvSpec) and layer.depthwise
        assert weights[index] == (8 if dense or depthwise or edge else 4)
        assert acts[index] == (8 if dense or index == 0 else 4)


def test_the_quickstarts_default_widths_are_those_that_the_page_states() -> None:
    table = network("digits_cnn")
    assert (table.resolve_weight_bits(), table.resolve_act_bits()) == ((4, 3, 2, 6), (5, 4, 3, 6))


def test_every_network_is_planned() -> None:
    # The quarter of vgg_tiny is there for comparisons of searches alone.
    assert sorted(NETWORKS) == sorted(set(network_names()) - {"vgg_tiny_quarter"})
