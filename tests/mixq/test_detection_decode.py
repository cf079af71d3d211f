"""The decoder: bit for bit against one anchor at a time."""

from __future__ import annotations

import numpy as np
import pytest

from mixq.detection_decode import AnchorGrid, channel_scales, iou

ROWS, COLUMNS = 10, 20


def random_outputs(seed: int, images: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1.5, (images, 36, ROWS, COLUMNS))


def one_by_one(image: np.ndarray) -> list[float]:
    """The box of one image by the published formulas, a number at a time."""
    best, box = -1.0, [0.0]
    for row in range(ROWS):
        for column in range(COLUMNS):
            sums = [np.float64(0)] * 5
            for anchor in range(6):
                tx, ty, tw, th, to, _ = image[6 * anchor : 6 * anchor + 6, row, column]
                sums[0] += (1 / (1 + np.exp(-tx)) + column) * 16
                sums[1] += (1 / (1 + np.exp(-ty)) + row) * 16
                sums[2] += np.exp(tw) * 20
                sums[3] += np.exp(th) * 20
                sums[4] += 1 / (1 + np.exp(-to))
            if sums[4] / 6 > best:
                best, box = sums[4] / 6, [float(total / 6) for total in sums[:4]]
    return box


@pytest.mark.parametrize("seed", range(4))
def test_the_same_bits_as_the_published_formulas(seed: int) -> None:
    outputs = random_outputs(seed)
    assert AnchorGrid().predict(outputs).tolist() == [one_by_one(image) for image in outputs]


def test_iou() -> None:
    boxes = AnchorGrid().predict(random_outputs(9, images=40))
    others = boxes[::-1].copy()
    found = iou(boxes, others).tolist()
    for value, one, other in zip(found, boxes.tolist(), others.tolist(), strict=True):
        sides = [
            max(
                0.0,
                min(one[i] + one[i + 2] / 2, other[i] + other[i + 2] / 2)
                - max(one[i] - one[i + 2] / 2, other[i] - other[i + 2] / 2),
            )
            for i in range(2)
        ]
        both = sides[0] * sides[1]
        assert value == both / (one[2] * one[3] + other[2] * other[3] - both + 1e-9)
    assert min(found) == 0 < max(found)


def test_the_mean_cell_that_is_chosen_has_the_boxs_bits() -> None:
    outputs = random_outputs(12, images=30)
    boxes, confidence = AnchorGrid().decode(outputs)
    best = confidence.reshape(30, -1).argmax(1)
    assert np.array_equal(AnchorGrid().predict(outputs), boxes.reshape(30, -1, 4)[np.arange(30), best])


def test_integers_with_one_scale_and_with_one_for_each_channel() -> None:
    random = np.random.default_rng(5)
    codes = random.integers(-3000, 3000, (3, 36, ROWS, COLUMNS))
    scales = random.uniform(5e-4, 2e-3, 36)
    expected = [one_by_one(image * scales[:, None, None]) for image in codes]
    assert AnchorGrid().predict_integers(codes, scales).tolist() == expected
    assert AnchorGrid().predict_integers(codes, 1e-3).tolist() == [one_by_one(image * 1e-3) for image in codes]


def test_the_first_of_equal_cells_and_extreme_values() -> None:
    assert AnchorGrid().predict(np.zeros((1, 36, 2, 3))).tolist() == [[8, 8, 20, 20]]
    assert np.isfinite(AnchorGrid().predict(np.full((1, 36, 2, 3), 1e6))).all()
    assert np.isfinite(AnchorGrid().predict(np.full((1, 36, 2, 3), -1e6))).all()


def test_wrong_values() -> None:
    with pytest.raises(ValueError, match=r"anchors must be pairs of positive numbers, not \(\)"):
        AnchorGrid(anchors=())
    with pytest.raises(ValueError, match="stride must be positive, not 0"):
        AnchorGrid(stride=0)
    with pytest.raises(ValueError, match=r"outputs must be of shape \(N, 36, rows, columns\), not \(1, 12, 3, 4\)"):
        AnchorGrid().predict(np.zeros((1, 12, 3, 4)))
    with pytest.raises(TypeError, match=r"codes must be integers, not dtype\('float64'\)"):
        AnchorGrid().predict_integers(np.zeros((1, 36, 1, 1)), 1.0)
    with pytest.raises(ValueError, match=r"scales must be one number or 36, not of shape \(6,\)"):
        channel_scales(np.ones(6), 36)
    with pytest.raises(ValueError, match=r"scales must be positive, not 0.0"):
        channel_scales(0.0, 36)
