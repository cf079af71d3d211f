"""Plans: within limits, fast enough, consistent with what they say; refusals with numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mixq.board import Board, Resources
from mixq.errors import CheckFailed, UserError
from mixq.formats import IntFormat
from mixq.graph import Graph
from mixq.plan import Plan, plan
from mixq.plan.chain import chain
from mixq.plan.conversion import bridge, bridge_cycles
from mixq.plan.planner import input_stream
from mixq.streams import StreamShape
from tests.mixq.graphs import Chain, random_network

BOARD = Board("small", "part", Resources(70560, 141120, 360, 216, 0), 5, 72, 300.0)
U4, U8 = IntFormat(4, False), IntFormat(8, False)


def network(channels: int = 8, size: int = 8, bits: int = 4) -> Graph:
    rng = np.random.default_rng(channels)
    high = 1 << (bits - 1)
    chain_ = Chain((4, size, size), U4, 1 / 16)
    chain_.conv(rng.integers(1 - high, high, (channels, 4, 3, 3)), bits, padding=1)
    chain_.requantise([100] * channels, [0] * channels, 12, U4).pool(2, 2)
    chain_.conv(rng.integers(1 - high, high, (channels, channels, 3, 3)), bits, padding=1)
    chain_.requantise([100] * channels, [0] * channels, 12, U4)
    return chain_.dense(rng.integers(1 - high, high, (4, channels * (size // 2) ** 2)), bits).graph()


def slowest_possible(graph: Graph) -> int:
    """One multiplication in a cycle is the least that any folding does."""
    return max(graph.macs(node.name) for node in graph.nodes)


def test_a_layer_for_every_node_in_order() -> None:
    graph = network()
    made = plan(graph, BOARD)
    assert [layer.name for layer in made.layers] == [node.name for node in graph.nodes]
    assert [layer.op for layer in made.layers] == [node.op for node in graph.nodes]


@pytest.mark.parametrize("dsps", [3, 7, 20, 100, 360])
def test_more_dsps_never_make_it_slower_and_are_never_exceeded(dsps: int) -> None:
    graph = network()
    made = plan(graph, BOARD, limits=Resources(70560, 141120, dsps, 216, 0))
    more = plan(graph, BOARD, limits=Resources(70560, 141120, 2 * dsps, 216, 0))
    assert made.resources.dsp <= dsps
    assert more.cycles <= made.cycles <= slowest_possible(graph)


def test_totals_are_those_of_the_layers() -> None:
    made = plan(network(), BOARD)
    assert made.resources.dsp == sum(layer.folding.dsps for layer in made.layers if layer.folding)
    assert made.cycles == max(layer.cycles for layer in made.layers)
    assert made.layer(made.bottleneck).cycles == made.cycles
    assert made.fps == 300e6 / made.cycles


def test_no_converter_is_slower_than_its_layer_says() -> None:
    graph = network()
    made = plan(graph, BOARD)
    source: StreamShape | None = None
    for unit in chain(graph):
        layer = made.layer(unit.node.name)
        if layer.folding is not None:
            here = input_stream(unit, layer.folding)
            own = layer.folding.cycles_per_frame
        else:
            here = StreamShape(*unit.source.shape, unit.source.format, pixels=1, lanes=layer.lanes)
            own = here.beats
        before = bridge_cycles(bridge(source, here)) if source else 0
        assert layer.cycles == max(own, before)
        source = StreamShape(*unit.target.shape, unit.target.format, pixels=layer.pixels, lanes=layer.lanes)


def test_the_smallest_that_is_fast_enough_takes_less() -> None:
    graph = network()
    fastest = plan(graph, BOARD)
    relaxed = plan(graph, BOARD, target_fps=fastest.fps / 8)
    assert relaxed.fps >= fastest.fps / 8
    assert relaxed.resources.dsp < fastest.resources.dsp
    assert plan(graph, BOARD, max_cycles=fastest.cycles * 8).cycles <= fastest.cycles * 8


def test_a_share_of_the_board() -> None:
    assert plan(network(), BOARD, budget=0.1).limits == Resources(7056, 14112, 36, 21, 0)


def test_wide_weights_keep_their_most_negative_code() -> None:
    rng = np.random.default_rng(0)
    weights = rng.integers(-7, 8, (4, 4, 3, 3))
    narrow = Chain((4, 6, 6), U4).conv(weights, 4, padding=1).graph()
    weights[0, 0, 0, 0] = -8
    full = Chain((4, 6, 6), U4).conv(weights, 4, padding=1).graph()
    ranges = [plan(graph, BOARD).layers[0].folding.packing.weight_range for graph in (narrow, full)]  # type: ignore[union-attr]
    assert ranges == ["narrow", "full"]


def test_file_and_back(tmp_path: Path) -> None:
    made = plan(random_network(), BOARD, clock_mhz=250)
    made.save(tmp_path)
    first = (tmp_path / "plan.yaml").read_bytes()
    loaded = Plan.load(tmp_path)
    assert loaded == made
    loaded.save(tmp_path)
    assert (tmp_path / "plan.yaml").read_bytes() == first


@pytest.mark.parametrize(
    "old, new",
    [("version: 2", "version: 1"), ("pe: ", "pe: 7"), ("kernel: 3", "kernel: 4"), ("layers:", "layer:")],
)
def test_a_damaged_file_is_refused(tmp_path: Path, old: str, new: str) -> None:
    plan(network(), BOARD).save(tmp_path)
    path = tmp_path / "plan.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match=r"plan\.yaml is no plan .* run `mixq plan` again"):
        Plan.load(tmp_path)


def test_a_missing_file_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"run `mixq plan .* --board BOARD` first"):
        Plan.load(tmp_path)


def test_what_does_not_fit_is_told_with_numbers() -> None:
    rng = np.random.default_rng(0)
    graph = Chain((64, 8, 8), U8).conv(rng.integers(-127, 128, (256, 64, 3, 3)), 8, padding=1).graph()
    with pytest.raises(CheckFailed) as failure:
        plan(graph, BOARD, limits=Resources(70560, 141120, 16, 5, 0))
    message = str(failure.value)
    assert "does not fit small: BRAM_36K" in message
    assert "weights need 1.2 Mb, block RAM holds 0.2 Mb" in message


def test_too_fast_a_wish_names_the_fastest() -> None:
    with pytest.raises(CheckFailed, match=r"no plan takes at most 10 cycles on small: the fastest that fits takes \d+"):
        plan(network(), BOARD, max_cycles=10)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"budget": 0}, "budget must be above 0 and at most 1, not 0"),
        ({"budget": 1.5}, "budget must be above 0 and at most 1, not 1.5"),
        ({"clock_mhz": -1}, "clock_mhz must be positive and finite, not -1"),
        ({"target_fps": 0}, "target_fps must be positive and finite, not 0"),
        ({"max_cycles": 0}, "max_cycles must be positive and finite, not 0"),
    ],
)
def test_wrong_arguments(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(UserError) as failure:
        plan(network(), BOARD, **wrong)  # type: ignore[arg-type]
    assert str(failure.value) == message


def test_sums_without_requantise_in_the_middle_are_refused() -> None:
    rng = np.random.default_rng(0)
    graph = Chain((2, 6, 6), U4).conv(rng.integers(-1, 2, (2, 2, 1, 1)), 2).pool(2, 2).graph()
    with pytest.raises(UserError, match=r"layer conv0: its sums go to pool1 .* not to a requantise node"):
        plan(graph, BOARD)


def one(value: int) -> np.ndarray:
    """Weights of a 1x1 convolution of one channel."""
    return np.full((1, 1, 1, 1), value)


@pytest.mark.parametrize(
    "graph, cycles",
    [
        # The multiplications are over long before the pixels are in.
        (Chain((1, 20, 30), U8).pool(2, 2).conv(one(3), 4).graph(), 600),
        (Chain((1, 20, 30), U8).conv(one(3), 4, stride=2).graph(), 600),
        # Nothing is multiplied at all: all channels of a pixel at a time.
        (Chain((6, 5, 7), U8).requantise([1] * 6, [-8] * 6, 4, U4).pool(2, 2).graph(), 35),
    ],
)
def test_codes_that_come_in_more_slowly_than_they_are_multiplied(graph: Graph, cycles: int) -> None:
    assert plan(graph, BOARD).cycles == cycles


def test_a_rate_next_to_nothing_is_met_by_the_smallest_plan() -> None:
    slowest = plan(network(), BOARD, max_cycles=10**9)
    assert plan(network(), BOARD, target_fps=1e-310).layers == slowest.layers


def test_other_devices_are_refused() -> None:
    with pytest.raises(UserError) as failure:
        plan(network(), replace(BOARD, device="dsp58"))
    assert str(failure.value) == "board small has dsp58; plans are made for dsp48e2, dsp48e1 alone"


def test_products_too_wide_to_multiply_take_thresholds() -> None:
    rng = np.random.default_rng(0)
    chain_ = Chain((4, 6, 6), U4).conv(rng.integers(-7, 8, (4, 4, 3, 3)), 4, padding=1)
    wide = chain_.requantise([1 << 56] * 4, [0] * 4, 62, U8).graph()
    assert plan(wide, BOARD).layers[1].method == "threshold"
