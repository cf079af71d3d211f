"""Nested counters against nested loops."""

from __future__ import annotations

import random
from itertools import product
from typing import Any

import pytest
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator

from rtl_gen.counters import nested_counters


@pytest.mark.parametrize("sizes", [(3,), (1,), (4, 2, 3), (1, 5, 1), (2, 1, 4)])
def test_counts_like_nested_loops(sizes: tuple[int, ...]) -> None:
    m, enable = Module(), Signal()
    counters = [(Signal(range(max(size, 2)), name=f"counter_{i}"), size) for i, size in enumerate(sizes)]
    ends = [Signal(name=f"end_{i}") for i in range(len(sizes))]
    m.d.comb += [seen.eq(end) for seen, end in zip(ends, nested_counters(m, enable, counters), strict=True)]
    seen: list[tuple[tuple[int, ...], tuple[int, ...]]] = []

    async def bench(ctx: Any) -> None:
        rng = random.Random(1)
        while len(seen) < 3 * len(wanted) + 1:
            enabled = rng.random() < 0.7
            ctx.set(enable, enabled)
            values = tuple(ctx.get(signal) for signal, _ in counters)
            flags = tuple(ctx.get(end) for end in ends)
            if enabled:
                seen.append((values, flags))
            else:
                assert not any(flags)
            await ctx.tick()

    # Innermost first: the slowest loop of the product is the last counter.
    wanted = [values[::-1] for values in product(*(range(size) for size in reversed(sizes)))]
    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    for step, (values, flags) in enumerate(seen):
        assert values == wanted[step % len(wanted)]
        at_end = [value == size - 1 for value, size in zip(values, sizes, strict=True)]
        assert flags == tuple(int(all(at_end[: i + 1])) for i in range(len(sizes)))
