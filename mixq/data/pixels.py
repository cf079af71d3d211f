"""Windows and colours of 8-bit images, in integers alone: the same pixels on every device."""

from __future__ import annotations

import torch
from torch import Tensor

FACTOR_BITS = 8
"""Fraction bits of a colour's factor."""

_UNIT_BITS = 11
"""Fraction bits of the weights of neighbouring pixels: products of two and a pixel have 30 bits."""


def resample(images: Tensor, starts: Tensor, shares: Tensor) -> Tensor:
    """Parts of images, enlarged to the images' own size between the four nearest pixels.

    Pixel i of an axis of n pixels is taken at ``start * n + (i + 1/2) * share - 1/2``, between its neighbours, and from
    the edge where that is outside; weights are rounded to 11 fraction bits, the result once, half up.

    Parameters:
        images: uint8 (N, C, H, W).
        starts: float64 (N, 2), x and y of the part's corner as shares of the image.
        shares: float64 (N,), of the image's width and height that the part takes, above 0 and at most 1.

    Returns:
        uint8 (N, C, H, W).

    Raises:
        TypeError: images of another dtype.
    """
    check_bytes(images)
    _, _, height, width = images.shape
    left, right, of_right = _neighbours(starts[:, 0], shares, width)
    upper, lower, of_lower = _neighbours(starts[:, 1], shares, height)
    across = _between(images.int(), left[:, None, None], right[:, None, None], of_right[:, None, None], 3)
    down = _between(across, upper[:, None, :, None], lower[:, None, :, None], of_lower[:, None, :, None], 2)
    return ((down + (1 << (2 * _UNIT_BITS - 1))) >> (2 * _UNIT_BITS)).to(torch.uint8)


def recolour(images: Tensor, factors: Tensor) -> Tensor:
    """Images with another brightness, contrast and saturation, one after the other, each rounded half up and clamped.

    Brightness multiplies a pixel; contrast its distance from the mean of the whole image; saturation its distance from
    the mean of its channels, which is the pixel's grey whatever the order of the channels is.

    Parameters:
        images: uint8 (N, C, H, W).
        factors: int64 (N, 3), of brightness, contrast and saturation in 2^-8, not negative; 256 leaves as it is.

    Returns:
        uint8 (N, C, H, W).

    Raises:
        TypeError: images of another dtype.
    """
    check_bytes(images)
    pixels = images.int()
    brightness, contrast, saturation = (factors[:, kind, None, None, None].int() for kind in range(3))
    pixels = _scaled(pixels, torch.zeros_like(brightness), brightness)
    total = pixels.sum((1, 2, 3), keepdim=True, dtype=torch.int64)
    pixels = _scaled(pixels, _mean(total, pixels[0].numel()), contrast)
    return _scaled(pixels, _mean(pixels.sum(1, keepdim=True), pixels.shape[1]), saturation).to(torch.uint8)


def check_bytes(images: Tensor) -> None:
    """TypeError for images that are not of bytes."""
    if images.dtype != torch.uint8:
        raise TypeError(f"images must be uint8, not {images.dtype!r}")


def _neighbours(starts: Tensor, shares: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of each pixel of an axis the two that it lies between, (N, size), and the weight of the second."""
    middles = torch.arange(size, device=starts.device, dtype=torch.float64) + 0.5
    places = (middles * shares[:, None] + (starts * size)[:, None] - 0.5).clamp(0, size - 1)
    first = places.floor()
    weight = ((places - first) * (1 << _UNIT_BITS)).round().int()
    return first.long(), (first.long() + 1).clamp(max=size - 1), weight


def _between(values: Tensor, first: Tensor, second: Tensor, of_second: Tensor, axis: int) -> Tensor:
    shape = list(values.shape)
    one, other = (values.gather(axis, place.expand(*shape)) for place in (first, second))
    return one * ((1 << _UNIT_BITS) - of_second) + other * of_second


def _mean(total: Tensor, count: int) -> Tensor:
    return ((2 * total + count) // (2 * count)).int()


def _scaled(pixels: Tensor, around: Tensor, factor: Tensor) -> Tensor:
    half = 1 << (FACTOR_BITS - 1)
    return (around + (((pixels - around) * factor + half) >> FACTOR_BITS)).clamp(0, 255)
