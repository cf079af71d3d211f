"""The digits: real pixels, scaled, in three parts that share no sample."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from mixq.data.digits import load_digits
from mixq.errors import UserError

sklearn = pytest.importorskip("sklearn.datasets")


def test_pixels_are_scaled_levels() -> None:
    data = load_digits()
    levels = {round(level * 255 / 16) for level in range(17)}
    images = np.concatenate([data.train.images, data.validation.images, data.test.images])
    assert images.shape == (1797, 1, 8, 8)
    assert set(np.unique(images).tolist()) == levels
    assert (images.min(), images.max()) == (0, 255)


def test_the_parts_hold_every_sample_once() -> None:
    data = load_digits()
    assert (len(data.train), len(data.validation), len(data.test)) == (1167, 270, 360)
    bundled = sklearn.load_digits()
    expected = sorted(
        (np.rint(image * 15.9375).astype(np.uint8).tobytes(), int(label))
        for image, label in zip(bundled.images, bundled.target, strict=True)
    )
    found = sorted(
        (image.tobytes(), int(label))
        for part in (data.train, data.validation, data.test)
        for image, label in zip(part.images, part.labels, strict=True)
    )
    assert found == expected


def test_the_split_is_fixed_and_holds_every_class() -> None:
    one, other = load_digits(), load_digits()
    assert np.array_equal(one.test.images, other.test.images)
    assert np.array_equal(one.train.labels, other.train.labels)
    for part in (one.train, one.validation, one.test):
        assert set(part.labels.tolist()) == set(range(10))
    assert one.class_names == ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(UserError) as raised:
        load_digits()
    assert str(raised.value) == "the digits come with scikit-learn; install it: pip install 'mixq[train]'"
