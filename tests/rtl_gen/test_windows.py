# amaranth: UnusedElaboratable=no
"""Positions in windows, cycle by cycle."""

from __future__ import annotations

import random

import pytest
from amaranth.sim import Simulator

from rtl_gen.windows import Windows


@pytest.mark.parametrize("size, kernel", [(4, 1), (4, 2), (5, 2), (7, 3), (8, 3), (6, 6), (9, 5)])
def test_positions(size: int, kernel: int) -> None:
    windows = Windows(size, kernel)
    dice = random.Random(size)

    async def bench(ctx) -> None:  # type: ignore[no-untyped-def]
        position = 0
        for _ in range(6 * size):
            inside = position < size // kernel * kernel
            assert ctx.get(windows.inside) == inside
            assert ctx.get(windows.last) == (inside and position % kernel == kernel - 1)
            assert ctx.get(windows.end) == (position == size - 1)
            if inside:
                assert ctx.get(windows.first) == (position % kernel == 0)
            step = dice.random() < 0.7
            ctx.set(windows.step, step)
            await ctx.tick()
            position = (position + step) % size

    simulator = Simulator(windows)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
