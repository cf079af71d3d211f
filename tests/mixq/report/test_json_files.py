from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mixq.graph import Graph
from mixq.plan import Plan
from mixq.report import write_json_reports
from mixq.report.json_files import op_and_param_counts


def test_files_hold_what_the_plan_says(build: Path, graph: Graph, planned: Plan) -> None:
    paths = write_json_reports(build, graph, planned, latency_cycles=321)
    read = {name: json.loads(path.read_text()) for name, path in paths.items()}
    assert {path.parent for path in paths.values()} == {build / "report"}
    assert read["estimate_layer_cycles.json"] == {layer.name: layer.cycles for layer in planned.layers}
    assert read["estimate_network_performance.json"] == {
        "max_cycles": planned.cycles,
        "max_cycles_layer": planned.bottleneck,
        "latency_cycles": 321,
        "clock_mhz": 250.0,
        "fps": 250e6 / planned.cycles,
        "limited_by": list(planned.limited_by),
        "gap": 0.0,
    }
    resources = read["estimate_layer_resources.json"]
    assert list(resources) == [*(layer.name for layer in planned.layers), "shell", "total"]
    assert resources["shell"] == planned.shell.report()
    for layer in planned.layers:
        assert resources[layer.name] == {
            "LUT": layer.resources.lut,
            "FF": layer.resources.ff,
            "DSP": layer.resources.dsp,
            "BRAM_36K": layer.resources.bram36,
            "URAM": layer.resources.uram,
        }
    total = resources.pop("total")
    assert total == {key: sum(layer[key] for layer in resources.values()) for key in total}


def test_operations_are_counted_by_hand(graph: Graph) -> None:
    assert op_and_param_counts(graph) == {
        "conv0": {"macs": 8 * 8 * 4 * 9, "weights": 36, "weight_bits": 8, "act_bits": 8},
        "conv3": {"macs": 4 * 4 * 8 * 4 * 9, "weights": 288, "weight_bits": 4, "act_bits": 4},
        "dense5": {"macs": 1280, "weights": 1280, "weight_bits": 3, "act_bits": 3},
    }


def test_latency_is_null_where_nobody_knows_it(build: Path, graph: Graph, planned: Plan) -> None:
    path = write_json_reports(build, graph, planned)["estimate_network_performance.json"]
    assert json.loads(path.read_text())["latency_cycles"] is None


def test_a_plan_of_another_graph_is_refused(build: Path, graph: Graph, planned: Plan) -> None:
    other = replace(planned, layers=planned.layers[1:])
    with pytest.raises(ValueError) as caught:
        write_json_reports(build, graph, other)
    names = [layer.name for layer in planned.layers]
    assert str(caught.value) == f"plan must have the layers of the graph, {', '.join(names)}, not {names[1:]!r}"
