# amaranth: UnusedElaboratable=no
"""The stream FIFO: order, depth, latency and throughput."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import pytest
from amaranth.back import verilog
from amaranth.sim import Simulator

from rtl_gen.fifo import StreamFifo
from sim.stage import Scenario, StageBench
from tests.rtl_gen.stages import STALLS

BEATS = 120


@pytest.mark.cocotb
@pytest.mark.parametrize("depth", [2, 3, 4, 9, 80])
def test_stream(depth: int, tmp_path: Path) -> None:
    rng = random.Random(depth)
    beats = [rng.getrandbits(33) for _ in range(BEATS)]
    fifo = StreamFifo(33, depth)
    stalled = [
        Scenario(beats, beats, frames=1, stalls=stalls, seed=seed, resets=seed) for seed, stalls in enumerate(STALLS)
    ]
    free, *_ = StageBench(fifo, work_dir=tmp_path).run_all([Scenario(beats, beats, probe=False), *stalled])
    assert free.latency == fifo.latency
    assert all(later - earlier == 1 for earlier, later in pairwise(free.output_cycles))


@pytest.mark.parametrize("depth", [2, 3, 4, 9])
def test_depth(depth: int) -> None:
    """Without a reader exactly ``depth`` beats fit, and ``level`` counts them."""
    fifo = StreamFifo(8, depth)
    taken = []

    async def bench(ctx) -> None:  # type: ignore[no-untyped-def]
        ctx.set(fifo.i.valid, 1)
        for cycle in range(depth + 8):
            ctx.set(fifo.i.payload, cycle)
            if ctx.get(fifo.i.ready):
                taken.append(cycle)
            await ctx.tick()
            assert ctx.get(fifo.level) == len(taken)
        ctx.set(fifo.i.valid, 0)
        ctx.set(fifo.o.ready, 1)
        for beat in taken:
            assert ctx.get(fifo.o.valid)
            assert ctx.get(fifo.o.payload) == beat
            await ctx.tick()
        assert not ctx.get(fifo.o.valid)

    simulator = Simulator(fifo)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert len(taken) == depth


@pytest.mark.parametrize("depth, style", [(20, "distributed"), (513, "block")])
def test_style_by_size(depth: int, style: str) -> None:
    fifo = StreamFifo(36, depth)
    assert fifo.style == style
    assert f'ram_style = "{style}"' in verilog.convert(fifo)


def test_refuses() -> None:
    with pytest.raises(ValueError, match=r"^depth must be at least 2, not 1$"):
        StreamFifo(8, 1)
    with pytest.raises(ValueError, match=r"^width must be at least 1, not 0$"):
        StreamFifo(0, 2)
    with pytest.raises(TypeError, match=r"^depth must be an integer, not True$"):
        StreamFifo(8, True)
    with pytest.raises(ValueError, match=r"^style must be one of auto, distributed, block, ultra, not 'lut'$"):
        StreamFifo(8, 9, style="lut")
