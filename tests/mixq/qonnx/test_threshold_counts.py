"""Staircases of requantisations and thresholds, for every code of their input."""

from __future__ import annotations

import numpy as np
import pytest

from mixq.errors import UserError
from mixq.formats import IntFormat
from mixq.graph import Requantise, Threshold
from mixq.qonnx.threshold_counts import Staircase, staircase_of


def evaluate(stairs: Staircase, channel: int, code: int) -> int:
    turned = int(stairs.sign[channel]) * code
    return stairs.base + stairs.step * sum(turned >= bound for bound in stairs.thresholds[channel].tolist())


@pytest.mark.parametrize("shift", [0, 1, 7, 40])
@pytest.mark.parametrize("target", [IntFormat(3, False), IntFormat(4, True, -5, 6), IntFormat(20, True)])
def test_requantisations(shift: int, target: IntFormat) -> None:
    random = np.random.default_rng(shift)
    source = IntFormat(8, True, -100, 90)
    multiplier = np.array([0, 1, -1, *(random.integers(-9, 10, 5) << shift) // 11])
    bias = np.array([3 << shift, -1, 0, *(random.integers(-9, 10, 5) << shift)])
    node = Requantise("r", "x", "y", multiplier=multiplier, bias=bias, shift=shift)
    stairs = staircase_of(node, source, target)
    assert stairs.thresholds.shape[1] == (target.high - target.low if target.width < 20 else stairs.thresholds.shape[1])
    for channel in range(8):
        assert (np.diff(stairs.thresholds[channel]) >= 0).all()
        for code in range(-100, 91):
            exact = code * int(multiplier[channel]) + int(bias[channel]) + (2**shift // 2)
            assert evaluate(stairs, channel, code) == min(max(exact // 2**shift, target.low), target.high)


def test_one_code_alone_has_a_threshold_that_nothing_reaches() -> None:
    node = Requantise("r", "x", "y", multiplier=np.array([1]), bias=np.array([0]), shift=0)
    stairs = staircase_of(node, IntFormat(3, False), IntFormat(4, True, 5, 5))
    assert (stairs.thresholds.tolist(), stairs.base) == ([[8]], 5)


def test_thresholds_of_every_step() -> None:
    bounds = np.sort(np.random.default_rng(5).integers(-20, 20, (4, 6)), axis=1)
    for step, first, height in (
        ([1, 2, -1, -2], [0, -6, 3, 10], 1),
        ([2, 2, -2, -2], [0, -6, 2, 10], 1),
        ([2, 2, -2, -2], [1, -5, 3, 11], 2),
    ):
        node = Threshold("t", "x", "y", thresholds=bounds, first=np.array(first), step=np.array(step))
        stairs = staircase_of(node, IntFormat(5, True), IntFormat(6, True))
        assert stairs.step == height
        for channel in range(4):
            for code in range(-16, 16):
                reached = int((code >= bounds[channel]).sum())
                assert evaluate(stairs, channel, code) == first[channel] + step[channel] * reached


def test_too_many_codes() -> None:
    bounds = np.arange(200)[None]
    node = Threshold("many", "x", "y", thresholds=bounds, first=np.array([1]), step=np.array([2]))
    assert staircase_of(node, IntFormat(9, True), IntFormat(9, False)).thresholds.shape == (1, 200)
    both = np.concatenate([bounds, bounds])
    node = Threshold("many", "x", "y", thresholds=both, first=np.array([1, 1]), step=np.array([2, 1]))
    with pytest.raises(UserError, match=r"node many makes codes of more than 256 values.*requantise to 8 bits"):
        staircase_of(node, IntFormat(9, True), IntFormat(9, False))
