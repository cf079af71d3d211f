"""Samples and data sets: what they refuse, and taking parts of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mixq.data import BoxSamples, Dataset, Samples


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


def boxes(*rows: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(rows or [(0.5, 0.5, 1, 1)] * 3, np.float32)


def test_taking_a_part_with_boxes() -> None:
    samples = BoxSamples(images(), boxes((0.5, 0.5, 1, 1), (0.1, 0.9, 0.2, 0.2), (0.3, 0.3, 0.1, 0.6)))
    assert len(samples) == 3
    part = samples.take(np.array([2, 0]))
    assert np.allclose(part.boxes, [(0.3, 0.3, 0.1, 0.6), (0.5, 0.5, 1, 1)])
    assert part.images[:, 0, 0, 0].tolist() == [8, 0]
    assert np.allclose(samples.take(slice(1, 2)).boxes, [(0.1, 0.9, 0.2, 0.2)])


INSIDE = "boxes must be of positive size inside the image, not "


@pytest.mark.parametrize(
    "pictures, places, error, message",
    [
        (images().astype(int), boxes(), TypeError, "images must be uint8, not dtype('int64')"),
        (images(), boxes().astype(float), TypeError, "boxes must be float32, not dtype('float64')"),
        (images(2), boxes(), ValueError, "boxes must be of shape (2, 4), not (3, 4)"),
        (
            images(0),
            np.zeros((0, 4), np.float32),
            ValueError,
            "images must be of shape (N, C, H, W), N > 0, not (0, 1, 2, 2)",
        ),
        (images(1), boxes((0.5, 0.5, 0, 1)), ValueError, INSIDE + "(0.5, 0.5, 0.0, 1.0) (box 0)"),
        (images(1), boxes((0.25, 0.5, 0.75, 1)), ValueError, INSIDE + "(0.25, 0.5, 0.75, 1.0) (box 0)"),
        (images(1), boxes((0.5, 0.75, 0.5, 0.75)), ValueError, INSIDE + "(0.5, 0.75, 0.5, 0.75) (box 0)"),
        (
            images(2),
            boxes((0.5, 0.5, 1, 1), (0.5, float("nan"), 1, 1)),
            ValueError,
            INSIDE + "(0.5, nan, 1.0, 1.0) (box 1)",
        ),
        (images(1), boxes((float("inf"), 0.5, 1, 1)), ValueError, INSIDE + "(inf, 0.5, 1.0, 1.0) (box 0)"),
    ],
)
def test_wrong_boxes(pictures: np.ndarray, places: np.ndarray, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        BoxSamples(pictures, places)
    assert str(raised.value) == message


LABELLED = Samples(images(), np.array([0, 1, 2]))
BOXED = BoxSamples(images(), boxes())


def test_a_data_set_of_either_kind() -> None:
    one = Dataset(
        name="a", train=LABELLED, validation=LABELLED, test=LABELLED.take(slice(1)), class_names=("a", "b", "c")
    )
    other = Dataset(name="b", train=BOXED, validation=BOXED, test=BOXED, class_names=("thing",))
    assert one.test.labels.tolist() == [0] and other.test.boxes.shape == (3, 4)


@pytest.mark.parametrize(
    "changed, error, message",
    [
        ({"test": BOXED}, TypeError, "test must be Samples as train is, not BoxSamples"),
        ({"train": BOXED}, TypeError, "validation must be BoxSamples as train is, not Samples"),
        ({"validation": None}, TypeError, "validation must be Samples or BoxSamples, not None"),
        (
            {"test": Samples(images().reshape(3, 1, 1, 4), np.zeros(3, int))},
            ValueError,
            "images of test must be of shape (1, 2, 2) as those of train, not (1, 1, 4)",
        ),
        ({"class_names": ("a", "b")}, ValueError, "labels of train must be below the 2 class_names, not 2"),
        ({"channel_order": "gbr"}, ValueError, "channel_order must be rgb or bgr, not 'gbr'"),
    ],
)
def test_wrong_data_sets(changed: dict[str, Any], error: type[Exception], message: str) -> None:
    values: dict[str, Any] = {
        "train": LABELLED,
        "validation": LABELLED,
        "test": LABELLED,
        "class_names": ("a", "b", "c"),
    }
    with pytest.raises(error) as raised:
        Dataset(name="a", **{**values, **changed})
    assert str(raised.value) == message
