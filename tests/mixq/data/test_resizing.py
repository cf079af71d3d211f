"""Bilinear resizing against the formula in Python's integers, and against what OpenCV gave for some images."""

from __future__ import annotations

import hashlib
import math
import struct

import numpy as np
import pytest

from mixq.data.resizing import resize_bilinear


def single(value: float) -> float:
    """Round to float32."""
    return float(struct.unpack("f", struct.pack("f", value))[0])


def neighbours(size: int, wanted: int) -> list[tuple[int, int, int, int]]:
    found = []
    for place in range(wanted):
        centre = single((place + 0.5) * (1.0 / (wanted / size)) - 0.5)
        first = math.floor(centre)
        share = single(centre - first)
        if first < 0:
            first, share = 0, 0.0
        if first >= size - 1:
            first, share = size - 1, 0.0
        found.append((first, min(first + 1, size - 1), round(single(1 - share) * 2048), round(share * 2048)))
    return found


def expected(image: np.ndarray, width: int, height: int) -> list[list[list[int]]]:
    values = image.tolist()
    result = []
    for upper, lower, of_upper, of_lower in neighbours(len(values), height):
        row = []
        for left, right, of_left, of_right in neighbours(len(values[0]), width):
            pixel = []
            for channel in range(image.shape[2]):
                above = values[upper][left][channel] * of_left + values[upper][right][channel] * of_right
                below = values[lower][left][channel] * of_left + values[lower][right][channel] * of_right
                total = ((above >> 4) * of_upper >> 16) + ((below >> 4) * of_lower >> 16)
                pixel.append((total + 2) >> 2)
            row.append(pixel)
        result.append(row)
    return result


@pytest.mark.parametrize("seed", range(12))
def test_the_formula(seed: int) -> None:
    random = np.random.default_rng(seed)
    height, width, out_height, out_width = random.integers(1, 20, 4).tolist()
    image = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert resize_bilinear(image, (out_width, out_height)).tolist() == expected(image, out_width, out_height)


def test_an_image_of_the_size_stays_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    assert np.array_equal(resize_bilinear(image, (7, 9)), image)


@pytest.mark.parametrize(
    ("seed", "shape", "size", "digest"),
    [  # of what OpenCV 5.0.0 made of these images with INTER_LINEAR
        (1, (360, 640), (320, 160), "95b5df5233059f29b0dab1de6f37937b994ad7bf77eb9bfe3986b157fedb661b"),
        (2, (100, 77), (50, 33), "acffc0623efe6318fcc83f38321fc0a3cc8ac5fd583a0a0b1dd7f44a75b82da1"),
        (3, (37, 91), (91, 20), "ce411d4df48a24cd5b7bc2a32c02b816c9e8a29f0d7c0a0a11f4564611208eab"),
        (4, (5, 7), (3, 3), "41f7661b5d61653a84ead6973804f1fd675a1d97f473615abe3cae7d9bafec63"),
        (5, (720, 1280), (320, 160), "8d4cbb1ee85a48de511e425454d3133cd69a38aea1efa4788be2ca01ab0292a6"),
    ],
)
def test_equal_to_opencv(seed: int, shape: tuple[int, int], size: tuple[int, int], digest: str) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert hashlib.sha256(resize_bilinear(image, size).tobytes()).hexdigest() == digest


@pytest.mark.parametrize(
    ("image", "size", "error"),
    [
        (np.zeros((3, 3, 3)), (2, 2), TypeError),
        (np.zeros((3, 3), np.uint8), (2, 2), ValueError),
        (np.zeros((0, 3, 3), np.uint8), (2, 2), ValueError),
        (np.zeros((3, 3, 3), np.uint8), (0, 2), ValueError),
    ],
)
def test_refusals(image: np.ndarray, size: tuple[int, int], error: type[Exception]) -> None:
    with pytest.raises(error):
        resize_bilinear(image, size)
