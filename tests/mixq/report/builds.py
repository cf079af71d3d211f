"""Build folders for tests of the reports: a small planned network, and the files that other steps write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from mixq.board import Board, Resources
from mixq.formats import IntFormat
from mixq.graph import Graph
from mixq.plan import Plan, plan
from tests.mixq.graphs import Chain

BOARD = Board(
    "test-board",
    "part-1",
    Resources(lut=70000, ff=140000, dsp=360, bram36=216),
    dsp_columns=5,
    dsp_column_height=72,
    clock_mhz=250.0,
)
LIMITS = Resources(lut=10000, ff=140000, dsp=12, bram36=216)


def small_graph(name: str = "net") -> Graph:
    """1x8x8 pixels, two convolutions with different widths, a max-pool and a dense layer."""
    rng = np.random.default_rng(7)
    chain = Chain((1, 8, 8), IntFormat(8, False), 1 / 256)
    chain.conv(rng.integers(-127, 128, (4, 1, 3, 3)), 8, padding=1)
    chain.requantise(rng.integers(20, 90, 4), rng.integers(-900, 900, 4), 12, IntFormat(4, False))
    chain.pool(2, 2)
    chain.conv(rng.integers(-7, 8, (8, 4, 3, 3)), 4, padding=1)
    chain.requantise(rng.integers(20, 90, 8), rng.integers(-900, 900, 8), 12, IntFormat(3, False))
    chain.dense(rng.integers(-3, 4, (10, 8 * 16)), 3)
    return chain.graph(name)


def small_plan(graph: Graph) -> Plan:
    """With DSPs: for a network this small, a plan that may take what it likes would have none."""
    return plan(graph, BOARD, limits=LIMITS, residue_bits=0, packings="original")


def write(folder: Path, name: str, document: Any) -> Path:
    path = folder / "report" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def write_results(folder: Path, planned: Plan, *, mismatches: int = 0) -> dict[str, dict[str, float]]:
    """What training, simulation and synthesis would leave; returns the counts of synthesis."""
    write(
        folder,
        "accuracy.json",
        {"split": "test", "samples": 360, "metric": "top1", "value": 0.9722, "float_value": 0.975},
    )
    write(folder, "conversion.json", {"codes": 14745600, "different": 46, "samples": 360})
    for simulator, frames in (("icarus", 20), ("verilator", 50)):
        run = {
            "simulator": simulator,
            "frames": frames,
            "cycles_per_frame": planned.cycles,
            "latency_cycles": 977,
            "mismatches": mismatches,
            "sim_seconds": 12.34,
            "stalls": "random",
        }
        write(folder, f"rtlsim_performance_{simulator}.json", run)
        write(folder, "rtlsim_performance.json", run)
    counts = {
        layer.name: Resources(1001 + index, 2001 + index, layer.resources.dsp, 1.5).report()
        for index, layer in enumerate(planned.layers)
        if layer.fused is None
    }
    counts["shell"] = Resources(77, 88).report()
    counts["total"] = {key: sum(layer[key] for layer in counts.values()) for key in counts["shell"]}
    write(folder, "synth_resources.json", counts)
    grey = [[(17 * x + 3 * y) % 256 for x in range(8)] for y in range(8)]
    samples = [
        {"pixels": grey, "label": 3, "prediction": 3, "logits": [-5, 12]},
        {"pixels": [grey, grey, grey], "label": 4, "prediction": 9, "logits": [7, -1]},
    ]
    write(folder, "samples.json", samples)
    return counts
