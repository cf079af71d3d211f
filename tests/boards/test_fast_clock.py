# amaranth: UnusedElaboratable=no
"""A network whose first layer is double-pumped and whose second is not, from plan to bytes, with two clocks."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Cat, Module, Signal
from amaranth.sim import Simulator

from boards import load_board
from boards.axis import AxisTop
from boards.emit import generate, render
from boards.manifest import BuildManifest
from mixq.containers import frame_bytes, to_bytes
from mixq.execute import run
from mixq.formats import IntFormat
from mixq.graph import Graph
from mixq.plan import Plan, plan
from mixq.plan.folding_file import Hold
from mixq.streams import StreamShape
from rtl_gen import build
from sim.network import NetworkRun, simulate
from sim.verilog_source import module_ports
from tests.boards.stand_in import Identity
from tests.mixq.graphs import Chain
from tests.rtl_gen.networks import pumped, scales, weights

FRAMES = 8
SIMULATORS = ("icarus", "verilator", "verilator-cocotb")


def small_network() -> Graph:
    """A convolution of sums in even numbers, a pool and a dense layer."""
    rng = np.random.default_rng(12)
    chain = Chain((4, 5, 7), IntFormat(4, False), 1 / 16)
    scales(rng, chain.conv(weights(rng, 4, 4, 4, 3, 3), 4, padding=1), 14, IntFormat(3, False)).pool(2, 2)
    return chain.dense(weights(rng, 5, 6, 4 * 2 * 3), 5, bias=rng.integers(-99, 99, 6)).graph("pumped")


def two_plans(graph: Graph) -> tuple[Plan, Plan]:
    """A plan with DSPs in both layers, and the same with the first layer double-pumped."""
    first, second = (node.name for node in graph.nodes if node.op in ("conv", "dense"))
    holds = {
        first: Hold(first, {"PE": 2, "SIMD": 4, "rows": 1, "resType": "dsp"}),
        second: Hold(second, {"resType": "dsp"}),
    }
    plain = plan(graph, load_board("ultra96-v2"), residue_bits=0, foldings=holds)
    return plain, pumped(plain, first)


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated build of the pumped plan."""
    folder = tmp_path_factory.mktemp("generated")
    graph = small_network()
    graph.save(folder)
    two_plans(graph)[1].save(folder)
    generate(folder)
    return folder


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_equals_interpreter_with_two_clocks(generated: Path, tmp_path: Path, simulator: str) -> None:
    graph, chosen = Graph.load(generated), Plan.load(generated)
    assert {layer.folding.pump for layer in chosen.layers if layer.folding} == {1, 2}
    given, taken = graph.tensor(graph.input), graph.tensor(graph.output)
    pixels = np.random.default_rng(3).integers(0, 16, (FRAMES, *given.shape))
    expected = [to_bytes(frame[None], taken.format) for frame in run(graph, pixels)]

    def simulated(stalls: str, resets: int) -> NetworkRun:
        return simulate(
            generated / "rtl",
            [to_bytes(frame[None], given.format) for frame in pixels],
            output_frame_bytes=frame_bytes(taken.shape, taken.format),
            simulator=simulator,
            stalls=stalls,
            seed=7,
            resets=resets,
            stall_limit=5000,
            work_dir=tmp_path,
            optimise="compile",
        )

    seen = simulated("none", 0)
    assert seen.protocol_errors == []
    assert seen.outputs == expected
    ends = seen.last_beat_cycles[2:-1]
    assert {later - earlier for earlier, later in pairwise(ends)} == {chosen.cycles}
    stalled = simulated("random", 3)
    assert stalled.protocol_errors == []
    assert stalled.outputs == expected


def test_the_second_clock_is_there_where_it_is_needed() -> None:
    graph = small_network()
    clocks = []
    for chosen in two_plans(graph):
        top = AxisTop(
            build(graph, chosen), input_bus_bits=chosen.input_bus_bits, output_bus_bits=chosen.output_bus_bits
        )
        files = render(top, target="dsp48e2", clock_mhz=300)
        text = files["mixq_top.v"]
        assert isinstance(text, str)
        ports = module_ports(text, "mixq_top")
        clocks.append(({name for name in ports if name.startswith("ap_")}, "mixq_top.xdc" in files))
        assert text.count("DSP48E2 #(") == chosen.resources.dsp
        assert files["files.f"] == "mixq_top.v\nmixq_rom.v\n"
    assert clocks == [({"ap_clk", "ap_rst_n"}, False), ({"ap_clk", "ap_clk2x", "ap_rst_n"}, True)]


def test_constraints_are_written_and_name_the_ports(generated: Path) -> None:
    made = BuildManifest.load(generated)
    assert "rtl/mixq_top.xdc" in made.outputs and made.changed(generated) == []
    text = (generated / "rtl" / "mixq_top.xdc").read_text()
    ports = module_ports((generated / "rtl" / "mixq_top.v").read_text(), "mixq_top")
    named = re.findall(r"get_ports (\w+)", text)
    assert named == ["ap_clk", "ap_clk2x"]
    assert all(ports[name].direction == "input" and ports[name].width == 1 for name in named)
    # 300 MHz, the board's clock: 3.333 ns, in two equal halves of whole picoseconds.
    assert "-name ap_clk -period 3.332 " in text and "-name ap_clk2x -period 1.666 " in text


def test_registers_of_the_fast_domain_with_many_loads_may_be_copied(generated: Path) -> None:
    text = (generated / "rtl" / "mixq_top.v").read_text()
    assert len(re.findall(r"\(\* max_fanout = 32'd64 \*\)\s+reg (?:second|fast_reset)\b", text)) == 2


class Counting(Identity):
    """Counts the cycles of the faster clock since its reset, and those of the other one since that of "sync"."""

    def __init__(self) -> None:
        super().__init__(StreamShape(1, 1, 1, IntFormat(8, False), 1, 1))
        self.slow, self.fast = Signal(8), Signal(8)

    @property
    def fast_clock(self) -> bool:
        return True

    def elaborate(self, platform: Any) -> Module:
        m = super().elaborate(platform)
        m.d.sync += self.slow.eq(self.slow + 1)
        m.d.fast += self.fast.eq(self.fast + 1)
        return m


def test_the_fast_domain_is_reset_with_the_slow_one() -> None:
    stage = Counting()
    top = AxisTop(stage, input_bus_bits=8, output_bus_bits=8)
    seen: list[tuple[int, int]] = []

    async def testbench(ctx: Any) -> None:
        for cycle in range(24):
            ctx.set(top.ap_rst_n, cycle not in (0, 1, 14))
            for level in (1, 0):
                ctx.set(Cat(top.ap_clk, top.ap_clk2x), level | 2)
                await ctx.delay(2e-9)
                ctx.set(top.ap_clk2x, 0)
                await ctx.delay(3e-9)
            seen.append((ctx.get(stage.slow), ctx.get(stage.fast)))

    simulator = Simulator(top)
    simulator.add_testbench(testbench)
    simulator.run()
    # The faster domain learns of the end half a cycle after the other one: both count from that one's next edge on.
    ends = [at for at, (slow, _) in enumerate(seen) if at and slow == 0]
    assert len([at for at in ends if at > 10]) == 1
    running = [(slow, fast) for slow, fast in seen if slow > 0]
    assert len(running) > 16
    assert {2 * slow - fast for slow, fast in running} == {0}
