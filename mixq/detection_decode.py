"""From the outputs of a grid of anchors to one box an image, in NumPy float64, without PyTorch.

Whatever is measured is decoded here: training models, converted ones, the interpreter's and an accelerator's integers;
the loss alone has a decoding of its own, with gradients, in `mixq.training.detection`. The head is that of the
published mixed-precision system (DeepBurning-MixQ, ICCAD 2023), after YOLOv3: channels anchor by anchor, for each x, y,
width, height, objectness and class. `mixq.detection_fixed` does the same in integers alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

VALUES = 6
"""Values of an anchor: x, y, width, height, objectness, class."""

MAX_GROWTH = 1000.0
"""Most that a box may be larger than its anchor; beyond any image, it keeps the exponential from overflowing."""

MAX_LOG_GROWTH = math.log(MAX_GROWTH)

EPSILON = 1e-9
"""Added to denominators, in pixels or square pixels."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class AnchorGrid:
    """Anchors in every cell of a grid, and the one box that they stand for.

    ``x = (sigmoid(tx) + column) * stride``, y likewise with the row, ``width = exp(tw) * anchor width``, height
    likewise, ``confidence = sigmoid(to)``; the class is not read. Boxes and confidences are averaged over a cell's
    anchors, summed in the order of the channels; the cell of the highest mean confidence, the first of equal ones in
    the order of rows, gives the box.

    >>> AnchorGrid(anchors=((20.0, 10.0),)).predict(np.zeros((1, 6, 1, 1))).tolist()
    [[8.0, 8.0, 20.0, 10.0]]

    Parameters:
        stride: pixels between cells.
        anchors: (width, height) of each, in pixels.

    Raises:
        ValueError: no anchor, or a value that is not positive.
    """

    stride: int = 16
    anchors: tuple[tuple[float, float], ...] = ((20.0, 20.0),) * 6

    def __post_init__(self) -> None:
        if not self.anchors or any(len(anchor) != 2 or not min(anchor) > 0 for anchor in self.anchors):
            raise ValueError(f"anchors must be pairs of positive numbers, not {self.anchors!r}")
        if not self.stride > 0:
            raise ValueError(f"stride must be positive, not {self.stride!r}")

    @property
    def channels(self) -> int:
        """Of the outputs."""
        return VALUES * len(self.anchors)

    def covers(self, image: tuple[int, ...], outputs: tuple[int, ...]) -> bool:
        """Whether outputs of this shape (C, rows, columns) are this grid's for images of that shape (C, H, W)."""
        channels, rows, columns = outputs
        return (channels, rows * self.stride, columns * self.stride) == (self.channels, *image[1:])

    def anchored(self, outputs: Any) -> Any:
        """Outputs (N, 6 * A, rows, columns), array or tensor, as (N, A, 6, rows, columns).

        ValueError for other shapes.
        """
        if outputs.ndim != 4 or outputs.shape[1] != self.channels:
            shape = tuple(outputs.shape)
            raise ValueError(f"outputs must be of shape (N, {self.channels}, rows, columns), not {shape!r}")
        count, _, rows, columns = outputs.shape
        return outputs.reshape(count, len(self.anchors), VALUES, rows, columns)

    def decode(self, outputs: NDArray[Any]) -> tuple[Floats, Floats]:
        """Mean boxes of the cells in pixels, (N, rows, columns, 4), and mean confidences, (N, rows, columns), 0..1.

        Parameters:
            outputs: real values (N, 6 * A, rows, columns).

        Raises:
            ValueError: another shape.
        """
        raw = self.anchored(np.asarray(outputs, np.float64))
        rows, columns = raw.shape[3:]
        boxes = self._boxes(raw, np.arange(columns), np.arange(rows)[:, None])
        return np.moveaxis(boxes, 1, -1), _mean(sigmoid(raw[:, :, 4]))

    def predict(self, outputs: NDArray[Any]) -> Floats:
        """The box of each image in pixels, (N, 4): x centre, y centre, width, height. Errors as of :meth:`decode`."""
        raw = self.anchored(np.asarray(outputs, np.float64))
        count, anchors, values, _, columns = raw.shape
        best = _mean(sigmoid(raw[:, :, 4])).reshape(count, -1).argmax(1)
        chosen = raw.reshape(count, anchors, values, -1)[np.arange(count), :, :, best]
        return self._boxes(chosen, (best % columns)[:, None], (best // columns)[:, None])

    def _boxes(self, raw: Floats, column: NDArray[np.int64], row: NDArray[np.int64]) -> Floats:
        """Mean boxes (N, 4, ...) of values (N, A, 6, ...); ``column`` and ``row`` have the shape of the last axes."""
        anchors = np.array(self.anchors, np.float64).reshape(-1, 2, *[1] * (raw.ndim - 3))
        boxes = np.empty((*raw.shape[:2], 4, *raw.shape[3:]))
        boxes[:, :, 0] = (sigmoid(raw[:, :, 0]) + column) * self.stride
        boxes[:, :, 1] = (sigmoid(raw[:, :, 1]) + row) * self.stride
        boxes[:, :, 2:] = np.exp(np.minimum(raw[:, :, 2:4], MAX_LOG_GROWTH)) * anchors
        return _mean(boxes)

    def predict_integers(self, codes: NDArray[Any], scales: float | NDArray[Any]) -> Floats:
        """The same of an accelerator's integers.

        Parameters:
            codes: integers (N, 6 * A, rows, columns).
            scales: what an integer is worth: one number, or one for each channel, (6 * A,).

        Raises:
            TypeError: codes that are no integers. ValueError: another shape, or a scale that is not positive.
        """
        if not np.issubdtype(codes.dtype, np.integer):
            raise TypeError(f"codes must be integers, not {codes.dtype!r}")
        self.anchored(codes)
        return self.predict(codes * channel_scales(scales, self.channels)[:, None, None])

    def pixels(self, shares: NDArray[Any], rows: int, columns: int) -> Floats:
        """Boxes (N, 4) in shares of the image as pixels of the image that a grid of rows and columns covers."""
        extent = np.array([columns, rows, columns, rows], np.float64) * self.stride
        return np.asarray(shares, np.float64) * extent


def channel_scales(scales: float | NDArray[Any], channels: int) -> Floats:
    """One scale for each channel, (channels,); ValueError where these are none."""
    given = np.asarray(scales, np.float64)
    if given.shape not in ((), (channels,)):
        raise ValueError(f"scales must be one number or {channels}, not of shape {given.shape!r}")
    if not (np.isfinite(given) & (given > 0)).all():
        raise ValueError(f"scales must be positive, not {scales!r}")
    return np.array(np.broadcast_to(given, (channels,)))


def sigmoid(values: NDArray[Any]) -> Floats:
    """1 / (1 + exp(-x)) of each value; below -700 it is that of -700, so that nothing overflows."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.maximum(values, -700.0))), np.float64)


def iou(boxes: NDArray[Any], others: NDArray[Any]) -> Floats:
    """Intersection over union of boxes (..., 4), (x centre, y centre, width, height), pair by pair: (...), 0..1."""
    one, other = np.asarray(boxes, np.float64), np.asarray(others, np.float64)
    half, other_half = one[..., 2:] / 2, other[..., 2:] / 2
    high = np.minimum(one[..., :2] + half, other[..., :2] + other_half)
    low = np.maximum(one[..., :2] - half, other[..., :2] - other_half)
    sides = np.maximum(high - low, 0.0)
    overlap = sides[..., 0] * sides[..., 1]
    union = one[..., 2] * one[..., 3] + other[..., 2] * other[..., 3] - overlap
    return np.asarray(overlap / (union + EPSILON), np.float64)


def _mean(values: Floats) -> Floats:
    """Over the anchors, axis 1, in their order: NumPy's own sum may take another."""
    total = values[:, 0]
    for anchor in range(1, values.shape[1]):
        total = total + values[:, anchor]
    return total / values.shape[1]
