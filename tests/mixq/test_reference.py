"""Reference vectors: what the converted model wrote is what the interpreter computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mixq.checkpoints import random_model
from mixq.converted import ConvertedModel
from mixq.execute import run
from mixq.lowering import lower
from mixq.reference import write_reference
from tests.mixq.torch_models import pixels


def test_the_vectors_are_those_of_the_graph(tmp_path: Path) -> None:
    model = random_model("digits_cnn", 6)
    images = pixels(4, 5, *model.input_shape)
    expected = write_reference(ConvertedModel(model), images, tmp_path, batch=2)
    codes = np.load(tmp_path / "reference" / "codes.npy")
    saved = np.load(tmp_path / "reference" / "expected.npy")
    assert (codes.dtype, saved.dtype) == (np.uint8, np.int64)
    assert np.array_equal(codes, images)
    assert np.array_equal(saved, expected)
    assert np.array_equal(saved, run(lower(model), codes.astype(np.int64)))


def test_the_same_vectors_are_the_same_bytes(tmp_path: Path) -> None:
    converted = ConvertedModel(random_model("digits_cnn", 6))
    for name in ("a", "b"):
        write_reference(converted, pixels(4, 3, 1, 8, 8), tmp_path / name)
    for file in ("codes.npy", "expected.npy"):
        assert (tmp_path / "a/reference" / file).read_bytes() == (tmp_path / "b/reference" / file).read_bytes()


def test_wrong_pixels_write_nothing(tmp_path: Path) -> None:
    converted = ConvertedModel(random_model("digits_cnn", 6))
    with pytest.raises(ValueError, match="pixels must be 0 to 255"):
        write_reference(converted, pixels(4, 3, 1, 8, 8) + 1000, tmp_path)
    with pytest.raises(ValueError, match=r"pixels must hold at least one image, not \(0, 1, 8, 8\)"):
        write_reference(converted, pixels(4, 0, 1, 8, 8), tmp_path)
    assert not list(tmp_path.iterdir())
