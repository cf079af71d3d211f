"""Shapes of beats and memories of stages that look at neighbouring pixels: one truth for hardware and planner."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil

from mixq.formats import IntFormat
from mixq.plan.conversion import burst_beats
from mixq.streams import StreamShape


def summed(source: IntFormat, count: int) -> IntFormat:
    """Format of every sum of ``count`` codes; that of :meth:`mixq.graph.SumPool.sum_format` for a whole window."""
    return IntFormat.for_range(source.low * count, source.high * count, signed=source.signed, min_width=2)


def sum_pool_shape(source: StreamShape, kernel: tuple[int, int]) -> StreamShape:
    """Beats of sums over windows of ``kernel`` (rows, columns)."""
    rows, columns = kernel
    return replace(
        source,
        height=source.height // rows,
        width=source.width // columns,
        format=summed(source.format, rows * columns),
    )


def sum_pool_burst(source: StreamShape, kernel: tuple[int, int]) -> int:
    """Beats that find a place at the output of sum-pooling, so that it need not wait where they are taken evenly.

    A row of sums comes within one of ``rows`` rows, and may leave until the next one comes. Rows that are left over
    give it more time at the end of a frame than within it; what is behind by then adds up.
    """
    rows, columns = kernel
    count, width = source.height // rows, source.width // columns
    if rows == 1:
        return burst_beats(source)
    behind = (count - 1) * (1 - Fraction(count * rows, source.height))
    return ceil(width * source.channel_groups * (1 + behind))


@dataclass(frozen=True)
class SumMemories:
    """Where sums lie while a window is not complete.

    columns: format of a register that sums the columns of a window first, where a pixel is one beat and an output row
    has several; else None. depth: words of the memory of sums behind it, a register for one word; 0 for none.
    """

    columns: IntFormat | None
    depth: int

    @classmethod
    def of(cls, source: StreamShape, kernel: tuple[int, int]) -> SumMemories:
        """Those of a sum-pooling stage that takes beats of one pixel."""
        rows, columns = kernel
        groups, width = source.channel_groups, source.width // columns
        if rows * columns == 1:
            return cls(None, 0)
        if groups > 1 or width == 1:
            # Beats of one sum do not follow each other directly, or they are all that there are.
            return cls(None, groups * (width if rows > 1 else 1))
        return cls(summed(source.format, columns) if columns > 1 else None, width if rows > 1 else 0)

    @property
    def count(self) -> int:
        """Sums in a row: 0, 1 or 2."""
        return int(self.columns is not None) + int(self.depth > 0)


@dataclass(frozen=True)
class BlockRows:
    """A block of rows as space-to-depth takes it apart.

    A *segment* is what stays together: a row of one block, ``beats`` beats. ``per_row``: segments of a row of the
    image. Segment u * per_row + q comes in; it leaves as number q * block + u.
    """

    block: int
    per_row: int
    beats: int

    @classmethod
    def of(cls, source: StreamShape, block: int) -> BlockRows:
        """Those of a stream of beats of one pixel."""
        return cls(block, source.width // block, block * source.channel_groups)

    @property
    def segments(self) -> int:
        """Segments of a block of rows."""
        return self.block * self.per_row

    @property
    def words(self) -> int:
        """Words of the memory; 0 where blocks are as wide as the image, whose order stays."""
        return self.segments * self.beats if self.per_row > 1 else 0


def space_to_depth_shape(source: StreamShape, block: int) -> StreamShape:
    """Beats that leave: as many as come in, of as many channels."""
    return replace(
        source, channels=source.channels * block**2, height=source.height // block, width=source.width // block
    )


def upsample_shape(source: StreamShape, factor: int) -> StreamShape:
    """Beats of the larger image."""
    return replace(source, height=source.height * factor, width=source.width * factor)


def upsample_words(source: StreamShape) -> int:
    """Words of the memory: two rows, one of which is written while the other is repeated."""
    return 2 * source.width * source.channel_groups
