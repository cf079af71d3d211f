# amaranth: UnusedElaboratable=no
"""Serialiser: the channels of a group, a few at a time, in order."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator

from rtl_gen.serialiser import Serialiser
from tests.rtl_gen.convolution_cases import CASES

BITS = 9


@pytest.mark.parametrize("name", ["same_parallel", "same_rows", "stride_2", "1x1", "column", "5x5_stride_2"])
def test_channels_leave_in_order(name: str) -> None:
    folding = CASES[name].folding
    pixels, pe, lanes = folding.packing.pixels, folding.pe, folding.out_lanes
    dut = Serialiser(folding, BITS)
    beats, turns = pe // lanes, folding.turns
    rng = random.Random(name)
    wanted: list[tuple[int, int, list[int]]] = []
    seen: list[tuple[int, int, list[int]]] = []
    kept = range(0, pixels, folding.shape.stride) if pixels > 1 else range(1)
    share = len(kept) // turns

    async def bench(ctx: Any) -> None:
        cycle = 0

        async def clock() -> None:
            nonlocal cycle
            if ctx.get(dut.x_valid):
                x = ctx.get(dut.x)
                values = [x >> (i * BITS) & ((1 << BITS) - 1) for i in range(share * lanes)]
                seen.append((cycle, ctx.get(dut.x_group), values))
            await ctx.tick()
            cycle += 1

        for number in range(20):
            sums = [rng.randrange(1 << BITS) for _ in range(pe * pixels)]
            fold = number % folding.folds
            ctx.set(dut.sums, sum(value << (i * BITS) for i, value in enumerate(sums)))
            ctx.set(dut.group, fold)
            ctx.set(dut.valid, 1)
            for beat in range(beats):
                channels = range(beat * lanes, (beat + 1) * lanes)
                for turn in range(turns):
                    some = kept[turn * share : (turn + 1) * share]
                    values = [sums[channel * pixels + pixel] for pixel in some for channel in channels]
                    wanted.append((cycle + dut.latency + beat * turns + turn, fold * beats + beat, values))
            await clock()
            ctx.set(dut.valid, 0)
            ctx.set(dut.sums, 0)
            for _ in range(beats * turns - 1 + rng.choice([0, 0, 1, 3])):
                await clock()
        for _ in range(beats * turns + 2):
            await clock()

    m = Module()
    m.submodules.dut = dut
    m.d.sync += Signal(name="clocked").eq(1)  # where all channels leave at once, nothing else is
    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen == wanted
