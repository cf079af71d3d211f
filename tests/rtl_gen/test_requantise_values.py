"""Thresholds against the formula, for every accumulator of small formats."""

from __future__ import annotations

import random

import pytest

from mixq.formats import IntFormat
from rtl_gen.requantise_multiply import LaneNumbers
from rtl_gen.requantise_values import RequantiseValues


def drawn(seed: int) -> RequantiseValues:
    rng = random.Random(seed)
    shift = rng.randint(0, 8)
    multipliers = [rng.choice([0, 1, -1, rng.randint(-300, 300)]) << rng.randint(0, 3) for _ in range(4)]
    biases = [rng.randint(-(1 << shift + 5), 1 << shift + 5) for _ in range(4)]
    output = rng.choice([IntFormat(1, False), IntFormat(3, False), IntFormat(3, True), IntFormat(4, False, 3, 9)])
    offsets = [rng.randint(-20, 20) for _ in range(4)]
    return RequantiseValues(tuple(multipliers), tuple(biases), shift, IntFormat(6, True), output, tuple(offsets))


def code(values: RequantiseValues, channel: int, x: int) -> int:
    half = (1 << values.shift) // 2
    assert values.offset is not None
    exact = (x + values.offset[channel]) * values.multiplier[channel] + values.bias[channel] + half
    return min(max(exact // (1 << values.shift), values.output_format.low), values.output_format.high)


@pytest.mark.parametrize("seed", range(40))
def test_thresholds_count_to_the_code(seed: int) -> None:
    values = drawn(seed)
    for channel in range(4):
        falling = values.multiplier[channel] < 0
        low, high = (-32, 31)  # of x, and of ~x too
        complement, thresholds = values.thresholds(channel, low, high)
        assert complement == falling
        assert list(thresholds) == sorted(thresholds)
        assert all(low <= threshold <= high + 1 for threshold in thresholds)
        for x in range(-32, 32):
            reached = sum((~x if complement else x) >= threshold for threshold in thresholds)
            assert values.output_format.low + reached == code(values, channel, x)


@pytest.mark.parametrize("seed", range(40))
def test_reduced_numbers_give_the_same_codes(seed: int) -> None:
    values = drawn(seed)
    numbers = LaneNumbers.of(values, 0, 1)
    assert numbers.shift == 0 or not any(numbers.multipliers) or any(m % 2 for m in numbers.multipliers)
    for channel, (multiplier, constant) in enumerate(zip(numbers.multipliers, numbers.constants, strict=True)):
        for x in range(-32, 32):
            exact = x * multiplier + constant
            assert numbers.sum_format.contains([exact])
            clamped = min(max(exact // 2**numbers.shift, values.output_format.low), values.output_format.high)
            assert clamped == code(values, channel, x)
