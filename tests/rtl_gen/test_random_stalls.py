"""Ten thousand frames through forks and joins while both sides stall at random, and one FIFO that is too shallow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from boards import load_board
from mixq.containers import frame_bytes, from_bytes, to_bytes
from mixq.execute import run
from mixq.formats import IntFormat
from mixq.graph import Graph
from mixq.plan import plan
from mixq.plan.fifos import least_beats
from mixq.plan.units import units
from sim.deadlock import Deadlock
from sim.network import NetworkRun, simulate
from tests.mixq.dags import Dag
from tests.rtl_gen.shallow import with_fifo, write_unrefused

#: How the input and the output stall.
STALLS = [
    *(("random", "random"), ("seldom", "seldom"), ("often", "often"), ("seldom", "often"), ("often", "seldom")),
    *(("none", "random"), ("random", "none"), ("none", "often"), ("often", "none"), ("seldom", "wait")),
]
FRAMES = 1000


def nested_network() -> Graph:
    """A residual within a residual, and around both a way that is reorganised and concatenated; 6 x 6 pixels."""
    dag = Dag((2, 6, 6), IntFormat(4, False), 5)
    stem = dag.requantise(dag.conv("x", 2, padding=1), 3)
    inner = dag.conv(dag.requantise(dag.conv(stem, 2, padding=1), 3), 2, padding=1)
    first = dag.requantise(dag.add(inner, stem), 3)
    second = dag.requantise(dag.add(dag.conv(first, 2, padding=1), stem), 3)
    deep = dag.requantise(dag.conv(dag.max_pool(second), 4, padding=1), 3)
    return dag.graph(dag.conv(dag.concat(dag.space_to_depth(stem), deep), 3, 1, bias=True))


def send(graph: Graph, folder: Path, codes: np.ndarray, stalls: tuple[str, str], seed: int = 0) -> NetworkRun:
    source, target = graph.tensor(graph.input), graph.tensor(graph.output)
    return simulate(
        folder / "rtl",
        [to_bytes(codes[at : at + 1], source.format) for at in range(len(codes))],
        output_frame_bytes=frame_bytes(target.shape, target.format),
        stalls=stalls,
        seed=seed,
        stall_limit=5000,
        work_dir=folder / "sim",
        optimise="compile",
    )


@pytest.mark.slow
@pytest.mark.verilator
def test_ten_thousand_frames_at_the_planned_depths(tmp_path: Path) -> None:
    graph = nested_network()
    chosen = plan(graph, load_board("ultra96-v2"))
    write_unrefused(graph, chosen, tmp_path)
    source, target = graph.tensor(graph.input), graph.tensor(graph.output)
    rng = np.random.default_rng(1)
    assert len(STALLS) * FRAMES == 10_000
    for seed, stalls in enumerate(STALLS):
        codes = rng.integers(0, source.format.high + 1, (FRAMES, *source.shape))
        seen = send(graph, tmp_path, codes, stalls, seed)
        found = from_bytes(b"".join(seen.outputs), target.format, target.shape)
        assert np.array_equal(found, run(graph, codes)), stalls
        assert not seen.protocol_errors
    assert send(graph, tmp_path, codes[:6], ("none", "none")).cycles_per_frame == chosen.cycles


@pytest.mark.slow
@pytest.mark.verilator
def test_a_beat_less_than_the_least_is_reported_under_stalls(tmp_path: Path) -> None:
    graph = nested_network()
    chosen = plan(graph, load_board("ultra96-v2"))
    place = [unit.node.name for unit in units(graph)].index("add8")
    beats = least_beats(units(graph), graph, chosen)[place][1]
    assert beats is not None
    write_unrefused(graph, with_fifo(chosen, "add8", 1, beats - 1), tmp_path)
    codes = np.zeros((FRAMES, *graph.tensor("x").shape), np.int64)
    for stalls in STALLS[:3]:
        with pytest.raises(Deadlock) as failure:
            send(graph, tmp_path, codes, stalls)
        assert (failure.value.node, failure.value.number, failure.value.depth) == ("add8", 1, beats - 1)
        assert failure.value.what.startswith("add8 waits for conv7, and the FIFO from conv0 to add8 is full")
