"""Samples: what they refuse, and taking parts of them."""

from __future__ import annotations

import numpy as np
import pytest

from mixq.data import Samples


def images(count: int = 3) -> np.ndarray:
    return np.arange(count * 4, dtype=np.uint8).reshape(count, 1, 2, 2)


def test_taking_a_part() -> None:
    samples = Samples(images(), np.array([5, 6, 7]))
    assert len(samples) == 3
    part = samples.take(np.array([2, 0]))
    assert part.labels.tolist() == [7, 5]
    assert part.images[:, 0, 0, 0].tolist() == [8, 0]
    assert samples.take(slice(1, 9)).labels.tolist() == [6, 7]


@pytest.mark.parametrize(
    "pictures, labels, error, message",
    [
        (images().astype(float), np.zeros(3, int), TypeError, "images must be uint8, not dtype('float64')"),
        (images(), np.zeros(3), TypeError, "labels must be int64, not dtype('float64')"),
        (images()[0], np.zeros(3, int), ValueError, "images must be of shape (N, C, H, W), N > 0, not (1, 2, 2)"),
        (images(0), np.zeros(0, int), ValueError, "images must be of shape (N, C, H, W), N > 0, not (0, 1, 2, 2)"),
        (images(), np.zeros(2, int), ValueError, "labels must be of shape (3,), not (2,)"),
        (images(), np.array([0, -1, 2]), ValueError, "labels must not be negative, not -1"),
    ],
)
def test_wrong_samples(pictures: np.ndarray, labels: np.ndarray, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        Samples(pictures, labels)
    assert str(raised.value) == message
