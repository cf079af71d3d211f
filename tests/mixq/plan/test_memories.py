"""Sizes of memories in units of the device."""

from __future__ import annotations

import pytest

from mixq.board import Resources
from mixq.plan.memories import asynchronous_ram, half_blocks, memory_style, ram, rom


@pytest.mark.parametrize(
    "width, depth, halves",
    # 36 Kb as 512 x 72 and 1024 x 36, 18 Kb as 512 x 36 and 1024 x 18: UltraScale memory resources.
    [
        (72, 512, 2),
        (36, 512, 1),
        (36, 1024, 2),
        (18, 1024, 1),
        (72, 1024, 4),
        (9, 2048, 1),
        (37, 512, 2),
        (1, 16384, 1),
    ],
)
def test_half_blocks(width: int, depth: int, halves: int) -> None:
    assert half_blocks(width, depth) == halves


def test_style_by_depth_and_size() -> None:
    assert memory_style(1000, 64) == "distributed"
    assert memory_style(31, 66) == "distributed"
    assert memory_style(32, 65) == "block"


def test_kinds() -> None:
    assert ram(8, 1).lut == 0
    assert ram(14, 32).lut == 8
    assert ram(72, 1024).bram36 == rom(72, 1024).bram36 == 2
    assert rom(10, 64).lut == 10
    assert rom(10, 1).lut == 0


@pytest.mark.parametrize(
    "width, depth, halves",
    # What Yosys takes where no shape alone is best: words side by side in wide blocks, and whole blocks for two halves.
    [(40, 1500, 4), (36, 1500, 3), (20, 3000, 5), (18, 3000, 3), (72, 1500, 6), (40, 3000, 8), (36, 3000, 6)],
)
def test_blocks_of_deep_memories(width: int, depth: int, halves: int) -> None:
    assert half_blocks(width, depth) == halves
    assert ram(width, depth).bram36 == halves / 2


@pytest.mark.parametrize(
    "width, depth, halves",
    # Words of less than a byte of 9 bits are written apart, too: none share one.
    [(6, 1500, 1), (6, 2304, 2), (7, 2500, 2), (2, 9000, 2), (1, 17000, 2), (5, 4200, 3), (6, 9000, 5), (4, 2304, 1)],
)
def test_blocks_of_narrow_words(width: int, depth: int, halves: int) -> None:
    assert half_blocks(width, depth) == halves


@pytest.mark.parametrize(
    "width, depth, luts",
    # Yosys's counts of RAM32M16 and RAM64M8 at 8 look-up tables each, and of what selects among several.
    [(7, 32, 8), (20, 33, 24), (14, 65, 41), (8, 100, 42), (20, 65, 71), (8, 200, 76), (7, 256, 43), (1, 300, 47)],
)
def test_look_up_tables_of_small_memories(width: int, depth: int, luts: int) -> None:
    assert asynchronous_ram(width, depth).lut == luts
    assert ram(width, depth) == Resources(lut=luts, ff=width)


@pytest.mark.parametrize("depth, luts", [(16, 20), (64, 20), (65, 40), (96, 40)])
def test_look_up_tables_of_read_only_memories(depth: int, luts: int) -> None:
    assert rom(20, depth, registers=2) == Resources(lut=luts, ff=40)


def test_a_read_only_memory_of_few_words_has_few_different_columns() -> None:
    # Of two words a column is constant, the address, or its complement.
    assert rom(1000, 2).ff == 2
    assert rom(1000, 4).ff == 14


def test_a_kind_can_be_asked_for() -> None:
    assert rom(36, 16, style="block", registers=2) == Resources(ff=36, bram36=0.5)
    assert rom(36, 128, style="distributed") == Resources(lut=72, ff=36)
