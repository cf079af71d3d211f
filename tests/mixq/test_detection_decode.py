"""The NumPy decoder: bit for bit against one anchor at a time, and beside the one that trains."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mixq.detection_decode import AnchorGrid, channel_scales, iou
from mixq.training import Detection
from mixq.training.detection import iou as torch_iou

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


def test_the_same_boxes_as_the_training_model() -> None:
    outputs = random_outputs(9, images=40)
    found, trained = AnchorGrid().predict(outputs), Detection().predict(torch.from_numpy(outputs)).numpy()
    assert np.allclose(found, trained, rtol=1e-12, atol=0)
    others = found[::-1].copy()
    expected = torch_iou(torch.from_numpy(found), torch.from_numpy(others)).numpy()
    assert 0 in expected and np.allclose(iou(found, others), expected, rtol=0, atol=1e-12)


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
