"""Detection of one object in an image: the loss that trains a grid of anchors, and the IoU of the boxes it finds.

The head is that of `mixq.detection_decode`, which finds the boxes that are measured; here is what needs gradients. The
one class needs no loss. Boxes are (x centre, y centre, width, height).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from mixq.data import BoxSamples, Samples
from mixq.detection_decode import EPSILON, MAX_LOG_GROWTH, AnchorGrid, iou


@dataclass(frozen=True, kw_only=True)
class Detection:
    """One box for an image, from a grid of anchors; loss in the mean over the images.

    Outputs mean what `mixq.detection_decode.AnchorGrid` says, and their boxes are found by it.

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

    stride: int = AnchorGrid.stride
    anchors: tuple[tuple[float, float], ...] = AnchorGrid.anchors
    box_gain: float = 3.54
    objectness_gain: float = 64.3
    metric: ClassVar[str] = "iou"

    def __post_init__(self) -> None:
        for name in ("box_gain", "objectness_gain"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)!r}")
        _ = self.grid  # which checks the rest

    @property
    def grid(self) -> AnchorGrid:
        """The grid that finds the boxes."""
        return AnchorGrid(stride=self.stride, anchors=self.anchors)

    def targets(self, samples: Samples | BoxSamples) -> Tensor:
        """The boxes as shares of the image, float32 (N, 4)."""
        if not isinstance(samples, BoxSamples):
            raise TypeError(f"samples must be BoxSamples, not {type(samples).__name__!r}")
        return torch.tensor(samples.boxes)

    def decode(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes in pixels, (N, A, rows, columns, 4), and logits of their confidence, (N, A, rows, columns).

        With gradients, in the outputs' precision, for the loss.

        Raises:
            ValueError: outputs of another number of channels.
        """
        raw = self._anchored(outputs)
        _, _, rows, columns, _ = raw.shape
        across = torch.arange(columns, device=raw.device, dtype=raw.dtype)
        down = torch.arange(rows, device=raw.device, dtype=raw.dtype)[:, None]
        anchors = torch.tensor(self.anchors, device=raw.device, dtype=raw.dtype)[:, None, None]
        # clamping the logarithm, not the exponential, keeps the gradient of what overflows finite
        sizes = raw[..., 2:4].clamp(max=MAX_LOG_GROWTH).exp() * anchors
        x = (raw[..., 0].sigmoid() + across) * self.stride
        y = (raw[..., 1].sigmoid() + down) * self.stride
        return torch.cat([torch.stack([x, y], dim=-1), sizes], dim=-1), raw[..., 4]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Weighted sum of both losses, a scalar; ``targets`` (N, 4) as shares of the image."""
        boxes, objectness = self.decode(outputs)
        images, (rows, columns) = len(boxes), boxes.shape[2:4]
        extent = targets.new_tensor([columns, rows, columns, rows]) * self.stride
        truth = (targets * extent).to(boxes.dtype)
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
        """Intersection over union of each image's found box with the true one, float64 (N,).

        Outputs of one value give the same bits, whatever model, device or precision they come from.
        """
        found = self.grid.predict(outputs.detach().double().cpu().numpy())
        truth = self.grid.pixels(targets.cpu().numpy(), *outputs.shape[2:])
        return torch.from_numpy(iou(found, truth)).to(outputs.device)

    def _anchored(self, outputs: Tensor) -> Tensor:
        """Outputs as (N, A, rows, columns, 6), in float32 at least."""
        full = outputs if outputs.dtype == torch.float64 else outputs.float()
        anchored: Tensor = self.grid.anchored(full)
        return anchored.permute(0, 1, 3, 4, 2)


def complete_iou(boxes: Tensor, truth: Tensor) -> Tensor:
    """Complete IoU of boxes (..., 4) with true ones, pair by pair: (...), at most 1.

    ``IoU - d^2 / c^2 - alpha * v``: d the distance of the centres, c the diagonal of the smallest box around both,
    ``v = 4 / pi^2 * (atan(w / h) - atan(w' / h'))^2``, ``alpha = v / (1 - IoU + v)`` without a gradient (Zheng et al.,
    "Distance-IoU Loss", AAAI 2020).
    """
    overlap = _iou(boxes, truth)
    low, high = _corners(boxes)
    true_low, true_high = _corners(truth)
    diagonal = (torch.maximum(high, true_high) - torch.minimum(low, true_low)).square().sum(-1)
    distance = (boxes[..., :2] - truth[..., :2]).square().sum(-1)
    angles = [torch.atan2(box[..., 2], box[..., 3]) for box in (boxes, truth)]
    aspect = 4 / math.pi**2 * (angles[0] - angles[1]).square()
    with torch.no_grad():
        weight = aspect / (1 - overlap + aspect + EPSILON)
    return overlap - distance / (diagonal + EPSILON) - weight * aspect


def _iou(boxes: Tensor, truth: Tensor) -> Tensor:
    """`mixq.detection_decode.iou` with gradients."""
    low, high = _corners(boxes)
    true_low, true_high = _corners(truth)
    both = (torch.minimum(high, true_high) - torch.maximum(low, true_low)).clamp(min=0).prod(-1)
    union = boxes[..., 2:].prod(-1) + truth[..., 2:].prod(-1) - both
    return both / (union + EPSILON)


def _corners(boxes: Tensor) -> tuple[Tensor, Tensor]:
    half = boxes[..., 2:] / 2
    return boxes[..., :2] - half, boxes[..., :2] + half
