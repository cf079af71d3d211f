"""The 300 images of the DAC-SDC sample in two parts: 250 for training, 50 for validation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mixq.data import BoxSamples, Dataset
from mixq.data.dacsdc import load_dacsdc


def contest_sample(root: str, progress: Callable[[int, int], None] | None = None) -> Dataset[BoxSamples]:
    """The loader's own split, whose test images are trained on too; the validation images stand for the test as well.

    Nothing is chosen by the validation images: widths and recipe are fixed, and the last weights are taken.
    """
    dataset = load_dacsdc(root, channel_order="bgr", progress=progress)
    parts = (dataset.train, dataset.test)
    images, boxes = (np.concatenate([getattr(part, name) for part in parts]) for name in ("images", "boxes"))
    return replace(dataset, train=BoxSamples(images, boxes), test=dataset.validation)
