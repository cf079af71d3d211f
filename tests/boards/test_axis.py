# amaranth: UnusedElaboratable=no
"""The top level between its two buses, in both simulators, byte for byte against the containers' own definition."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from amaranth.sim import Simulator

from boards.axis import AxisTop
from boards.axis_ports import BusShape
from boards.verilog import convert
from mixq.containers import container_bits, to_bytes
from mixq.execute import run
from mixq.formats import IntFormat
from mixq.streams import StreamShape
from rtl_gen.max_pool import MaxPoolStage
from sim.network import NetworkRun, simulate
from sim.verilog_source import module_ports
from tests.boards.stand_in import Identity, write_rtl
from tests.mixq.graphs import Chain
from tests.rtl_gen.stages import random_frames

FRAMES = 8
U8 = IntFormat(8, False)


@dataclass(frozen=True)
class Case:
    """A tensor, the accelerator's beats, and the two buses."""

    width: int
    signed: bool
    shape: tuple[int, int, int]
    pixels: int
    lanes: int
    buses: tuple[int, int]

    @property
    def stream(self) -> StreamShape:
        channels, height, width = self.shape
        return StreamShape(channels, height, width, IntFormat(self.width, self.signed), self.pixels, self.lanes)


# Widths of 1 to 40 bits, buses of 8 to 128, frames that end in the middle of a beat.
CASES = [
    Case(1, False, (1, 3, 3), 1, 1, (8, 16)),
    Case(8, False, (3, 3, 5), 1, 3, (32, 64)),  # pixels of 24 bits straddle the beats
    Case(8, False, (3, 5, 1), 1, 1, (128, 24)),
    Case(5, True, (6, 2, 3), 1, 2, (64, 8)),
    Case(9, True, (4, 3, 3), 1, 4, (32, 128)),
    Case(16, False, (2, 1, 3), 1, 2, (16, 64)),
    Case(17, True, (5, 1, 1), 1, 5, (64, 32)),
    Case(21, True, (10, 1, 1), 1, 1, (128, 128)),
    Case(33, False, (3, 2, 1), 1, 3, (64, 128)),
    Case(40, True, (3, 1, 3), 1, 1, (128, 64)),
    Case(4, False, (4, 2, 5), 2, 2, (32, 16)),  # beats of several pixels, the last ones of a row partly empty
    Case(3, True, (4, 2, 7), 4, 1, (16, 128)),
]
SOME = [CASES[at] for at in (0, 1, 4, 6, 9, 10)]
FEW = [CASES[at] for at in (1, 4, 10)]


def with_noise(data: bytes, format: IntFormat, seed: int) -> bytes:
    """The same codes with random bits above them in their containers: nothing may depend on those."""
    bits = container_bits(format)
    containers = np.frombuffer(data, dtype=f"<u{bits // 8}").astype(np.uint64)
    code = np.uint64((1 << format.width) - 1)
    noise = np.random.default_rng(seed).integers(0, 1 << 63, len(containers), dtype=np.uint64)
    return ((containers & code) | (noise & ~code)).astype(f"<u{bits // 8}").tobytes()


def each(codes: npt.NDArray[np.int64], format: IntFormat) -> list[bytes]:
    return [to_bytes(frame[None], format) for frame in codes]


