"""Memories as devices have them: which kind suits a size, and what it takes.

The rule for the kind, :func:`memory_style`, is the hardware's too, so that none is left to synthesis. The sizes are
those of Yosys's mapping for UltraScale+ (``memory_libmap``): LUT RAM in RAM32M16 and RAM64M8, block RAM in RAMB18E2 and
RAMB36E2.
"""

from __future__ import annotations

from functools import cache
from math import ceil
from typing import Literal

from mixq.board import Resources

Style = Literal["distributed", "block"]

# A half block RAM (18 Kb) holds 512 x 36 bits. Up to 64 words take a look-up table or two for each bit, so that a block
# RAM is a waste; it pays from some 2,000 bits on.
_BLOCK_DEPTH = 65
_BLOCK_BITS = 2048

# Shapes of a half block RAM (18 Kb) and of a whole one as a simple dual-port memory: (width, depth); and what Yosys
# reckons for one.
_HALF_BLOCKS = ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384))
_WHOLE_BLOCKS = ((72, 512), (36, 1024), (18, 2048), (9, 4096), (4, 8192), (2, 16384), (1, 32768))
_HALF_COST, _WHOLE_COST = 129, 257

# LUT RAM: 8 look-up tables hold 14 bits x 32 words, or 7 bits x 64 words.
_LUTS_OF_LUTRAM = 8
_SHALLOW, _DEEP = (14, 32), (7, 64)


def memory_style(width: int, depth: int) -> Style:
    """Kind of a memory of ``depth`` words of ``width`` bits: "block" from 65 words and 2,048 bits on."""
    return "block" if depth >= _BLOCK_DEPTH and width * depth >= _BLOCK_BITS else "distributed"


@cache
def half_blocks(width: int, depth: int) -> int:
    """Half block RAMs (18 Kb) of a memory, in the shape that Yosys takes."""
    return _blocks(width, depth, 9)[0]


@cache
def ram(width: int, depth: int) -> Resources:
    """What a memory with one write port and one registered read port takes."""
    if depth <= 1:
        return Resources(ff=2 * width)
    if memory_style(width, depth) == "block":
        halves, copies = _blocks(width, depth, 9)
        return Resources(lut=_selection(width, copies), ff=2 * (copies > 1), bram36=halves / 2)
    return Resources(lut=_lutram(width, depth), ff=width)


@cache
def rom(width: int, depth: int, *, registers: int = 1, style: Style | None = None) -> Resources:
    """What a read-only memory takes with so many registers behind it, of which a block RAM has the first.

    style: its kind, by default the one that suits its size.
    """
    if depth <= 1 or width < 1:
        return Resources()
    if (style or memory_style(width, depth)) == "block":
        halves, copies = _blocks(width, depth, 1)
        lut = _selection(width, copies) - (copies if copies > 1 else 0)
        return Resources(lut=lut, ff=width * (registers - 1) + 2 * (copies > 1), bram36=halves / 2)
    if depth > 8:
        return Resources(lut=width * _rom_luts_of_bit(depth), ff=width * registers)
    # Of few words there are few different columns of bits, of which two are constant: equal ones are merged, and some
    # of those that are the other's complement.
    columns = 1 << depth
    held = (columns - 2) * (1 - (1 - 1 / columns) ** width)
    pairs = (columns / 2 - 1) * (1 - (1 - 2 / columns) ** width)
    return Resources(lut=round((held + pairs) / 2), ff=round(held) * registers)


def asynchronous_ram(width: int, depth: int) -> Resources:
    """What a LUT RAM takes that is read in the cycle of its address."""
    return Resources(lut=_lutram(width, depth))


def _rom_luts_of_bit(depth: int) -> int:
    """Look-up tables of 6 inputs for a bit: 1 for 64 words, and twice as many for each further bit of the address."""
    return 1 << max(0, (depth - 1).bit_length() - 6)


def _lutram(width: int, depth: int) -> int:
    # Three shallow ones are smaller than two deep ones.
    bits, words = _SHALLOW if depth <= 32 or 64 < depth <= 96 else _DEEP
    copies = ceil(depth / words)
    return _LUTS_OF_LUTRAM * copies * ceil(width / bits) + _selection(width, copies)


def _selection(width: int, copies: int) -> int:
    """Selection of one of several memories side by side, and of the one that is written."""
    return width * ceil((copies - 1) / 3) + copies if copies > 1 else 0


@cache
def _blocks(width: int, depth: int, byte: int) -> tuple[int, int]:
    """Half blocks, and the memories side by side that the words are divided among.

    Words side by side in one block are written apart, by bytes of 9 bits; read-only ones have bytes of 1 bit.
    """
    found = []
    for halves, cost, shapes in ((1, _HALF_COST, _HALF_BLOCKS), (2, _WHOLE_COST, _WHOLE_BLOCKS)):
        for bits, words in shapes:
            copies = ceil(depth / words)
            if copies == 1:
                count = ceil(width / bits)
            elif bits < byte:
                # A block has one byte: a memory has blocks of its own.
                count = copies * ceil(width / bits)
            else:
                count = ceil(copies * byte * ceil(width / byte) / bits)
            found.append((count * cost + (copies - 1) * width / 2, halves * count, copies))
    _, count, copies = min(found)
    return count, copies
