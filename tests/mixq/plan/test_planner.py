"""Plans: within limits, fast enough, consistent with what they say; refusals with numbers."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mixq.board import Board, Resources
from mixq.errors import CheckFailed, UserError
from mixq.formats import IntFormat
from mixq.graph import Graph
from mixq.plan import Plan, Planner, estimate, plan
from mixq.plan.choices import link, simple_stage, vector
from mixq.plan.conversion import bridge, bridge_cycles
from mixq.plan.options import options, requantise_resources
from mixq.plan.planner import input_stream
from mixq.plan.pumping import can_pump
from mixq.plan.units import units
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
    assert made.resources == sum((layer.resources for layer in made.layers), made.shell)
    assert made.cycles == max(layer.cycles for layer in made.layers) >= made.shell_cycles
    assert made.layer(made.bottleneck).cycles == made.cycles
    assert made.fps == 300e6 / made.cycles


def test_no_converter_is_slower_than_its_layer_says() -> None:
    graph = network()
    made = plan(graph, BOARD)
    source: StreamShape | None = None
    for unit in units(graph):
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
    assert relaxed.resources.lut < fastest.resources.lut
    assert plan(graph, BOARD, max_cycles=fastest.cycles * 8).cycles <= fastest.cycles * 8


def test_a_plan_takes_what_its_parts_are_estimated_at() -> None:
    """The sums that the program was given against the estimates of the stages, one by one."""
    graph = random_network()
    made = plan(graph, BOARD)
    source: StreamShape | None = None
    total = Resources()
    for unit in units(graph):
        layer = made.layer(unit.node.name)
        if layer.folding is not None:
            here = input_stream(unit, layer.folding)
            total += estimate.convolution(layer.folding, unit.sum_bits(layer.folding))
            method = made.layer(unit.requantise.name).method if unit.requantise else "multiply"
            assert method is not None
            total += requantise_resources(unit, layer.folding, method)
        else:
            here = StreamShape(*unit.source.shape, unit.source.format, pixels=1, lanes=layer.lanes)
            total += layer.resources
        lanes = made.input_lanes
        before = source or StreamShape(*unit.source.shape, unit.source.format, pixels=1, lanes=lanes)
        if layer.folding is not None:
            total += estimate.converters(bridge(before, here))
        source = StreamShape(*unit.target.shape, unit.target.format, pixels=layer.pixels, lanes=layer.lanes)
    assert made.resources == total + made.shell
    first, last = graph.tensor(graph.input), graph.tensor(graph.output)
    assert source is not None
    single = source.with_beat(pixels=1, lanes=source.lanes)
    assert made.layers[-1].pixels == 1, "the last layer is dense: nothing stands between it and the bus"
    given = StreamShape(*first.shape, first.format, pixels=1, lanes=made.input_lanes)
    ends = estimate.shell_input(given, made.input_bus_bits), estimate.shell_output(single, made.output_bus_bits)
    assert last.shape == single.shape
    assert made.shell == ends[0] + ends[1]


def test_parts_of_a_layer_cost_the_same_beside_each_other() -> None:
    """Options count each part once; here every tenth of all ways is counted as a whole."""
    for unit in (unit for unit in units(network()) if unit.is_layer):
        found = options(unit, "dsp48e2", 60, 2, every=True)
        for way in range(0, len(found.ways), 10):
            folding = found.folding(way)
            behind = requantise_resources(unit, folding, found.method(way))
            whole = estimate.convolution(folding, unit.sum_bits(folding))
            assert found.costs[way].tolist() == vector(whole + behind).tolist()
            assert found.cycles[way] == folding.cycles_per_frame


def test_a_bus_that_is_too_slow_is_told() -> None:
    """64 channels of 9 bits out of one multiplication each: 16 bits a code, 8 codes a beat of the widest bus."""
    rng = np.random.default_rng(0)
    graph = Chain((1, 8, 8), U8, 1 / 256).conv(rng.integers(1, 2, (64, 1, 1, 1)), 2).graph()
    made = plan(graph, BOARD)
    assert made.output_bus_bits == 128 and made.cycles == made.shell_cycles == 64 * 64 // 8
    assert made.limited_by == ("output stream",)
    assert made.bottleneck == "shell" or max(layer.cycles for layer in made.layers) == made.cycles


def test_the_same_plan_again() -> None:
    assert plan(network(12, 8, 3), BOARD) == plan(network(12, 8, 3), BOARD)


def test_what_is_proved() -> None:
    made = plan(network(), BOARD, limits=Resources(70560, 141120, 20, 216, 0), packings="original")
    assert made.gap == made.price_gap == 0
    assert made.least_cycles == made.cycles
    assert made.limited_by == ("DSP",)
    assert plan(network(), BOARD, packings="original").cycles < made.cycles
    slower = plan(network(), BOARD, max_cycles=2 * made.cycles, packings="original")
    assert slower.limited_by == ("wish",) and slower.gap == 0


def test_the_frontier_falls_from_the_fastest_to_the_smallest() -> None:
    planner = Planner(network(), BOARD, limits=Resources(70560, 141120, 40, 216, 0))
    points = planner.frontier()
    assert 5 <= len(points) <= 12
    assert [point.cycles for point in points] == sorted({point.cycles for point in points})
    made = planner.plan()
    assert (points[0].cycles, points[0].resources) == (made.cycles, made.resources)
    for point in points:
        same = planner.plan(max_cycles=point.cycles)
        assert (same.cycles, same.resources) == (point.cycles, point.resources)
        assert point.fps == 300e6 / point.cycles
    smallest = planner.plan(max_cycles=10**9)
    assert points[-1].resources == smallest.resources
    with pytest.raises(ValueError) as failure:
        planner.frontier(1)
    assert str(failure.value) == "points must be a whole number of at least 2, not 1"


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
    [("version: 3", "version: 2"), ("pe: ", "pe: 7"), ("kernel: 3", "kernel: 4"), ("layers:", "layer:")],
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
        plan(graph, BOARD, limits=Resources(12000, 141120, 16, 5, 0))
    message = str(failure.value)
    assert re.search(r"does not fit small: (LUT|BRAM_36K) [0-9.]+ of (12000|5) \([0-9.]+ too many\)", message)
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
        ({"time_limit": 0}, "time_limit must be positive and finite, not 0"),
        ({"residue_bits": 3}, "residue_bits must be 0, 1 or 2, not 3"),
    ],
)
def test_wrong_arguments(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(UserError) as failure:
        plan(network(), BOARD, **wrong)  # type: ignore[arg-type]
    assert str(failure.value) == message


@pytest.mark.parametrize("dsps", [6, 20, 60])
def test_double_pumped_dsps_are_taken_where_they_pay_and_only_if_asked_for(dsps: int, tmp_path: Path) -> None:
    graph, limits = network(), Resources(4000, 141120, dsps, 216, 0)
    plain, made = (plan(graph, BOARD, limits=limits, double_pump=wish) for wish in (False, True))
    assert plain.pumped == () and made.pumped
    price = [one.resources.lut / limits.lut + one.resources.dsp / limits.dsp for one in (plain, made)]
    assert made.cycles < plain.cycles or (made.cycles == plain.cycles and price[1] < price[0])
    for name in made.pumped:
        folding = made.layer(name).folding
        assert folding is not None and folding.simd % 2 == 0 and folding.packing.residue_bits == 0
    made.save(tmp_path)
    assert Plan.load(tmp_path) == made


def test_every_layer_that_can_be_is_offered_double_pumped() -> None:
    unit = units(network())[0]
    once, twice = (options(unit, "dsp48e2", 40, 1, double_pump=wish) for wish in (False, True))
    assert {base.pump for base in once.bases} == {1} and {base.pump for base in twice.bases} == {1, 2}
    assert {base for base in twice.bases if base.pump == 1} == set(once.bases)
    pumped = {base for base in twice.bases if base.pump == 2}
    assert max(base.dsps for base in pumped) <= 40
    for base in once.bases:
        if can_pump(base.packing) and base.simd % 2 == 0 and base.summed > 1:
            # A kind of memories that pays beside one may not pay beside the other.
            assert {replace(base, pump=2, weight_memory=kind) for kind in ("auto", "block", "distributed")} & pumped


@pytest.mark.parametrize(
    ("clock", "limit", "message"),
    [
        (322.5, None, ""),
        (
            323,
            None,
            "double_pump needs DSPs at 646 MHz, and those of small are taken to reach 645 MHz: plan for a clock of at "
            "most 322.5 MHz, not 323",
        ),
        (400, 891.0, ""),
        (
            300,
            500.0,
            "double_pump needs DSPs at 600 MHz, and those of small are taken to reach 500 MHz: plan for a clock of at "
            "most 250 MHz, not 300",
        ),
    ],
)
def test_the_clock_of_double_pumped_dsps_has_a_limit(clock: float, limit: float | None, message: str) -> None:
    board = replace(BOARD, dsp_clock_mhz=limit)
    assert Planner(network(), board, clock_mhz=clock).plan().clock_mhz == clock
    if not message:
        assert Planner(network(), board, clock_mhz=clock, double_pump=True).plan().pumped
        return
    with pytest.raises(UserError) as failure:
        Planner(network(), board, clock_mhz=clock, double_pump=True)
    assert str(failure.value) == message


def test_sums_without_requantise_in_the_middle() -> None:
    rng = np.random.default_rng(0)
    graph = Chain((2, 6, 6), U4).conv(rng.integers(-1, 2, (2, 2, 1, 1)), 2).pool(2, 2).graph()
    assert [(layer.name, layer.fused) for layer in plan(graph, BOARD).layers] == [("conv0", None), ("pool1", None)]


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


def test_what_comes_after_pooling_has_the_time_of_its_rows() -> None:
    """Windows end in one of two rows: eight codes of 4 x 4 pixels, four or one in a cycle, take as long twice over."""
    first, second = units(Chain((8, 8, 8), U4, 1 / 16).pool(2, 2).pool(2, 2).graph())
    between = link(simple_stage(first), simple_stage(second), {})
    lanes = {shape.lanes: at for at, shape in enumerate(simple_stage(second).sources)}
    assert between.cycles[lanes[8], lanes[8]] == 0
    assert between.cycles[lanes[8], lanes[4]] == 4 * 4 * 2, "twice that is what pooling takes"
    assert between.cycles[lanes[8], lanes[1]] == 2 * (4 * 4 * 8)
    assert between.cycles[lanes[1], lanes[8]] == 4 * 4 * 8, "joined as fast as they come"
