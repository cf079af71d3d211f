"""Shapes and memories of the stages that look at neighbouring pixels."""

from __future__ import annotations

import pytest

from mixq.formats import IntFormat
from mixq.graph import SumPool
from mixq.plan.spatial_shapes import (
    BlockRows,
    SumMemories,
    space_to_depth_shape,
    sum_pool_burst,
    sum_pool_shape,
    upsample_shape,
    upsample_words,
)
from mixq.streams import StreamShape

U4, S3 = IntFormat(4, False), IntFormat(3, True)


@pytest.mark.parametrize("format", [U4, S3, IntFormat(1, False), IntFormat(5, True, -3, 12)], ids=str)
@pytest.mark.parametrize("kernel", [(1, 1), (2, 3), (6, 8)], ids=str)
def test_sums_have_the_formats_of_the_graph(format: IntFormat, kernel: tuple[int, int]) -> None:
    node = SumPool("pool", "x", "y", kernel=kernel)
    shape = sum_pool_shape(StreamShape(4, 6, 8, format, lanes=2), kernel)
    assert shape.format == node.sum_format(format)
    assert shape.shape == node.output_shape((4, 6, 8))
    assert (shape.pixels, shape.lanes) == (1, 2)


@pytest.mark.parametrize(
    "lanes, kernel, columns, depth",
    [
        (2, (2, 2), None, 2 * 4),  # a sum for each group of channels of an output row
        (2, (6, 8), None, 2),
        (2, (1, 2), None, 2),  # no row waits for another
        (4, (6, 8), None, 1),  # a register
        (4, (2, 2), IntFormat(5, False, 0, 30), 4),  # columns first
        (4, (1, 2), IntFormat(5, False, 0, 30), 0),
        (4, (2, 1), None, 8),
        (4, (1, 1), None, 0),
        (2, (1, 1), None, 0),
    ],
)
def test_where_sums_lie(lanes: int, kernel: tuple[int, int], columns: IntFormat | None, depth: int) -> None:
    found = SumMemories.of(StreamShape(4, 6, 8, U4, lanes=lanes), kernel)
    assert found == SumMemories(columns, depth)
    assert found.count == (columns is not None) + (depth > 0)


@pytest.mark.parametrize(
    "height, kernel, beats",
    [
        (6, (2, 2), 4 * 2),  # a row of sums
        (6, (6, 8), 2),
        (6, (1, 2), 2),  # every row gives: the beats of a pixel
        (14, (5, 2), 11),  # 2 rows of sums within 10 rows of 14: 2/7 of the first one is still there
    ],
)
def test_places_for_sums(height: int, kernel: tuple[int, int], beats: int) -> None:
    assert sum_pool_burst(StreamShape(4, height, 8, U4, lanes=2), kernel) == beats


def test_blocks() -> None:
    source = StreamShape(6, 4, 8, U4, lanes=3)
    assert space_to_depth_shape(source, 2) == StreamShape(24, 2, 4, U4, lanes=3)
    assert BlockRows.of(source, 2) == BlockRows(block=2, per_row=4, beats=4)
    assert BlockRows.of(source, 2).words == 2 * 8 * 2
    assert BlockRows.of(StreamShape(6, 4, 2, U4), 2).words == 0


def test_larger_images() -> None:
    source = StreamShape(6, 4, 8, U4, lanes=3)
    assert upsample_shape(source, 3) == StreamShape(6, 12, 24, U4, lanes=3)
    assert upsample_words(source) == 2 * 8 * 2
