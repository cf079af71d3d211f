"""Memories as devices have them: which kind suits a size, and what it takes."""

from __future__ import annotations

from math import ceil
from typing import Literal

from mixq.board import Resources

Style = Literal["distributed", "block"]

# A half block RAM (18 Kb) holds 512 x 36 bits. LUT RAM costs about 1 LUT for 2 bits x 32 words (or for 1 bit x 64), so
# up to 64 words a block RAM is always a waste, and it pays from some 2,000 bits on.
_BLOCK_DEPTH = 65
_BLOCK_BITS = 2048

# Shapes of a half block RAM as a simple dual-port memory: (width, depth).
_HALF_BLOCKS = ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384))


def memory_style(width: int, depth: int) -> Style:
    """Kind of a memory of ``depth`` words of ``width`` bits: "block" from 65 words and 2,048 bits on."""
    return "block" if depth >= _BLOCK_DEPTH and width * depth >= _BLOCK_BITS else "distributed"


def half_blocks(width: int, depth: int) -> int:
    """Half block RAMs (18 Kb) of a memory in its best shape."""
    return min(ceil(width / w) * ceil(depth / d) for w, d in _HALF_BLOCKS)


def ram(width: int, depth: int) -> Resources:
    """What a memory with one write port and one registered read port takes."""
    if depth <= 1:
        return Resources(ff=2 * width)
    if memory_style(width, depth) == "block":
        return Resources(bram36=half_blocks(width, depth) / 2)
    # RAM32M16 holds 14 bits x 32 words in 8 LUTs, RAM64M8 7 bits x 64 words; deeper ones take a multiplexer too.
    luts = 8 * ceil(width / 14) if depth <= 32 else 8 * ceil(width / 7) * ceil(depth / 64)
    return Resources(lut=luts + (width * ceil(depth / 256) if depth > 64 else 0), ff=width)


def rom(width: int, depth: int, *, registers: int = 1, style: Style | None = None) -> Resources:
    """What a read-only memory with registers behind it takes; its kind is ``style``, or what suits its size."""
    if depth <= 1:
        return Resources()
    if (style or memory_style(width, depth)) == "block":
        return Resources(bram36=half_blocks(width, depth) / 2)
    return Resources(lut=ceil(width * max(1, ceil(depth / 64)) * (0.75 if depth < 64 else 1)), ff=width * registers)
