"""Images with labels or boxes, and their division into training, validation and test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

ChannelOrder = Literal["rgb", "bgr"]

BOX_TOLERANCE = 1e-6
"""How far, as a share of the image, rounding in float32 may put a box's edge outside the image."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Images, uint8 of shape (N, C, H, W), and their labels, int64 of shape (N,).

    Raises:
        TypeError: other dtypes. ValueError: other shapes, no image at all, or a negative label.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        _check_images(self.images)
        if self.labels.dtype != np.int64:
            raise TypeError(f"labels must be int64, not {self.labels.dtype!r}")
        if self.labels.shape != self.images.shape[:1]:
            raise ValueError(f"labels must be of shape {self.images.shape[:1]}, not {self.labels.shape!r}")
        if int(self.labels.min()) < 0:
            raise ValueError(f"labels must not be negative, not {int(self.labels.min())!r}")

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: NDArray[np.int64] | slice) -> Samples:
        """The samples at ``indices``."""
        return Samples(self.images[indices], self.labels[indices])


@dataclass(frozen=True, eq=False)
class BoxSamples:
    """Images, uint8 of shape (N, C, H, W), each with one box, float32 of shape (N, 4).

    A box is (x centre, y centre, width, height) as shares of the image's width and height, 0..1, x to the
    right and y downwards; it lies inside the image, with a positive width and height. ``images`` may be a
    memory-mapped array, which cannot be written to: indexing by an array of integers makes a copy that can.

    Raises:
        TypeError: other dtypes. ValueError: other shapes, no image at all, or a box that cannot be.
    """

    images: NDArray[np.uint8]
    boxes: NDArray[np.float32]

    def __post_init__(self) -> None:
        _check_images(self.images)
        if self.boxes.dtype != np.float32:
            raise TypeError(f"boxes must be float32, not {self.boxes.dtype!r}")
        if self.boxes.shape != (len(self.images), 4):
            raise ValueError(f"boxes must be of shape {(len(self.images), 4)}, not {self.boxes.shape!r}")
        centre, size = self.boxes[:, :2].astype(np.float64), self.boxes[:, 2:].astype(np.float64)
        low, high = centre - size / 2, centre + size / 2
        # Written so that NaN fails.
        inside = (size > 0) & (low >= -BOX_TOLERANCE) & (high <= 1 + BOX_TOLERANCE)
        wrong = np.flatnonzero(~inside.all(axis=1))
        if len(wrong):
            box = tuple(self.boxes[wrong[0]].tolist())
            raise ValueError(f"boxes must be of positive size inside the image, not {box!r} (box {wrong[0]})")

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: NDArray[np.int64] | slice) -> BoxSamples:
        """The samples at ``indices``."""
        return BoxSamples(self.images[indices], self.boxes[indices])


def _check_images(images: NDArray[np.uint8]) -> None:
    if images.dtype != np.uint8:
        raise TypeError(f"images must be uint8, not {images.dtype!r}")
    if images.ndim != 4 or not len(images):
        raise ValueError(f"images must be of shape (N, C, H, W), N > 0, not {images.shape!r}")


S = TypeVar("S", Samples, BoxSamples)


@dataclass(frozen=True, kw_only=True)
class Dataset(Generic[S]):
    """A named data set in three disjoint parts: to fit, to choose with, to report on.

    Parameters:
        name: of the data, such as "cifar10".
        train, validation, test: all three labelled (`Samples`) or all three with boxes (`BoxSamples`),
            with images of one shape.
        class_names: name of each label, in order; of what the boxes hold where there are boxes.
        channel_order: "rgb" or "bgr", of images with three channels.

    Raises:
        TypeError: parts of another kind, or of different kinds. ValueError: images of different shapes, a
            label without a name, another order of channels.
    """

    name: str
    train: S
    validation: S
    test: S
    class_names: tuple[str, ...]
    channel_order: ChannelOrder = "rgb"

    def __post_init__(self) -> None:
        if self.channel_order not in get_args(ChannelOrder):
            raise ValueError(f"channel_order must be rgb or bgr, not {self.channel_order!r}")
        for part in ("train", "validation", "test"):
            samples = getattr(self, part)
            if not isinstance(samples, Samples | BoxSamples):
                raise TypeError(f"{part} must be Samples or BoxSamples, not {samples!r}")
            if type(samples) is not type(self.train):
                kinds = f"{type(self.train).__name__} as train is, not {type(samples).__name__}"
                raise TypeError(f"{part} must be {kinds}")
            if samples.images.shape[1:] != self.train.images.shape[1:]:
                shapes = f"{self.train.images.shape[1:]} as those of train, not {samples.images.shape[1:]!r}"
                raise ValueError(f"images of {part} must be of shape {shapes}")
            if isinstance(samples, Samples) and int(samples.labels.max()) >= len(self.class_names):
                names = f"{len(self.class_names)} class_names"
                raise ValueError(f"labels of {part} must be below the {names}, not {int(samples.labels.max())!r}")
