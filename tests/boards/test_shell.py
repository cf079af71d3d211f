# amaranth: UnusedElaboratable=no
"""``mixq_top`` between buses that are not ours: every packet, register and reset against a model of the contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from boards.axis import AxisTop
from mixq.formats import IntFormat
from mixq.streams import StreamShape
from rtl_gen.interfaces import Stage
from rtl_gen.max_pool import MaxPoolStage
from rtl_gen.upsample import UpsampleStage
from tests.boards.shell.run import run_bench
from tests.boards.shell.works import PUMPED
from tests.boards.stand_in import Identity
from tests.rtl_gen.convolution_cases import graph_of, stage_of

U8 = IntFormat(8, False)
BUILD_HASH = 0x0123456789ABCDEF


def accelerator(work: str) -> Stage:
    if work == "same":
        return Identity(StreamShape(3, 2, 3, U8, 1, 3))  # pixels of 24 bits straddle the beats
    if work == "pooled":
        return MaxPoolStage(StreamShape(2, 4, 4, U8, 1, 1), kernel=2, stride=2)
    if work == "convolved":
        return stage_of(PUMPED, graph_of(PUMPED))
    return UpsampleStage(StreamShape(1, 2, 3, U8, 1, 1), factor=2)  # most of the output comes before the input ends


def top(work: str, buses: tuple[int, int]) -> AxisTop:
    input_bits, output_bits = buses
    stage = accelerator(work)
    return AxisTop(stage, input_bus_bits=input_bits, output_bus_bits=output_bits, build_hash=BUILD_HASH)


@pytest.mark.icarus
@pytest.mark.cocotb
@pytest.mark.parametrize(
    ("work", "buses"),
    [
        ("same", (32, 128)),
        ("same", (64, 32)),
        ("same", (128, 64)),
        ("pooled", (32, 64)),
        ("doubled", (16, 32)),
    ],
)
def test_packets_and_registers(work: str, buses: tuple[int, int], tmp_path: Path) -> None:
    run_bench(top(work, buses), "bench_traffic", tmp_path, tests=3, work=work, seed=1, phases=8, packets=10)


@pytest.mark.icarus
@pytest.mark.cocotb
@pytest.mark.parametrize(
    ("work", "buses", "trials"),
    [
        ("same", (64, 32), 200),
        ("convolved", (32, 8), 100),
        pytest.param("doubled", (16, 32), 1000, marks=pytest.mark.slow),
    ],
)
def test_resets_at_any_cycle(work: str, buses: tuple[int, int], trials: int, tmp_path: Path) -> None:
    whole = top(work, buses)
    longest = accelerator(work).latency + 5 * whole.cycles_per_frame
    run_bench(whole, "bench_resets", tmp_path, tests=2, work=work, seed=2, trials=trials, longest=longest)
