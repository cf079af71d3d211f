"""What sum-pooling, space-to-depth and upsampling consist of; see :mod:`mixq.plan.layer_features`."""

from __future__ import annotations

from mixq.board import Resources
from mixq.plan.layer_features import Terms
from mixq.plan.memories import ram
from mixq.plan.spatial_shapes import BlockRows, SumMemories, sum_pool_burst, sum_pool_shape, upsample_words
from mixq.streams import StreamShape

_OUTPUT_WORDS = 3
"""Words of the FIFO behind a memory that is read in one cycle."""


def _bits(count: int) -> int:
    """Bits of a counter of so many values."""
    return max(count - 1, 0).bit_length()


def sum_pool(source: StreamShape, kernel: tuple[int, int]) -> tuple[Terms, Resources]:
    """Sums of columns and of rows, and the memories."""
    target, memories = sum_pool_shape(source, kernel), SumMemories.of(source, kernel)
    bits, sums = source.payload_bits, target.payload_bits
    columns = 0 if memories.columns is None else source.lanes * memories.columns.width
    memory = ram(sums, memories.depth) if memories.depth > 1 else Resources()
    # A word alone is the result's own register.
    held = columns + (sums if memories.depth == 1 else 0)
    output = ram(sums, 2 * memories.count + 2 + sum_pool_burst(source, kernel))
    results = sums if memories.depth > 1 else 0
    counters = sum(_bits(n) for n in (source.width, source.height, source.channel_groups, *kernel))
    addresses = _bits(memories.depth)
    lut = (memory.lut + output.lut, columns + (sums if memories.depth else 0), counters, addresses, 1.0)
    delayed = (bits if memories.count else 0) + (columns if memories.count == 2 else 0)
    ff = (memory.ff + output.ff, held + results + delayed, counters, addresses, 1.0)
    return (lut, ff), memory + output


def space_to_depth(source: StreamShape, block: int) -> tuple[Terms, Resources]:
    """The memory, and where the segments lie in it, for its writer and its reader. Blocks as wide as the image have
    none: see :func:`mixq.plan.estimate.space_to_depth`."""
    rows = BlockRows.of(source, block)
    memory, output = ram(source.payload_bits, rows.words), ram(source.payload_bits, _OUTPUT_WORDS)
    counters = 2 * (_bits(rows.segments) + _bits(rows.beats)) + _bits(block)
    addresses = _bits(rows.words)
    return (
        (memory.lut + output.lut, addresses, counters, 1.0),
        (memory.ff + output.ff, addresses, counters, 1.0),
    ), memory + output


def upsample(source: StreamShape, factor: int) -> tuple[Terms, Resources]:
    """The memory, and the counters that repeat pixels and rows."""
    words = upsample_words(source)
    memory, output = ram(source.payload_bits, words), ram(source.payload_bits, _OUTPUT_WORDS)
    counters = _bits(source.width) + _bits(source.channel_groups) + 2 * _bits(factor)
    return (
        (memory.lut + output.lut, _bits(words), counters, 1.0),
        (memory.ff + output.ff, _bits(words), counters, 1.0),
    ), memory + output


TERMS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "sum_pool": (
        ("memory", "added", "counters", "addresses", "fixed"),
        ("memory", "words", "counters", "addresses", "fixed"),
    ),
    "space_to_depth": (("memory", "addresses", "counters", "fixed"), ("memory", "addresses", "counters", "fixed")),
    "upsample": (("memory", "addresses", "counters", "fixed"), ("memory", "addresses", "counters", "fixed")),
}
"""Names of the terms of look-up tables and of flip-flops, by kind of component."""
