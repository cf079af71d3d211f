"""The pipeline's picture: who feeds whom, where branches stand, what stands between."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

from mixq.formats import IntFormat
from mixq.graph import Graph, Tensor
from mixq.plan import Plan, plan
from mixq.plan.beats import converters
from mixq.plan.units import units
from mixq.report.edges import Edge, stage_edges
from mixq.report.gather import ReportData, gather
from mixq.report.pipeline import pipeline_svg
from mixq.report.pipeline_layout import lay_out
from mixq.report.rows import layer_rows
from rtl_gen import build as accelerator
from tests.mixq.dags import every_node
from tests.mixq.report.builds import BOARD

TENSOR = Tensor("t", (1, 1, 1), IntFormat(4, False), None)


@pytest.fixture(scope="module")
def branched() -> tuple[Graph, Plan]:
    """Every kind of node, with forks and joins."""
    graph = every_node()
    return graph, plan(graph, BOARD, residue_bits=0)


def edges_of(*pairs: tuple[int, int]) -> list[Edge]:
    return [Edge(source, target, TENSOR) for source, target in pairs]


def test_a_chain_has_one_track() -> None:
    found = lay_out(edges_of((-1, 0), (0, 1), (1, 2)), 2)
    assert found.ranks == {-1: 0, 0: 1, 1: 2, 2: 3}
    assert set(found.tracks.values()) == set(found.edge_tracks) == {0}


def test_a_way_around_has_a_track_of_its_own_until_it_joins() -> None:
    """0 forks to 1, 2 and to the join 3; 4 forks to 5 and 6, which join in 7."""
    pairs = (-1, 0), (0, 1), (1, 2), (2, 3), (0, 3), (3, 4), (4, 5), (4, 6), (5, 7), (6, 7), (7, 8)
    found = lay_out(edges_of(*pairs), 8)
    assert [found.ranks[place] for place in range(9)] == [1, 2, 3, 4, 5, 6, 6, 7, 8]
    assert [found.tracks[place] for place in range(9)] == [0, 0, 0, 0, 0, 0, 1, 0, 0]
    assert dict(zip(pairs, found.edge_tracks, strict=True))[0, 3] == 1
    assert found.boxed == [True, True]
    assert lay_out(edges_of((-1, 0), (-1, 1), (0, 1), (1, 2)), 2).boxed == [True, False]


def test_the_output_stands_below_what_goes_on_from_the_same_tensor() -> None:
    found = lay_out(edges_of((-1, 0), (0, 1), (-1, 2), (1, 2), (2, 3)), 3)
    assert found.ranks[3] == max(found.ranks.values())


def test_no_line_crosses_a_box(branched: tuple[Graph, Plan]) -> None:
    graph, planned = branched
    rows = layer_rows(ReportData("net", graph, planned))
    edges = stage_edges(rows, graph, planned)
    found = lay_out(edges, len(rows))
    assert sum(found.boxed) > 1
    spans = [
        (found.edge_tracks[number], found.ranks[edge.source], found.ranks[edge.target])
        for number, edge in enumerate(edges)
    ]
    for (track, top, bottom), edge in zip(spans, edges, strict=True):
        between = [place for place, own in found.tracks.items() if own == track and top < found.ranks[place] < bottom]
        assert between == [], edge
    for (track, top, bottom), (other, other_top, other_bottom) in combinations(spans, 2):
        assert track != other or bottom <= other_top or other_bottom <= top


def test_edges_are_those_of_the_hardware(branched: tuple[Graph, Plan]) -> None:
    graph, planned = branched
    rows = layer_rows(ReportData("net", graph, planned))
    edges = stage_edges(rows, graph, planned)
    stages = units(graph)
    assert [row.name for row in rows] == [unit.node.name for unit in stages]
    wanted = [(place, index) for index, unit in enumerate(stages) for place in unit.reads]
    assert [(edge.source, edge.target) for edge in edges[:-1]] == wanted
    assert edges[-1].tensor.name == graph.output and edges[-1].target == len(rows)
    built = accelerator(graph, planned, "generic")
    depths = sorted(depth for _, fork in built.forks for depth in fork.depths if depth)
    assert sorted(edge.fifo for edge in edges if edge.fifo) == depths != []
    counts = converters(stages, graph, planned)
    assert [edge.converters for edge in edges[:-1]] == [count for own in counts for count in own]
    assert sum(edge.converters for edge in edges) == sum("_converter_" in name for name, _ in built.stages) > 0


def test_beats_of_several_pixels_count_as_the_hardware_has_them(graph: Graph, planned: Plan) -> None:
    """A layer that takes as many pixels as it multiplies has one converter more than where they come one by one."""
    counts = []
    for several in (False, True):
        folding = planned.layer("conv3").folding
        assert folding is not None and folding.in_pixels == 1 < folding.packing.pixels
        wide = replace(folding, in_pixels=folding.packing.pixels if several else 1)
        layers = (replace(one, folding=wide) if one.name == "conv3" else one for one in planned.layers)
        own = replace(planned, layers=tuple(layers))
        counts.append(sum(map(sum, converters(units(graph), graph, own))))
        names = [name for name, _ in accelerator(graph, own, "generic").stages]
        assert counts[-1] == sum("_converter_" in name for name in names)
    assert counts[1] == counts[0] + 1


def test_every_stage_is_shown_with_what_travels_between(build: Path, planned: Plan) -> None:
    data = gather(build)
    rows = layer_rows(data)
    root = ElementTree.fromstring(pipeline_svg(rows, stage_edges(rows, data.graph, planned), planned))
    texts = [element.text or "" for element in root.iter("text")]
    for row in rows:
        assert row.name in texts
        assert f"{row.cycles:,} cycles" in texts
        if row.packing is not None:
            assert row.packing_name.partition(": ")[2] in texts
    told = [text.replace("\N{MULTIPLICATION SIGN}", "x") for text in texts]
    assert {"1x8x8, u8", "4x8x8, u4", "4x4x4, u4", "8x4x4, u3"} <= set(told)
    slow = [element for element in root.iter("rect") if element.get("class") == "stage slow"]
    assert len(slow) == sum(row.bottleneck for row in rows) == texts.count("bottleneck") >= 1
    full = max(float(element.get("width", "")) for element in root.iter("rect") if element.get("class") == "track")
    bars = [float(e.get("width", "")) for e in root.iter("rect") if (e.get("class") or "").startswith("bar")]
    assert bars == [float(f"{full * (row.cycles or 0) / planned.cycles:.1f}") for row in rows]


def test_without_a_plan_there_are_no_cycles(graph: Graph) -> None:
    rows = layer_rows(ReportData("net", graph))
    text = pipeline_svg(rows, stage_edges(rows, graph, None))
    assert "cycles" not in text and "bottleneck" not in text
    assert text.count('class="stage"') == len(rows) + 2


def test_an_empty_pipeline_is_refused() -> None:
    with pytest.raises(ValueError) as caught:
        pipeline_svg([], [])
    assert str(caught.value) == "rows must not be empty, not []"
