"""Which layers of a file are simpler nodes of the graph, and which only look like them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from mixq.formats import IntFormat
from mixq.qonnx.exact_layers import integer_bias, is_identity, is_window_sum


@pytest.mark.parametrize(
    ("values", "scale", "expected"),
    [
        (np.array([0.5, -3], np.float32), Fraction(1, 4), [2, -12]),
        (np.array([0.5, -3.1], np.float32), Fraction(1, 4), None),
        (np.array([0.75, 1.5], np.float32), Fraction(3, 4), None),  # float32 would round the sums times 3 / 4
        (np.array([1 << 24, 0], np.float32), Fraction(1), [1 << 24, 0]),
        (np.array([1 << 25, 0], np.float32), Fraction(1), None),
        (np.array([1 << 25, 0], np.float64), Fraction(1), [1 << 25, 0]),
        (np.array([1, 2, 3], np.float32), Fraction(1), None),
        (np.array([1, 2], np.int64), Fraction(1), None),
        (None, Fraction(1), None),
    ],
)
def test_biases_that_are_whole(values: Any, scale: Fraction, expected: Any) -> None:
    found = integer_bias(values, [scale, scale])
    assert (None if found is None else found.tolist()) == expected


def test_convolutions_that_are_sums_of_windows() -> None:
    ones = np.ones((4, 1, 2, 3), np.int64)
    fields = {"groups": 4, "dilation": 1, "padding": (0, 0, 0, 0)}
    assert is_window_sum(ones, fields, [2, 3])
    assert not is_window_sum(ones, fields, [2, 2])
    assert not is_window_sum(ones, fields | {"dilation": 2}, [2, 3])
    assert not is_window_sum(ones, fields | {"padding": (0, 0, 1, 0)}, [2, 3])
    assert not is_window_sum(np.ones((4, 2, 2, 3), np.int64), fields, [2, 3])
    assert not is_window_sum(ones, fields | {"groups": 2}, [2, 3])
    assert not is_window_sum(np.ones((4, 1, 1, 1), np.int64), fields, [1, 1])
    assert not is_window_sum(np.where(np.arange(24).reshape(ones.shape) == 7, 2, ones), fields, [2, 3])


def test_staircases_that_change_nothing() -> None:
    format, bounds = IntFormat(2, True), np.tile(np.array([-1, 0, 1]), (2, 1))
    first, step = np.array([-2, -2]), np.array([1, 1])
    assert is_identity(format, bounds, first, step)
    assert not is_identity(format, bounds, first + 1, step)
    assert not is_identity(format, bounds, first, -step)
    assert not is_identity(format, bounds + np.array([[0], [1]]), first, step)
    assert not is_identity(IntFormat(3, True), bounds, first - 2, step)
