"""Images with labels, and their division into training, validation and test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Samples:
    """Images, uint8 of shape (N, C, H, W), and their labels, int64 of shape (N,).

    Raises:
        TypeError: other dtypes. ValueError: other shapes, no image at all, or a negative label.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8:
            raise TypeError(f"images must be uint8, not {self.images.dtype!r}")
        if self.labels.dtype != np.int64:
            raise TypeError(f"labels must be int64, not {self.labels.dtype!r}")
        if self.images.ndim != 4 or not len(self.images):
            raise ValueError(f"images must be of shape (N, C, H, W), N > 0, not {self.images.shape!r}")
        if self.labels.shape != self.images.shape[:1]:
            raise ValueError(f"labels must be of shape {self.images.shape[:1]}, not {self.labels.shape!r}")
        if int(self.labels.min()) < 0:
            raise ValueError(f"labels must not be negative, not {int(self.labels.min())!r}")

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: NDArray[np.int64] | slice) -> Samples:
        """The samples at ``indices``."""
        return Samples(self.images[indices], self.labels[indices])


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A named data set in three disjoint parts: to fit, to choose with, to report on."""

    name: str
    train: Samples
    validation: Samples
    test: Samples
    class_names: tuple[str, ...]
