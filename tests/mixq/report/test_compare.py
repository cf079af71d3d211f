"""What changed between two builds: found, ordered, and said where a side lacks it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mixq.graph import Graph
from mixq.plan import Plan, plan
from mixq.report.compare import Change, Comparison, Side, compare
from mixq.report.compare_files import write_comparison
from mixq.report.gather import ReportData, gather
from mixq.report.rows import packing_name
from tests.mixq.report.browser import look_at
from tests.mixq.report.builds import BOARD, LIMITS, write_results

FILES = {"graph.json": "0" * 64, "plan.yaml": "1" * 64, "rtl/mixq_top.v": "2" * 64}
TOOLS = {"tools": {"mixq": "1", "amaranth": "0.5"}}


@pytest.fixture
def data(build: Path, planned: Plan) -> ReportData:
    """With everything, a manifest too."""
    write_results(build, planned)
    return replace(gather(build), manifest=TOOLS)


@pytest.fixture(scope="session")
def denser(graph: Graph) -> Plan:
    """The same network with denser packings."""
    return plan(graph, BOARD, limits=LIMITS, residue_bits=2)


def found(before: Side, after: Side) -> Comparison:
    return compare(before, after)


def test_nothing_changed(data: ReportData) -> None:
    same = found(Side(data, FILES), Side(replace(data, name="other"), dict(FILES)))
    assert same.same
    assert same.document() == {"before": "quick", "after": "other", "same": True, "sections": {}, "missing": []}


def test_another_plan_shows_in_every_layer_that_it_builds_otherwise(
    data: ReportData, planned: Plan, denser: Plan
) -> None:
    other = replace(data, plan=denser, counted=None)
    outcome = found(Side(replace(data, counted=None), {}), Side(other, {}))
    assert list(outcome.sections) == [
        name for name in ("speed", "resources", "layers") if name != "speed" or planned.cycles != denser.cycles
    ]
    resources = {change.what: (change.before, change.after) for change in outcome.sections["resources"]}
    assert resources["LUT estimated"] == (planned.resources.lut, denser.resources.lut)
    packings = {c.subject: (c.before, c.after) for c in outcome.sections["layers"] if c.what == "packing"}
    wanted = {}
    for layer in planned.layers:
        new = denser.layer(layer.name)
        if layer.folding is not None and new.folding is not None and layer.folding.packing != new.folding.packing:
            wanted[layer.name] = packing_name(layer.folding.packing), packing_name(new.folding.packing)
    assert packings == wanted != {}


def test_what_matters_most_comes_first(data: ReportData, planned: Plan) -> None:
    assert data.accuracy is not None and data.counted is not None
    slower = replace(planned, shell_cycles=4 * planned.cycles)
    counted = {name: dict(counts) for name, counts in data.counted.items()}
    counted["conv0"]["LUT"] += 7
    counted["total"]["LUT"] += 7
    other = replace(
        data,
        plan=slower,
        accuracy={**data.accuracy, "value": 0.9},
        counted=counted,
        manifest={"tools": {"mixq": "2"}, "stages": {"reports": {"files": {}, "tools": {"numpy": "2.4"}}}},
    )
    outcome = found(Side(data, FILES), Side(other, FILES | {"plan.yaml": "3" * 64, "rtl/a.mem": "4" * 64}))
    assert list(outcome.sections) == ["accuracy", "speed", "resources", "layers", "files", "tools"]
    assert outcome.sections["accuracy"] == (Change("network", "integer network", 0.9722, 0.9),)
    assert outcome.sections["speed"][:3] == (
        Change("design", "frames per second", planned.fps, planned.fps / 4),
        Change("design", "cycles per frame", planned.cycles, 4 * planned.cycles),
        Change("design", "bottleneck", planned.bottleneck, "shell"),
    )
    lut = data.counted["conv0"]["LUT"]
    assert outcome.sections["layers"] == (Change("conv0", "LUT counted", lut, lut + 7),)
    assert outcome.sections["files"] == (
        Change("plan.yaml", "SHA-256", "1" * 64, "3" * 64),
        Change("rtl/a.mem", "SHA-256", None, "4" * 64),
    )
    assert outcome.sections["tools"] == (
        Change("mixq", "version", "1", "2"),
        Change("amaranth", "version", "0.5", None),
        Change("numpy", "version", None, "2.4"),
    )


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ({"accuracy": None}, "accuracy: only quick has it; make it with: mixq test bare"),
        ({"simulations": ()}, "simulation: only quick has it; make it with: mixq verify bare"),
        ({"counted": None}, "counted resources: only quick has it; make it with: mixq estimate bare"),
        ({"manifest": None}, "Verilog and its manifest: only quick has it; make it with: mixq generate bare"),
        ({"plan": None, "counted": None}, "plan: only quick has it; make it with: mixq plan bare"),
    ],
)
def test_what_a_side_lacks_is_said_once(lost: dict[str, Any], message: str, data: ReportData) -> None:
    bare = replace(data, name="bare", **lost)
    for before, after in ((data, bare), (bare, data)):
        outcome = found(Side(before, FILES), Side(after, FILES))
        assert message in outcome.missing and len(outcome.missing) == len(lost)
        assert not outcome.same and outcome.sections == {}


def test_images_in_rtl_are_left_out_where_one_side_has_no_verilog(data: ReportData) -> None:
    bare = {name: own for name, own in FILES.items() if not name.startswith("rtl/")}
    assert found(Side(data, FILES), Side(data, bare)).same


def test_layers_of_another_network(data: ReportData, graph: Graph) -> None:
    nodes = tuple(replace(node, name="first") if node.name == "conv0" else node for node in graph.nodes)
    other = ReportData("other", replace(graph, nodes=nodes))
    layers = found(Side(ReportData("one", graph), {}), Side(other, {})).sections["layers"]
    assert layers == (
        Change("first", "stage", None, "conv 3\N{MULTIPLICATION SIGN}3"),
        Change("conv0", "stage", "conv 3\N{MULTIPLICATION SIGN}3", None),
    )


def test_files_hold_it_and_the_page_fits(build: Path, data: ReportData, tmp_path: Path) -> None:
    other = replace(data, name="<other>", counted=None, manifest={"tools": {"mixq": "<b>"}})
    outcome = found(Side(other, FILES), Side(data, FILES | {"plan.yaml": "3" * 64}))
    page = write_comparison(build, outcome)
    assert json.loads((build / "report/compare.json").read_text()) == outcome.document()
    text = page.read_text()
    assert "&lt;other&gt;" in text and "<other>" not in text and "<b>" not in text
    assert "3" * 12 in text and "3" * 13 not in text
    look = look_at(page, 400, tmp_path)
    assert (look.scroll, look.console) == (400, [])
