"""Write scikit-learn's handwritten digits as PNG files, a folder for each digit: ``make_images.py FOLDER [COUNT]``.

They stand for images of your own.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits


def main(folder: Path, count: int | None) -> None:
    """Write the first ``count`` digits, or all 1,797; those of 0 to 16 become grey values up to 240."""
    digits = load_digits()
    for number, (values, label) in enumerate(zip(digits.images[:count], digits.target, strict=False)):
        path = folder / str(label) / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((values * 15).astype(np.uint8)).save(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
