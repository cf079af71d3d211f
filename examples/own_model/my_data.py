"""Images of one's own: a folder with a folder of files for each class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from mixq.data import Dataset, Samples


def image_folders(root: Path, *, size: int = 16, seed: int = 0) -> Dataset[Samples]:
    """Return the images in ``root/<class>/*``, grey, of ``size`` x ``size`` pixels, divided at random.

    A sixth of them is kept to choose with and a sixth to report on. The classes are numbered in alphabetical order.
    """
    classes = sorted(folder.name for folder in root.iterdir() if folder.is_dir())
    files = [(path, label) for label, name in enumerate(classes) for path in sorted((root / name).iterdir())]
    order = np.random.default_rng(seed).permutation(len(files))
    images = np.stack([_pixels(files[at][0], size) for at in order])
    samples = Samples(images, np.array([files[at][1] for at in order], np.int64))
    sixth = len(files) // 6
    parts = slice(2 * sixth, None), slice(sixth), slice(sixth, 2 * sixth)
    train, validation, test = (samples.take(part) for part in parts)
    return Dataset(name=root.name, train=train, validation=validation, test=test, class_names=tuple(classes))


def _pixels(path: Path, size: int) -> np.ndarray:
    """One image, uint8 (1, size, size)."""
    with Image.open(path) as image:
        return np.asarray(image.convert("L").resize((size, size)))[None]