def check(
    top: AxisTop, given: list[bytes], expected: list[bytes], *, simulator: str, folder: Path, free: bool = True
) -> NetworkRun:
    """Frames back to back without stalls, to the cycle, then with stalls and resets amid frames."""
    rtl = write_rtl(top, folder)

    def frames(stalls: str, resets: int) -> NetworkRun:
        return simulate(
            rtl,
            given,
            output_frame_bytes=top.output_frame_bytes,
            simulator=simulator,
            stalls=stalls,
            seed=5,
            resets=resets,
            stall_limit=2000,
            optimise="compile",
        )

    seen = frames("none", 0)
    assert seen.protocol_errors == []
    assert seen.outputs == expected
    assert {len(frame) for frame in given} == {top.input_frame_bytes}
    if free:
        assert {b - a for a, b in pairwise(seen.last_beat_cycles[FRAMES // 2 :])} == {top.cycles_per_frame}
    stalled = frames("random", 3)
    assert stalled.protocol_errors == []
    assert stalled.outputs == expected
    return stalled


def check_identity(case: Case, simulator: str, folder: Path) -> None:
    shape = case.stream
    codes = random_frames(shape, FRAMES, seed=case.width)
    given = [with_noise(data, shape.format, seed) for seed, data in enumerate(each(codes, shape.format))]
    top = AxisTop(Identity(shape), input_bus_bits=case.buses[0], output_bus_bits=case.buses[1])
    check(top, given, each(codes, shape.format), simulator=simulator, folder=folder)


@pytest.mark.parametrize("simulator", ["icarus"])
@pytest.mark.parametrize("case", SOME, ids=str)
def test_codes_come_through(case: Case, simulator: str, tmp_path: Path) -> None:
    check_identity(case, simulator, tmp_path)


@pytest.mark.parametrize("simulator", ["verilator"])
@pytest.mark.parametrize("case", FEW, ids=str)
def test_codes_come_through_in_verilator(case: Case, simulator: str, tmp_path: Path) -> None:
    check_identity(case, simulator, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("simulator", ["icarus", "verilator"])
@pytest.mark.parametrize("case", [case for case in CASES if case not in FEW], ids=str)
def test_all_codes_come_through(case: Case, simulator: str, tmp_path: Path) -> None:
    check_identity(case, simulator, tmp_path)


@pytest.mark.parametrize("simulator", ["icarus", "verilator"])
def test_a_stage_that_shrinks_the_frame(simulator: str, tmp_path: Path) -> None:
    format = IntFormat(6, True)
    graph = Chain((3, 7, 5), format).pool(3, 2).graph()
    shape = StreamShape(3, 7, 5, format, 1, 3)
    codes = random_frames(shape, FRAMES, seed=1)
    stage = MaxPoolStage(shape, kernel=3, stride=2)
    top = AxisTop(stage, input_bus_bits=32, output_bus_bits=64)
    assert (top.input_frame_bytes, top.output_frame_bytes) == (105, 18)
    # Rows of uneven rate: the output's beats come in bursts, so the figures without stalls are the stage's alone.
    check(top, each(codes, format), each(run(graph, codes), format), simulator=simulator, folder=tmp_path, free=False)


def test_a_reset_of_one_cycle_closes_both_buses_until_the_second_edge_after_it() -> None:
    shape = StreamShape(2, 1, 2, U8, 1, 2)
    top = AxisTop(Identity(shape), input_bus_bits=16, output_bus_bits=16)
    simulator = Simulator(top)

    async def bench(ctx: Any) -> None:
        async def edge() -> tuple[int, int]:
            """One rising edge; returns what is offered on both buses after it."""
            ctx.set(top.ap_clk, 1)
            await ctx.delay(1e-9)
            ctx.set(top.ap_clk, 0)
            await ctx.delay(1e-9)
            return ctx.get(top.s_axis_0_tready), ctx.get(top.m_axis_0_tvalid)

        async def frame(first: int) -> list[int]:
            """Sends a frame of two beats and takes what comes out."""
            taken = []
            for cycle in range(20):
                ctx.set(top.s_axis_0_tvalid, cycle < 2)
                ctx.set(top.s_axis_0_tdata, first + cycle)
                ctx.set(top.s_axis_0_tlast, cycle == 1)
                if ctx.get(top.m_axis_0_tvalid):
                    taken.append(ctx.get(top.m_axis_0_tdata))
                await edge()
            return taken

        ctx.set(top.s_axis_0_tkeep, 3)
        ctx.set(top.ap_rst_n, 1)  # no reset at all: the first cycles after configuration are one
        assert ctx.get(top.s_axis_0_tready) == 0
        assert [await edge() for _ in range(3)] == [(0, 0), (1, 0), (1, 0)]
        ctx.set(top.m_axis_0_tready, 1)
        assert await frame(0x1234) == [0x1234, 0x1235]
        # Half a frame inside, and a beat that waits at the output, are gone after a reset of one cycle.
        ctx.set(top.m_axis_0_tready, 0)
        await frame(0x5678)
        ctx.set(top.s_axis_0_tvalid, 1)
        assert await edge() == (1, 1)
        ctx.set(top.ap_rst_n, 0)
        assert await edge() == (0, 0)
        ctx.set(top.ap_rst_n, 1)
        ctx.set(top.m_axis_0_tready, 1)
        assert await edge() == (0, 0)
        ctx.set(top.s_axis_0_tvalid, 0)
        assert [await edge() for _ in range(20)] == [(1, 0)] * 20
        assert await frame(0x9ABC) == [0x9ABC, 0x9ABD]
        finished.append(True)

    finished: list[bool] = []
    simulator.add_testbench(bench)
    simulator.run()
    assert finished == [True]


def test_ports() -> None:
    top = AxisTop(Identity(StreamShape(3, 2, 2, U8, 1, 3)), input_bus_bits=64, output_bus_bits=24)
    ports = module_ports(convert(top, name="mixq_top", target="generic"), "mixq_top")
    expected = {"ap_clk": ("input", 1), "ap_rst_n": ("input", 1)}
    for prefix, bits, source, sink in (("s_axis_0", 64, "input", "output"), ("m_axis_0", 24, "output", "input")):
        for name, width in (("tdata", bits), ("tvalid", 1), ("tlast", 1), ("tkeep", bits // 8)):
            expected[f"{prefix}_{name}"] = (source, width)
        expected[f"{prefix}_tready"] = (sink, 1)
    for channel, members in {
        "aw": "addr prot",
        "w": "data strb",
        "b": "resp",
        "ar": "addr prot",
        "r": "data resp",
    }.items():
        master, slave = ("output", "input") if channel in ("b", "r") else ("input", "output")
        for name in members.split():
            width = {"addr": 8, "prot": 3, "data": 32, "strb": 4, "resp": 2}[name]
            expected[f"s_axilite_{channel}{name}"] = (master, width)
        expected[f"s_axilite_{channel}valid"], expected[f"s_axilite_{channel}ready"] = (master, 1), (slave, 1)
    assert {name: (port.direction, port.width) for name, port in ports.items()} == expected


@pytest.mark.parametrize(
    ("shape", "cycles", "lanes"),
    [
        (StreamShape(12, 2, 3, U8, 1, 2), 36, 2),  # one pixel already
        (StreamShape(12, 2, 4, U8, 2, 2), 24, 4),  # 4 groups of 2 pixels x 6 of channels; 8 pixels x 3 groups
        (StreamShape(12, 2, 4, U8, 2, 2), 23, 6),
        (StreamShape(12, 2, 4, U8, 4, 3), 8, 12),
        (StreamShape(12, 2, 4, U8, 4, 3), 1, 12),  # nothing is wide enough: as wide as can be
    ],
)
def test_beats_of_one_pixel_are_as_wide_as_the_rate_asks(shape: StreamShape, cycles: int, lanes: int) -> None:
    assert BusShape(8, shape, cycles).pixel == shape.with_beat(pixels=1, lanes=lanes)


def test_several_pixels_a_beat_do_not_slow_the_accelerator() -> None:
    shape = StreamShape(8, 4, 8, IntFormat(4, False), 2, 2)
    top = AxisTop(Identity(shape), input_bus_bits=128, output_bus_bits=128)
    assert top.cycles_per_frame == shape.beats == 64


@pytest.mark.parametrize(
    ("buses", "error", "message"),
    [
        ((24, 32), ValueError, "input_bus_bits: bits must be a multiple of the container's 16, not 24"),
        ((32, 40), ValueError, "output_bus_bits: bits must be a multiple of the container's 16, not 40"),
        ((8, 32), ValueError, "input_bus_bits: bits must be a multiple of the container's 16, not 8"),
        ((32, "32"), TypeError, "output_bus_bits: bits must be an integer, not '32'"),
    ],
)
def test_a_bus_of_no_whole_containers_is_refused(buses: tuple[int, int], error: type[Exception], message: str) -> None:
    stage = Identity(StreamShape(2, 2, 2, IntFormat(9, True)))
    with pytest.raises(error) as failure:
        AxisTop(stage, input_bus_bits=buses[0], output_bus_bits=buses[1])
    assert str(failure.value) == message


def test_an_accelerator_without_shapes_is_refused() -> None:
    with pytest.raises(TypeError) as failure:
        AxisTop(object(), input_bus_bits=32, output_bus_bits=32)
    assert str(failure.value) == "accelerator must have a StreamShape as its input_shape, not None"
