"""The fast resizing against the plain one, byte by byte."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from boards.driver.resizer import Resizer
from mixq.data.resizing import resize_bilinear


def check(image: np.ndarray, size: tuple[int, int], **options: Any) -> Resizer:
    resizer = Resizer((image.shape[1], image.shape[0]), size, **options)
    out = np.zeros((size[1], size[0], 3), np.uint8)
    resizer(image, out)
    assert np.array_equal(out, resize_bilinear(image, size))
    resizer(image, out)  # what is kept of one image does no harm to the next
    assert np.array_equal(out, resize_bilinear(image, size))
    return resizer


@pytest.mark.parametrize("seed", range(40))
def test_any_size(seed: int) -> None:
    random = np.random.default_rng(seed)
    width, height, new_width, new_height = random.integers(1, 40, 4).tolist()
    image = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    check(image, (new_width, new_height))
    halved = random.integers(0, 256, (height, 2 * new_width, 3), dtype=np.uint8)
    check(halved, (new_width, new_height))


@pytest.mark.parametrize("value", [0, 1, 254, 255])
@pytest.mark.parametrize("source", [(640, 360), (1280, 720), (500, 333)])
def test_flat_images_stay_flat(source: tuple[int, int], value: int) -> None:
    image = np.full((source[1], source[0], 3), value, np.uint8)
    out = np.zeros((160, 320, 3), np.uint8)
    Resizer(source, (320, 160))(image, out)
    assert (out == value).all()


def test_the_contest_s_images_and_parts_of_larger_ones() -> None:
    image = np.random.default_rng(0).integers(0, 256, (360, 640, 3), dtype=np.uint8)
    assert check(image, (320, 160), opencv=False).method == "numpy"
    assert check(image, (640, 360)).method == "copy"
    larger = np.random.default_rng(1).integers(0, 256, (364, 1282, 3), dtype=np.uint8)
    check(larger[2:362, 1:1281:2], (320, 160))


@pytest.mark.parametrize(("off_by", "method"), [(0, "opencv"), (1, "numpy")])
def test_opencv_is_taken_where_its_trial_is_right(off_by: int, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    library = ModuleType("cv2")
    library.INTER_LINEAR = 1  # type: ignore[attr-defined]

    def resize(image: np.ndarray, size: tuple[int, int], *, interpolation: int) -> np.ndarray:
        assert interpolation == 1
        return resize_bilinear(image, size) + np.uint8(off_by)

    library.resize = resize  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cv2", library)
    image = np.random.default_rng(2).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    assert check(image, (20, 20)).method == method
    assert check(image, (60, 20)).method == "numpy"  # it differs where an axis grows


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"^size must be positive, not \(0, 3\) and \(2, 2\)$"):
        Resizer((0, 3), (2, 2))
    resizer = Resizer((4, 3), (2, 2))
    out = np.zeros((2, 2, 3), np.uint8)
    with pytest.raises(TypeError, match=r"^image must hold 8-bit pixels, not int64$"):
        resizer(np.zeros((3, 4, 3), np.int64), out)
    with pytest.raises(ValueError, match=r"^image must be of shape \(3, 4, 3\), not \(4, 3, 3\)$"):
        resizer(np.zeros((4, 3, 3), np.uint8), out)
