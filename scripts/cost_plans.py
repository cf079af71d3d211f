"""Layers of whole networks, as the planner folds them: samples that nobody chose for the fit."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from boards import load_board
from mixq.board import Resources
from mixq.build_folder import BuildFolder
from mixq.cli.importing import import_network
from mixq.files import write_atomic
from mixq.plan import Plan
from mixq.plan.planner import plan
from scripts.cost_samples import Sample, plain

PLANS = Path(__file__).resolve().parent / "data" / "planned.jsonl"
"""The layers, a line each: the planner may choose otherwise by now, which does not matter."""

BOARD = "ultra96-v2"

# Few look-up tables, so that nearly all layers have DSPs.
_LIMITS = Resources(lut=28_000, ff=141_120, dsp=360, bram36=216)

# Network, widths of weights and of inputs, and cycles of a frame.
_NETWORKS = (
    ("vgg-tiny", "8,2,2,2,2,2", "8,3,3,3,6,3", 80_000),
    ("ultranet", "4,4,4,4,4,4,4,4,4", "8,4,4,4,4,4,4,4,4", 200_000),
)


def planned_samples() -> list[Sample]:
    """The layers of the file."""
    lines = PLANS.read_text().splitlines() if PLANS.is_file() else []
    return [Sample(**json.loads(line)) for line in lines]


def draw_plans(prefix: str) -> None:
    """Plan the networks, with random weights, and write the file."""
    with tempfile.TemporaryDirectory(prefix="cost-plans-") as scratch:
        found = [sample for network in _NETWORKS for sample in _layers(*network, Path(scratch), prefix)]
    write_atomic(PLANS, "".join(f"{json.dumps(asdict(sample), separators=(',', ':'))}\n" for sample in found))


def _layers(network: str, weights: str, acts: str, cycles: int, scratch: Path, prefix: str) -> Iterator[Sample]:
    folder = scratch / network
    import_network("random:1", folder, network, weight_bits=weights, act_bits=acts)
    graph = BuildFolder(folder).load_graph()
    made: Plan = plan(graph, load_board(BOARD), max_cycles=cycles, limits=_LIMITS)
    formats = {node.name: graph.tensor(node.output).format for node in graph.nodes}
    behind = {layer.fused: layer for layer in made.layers if layer.fused is not None}
    for number, layer in enumerate(made.layers):
        # What layers without DSPs take is counted, not fitted (mixq.plan.soft_features), constants by their weights.
        if layer.folding is None or not layer.folding.dsps or layer.name not in behind:
            continue
        scale = behind[layer.name]
        spec = {
            "folding": plain(asdict(layer.folding)),
            "out_bits": formats[scale.name].width,
            "method": scale.method,
        }
        yield Sample(f"{prefix}_{network.replace('-', '_')}_{number}", "convolution", number, spec)
