"""Paths between shapes of beats."""

from __future__ import annotations

from itertools import product

import pytest

from mixq.formats import IntFormat
from mixq.plan.conversion import bridge, bridge_cycles, conversion_path, flattened
from mixq.streams import StreamShape

U4 = IntFormat(4, False)


def shape(pixels: int, lanes: int) -> StreamShape:
    return StreamShape(12, 3, 7, U4, pixels=pixels, lanes=lanes)


@pytest.mark.parametrize("ends", list(product(product((1, 2, 3), (1, 4, 6, 12)), repeat=2)))
def test_each_step_is_one_that_a_converter_makes(ends: tuple[tuple[int, int], tuple[int, int]]) -> None:
    source, target = shape(*ends[0]), shape(*ends[1])
    path = conversion_path(source, target)
    assert (path[-1] if path else source) == target
    before = source
    for after in path:
        if before.pixels != after.pixels:
            assert before.lanes == after.lanes
            assert 1 in (before.pixels, after.pixels)
        else:
            small, large = sorted((before.lanes, after.lanes))
            assert small < large
            assert large % small == 0
        before = after


def test_no_beat_on_the_way_is_narrower_than_both_ends() -> None:
    for source, target in product((shape(1, 4), shape(2, 12)), repeat=2):
        for step in conversion_path(source, target):
            assert step.lanes >= min(source.lanes, target.lanes)


def test_a_dense_layer_reads_pixels_as_channels() -> None:
    source = shape(2, 4)
    target = StreamShape(12 * 3 * 7, 1, 1, U4, pixels=1, lanes=6)
    pairs = bridge(source, target)
    assert pairs[0] == (source, shape(1, 4))
    assert pairs[1][0] == flattened(shape(1, 4)) == StreamShape(252, 1, 1, U4, pixels=1, lanes=4)
    assert pairs[-1][1] == target
    assert bridge_cycles(pairs) == max(max(a.beats, b.beats) for a, b in pairs)


def test_refusals() -> None:
    other = StreamShape(12, 3, 8, U4)
    with pytest.raises(ValueError, match="target must be a stream of the source's tensor"):
        conversion_path(shape(1, 1), other)
    with pytest.raises(ValueError, match="shape must have beats of 1 pixel, not 2"):
        flattened(shape(2, 1))
    assert bridge(shape(1, 4), shape(1, 4)) == []
    assert bridge_cycles([]) == 0
