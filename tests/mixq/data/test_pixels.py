"""Windows and colours, pixel by pixel against loops in Python's integers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mixq.data.pixels import recolour, resample


def pictures(count: int = 6) -> torch.Tensor:
    images = np.random.default_rng(0).integers(0, 256, (count, 3, 6, 9), dtype=np.uint8)
    images[0], images[1] = 255, 0
    return torch.from_numpy(images)


def half_up(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)


def clamped(value: int) -> int:
    return max(0, min(255, value))


def recoloured(image: np.ndarray, brightness: int, contrast: int, saturation: int) -> np.ndarray:
    """One image (C, H, W), by its definition."""
    values = [[[clamped(half_up(int(v) * brightness, 256)) for v in row] for row in plane] for plane in image]
    every = [v for plane in values for row in plane for v in row]
    mean = half_up(sum(every), len(every))
    values = [[[clamped(mean + half_up((v - mean) * contrast, 256)) for v in row] for row in plane] for plane in values]
    result = np.array(values)
    for y, x in np.ndindex(image.shape[1:]):
        grey = half_up(int(result[:, y, x].sum()), len(image))
        result[:, y, x] = [clamped(grey + half_up((int(v) - grey) * saturation, 256)) for v in result[:, y, x]]
    return result


def axis(start: float, share: float, size: int) -> list[tuple[int, int, int]]:
    """Both neighbours of each pixel, and the second's weight in 1/2048."""
    found = []
    for pixel in range(size):
        place = min(max((pixel + 0.5) * share + start * size - 0.5, 0.0), size - 1.0)
        first = math.floor(place)
        found.append((first, min(first + 1, size - 1), round((place - first) * 2048)))
    return found


def resampled(image: np.ndarray, x: float, y: float, share: float) -> np.ndarray:
    result = np.zeros_like(image)
    across, down = axis(x, share, image.shape[2]), axis(y, share, image.shape[1])
    for (row, (upper, lower, v)), (column, (left, right, u)) in (
        (a, b) for a in enumerate(down) for b in enumerate(across)
    ):
        for channel, plane in enumerate(image.astype(object)):
            total = (plane[upper, left] * (2048 - u) + plane[upper, right] * u) * (2048 - v)
            total += (plane[lower, left] * (2048 - u) + plane[lower, right] * u) * v
            result[channel, row, column] = half_up(total, 2**22)
    return result


@pytest.mark.parametrize(
    "factors", [(256, 256, 256), (100, 256, 256), (256, 400, 256), (256, 256, 0), (512, 0, 512), (300, 190, 333)]
)
def test_colours(factors: tuple[int, int, int]) -> None:
    images = pictures()
    found = recolour(images, torch.tensor([factors] * len(images)))
    assert found.dtype == torch.uint8
    for image, result in zip(images.numpy(), found.numpy(), strict=True):
        assert np.array_equal(result, recoloured(image, *factors))
    if factors == (256, 256, 256):
        assert torch.equal(found, images)


def test_each_image_has_its_own_factors_and_the_order_of_channels_is_the_same_to_them() -> None:
    images = pictures()
    factors = torch.randint(100, 400, (6, 3), generator=torch.Generator().manual_seed(1))
    found = recolour(images, factors)
    for index in range(6):
        assert np.array_equal(found[index].numpy(), recoloured(images[index].numpy(), *factors[index].tolist()))
    assert torch.equal(recolour(images.flip(1), factors), found.flip(1))


def test_windows() -> None:
    images = pictures()
    windows = [(0.0, 0.0, 1.0), (0.0, 0.0, 0.5), (0.5, 0.5, 0.5), (0.1, 0.37, 0.61), (0.3, 0.0, 0.7), (0.0, 0.9, 0.1)]
    given = torch.tensor(windows, dtype=torch.float64)
    found = resample(images, given[:, :2], given[:, 2])
    for image, window, result in zip(images.numpy(), windows, found.numpy(), strict=True):
        assert np.array_equal(result, resampled(image, *window))
    assert torch.equal(found[0], images[0]), "the whole image is the image"


def test_other_images() -> None:
    with pytest.raises(TypeError, match=r"^images must be uint8, not torch.float32$"):
        recolour(torch.zeros(1, 3, 2, 2), torch.full((1, 3), 256))
    with pytest.raises(TypeError, match=r"^images must be uint8, not torch.int64$"):
        resample(torch.zeros(1, 3, 2, 2).long(), torch.zeros(1, 2).double(), torch.ones(1).double())
