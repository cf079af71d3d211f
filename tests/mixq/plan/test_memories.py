"""Sizes of memories in units of the device."""

from __future__ import annotations

import pytest

from mixq.plan.memories import half_blocks, memory_style, ram, rom


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
