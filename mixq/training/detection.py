"""Detection of one object in an image: a grid of anchors, its decoding, and the loss that trains it.

The head is that of the published mixed-precision system (DeepBurning-MixQ, ICCAD 2023), which follows YOLOv3: an
output (N, 6 * anchors, rows, columns), for each anchor x, y, width, height, objectness and class, anchor by anchor.
The one class needs no loss. Boxes are (x centre, y centre, width, height).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from mixq.data import BoxSamples, Samples

VALUES = 6
"""Values of an anchor: x, y, width, height, objectness, class."""

MAX_GROWTH = 1000.0
"""Most that a box may be larger than its anchor; beyond any image, it keeps the exponential from overflowing."""

EPSILON = 1e-9
"""Added to denominators, in pixels or square pixels."""


@dataclass(frozen=True, kw_only=True)
class Detection:
    """One box for an image, from a grid of anchors; loss in the mean over the images.

    A cell at (row, column) and an anchor decode, in pixels, as ``x = (sigmoid(tx) + column) * stride``, y likewise,
    ``width = exp(tw) * anchor width``, height likewise, ``confidence = sigmoid(to)``. The predicted box is the mean
    over the anchors in the cell whose mean confidence is highest.

    Loss: ``box_gain * mean(1 - CIoU)`` over the positive anchors, plus ``objectness_gain`` times the binary cross
    entropy of the objectness of all anchors in all cells. Positive are all anchors of the cell that holds the centre
    of the box.

    Parameters:
        stride: pixels between cells, which is what the network's pooling divides by.
        anchors: (width, height) of each, in pixels.
        box_gain, objectness_gain: weights of the two parts.

    Raises:
        ValueError: no anchor, or a value that is not positive.
    """

    stride: int = 16
    anchors: tuple[tuple[float, float], ...] = ((20.0, 20.0),) * 6
    box_gain: float = 3.54
    objectness_gain: float = 64.3
    metric: ClassVar[str] = "iou"

    def __post_init__(self) -> None:
        if not self.anchors or any(len(anchor) != 2 or not min(anchor) > 0 for anchor in self.anchors):
            raise ValueError(f"anchors must be pairs of positive numbers, not {self.anchors!r}")
        for name in ("stride", "box_gain", "objectness_gain"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)!r}")

    def targets(self, samples: Samples | BoxSamples) -> Tensor:
        """The boxes as shares of the image, float32 (N, 4)."""
        if not isinstance(samples, BoxSamples):
            raise TypeError(f"samples must be BoxSamples, not {type(samples).__name__!r}")
        return torch.tensor(samples.boxes)

    def decode(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes in pixels, (N, A, rows, columns, 4), and logits of their confidence, (N, A, rows, columns).

        Raises:
            ValueError: outputs of another number of channels.
        """
        raw = self._anchored(outputs)
        _, _, rows, columns, _ = raw.shape
        across = torch.arange(columns, device=raw.device, dtype=raw.dtype)
        down = torch.arange(rows, device=raw.device, dtype=raw.dtype)[:, None]
        anchors = torch.tensor(self.anchors, device=raw.device, dtype=raw.dtype)[:, None, None]
        # clamping the logarithm, not the exponential, keeps the gradient of what overflows finite
        sizes = raw[..., 2:4].clamp(max=math.log(MAX_GROWTH)).exp() * anchors
        x = (raw[..., 0].sigmoid() + across) * self.stride
        y = (raw[..., 1].sigmoid() + down) * self.stride
        return torch.cat([torch.stack([x, y], dim=-1), sizes], dim=-1), raw[..., 4]

    def predict(self, outputs: Tensor) -> Tensor:
        """The one box of each image, in pixels, (N, 4)."""
        boxes, confidence = self.decode(outputs)
        cells = boxes.mean(1).flatten(1, 2)
        best = confidence.sigmoid().mean(1).flatten(1).argmax(1)
        return cells[torch.arange(len(cells), device=cells.device), best]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Weighted sum of both losses, a scalar; ``targets`` (N, 4) as shares of the image."""
        boxes, objectness = self.decode(outputs)
        images, (rows, columns) = len(boxes), boxes.shape[2:4]
        truth = self._pixels(targets, boxes)
        column = (truth[:, 0] / self.stride).long().clamp(0, columns - 1)
        row = (truth[:, 1] / self.stride).long().clamp(0, rows - 1)
        which = torch.arange(images, device=boxes.device)
        positive = boxes[which, :, row, column]
        box_loss = (1 - complete_iou(positive, truth[:, None].expand_as(positive))).mean()
        wanted = torch.zeros_like(objectness)
        wanted[which, :, row, column] = 1
        objectness_loss = F.binary_cross_entropy_with_logits(objectness, wanted)
        return self.box_gain * box_loss + self.objectness_gain * objectness_loss

    def measure(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Intersection over union of each predicted box with the true one, float64 (N,)."""
        found = self.predict(outputs)
        boxes = self._pixels(targets, outputs[:, :1, :, :, None])
        return iou(found, boxes).double()

    def _anchored(self, outputs: Tensor) -> Tensor:
        """Outputs as (N, A, rows, columns, 6), in float32 at least."""
        channels = len(self.anchors) * VALUES
        if outputs.ndim != 4 or outputs.shape[1] != channels:
            raise ValueError(f"outputs must be of shape (N, {channels}, rows, columns), not {tuple(outputs.shape)!r}")
        count, _, rows, columns = outputs.shape
        full = outputs if outputs.dtype == torch.float64 else outputs.float()
        return full.reshape(count, len(self.anchors), VALUES, rows, columns).permute(0, 1, 3, 4, 2)

    def _pixels(self, targets: Tensor, grid: Tensor) -> Tensor:
        """Boxes in pixels of the image that the grid (N, A, rows, columns, ...) covers."""
        rows, columns = grid.shape[2:4]
        extent = targets.new_tensor([columns, rows, columns, rows]) * self.stride
        return (targets * extent).to(grid.dtype if grid.dtype == torch.float64 else torch.float32)


def iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of boxes (..., 4), pair by pair: (...), 0..1."""
    low, high = _corners(boxes)
    other_low, other_high = _corners(others)
    overlap = (torch.minimum(high, other_high) - torch.maximum(low, other_low)).clamp(min=0).prod(-1)
    union = boxes[..., 2:].prod(-1) + others[..., 2:].prod(-1) - overlap
    return overlap / (union + EPSILON)


def complete_iou(boxes: Tensor, truth: Tensor) -> Tensor:
    """Complete IoU of boxes (..., 4) with true ones, pair by pair: (...), at most 1.

    ``IoU - d^2 / c^2 - alpha * v``: d the distance of the centres, c the diagonal of the smallest box around both,
    ``v = 4 / pi^2 * (atan(w / h) - atan(w' / h'))^2``, ``alpha = v / (1 - IoU + v)`` without a gradient (Zheng et al.,
    "Distance-IoU Loss", AAAI 2020).
    """
    overlap = iou(boxes, truth)
    low, high = _corners(boxes)
    true_low, true_high = _corners(truth)
    diagonal = (torch.maximum(high, true_high) - torch.minimum(low, true_low)).square().sum(-1)
    distance = (boxes[..., :2] - truth[..., :2]).square().sum(-1)
    angles = [torch.atan2(box[..., 2], box[..., 3]) for box in (boxes, truth)]
    aspect = 4 / math.pi**2 * (angles[0] - angles[1]).square()
    with torch.no_grad():
        weight = aspect / (1 - overlap + aspect + EPSILON)
    return overlap - distance / (diagonal + EPSILON) - weight * aspect


def _corners(boxes: Tensor) -> tuple[Tensor, Tensor]:
    half = boxes[..., 2:] / 2
    return boxes[..., :2] - half, boxes[..., :2] + half
