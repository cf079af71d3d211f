# amaranth: UnusedElaboratable=no
"""Whole networks against the interpreter: every integer of every frame, and cycles against the plan."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from boards import load_board
from mixq.board import Resources
from mixq.execute import run
from mixq.formats import IntFormat
from mixq.graph import Graph
from mixq.packing import SoftMultipliers
from mixq.plan import Plan, plan
from mixq.plan.folding_file import Hold
from rtl_gen import build
from sim.stage import Scenario, StageBench, StageRun
from tests.mixq.graphs import Chain
from tests.mixq.plan.holds import on_dsps
from tests.rtl_gen.networks import random_chain, scales, weights
from tests.rtl_gen.stages import masks_of, random_frames

FRAMES = 6
U2, U3, U4, U5, U8 = (IntFormat(bits, False) for bits in (2, 3, 4, 5, 8))


def image_network() -> Graph:
    """Truncated pixels, odd sizes, pools of both kinds, a 5x5 kernel, stride 2, dense layer with bias."""
    rng = np.random.default_rng(1)
    chain = Chain((3, 11, 13), U8, 1 / 256).requantise([1] * 3, [-8] * 3, 4, U4)
    scales(rng, chain.conv(weights(rng, 4, 6, 3, 3, 3), 4, padding=1), 14, U5).pool(2, 2)
    scales(rng, chain.conv(weights(rng, 3, 8, 6, 5, 5), 3, padding=2), 14, U3).pool(3, 2)
    scales(rng, chain.conv(weights(rng, 2, 4, 8, 1, 1), 2), 12, U4)
    return chain.dense(weights(rng, 6, 6, 4 * 2 * 2), 6, bias=rng.integers(-99, 99, 6)).graph("image")


def pixel_network() -> Graph:
    """The first convolution reads the pixels; the last layer is a convolution whose sums leave as they are."""
    rng = np.random.default_rng(2)
    chain = Chain((1, 6, 9), U8, 1 / 256)
    scales(rng, chain.conv(weights(rng, 8, 4, 1, 3, 3), 8, padding=1, stride=2), 16, U2)
    scales(rng, chain.conv(weights(rng, 5, 6, 4, 3, 3), 5, padding=2), 13, U4).pool(3, 1)
    return chain.conv(weights(rng, 7, 4, 6, 3, 3), 7, padding=0, bias=rng.integers(-9, 9, 4)).graph("pixel")


def planned(graph: Graph, dsps: int, device: str = "dsp48e2", **wishes: Any) -> Plan:
    board = replace(load_board("ultra96-v2"), device=device)
    wishes.setdefault("foldings", on_dsps(graph))
    return plan(graph, board, limits=Resources(70560, 141120, dsps, 216, 0), **wishes)


def narrow_network() -> Graph:
    """Codes that do not use their whole width, unsigned and signed, and a name of 63 characters."""
    rng = np.random.default_rng(3)
    chain = Chain((2, 5, 6), IntFormat(4, False, 1, 13), 1 / 16)
    scales(rng, chain.conv(weights(rng, 4, 4, 2, 3, 3), 4, padding=1), 12, IntFormat(4, False, 0, 9)).pool(2, 2)
    chain.conv(weights(rng, 3, 4, 4, 1, 1), 3).requantise([9, -7, 5, 0], [40, -9, 0, 77], 6, IntFormat(5, True, -9, 14))
    graph = chain.dense(weights(rng, 6, 5, 4 * 2 * 3), 6).graph("narrow")
    return renamed(graph, graph.nodes[0].name, "c" * 63)


def uneven_network() -> Graph:
    """Numbers of channels with few divisors."""
    rng = np.random.default_rng(4)
    chain = Chain((3, 8, 9), U8, 1 / 256)
    scales(rng, chain.conv(weights(rng, 4, 10, 3, 3, 3), 4, padding=1), 14, U4).pool(2, 2)
    scales(rng, chain.conv(weights(rng, 4, 7, 10, 3, 3), 4, padding=1), 14, U3)
    scales(rng, chain.conv(weights(rng, 3, 5, 7, 1, 1), 3), 12, U4)
    return chain.dense(weights(rng, 6, 10, 5 * 4 * 4), 6, bias=rng.integers(-99, 99, 10)).graph("uneven")


def renamed(graph: Graph, old: str, new: str) -> Graph:
    """The graph with another name of one node."""
    return replace(graph, nodes=tuple(replace(node, name=new) if node.name == old else node for node in graph.nodes))


CASES = [
    (image_network, 8),
    (image_network, 60),
    (pixel_network, 5),
    (pixel_network, 200),
    (narrow_network, 6),
    (narrow_network, 40),
]


def own_cycles(chosen: Plan) -> int:
    """Cycles of a frame without the AXI4-Streams around the accelerator, which may be slower."""
    return max(layer.cycles for layer in chosen.layers)


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
    # The last frame's end does not wait for another frame's start, so it may come earlier.
    ends = seen.last_output_cycles[2:-1]
    assert {later - earlier for earlier, later in pairwise(ends)} == {own_cycles(chosen)}
    assert most_inside(seen) <= accelerator.frames_inside


def most_inside(seen: StageRun) -> int:
    """The most frames whose last beat was in while their last output beat was not out."""
    return max(
        sum(begin <= end for begin in seen.last_input_cycles) - frame
        for frame, end in enumerate(seen.last_output_cycles)
    )


@pytest.mark.cocotb
@pytest.mark.parametrize(
    "network, dsps, simulator",
    [(*case, "icarus") for case in CASES] + [(image_network, 60, "verilator"), (pixel_network, 5, "verilator")],
)
def test_network(network, dsps: int, simulator: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    graph = network()
    hold_network(graph, planned(graph, dsps), simulator, tmp_path, dsps)


@pytest.mark.cocotb
@pytest.mark.parametrize(
    "network, dsps, wishes",
    [
        (image_network, 15, {"residue_bits": 2}),
        (pixel_network, 7, {"residue_bits": 2}),
        (narrow_network, 9, {"residue_bits": 1, "real_weights": True}),
        (image_network, 13, {"device": "dsp48e1"}),
    ],
    ids=["image-2", "pixel-2", "narrow-1", "image-e1"],
)
def test_network_of_denser_packings(network, dsps: int, wishes: dict[str, Any], tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    graph = network()
    chosen = planned(graph, dsps, **wishes)
    packings = [layer.folding.packing for layer in chosen.layers if layer.folding]
    assert {packing.device for packing in packings} == {wishes.get("device", "dsp48e2")}
    if "residue_bits" in wishes:
        assert any(packing.residue_bits for packing in packings)
        assert max(packing.residue_bits for packing in packings) <= wishes["residue_bits"]
    hold_network(graph, chosen, "icarus", tmp_path, dsps)


@pytest.mark.cocotb
@pytest.mark.parametrize(
    "network, layer, simulator, wishes",
    [
        (image_network, "conv4", "verilator", {}),
        (pixel_network, "conv2", "icarus", {"real_weights": True}),
        # Half the clock that the slowest of these DSPs reach.
        (pixel_network, "conv2", "icarus", {"device": "dsp48e1", "clock_mhz": 232}),
    ],
    ids=["image-verilator", "pixel-real-weights", "pixel-e1"],
)
def test_double_pumped_networks(  # type: ignore[no-untyped-def]
    network, layer: str, simulator: str, wishes: dict[str, Any], tmp_path: Path
) -> None:
    graph = network()
    # Packings that differ in channels alone: few are offered, and none without DSPs.
    holds = {layer: Hold(layer, {"pump": 2})}
    chosen = planned(graph, 40, packings="finn", foldings=holds, double_pump=True, **wishes)
    assert layer in chosen.pumped
    assert len(chosen.pumped) < sum(one.folding is not None for one in chosen.layers)
    # An odd seed: with the primitives.
    hold_network(graph, chosen, simulator, tmp_path, 31)


def tables_network() -> Graph:
    """Few enough products for look-up tables: many a frame in the first layer, few in the last."""
    rng = np.random.default_rng(4)
    chain = Chain((2, 6, 7), U8, 1 / 256)
    scales(rng, chain.conv(weights(rng, 4, 4, 2, 3, 3), 4, padding=1), 13, U4).pool(2, 2)
    return chain.dense(weights(rng, 4, 5, 4 * 3 * 3), 4, bias=rng.integers(-99, 99, 5)).graph("tables")


@pytest.mark.cocotb
@pytest.mark.parametrize("simulator", ["icarus", "verilator"])
def test_network_without_dsps(simulator: str, tmp_path: Path) -> None:
    graph = tables_network()
    chosen = planned(graph, 0, foldings=None)
    first, last = (layer.folding.packing for layer in chosen.layers if layer.folding)
    assert isinstance(first, SoftMultipliers) and first.constant
    assert isinstance(last, SoftMultipliers) and not last.constant
    assert chosen.resources.dsp == 0
    chosen.save(tmp_path)
    assert Plan.load(tmp_path) == chosen
    hold_network(graph, Plan.load(tmp_path), simulator, tmp_path, 1)


@pytest.mark.cocotb
@pytest.mark.parametrize("dsps, simulator", [(45, "icarus"), (95, "verilator"), (100, "verilator")])
def test_network_of_uneven_foldings(dsps: int, simulator: str, tmp_path: Path) -> None:
    graph = uneven_network()
    chosen = planned(graph, dsps)
    foldings = [layer.folding for layer in chosen.layers if layer.folding]
    surplus = {(f.folds * f.pe > f.shape.out_channels, f.words * f.lanes > f.shape.in_channels) for f in foldings}
    assert (True, False) in surplus
    if dsps == 95:
        assert any(inputs for _, inputs in surplus)
    if dsps == 100:
        # More outputs at a time than there are.
        assert any(f.pe > f.shape.out_channels for f in foldings)
    hold_network(graph, chosen, simulator, tmp_path, dsps)


@pytest.mark.slow
@pytest.mark.cocotb
@pytest.mark.parametrize("seed", range(40))
def test_random_networks(seed: int, tmp_path: Path) -> None:
    graph = random_chain(seed)
    wishes: dict[str, Any] = {"residue_bits": seed % 4 % 3, "real_weights": seed % 5 == 0, "double_pump": seed % 2 == 0}
    chosen = planned(graph, (6, 20, 60)[seed % 3], **wishes)
    hold_network(graph, chosen, "icarus", tmp_path, seed)


@pytest.mark.parametrize("seed", range(25))
def test_stages_are_as_fast_as_planned(seed: int) -> None:
    graph = random_chain(seed)
    chosen = planned(graph, (6, 20, 60)[seed % 3])
    accelerator = build(graph, chosen, "generic")
    assert accelerator.cycles_per_frame == own_cycles(chosen)
    assert accelerator.input_shape.shape == graph.tensor(graph.input).shape


@pytest.mark.parametrize("network, dsps", CASES)
def test_as_many_dsps_as_planned(network, dsps: int) -> None:  # type: ignore[no-untyped-def]
    from amaranth.back import verilog

    graph = network()
    chosen = planned(graph, dsps)
    text = verilog.convert(build(graph, chosen), name="top", strip_internal_attrs=True)
    assert text.count("DSP48E2 #(") == chosen.resources.dsp <= dsps


def test_a_plan_of_another_graph_is_refused() -> None:
    other = planned(pixel_network(), 5)
    with pytest.raises(ValueError, match="plan must have every layer of the graph"):
        build(image_network(), other)


def test_long_names_are_shortened_in_files() -> None:
    graph = narrow_network()
    names = build(graph, planned(graph, 6)).memory_images
    assert any(name.startswith("ccc") for name in names)
    assert max(map(len, names)) == len("c" * 63 + ".mem")


def test_layers_may_be_called_like_other_stages() -> None:
    graph = image_network()
    chosen = planned(graph, 8)
    stages = [name for name, _ in build(graph, chosen).stages]
    converter = next(name for name in stages if "_converter_" in name)
    last = graph.nodes[-1].name
    assert converter != f"{last}_converter_0"
    graph = renamed(graph, last, converter)
    layers = (*chosen.layers[:-1], replace(chosen.layers[-1], name=converter))
    names = [name for name, _ in build(graph, replace(chosen, layers=layers)).stages]
    assert len(set(names)) == len(names)
    assert f"{converter}_" in names


def test_packings_for_other_dsps_are_refused() -> None:
    chosen = planned(pixel_network(), 5)
    with pytest.raises(ValueError, match=r"^packing must be solved for dsp48e1 to be built of it, not 'dsp48e2'$"):
        build(pixel_network(), chosen, "dsp48e1")


def test_packings_for_other_codes_are_refused() -> None:
    graph = pixel_network()
    chosen = planned(graph, 5)
    layer = chosen.layers[0]
    assert layer.folding is not None
    other = replace(layer.folding, packing=replace(layer.folding.packing, act_signed=True))
    wrong = replace(chosen, layers=(replace(layer, folding=other), *chosen.layers[1:]))
    with pytest.raises(ValueError) as failure:
        build(graph, wrong)
    taken = "IntFormat(width=8, signed=False, low=0, high=255)"
    assert str(failure.value) == f"plan must pack {layer.name} for its input {taken}, not (8, True)"
