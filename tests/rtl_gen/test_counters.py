"""Nested counters against nested loops."""

from __future__ import annotations

import random
from itertools import product
from typing import Any

import pytest
from amaranth.hdl import Cat, ClockDomain, Module, Signal
from amaranth.sim import Simulator

from rtl_gen.counters import EVERY_STEP, LoopEnd, advanced, carry_places, nested_loop, up_down, with_carries


def simulate(m: Module, bench: Any) -> None:
    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("sizes", [(3,), (1,), (4, 2, 3), (1, 5, 1), (2, 1, 4), (2, 2, 2), (40, 3), (260,)])
def test_counts_like_nested_loops(sizes: tuple[int, ...]) -> None:
    m, enable = Module(), Signal()
    # Loops of one step have no register.
    m.domains.sync = ClockDomain()
    counters = [(Signal(range(max(size, 2)), name=f"counter_{i}"), size) for i, size in enumerate(sizes)]
    ends, loop = [], EVERY_STEP
    for signal, size in counters:
        loop = nested_loop(m, enable, signal, size, inner=loop)
        ends.append(loop)
    now, soon = Signal(len(sizes)), Signal(len(sizes))
    m.d.comb += [now.eq(Cat(end.now for end in ends)), soon.eq(Cat(end.soon for end in ends))]
    # Innermost first: the slowest loop of the product is the last counter.
    wanted = [values[::-1] for values in product(*(range(size) for size in reversed(sizes)))]

    def flags(step: int) -> int:
        at_end = [value == size - 1 for value, size in zip(wanted[step % len(wanted)], sizes, strict=True)]
        return sum(all(at_end[: i + 1]) << i for i in range(len(sizes)))

    async def bench(ctx: Any) -> None:
        rng = random.Random(1)
        step = 0
        while step < 3 * len(wanted) + 1:
            enabled = rng.random() < 0.7
            ctx.set(enable, enabled)
            assert tuple(ctx.get(signal) for signal, _ in counters) == wanted[step % len(wanted)]
            assert (ctx.get(now), ctx.get(soon)) == (flags(step), flags(step + 1))
            step += enabled
            await ctx.tick()

    simulate(m, bench)


def test_an_inner_loop_may_end_with_its_first_step() -> None:
    """An inner loop of two steps in the first two rounds and one in the third, as its own registers say."""
    lengths = [2, 2, 1]
    steps = [(outer, inner) for outer, length in enumerate(lengths) for inner in range(length)]
    m, step, outer = Module(), Signal(), Signal(range(3))
    now, soon, row = Signal(), Signal(), Signal()
    end = nested_loop(m, step, outer, 3, inner=LoopEnd(now, soon), short=True)
    m.d.comb += row.eq(end.now)

    async def bench(ctx: Any) -> None:
        ctx.set(step, 1)
        for at in range(3 * len(steps)):
            here, after = steps[at % len(steps)], steps[(at + 1) % len(steps)]
            ctx.set(now, here[1] == lengths[here[0]] - 1)
            ctx.set(soon, after[1] == lengths[after[0]] - 1)
            assert ctx.get(outer) == here[0]
            assert ctx.get(row) == (here == steps[-1])
            await ctx.tick()

    simulate(m, bench)


@pytest.mark.parametrize("bits", [1, 4, 5, 8, 9, 13])
def test_carries_stand_beside_the_count(bits: int) -> None:
    count = Signal(bits + len(carry_places(bits)))
    following = Signal.like(count)
    m = Module()
    m.domains.sync = ClockDomain()
    m.d.comb += following.eq(advanced(count[:bits], count[bits:]))

    async def bench(ctx: Any) -> None:
        for value in range(1 << bits):
            ctx.set(count, with_carries(value, bits))
            assert ctx.get(following) == with_carries((value + 1) % (1 << bits), bits)
            assert ctx.get(following) % (1 << bits) == (value + 1) % (1 << bits)

    simulate(m, bench)


def test_carries_say_that_all_bits_below_are_set() -> None:
    assert [with_carries(value, 9) for value in (0, 0b1111, 0b1_1111_1111, 0b1_1111_1110)] == [
        0,
        0b01_0_0000_1111,
        0b11_1_1111_1111,
        0b00_1_1111_1110,
    ]


def test_up_and_down_at_once_keep_the_count() -> None:
    m, up, down, count = Module(), Signal(), Signal(), Signal(4)
    up_down(m, count, up=up, down=down)

    async def bench(ctx: Any) -> None:
        rng, wanted = random.Random(2), 0
        for _ in range(200):
            more, less = rng.randrange(2), rng.randrange(2)
            ctx.set(up, more)
            ctx.set(down, less)
            assert ctx.get(count) == wanted
            wanted = (wanted + more - less) % 16
            await ctx.tick()

    simulate(m, bench)
