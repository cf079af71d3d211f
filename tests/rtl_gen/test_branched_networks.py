"""Networks with forks and joins: simulated against the interpreter, with stalls and resets, in the planned cycles."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from mixq.errors import UserError
from mixq.execute import run
from mixq.formats import IntFormat
from mixq.graph import Graph
from rtl_gen import build
from sim.deadlock import Deadlock
from sim.stage import Scenario, StageBench
from tests.mixq.dags import Dag, every_node
from tests.rtl_gen.shallow import residual_block, residual_plan, unrefused
from tests.rtl_gen.stages import masks_of, random_frames
from tests.rtl_gen.test_accelerator import hold_network, planned

U8 = IntFormat(8, False)


def residual() -> Graph:
    """Two nested residuals, one of codes and one of a strided 1x1 convolution's sums."""
    dag = Dag((2, 8, 8), U8, 1)
    stem = dag.requantise(dag.conv("x", 4, padding=1), 4)
    inner = dag.conv(dag.requantise(dag.conv(stem, 4, padding=1), 4), 4, padding=1)
    first = dag.requantise(dag.add(inner, stem), 4)
    second = dag.conv(dag.requantise(dag.conv(first, 8, stride=2, padding=(0, 0, 1, 1)), 3), 8, padding=1)
    around = dag.conv(first, 8, 1, stride=2)
    joined = dag.requantise(dag.add(second, around), 5)
    return dag.graph(dag.dense(joined, 3))


def bypass() -> Graph:
    """Sums that fork before two requantisations, one branch reorganised, the other pooled and convolved."""
    dag = Dag((3, 8, 12), U8, 2)
    sums = dag.conv(dag.requantise("x", 5), 4, padding=1)
    left = dag.requantise(dag.space_to_depth(sums), 3)
    right = dag.requantise(dag.conv(dag.max_pool(dag.requantise(sums, 4)), 4, padding=1), 3)
    return dag.graph(dag.conv(dag.concat(left, right), 4, 1, bias=True))


def three_ways() -> Graph:
    """The image itself forks; three branches of different depths join, one of them twice."""
    dag = Dag((2, 6, 7), U8, 3)
    one = dag.threshold(dag.conv("x", 2, padding=1), 3)
    two = dag.threshold(dag.conv("x", 2, 5, padding=2), 3)
    three = dag.threshold("x", 3)
    both = dag.requantise(dag.add(one, two, three), 3)
    return dag.graph(dag.requantise(dag.conv(dag.concat(one, both, both), 2), 6))


def pooled_sums() -> Graph:
    """Sums that are pooled before they are requantised."""
    dag = Dag((2, 6, 6), U8, 4)
    pooled = dag.requantise(dag.max_pool(dag.conv("x", 4, padding=1)), 4)
    return dag.graph(dag.conv(pooled, 3, 1))


@pytest.mark.cocotb
@pytest.mark.parametrize(("beats", "hangs"), [(14, True), (15, False)])
def test_the_least_depth_is_enough_and_one_less_is_not(beats: int, hangs: bool, tmp_path: Path) -> None:
    graph, odd = residual_block(), residual_plan(beats)
    if hangs:
        with pytest.raises(UserError, match="node add5 starves: it waits for t4 from conv4 while the FIFO of t1"):
            build(graph, odd)
    stage = unrefused(graph, odd)
    frames = random_frames(stage.input_shape, 2, 1)
    expected = stage.output_shape.pack(run(graph, frames))
    scenario = Scenario(stage.input_shape.pack(frames), expected, masks_of(stage.output_shape), 2, probe=False)
    bench = StageBench(stage, work_dir=tmp_path, simulator="icarus")
    said = "add5 waits for conv4, and the FIFO from conv0 to add5 is full, which holds 14 beats: .* no beat for"
    with pytest.raises(Deadlock, match=said) if hangs else nullcontext():
        bench.run_all([scenario])


@pytest.mark.cocotb
@pytest.mark.parametrize(
    ("network", "dsps", "simulator"),
    [
        (residual, 30, "icarus"),
        (bypass, 12, "icarus"),
        (three_ways, 20, "icarus"),
        (pooled_sums, 12, "icarus"),
        (every_node, 60, "verilator"),
    ],
)
def test_networks_with_branches(network, dsps: int, simulator: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    graph = network()
    hold_network(graph, planned(graph, dsps), simulator, tmp_path, dsps)
