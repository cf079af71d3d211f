"""The handwritten digits that come with scikit-learn: 1,797 images of 8 x 8, levels 0..16, ten classes.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
Repository, 1998 (the test set of it).
"""

from __future__ import annotations

import numpy as np

from mixq.data.dataset import Dataset, Samples
from mixq.errors import UserError

LEVELS = 16
SPLIT_SEED = 20240817
VALIDATION, TEST = 270, 360


def load_digits() -> Dataset:
    """Load the digits as 8-bit images, round(level * 255 / 16), in a fixed split of 1167, 270 and 360.

    Raises:
        UserError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits as bundled
    except ModuleNotFoundError:
        raise UserError("the digits come with scikit-learn; install it: pip install 'mixq[train]'") from None
    data = bundled()
    levels = np.asarray(data.images).astype(np.int64)
    # Rounds half up in integers: level 8, exactly between 127 and 128, becomes 128.
    pixels = (levels * 255 * 2 + LEVELS) // (2 * LEVELS)
    everything = Samples(pixels.astype(np.uint8)[:, None], np.asarray(data.target).astype(np.int64))
    order = np.random.default_rng(SPLIT_SEED).permutation(len(everything))
    return Dataset(
        name="digits",
        train=everything.take(order[VALIDATION + TEST :]),
        validation=everything.take(order[TEST : VALIDATION + TEST]),
        test=everything.take(order[:TEST]),
        class_names=tuple(str(digit) for digit in range(10)),
    )
