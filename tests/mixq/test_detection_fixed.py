"""The decoder in integers: its tables entry by entry, and its boxes beside the exact ones."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mixq.detection_decode import MAX_GROWTH, AnchorGrid, iou
from mixq.detection_fixed import (
    EXP_ABSOLUTE_ERROR,
    EXP_BITS,
    EXP_RELATIVE_ERROR,
    INPUT_ERROR,
    SIGMOID_BITS,
    SIGMOID_ERROR,
    FixedDecoder,
    exp_table,
    sigmoid_table,
)

GRID = AnchorGrid()


def test_every_entry_of_both_tables() -> None:
    sigmoids, exponentials = sigmoid_table().tolist(), exp_table().tolist()
    assert len(sigmoids) == len(exponentials) == 4096
    assert 0 <= min(sigmoids) and max(sigmoids) < 2**SIGMOID_BITS
    assert 0 <= min(exponentials) and max(exponentials) < 2**EXP_BITS
    for index in range(4096):
        middle = (index - 2048) / 256
        assert abs(sigmoids[index] - 65536 / (1 + math.exp(-middle))) <= 0.5
        assert abs(exponentials[index] - 4096 * min(math.exp(middle), MAX_GROWTH)) <= 0.5
        # Both functions rise, so the ends of what an index stands for are the worst; saturated, far beyond them.
        low = -50.0 if index == 0 else middle - INPUT_ERROR
        high = 50.0 if index == 4095 else middle + INPUT_ERROR
        for value in (low, high):
            assert abs(sigmoids[index] / 65536 - 1 / (1 + math.exp(-value))) <= SIGMOID_ERROR
            exact = min(math.exp(value), MAX_GROWTH)
            assert abs(exponentials[index] / 4096 - exact) <= EXP_RELATIVE_ERROR * exact + EXP_ABSOLUTE_ERROR


@pytest.mark.parametrize("scale", [2.0**-20, 3e-4, 1e-3, 0.0117, 0.9999999, 1.0, 7.3, 511.0])
def test_indices_are_within_their_error(scale: float) -> None:
    most = min(2**31 - 1, int(7.9 / scale))
    codes = np.random.default_rng(1).integers(-most, most, (2, 36, 10, 20), endpoint=True)
    found = (FixedDecoder(grid=GRID, scales=scale).indices(codes) - 2048) / 256
    assert np.abs(found - codes * scale).max() <= INPUT_ERROR


@pytest.mark.parametrize("seed", range(3))
def test_boxes_beside_the_exact_ones(seed: int) -> None:
    random = np.random.default_rng(seed)
    scales = random.uniform(5e-4, 2e-3, 36)
    codes = np.rint(random.normal(0, 1.5, (200, 36, 10, 20)) / scales[:, None, None]).astype(np.int64)
    decoder = FixedDecoder(grid=GRID, scales=scales)
    boxes, confidence = GRID.decode(codes * scales[:, None, None])
    confidence = confidence.reshape(200, -1)
    cells, exact_cells, which = decoder.cells(codes), confidence.argmax(1), np.arange(200)
    # Another cell is chosen only where the exact confidences are closer than both errors together.
    assert (confidence.max(1) - confidence[which, cells] <= 2 * SIGMOID_ERROR).all()
    same = cells == exact_cells
    assert same.mean() >= 0.9
    found = decoder.predict(codes) / 256
    expected = boxes.reshape(200, -1, 4)[which, cells]
    # The last terms are the reciprocal's error, 2^-17 of the mean, and the rounding of the result.
    centre = 16 * (SIGMOID_ERROR + 2.0**-16) + 2.0**-9
    assert np.abs(found - expected)[:, :2].max() <= centre
    sizes = expected[:, 2:]
    error = (EXP_RELATIVE_ERROR + 2.0**-16) * sizes + 20 * EXP_ABSOLUTE_ERROR * 1.001 + 2.0**-9
    assert (np.abs(found - expected)[:, 2:] <= error).all()
    assert iou(found, expected).min() >= 0.997


def test_wrong_values() -> None:
    with pytest.raises(ValueError, match=r"scales must be from 2\^-40 to below 512, not 512.0"):
        FixedDecoder(grid=GRID, scales=512.0)
    decoder = FixedDecoder(grid=GRID, scales=1.0)
    with pytest.raises(TypeError, match="codes must be integers, not dtype"):
        decoder.predict(np.zeros((1, 36, 1, 1)))
    codes = np.zeros((1, 36, 1, 1), np.int64)
    codes[0, 0] = 2**31
    with pytest.raises(ValueError, match="codes must have 32 bits, not 0 to 2147483648"):
        decoder.predict(codes)
