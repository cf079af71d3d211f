"""The JSON reports that follow from the graph and the plan alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mixq.files import write_json
from mixq.graph import Conv, Dense, Graph
from mixq.plan import Plan
from mixq.plan.values import SHELL

REPORT_FOLDER = "report"


def write_json_reports(
    build_dir: str | os.PathLike[str], graph: Graph, plan: Plan, *, latency_cycles: int | None = None
) -> dict[str, Path]:
    """Write the estimates and the counts of operations into ``report/``; returns file name -> path.

    ``latency_cycles``: from a frame's first input beat to its first output beat, where it is known; null otherwise.
    Raises ValueError where the plan is not one of the graph.
    """
    _check(graph, plan)
    folder = Path(build_dir) / REPORT_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    documents: dict[str, Any] = {
        "estimate_layer_cycles.json": {layer.name: layer.cycles for layer in plan.layers},
        "estimate_layer_resources.json": {
            **{layer.name: layer.resources.report() for layer in plan.layers},
            SHELL: plan.shell.report(),
            "total": plan.resources.report(),
        },
        "estimate_network_performance.json": {
            "max_cycles": plan.cycles,
            "max_cycles_layer": plan.bottleneck,
            "latency_cycles": latency_cycles,
            "clock_mhz": plan.clock_mhz,
            "fps": plan.fps,
            "limited_by": list(plan.limited_by),
            "gap": plan.gap,
        },
        "op_and_param_counts.json": op_and_param_counts(graph),
    }
    for name, document in documents.items():
        write_json(folder / name, document)
    return {name: folder / name for name in documents}


def op_and_param_counts(graph: Graph) -> dict[str, dict[str, int]]:
    """Layer name -> multiplications of a frame, weights, and the widths of weights and input activations."""
    return {
        node.name: {
            "macs": graph.macs(node.name),
            "weights": int(node.weights.size),
            "weight_bits": node.weight_format.width,
            "act_bits": graph.tensor(node.reads[0]).format.width,
        }
        for node in graph.nodes
        if isinstance(node, Conv | Dense)
    }


def _check(graph: Graph, plan: Plan) -> None:
    nodes, layers = [node.name for node in graph.nodes], [layer.name for layer in plan.layers]
    if nodes != layers:
        raise ValueError(f"plan must have the layers of the graph, {', '.join(nodes)}, not {layers!r}")
