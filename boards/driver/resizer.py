"""The resizing of `mixq.data.resizing`, the same bytes, fast enough for a camera: for images of one size.

Three ways lead to the same pixels, and the fastest that can be taken is: OpenCV, where it is installed, no axis grows
and its result for a trial image is the formula's; NumPy in two steps, with a short cut where the width is halved; and a
copy where the size stays. Where weights and sums allow, the second step computes in 16 bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixq.data.resizing import axis_neighbours, resize_bilinear

Bytes = NDArray[np.uint8]

_MOST_SUM = 255 * 2048 >> 4
"""Largest sum of a row of the formula after its first shift."""


class Resizer:
    """Resizes images from one size to another, both (width, height); three channels.

    Members: ``method``, "copy", "opencv" or "numpy".

    Raises: ValueError for a size that is not positive.
    """

    def __init__(self, source: tuple[int, int], size: tuple[int, int], *, opencv: bool = True) -> None:
        if min(*source, *size) < 1:
            raise ValueError(f"size must be positive, not {source!r} and {size!r}")
        self.source, self.size = source, size
        self._resize: Callable[[Bytes, Bytes], None]
        library = _trusted_opencv(source, size) if opencv and source != size else None
        if source == size:
            self.method, self._resize = "copy", _copy
        elif library is not None:
            self.method, self._resize = "opencv", library
        else:
            self.method, self._resize = "numpy", _TwoSteps(source, size)

    def __call__(self, image: Bytes, out: Bytes) -> None:
        """Resize an image (H, W, 3) into ``out`` (h, w, 3), which may lie in a buffer of the DMA.

        Raises: TypeError for others than bytes, ValueError for another shape.
        """
        if image.dtype != np.uint8:
            raise TypeError(f"image must hold 8-bit pixels, not {image.dtype}")
        expected = (self.source[1], self.source[0], 3)
        if image.shape != expected:
            raise ValueError(f"image must be of shape {expected!r}, not {image.shape!r}")
        self._resize(image, out)


def _copy(image: Bytes, out: Bytes) -> None:
    out[...] = image


def _trusted_opencv(source: tuple[int, int], size: tuple[int, int]) -> Callable[[Bytes, Bytes], None] | None:
    """OpenCV's resizing, None where it is not there, an axis grows, or a trial image comes out otherwise."""
    if source[0] < size[0] or source[1] < size[1]:
        return None
    try:
        import cv2
    except ImportError:
        return None
    resize: Any = cv2.resize

    def run(image: Bytes, out: Bytes) -> None:
        out[...] = resize(image, size, interpolation=cv2.INTER_LINEAR)

    trial = np.random.default_rng(0).integers(0, 256, (source[1], source[0], 3), dtype=np.uint8)
    found = np.empty((size[1], size[0], 3), np.uint8)
    run(trial, found)
    return run if np.array_equal(found, resize_bilinear(trial, size)) else None


class _TwoSteps:
    """The formula in NumPy, channel by channel, in arrays that are made once.

    Sums of a row are ``(left * w + right * v) >> 4``; where the width is halved that is ``(left + right) << 6`` for
    all pixels, and the shift is left to the second step.
    """

    def __init__(self, source: tuple[int, int], size: tuple[int, int]) -> None:
        (width, height), (new_width, new_height) = source, size
        left, right, of_left, of_right = axis_neighbours(width, new_width)
        self._upper, self._lower, of_upper, of_lower = axis_neighbours(height, new_height)
        self._halves = width == 2 * new_width
        self._left, self._right = left, right
        self._of_left, self._of_right = of_left.astype(np.uint32), of_right.astype(np.uint32)
        most, shift = (510, 10) if self._halves else (_MOST_SUM, 16)
        # Factors of two that all weights share need not be multiplied only to be shifted out again.
        shared = min(shift, _trailing_zeros(int(np.bitwise_or.reduce(np.concatenate([of_upper, of_lower])))))
        self._shift = shift - shared
        weights = np.stack([of_upper, of_lower]) >> shared
        kind: Any = np.uint16 if most * int(weights.max()) < 1 << 16 else np.uint32
        self._of_upper, self._of_lower = weights.astype(kind)[:, :, None]
        self._rows = np.empty((3, height, new_width), kind)
        self._above, self._below = np.empty((2, 3, new_height, new_width), kind)
        if self._halves:
            self._even, self._odd = np.empty((2, height, 3 * new_width), np.uint16)
        else:
            self._planes = np.empty((3, height, width), np.uint8)
            self._pixels = np.empty((3, height, new_width), np.uint8)
            self._products = np.empty((3, height, new_width), np.uint32)
            self._sums = np.empty((3, height, new_width), np.uint32)

    def __call__(self, image: Bytes, out: Bytes) -> None:
        if self._halves:
            self._halve(np.ascontiguousarray(image))
        else:
            self._sum(image)
        np.take(self._rows, self._upper, axis=1, out=self._above, mode="clip")
        np.take(self._rows, self._lower, axis=1, out=self._below, mode="clip")
        for part, weights in ((self._above, self._of_upper), (self._below, self._of_lower)):
            np.multiply(part, weights, out=part)
            np.right_shift(part, self._shift, out=part)
        total = np.add(self._above, self._below, out=self._above)
        total += 2
        total >>= 2
        for channel in range(3):
            out[:, :, channel] = total[channel]

    def _halve(self, image: Bytes) -> None:
        """Sums of two neighbours each; their six bytes are three words, low byte first."""
        words = image.reshape(len(image), -1).view("<u2")
        even = np.bitwise_and(words, 0xFF, out=self._even)
        odd = np.right_shift(words, 8, out=self._odd)
        np.add(even[:, 0::3], odd[:, 1::3], out=self._rows[0])
        np.add(odd[:, 0::3], even[:, 2::3], out=self._rows[1])
        np.add(even[:, 1::3], odd[:, 2::3], out=self._rows[2])

    def _sum(self, image: Bytes) -> None:
        """Sums of any two neighbours."""
        self._planes[...] = image.transpose(2, 0, 1)
        np.take(self._planes, self._left, axis=2, out=self._pixels, mode="clip")
        np.multiply(self._pixels, self._of_left, out=self._sums)
        np.take(self._planes, self._right, axis=2, out=self._pixels, mode="clip")
        np.multiply(self._pixels, self._of_right, out=self._products)
        self._sums += self._products
        self._sums >>= 4
        self._rows[...] = self._sums


def _trailing_zeros(value: int) -> int:
    """Of the binary number, 0 for 0.

    >>> _trailing_zeros(12)
    2
    """
    return (value & -value).bit_length() - 1 if value else 0
