"""Multipliers without DSPs, as a packing of none."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from mixq.formats import IntFormat
from mixq.packing import SoftMultipliers


@pytest.mark.parametrize("weight_bits", range(1, 9))
@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_words_hold_their_weights(weight_bits: int, kernel: int) -> None:
    soft = SoftMultipliers(weight_bits, 4, kernel)
    low, high = soft.weight_bounds
    weights = np.random.default_rng(weight_bits).integers(low, high + 1, (50, 1, kernel))
    weights[0], weights[1] = low, high
    if weight_bits == 1:
        weights = np.where(weights < 0, -1, 1)
    words = soft.encode_weights(weights)
    assert words.min() >= 0 and int(words.max()).bit_length() <= soft.stored_bits
    assert np.array_equal(soft.decode_weights(words), weights)
    # The first tap stands lowest.
    field = (1 << soft.weight_format.width) - 1
    assert np.array_equal(words & field, weights[:, 0, 0] & field)


@pytest.mark.parametrize("act_signed", [False, True])
@pytest.mark.parametrize("pixels, kernel", [(1, 1), (1, 3), (2, 3), (4, 3), (4, 1), (2, 5)])
def test_sums_fit_their_widths_and_no_narrower_ones(pixels: int, kernel: int, act_signed: bool) -> None:
    soft = SoftMultipliers(3, 2, kernel, pixels, act_signed=act_signed)
    products = [w * a for w in (soft.weight_bounds[0], soft.weight_bounds[1]) for a in soft.act_bounds]
    for count in (1, 3):
        low, high = soft.sum_bounds(count)
        assert (low, high) == (count * min(products), count * max(products))
        widths = soft.sum_widths(low, high)
        assert len(widths) == soft.positions == pixels + kernel - 1
        for position, width in enumerate(widths):
            pairs = sum(n + tap == position for n, tap in product(range(pixels), range(kernel)))
            assert width == IntFormat.for_range(pairs * low, pairs * high, signed=True).width


def test_what_it_is_as_a_packing() -> None:
    soft = SoftMultipliers(4, 8, 3, 2)
    assert (soft.dsps, soft.taps, soft.positions, soft.macs, soft.stored_bits) == (0, 3, 4, 6, 12)
    assert (soft.channels, soft.passes, soft.recentre, soft.device) == (1, 1, 0, "lut")


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"weight_bits": 9}, ValueError, "weight_bits must be from 1 to 8, not 9"),
        ({"act_bits": 0}, ValueError, "act_bits must be from 1 to 8, not 0"),
        ({"act_bits": True}, TypeError, "act_bits must be an integer, not True"),
        ({"kernel": 2}, ValueError, "kernel must be 1, 3, 5 or 7, not 2"),
        ({"pixels": 0}, ValueError, "pixels must be at least 1, not 0"),
        ({"adder_bits": 3}, ValueError, "adder_bits must be at least 0, and 0 where weights are not constant, not 3"),
        ({"constant": 1}, TypeError, "constant must be True or False, not 1"),
        ({"act_signed": None}, TypeError, "act_signed must be True or False, not None"),
        ({"weight_range": "wide"}, ValueError, "weight_range must be 'full' or 'narrow', not 'wide'"),
    ],
)
def test_refusals(change: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        SoftMultipliers(**{"weight_bits": 4, "act_bits": 4, "kernel": 3, **change})
    assert str(raised.value) == message


def test_weights_out_of_range_are_refused() -> None:
    soft = SoftMultipliers(4, 4, 3, weight_range="narrow")
    for wrong in ([[[-8, 0, 0]]], [[[8, 0, 0]]], [[0, 0]], [[1, 2, 3]] * 2):
        with pytest.raises(ValueError, match=r"weights must be .* from -7 to 7, not array"):
            soft.encode_weights(wrong)
