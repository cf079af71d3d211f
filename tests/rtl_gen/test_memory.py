# amaranth: UnusedElaboratable=no
"""The dual-port memory against a list of words, in Amaranth's simulator."""

from __future__ import annotations

import random

import pytest
from amaranth.sim import Simulator

from rtl_gen.memory import DualPortMemory, memory_style


@pytest.mark.parametrize("depth", [1, 2, 3, 17])
def test_reads_and_writes(depth: int) -> None:
    """Random reads and writes, of the same word in the same cycle too: the old word is read."""
    memory = DualPortMemory(8, depth)
    rng = random.Random(depth)
    words, data = [0] * depth, 0

    async def bench(ctx) -> None:  # type: ignore[no-untyped-def]
        nonlocal data
        for _ in range(300):
            write, read, word = rng.randrange(depth), rng.randrange(depth), rng.getrandbits(8)
            writes, reads = rng.random() < 0.6, rng.random() < 0.6
            if depth > 1:  # a single word has no address to set
                ctx.set(memory.write_addr, write)
                ctx.set(memory.read_addr, read)
            ctx.set(memory.write_en, writes)
            ctx.set(memory.write_data, word)
            ctx.set(memory.read_en, reads)
            await ctx.tick()
            if reads:
                data = words[read]
            if writes:
                words[write] = word
            assert ctx.get(memory.read_data) == data

    simulator = Simulator(memory)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("depth, style", [(2, "distributed"), (17, "distributed"), (17, "block"), (1, "distributed")])
def test_an_early_register_has_the_same_timing(depth: int, style: str) -> None:
    """Random reads and writes, never of the word that is read: data is there in the cycle after the enable."""
    memory = DualPortMemory(8, depth, style=style, early=True)
    rng = random.Random(depth)
    words = [0] * depth

    async def bench(ctx) -> None:  # type: ignore[no-untyped-def]
        for _ in range(300):
            write, read, word = rng.randrange(depth), rng.randrange(depth), rng.getrandbits(8)
            if depth > 1:
                ctx.set(memory.write_addr, write)
                ctx.set(memory.read_addr, read)
            ctx.set(memory.write_en, write != read)
            ctx.set(memory.write_data, word)
            ctx.set(memory.read_en, 1)
            await ctx.tick()
            if write != read:
                words[write] = word
            ctx.set(memory.write_en, 0)
            assert ctx.get(memory.read_data) == words[read]

    simulator = Simulator(memory)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize(
    "width, depth, style", [(72, 64, "distributed"), (8, 100, "distributed"), (36, 65, "block"), (1, 4096, "block")]
)
def test_style(width: int, depth: int, style: str) -> None:
    assert memory_style(width, depth) == style
    assert memory_style(width, depth, "ultra") == "ultra"


def test_refuses() -> None:
    with pytest.raises(ValueError, match=r"^depth must be at least 1, not 0$"):
        DualPortMemory(8, 0)
    with pytest.raises(TypeError, match=r"^width must be an integer, not '8'$"):
        DualPortMemory("8", 4)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^style must be a string, not None$"):
        memory_style(8, 4, None)  # type: ignore[arg-type]
