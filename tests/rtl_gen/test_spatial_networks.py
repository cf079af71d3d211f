# amaranth: UnusedElaboratable=no
"""Networks with sum-pooling, space-to-depth, upsampling and thresholds: every integer, and cycles against the plan."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mixq.execute import run
from mixq.graph import Graph
from mixq.plan import Plan
from rtl_gen import build
from rtl_gen.simple_stages import simple_stage
from sim.stage import Scenario, StageBench
from tests.rtl_gen.spatial_networks import bare_network, image_network, pooled_network, random_chain
from tests.rtl_gen.stages import masks_of, random_frames
from tests.rtl_gen.test_accelerator import own_cycles, planned

FRAMES = 7


def hold_network(graph: Graph, chosen: Plan, simulator: str, work_dir: Path, seed: int) -> None:
    """Every code, without stalls and with, resets amid frames, and the cycles between frames."""
    target: Any = chosen.device if simulator == "verilator" or seed % 2 else "generic"
    accelerator = build(graph, chosen, target)
    frames = random_frames(accelerator.input_shape, FRAMES, seed)
    inputs = accelerator.input_shape.pack(frames)
    expected = accelerator.output_shape.pack(run(graph, frames))
    masks = masks_of(accelerator.output_shape)
    bench = StageBench(accelerator, work_dir=work_dir, simulator=simulator)
    free = Scenario(inputs, expected, masks, FRAMES, probe=False)
    stalled = Scenario(inputs, expected, masks, FRAMES, stalls=("random", "random"), seed=seed % 1000, resets=2)
    seen, _ = bench.run_all([free, stalled])
    # The last frames do not share the stages with others behind them, so they may come at other times.
    ends = seen.last_output_cycles[2:-2]
    assert {later - earlier for earlier, later in pairwise(ends)} == {own_cycles(chosen)}


@pytest.mark.cocotb
@pytest.mark.parametrize(
    "network, dsps, simulator, wishes",
    [
        (image_network, 40, "icarus", {"foldings": None}),
        pytest.param(image_network, 40, "verilator", {}, marks=pytest.mark.slow),
        (bare_network, 0, "icarus", {}),
        pytest.param(pooled_network, 20, "icarus", {"foldings": None, "max_cycles": 200}, marks=pytest.mark.slow),
        (pooled_network, 4, "verilator", {}),
    ],
    ids=["image", "image-verilator", "bare", "pooled", "pooled-verilator"],
)
def test_network(  # type: ignore[no-untyped-def]
    network, dsps: int, simulator: str, wishes: dict[str, Any], tmp_path: Path
) -> None:
    graph = network()
    chosen = planned(graph, dsps, **wishes)
    chosen.save(tmp_path)
    assert Plan.load(tmp_path) == chosen
    hold_network(graph, chosen, simulator, tmp_path, dsps)


@pytest.mark.slow
@pytest.mark.cocotb
@pytest.mark.parametrize("seed", range(40))
def test_random_networks(seed: int, tmp_path: Path) -> None:
    graph = random_chain(seed)
    chosen = planned(graph, 40, foldings=None)
    if seed % 3:
        chosen = planned(graph, 40, foldings=None, max_cycles=chosen.cycles * (1, 2, 4)[seed % 3])
    hold_network(graph, chosen, "verilator" if seed % 4 == 3 else "icarus", tmp_path, seed)


@pytest.mark.parametrize("network", [image_network, bare_network, pooled_network])
def test_stages_are_as_fast_as_planned(network) -> None:  # type: ignore[no-untyped-def]
    graph = network()
    chosen = planned(graph, 40, foldings=None)
    accelerator = build(graph, chosen, "generic")
    assert accelerator.cycles_per_frame == own_cycles(chosen)


def test_thresholds_are_named_in_the_plan() -> None:
    chosen = planned(image_network(), 40)
    inside = {layer.name: layer for layer in chosen.layers if layer.op == "threshold"}
    assert {layer.method for layer in inside.values()} == {"threshold"}
    assert all(layer.fused for layer in inside.values())


def test_other_nodes_have_no_stage_of_their_own() -> None:
    from mixq.plan.units import units

    layer = next(unit for unit in units(image_network()) if unit.is_layer)
    with pytest.raises(TypeError, match=r"^unit must have a stage of its own, not 'conv'$"):
        simple_stage(layer, lanes=1, method=None)
