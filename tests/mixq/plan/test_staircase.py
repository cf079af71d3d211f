"""Explicit thresholds as they are looked up, against counting."""

from __future__ import annotations

import random

import pytest

from mixq.plan.staircase import Staircase


@pytest.mark.parametrize("seed", range(60))
def test_codes_are_counts(seed: int) -> None:
    rng = random.Random(seed)
    count, channels = rng.randint(1, 9), rng.randint(1, 4)
    step = [rng.choice([-2, -1, 1, 2]) for _ in range(channels)] if seed % 3 else [rng.choice([-2, 2])] * channels
    first = [rng.randint(-5, 5) if seed % 2 else 0 for _ in range(channels)]
    found = Staircase.of(count, first, step)
    for channel in range(channels):
        thresholds = sorted(rng.randint(-9, 9) for _ in range(count))
        rising = found.rising(thresholds, step[channel])
        assert list(rising) == sorted(rising)
        assert found.reached[channel] + len(rising) <= found.steps
        for x in range(-12, 13):
            expected = first[channel] + step[channel] * sum(x >= threshold for threshold in thresholds)
            u = ~x if step[channel] < 0 else x
            reached = found.reached[channel] + sum(u >= threshold for threshold in rising)
            assert found.bases[channel] + found.scale * reached == expected


def test_equal_channels_share_a_base_whichever_way_they_go() -> None:
    assert Staircase.of(7, [-4, 3, -4], [1, -1, 1]) == Staircase(1, 7, (-4, -4, -4), (0, 0, 0))


def test_steps_of_two_are_counted_once() -> None:
    assert Staircase.of(1, [-1, 1], [2, -2]) == Staircase(2, 1, (-1, -1), (0, 0))
    assert Staircase.of(1, [-1, 0], [2, 1]) == Staircase(1, 2, (-1, -1), (0, 1))


def test_bases_far_apart_are_kept() -> None:
    found = Staircase.of(3, [0, 50], [1, 1])
    assert found == Staircase(1, 3, (0, 50), (0, 0))
    assert not found.shared and found.levels == 2


def test_odd_and_even_bases_are_kept() -> None:
    assert Staircase.of(6, [0, 1], [2, 2]).bases == (0, 1)
