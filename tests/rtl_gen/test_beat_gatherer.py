"""Beat gatherer: parts that come with gaps, joined in order."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator

from rtl_gen.beat_gatherer import BeatGatherer


@pytest.mark.parametrize("turns", [1, 2, 3, 4])
def test_parts_leave_as_beats(turns: int) -> None:
    dut = BeatGatherer(bits=5, turns=turns)
    rng = random.Random(turns)
    parts = [rng.randrange(32) for _ in range(12 * turns)]
    seen: list[int] = []

    async def bench(ctx: Any) -> None:
        for number, part in enumerate(parts):
            while rng.random() < 0.3:
                ctx.set(dut.part_valid, 0)
                ctx.set(dut.part, rng.randrange(32))
                assert not ctx.get(dut.valid)
                await ctx.tick()
            ctx.set(dut.part_valid, 1)
            ctx.set(dut.part, part)
            assert ctx.get(dut.valid) == (number % turns == turns - 1)
            if ctx.get(dut.valid):
                seen.append(ctx.get(dut.beat))
            await ctx.tick()

    m = Module()
    m.submodules.dut = dut
    m.d.sync += Signal(name="clocked").eq(1)  # a single part is passed on by wires
    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    beats = [parts[at : at + turns] for at in range(0, len(parts), turns)]
    assert seen == [sum(part << 5 * i for i, part in enumerate(beat)) for beat in beats]
