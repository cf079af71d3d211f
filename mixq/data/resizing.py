"""Bilinear resizing between four pixels, in the fixed-point arithmetic of OpenCV.

Networks that were trained on images resized by OpenCV (``INTER_LINEAR`` of 8-bit images) lose accuracy on those of
another filter. The arithmetic: the place of an output pixel's centre in the input, between two pixels of each axis, as
float32; weights of the two rounded to 11 fractional bits; rows summed first; of those 4 bits, then of the products of
columns 16 bits are cut off, the two rounded together at the last 2 bits. Where neither axis grows the result is
OpenCV's own, bit by bit; where one does some pixels may differ from it by 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_UNIT = 1 << 11


def resize_bilinear(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize an image (H, W, C) to ``size``, (width, height).

    Raises:
        TypeError: the image is not of bytes. ValueError: it has other axes, or a size is not positive.
    """
    if image.dtype != np.uint8:
        raise TypeError(f"image must hold 8-bit pixels, not {image.dtype}")
    if image.ndim != 3 or image.size == 0:
        raise ValueError(f"image must have the axes H, W, C, none empty, not the shape {image.shape!r}")
    if min(size) < 1:
        raise ValueError(f"size must be positive, not {size!r}")
    left, right, of_left, of_right = axis_neighbours(image.shape[1], size[0])
    upper, lower, of_upper, of_lower = axis_neighbours(image.shape[0], size[1])
    pixels = image.astype(np.int32)
    rows = (pixels[:, left] * of_left[:, None] + pixels[:, right] * of_right[:, None]) >> 4
    above = (rows[upper] * of_upper[:, None, None]) >> 16
    below = (rows[lower] * of_lower[:, None, None]) >> 16
    return ((above + below + 2) >> 2).astype(np.uint8)


def axis_neighbours(
    size: int, wanted: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.int32], NDArray[np.int32]]:
    """The two input pixels that each output pixel lies between, and their weights in 2^-11; all of shape (wanted,).

    Parameters:
        size, wanted: pixels of an axis of the input and of the output, both positive.
    """
    scale = 1.0 / (wanted / size)
    places = ((np.arange(wanted) + 0.5) * scale - 0.5).astype(np.float32)
    first = np.floor(places).astype(np.intp)
    share = places - first.astype(np.float32)
    outside = (first < 0) | (first >= size - 1)
    first = first.clip(0, size - 1)
    share[outside] = 0
    of_second = np.rint(share * np.float32(_UNIT)).astype(np.int32)
    of_first = np.rint((np.float32(1) - share) * np.float32(_UNIT)).astype(np.int32)
    return first, np.minimum(first + 1, size - 1), of_first, of_second
