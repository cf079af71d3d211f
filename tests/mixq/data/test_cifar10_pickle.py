"""Batches of CIFAR-10: read without running what a pickle says."""

from __future__ import annotations

import os
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mixq.data import cifar10_pickle
from mixq.data.cifar10_pickle import read_batch
from mixq.errors import UserError
from tests.mixq.data.cifar10_files import array, integer, labels_of, python2_batch, random_images, text

DAMAGED = "batch: no batch of CIFAR-10's Python version, or damaged; get cifar-10-python.tar.gz anew"


def refusal(data: bytes) -> str:
    with pytest.raises(UserError) as raised:
        read_batch(data, "batch")
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_the_official_layout() -> None:
    images = random_images(12, 0)
    data = python2_batch(images, labels_of(12))
    # The layout is what Python's own unpickler, with the real NumPy behind it, takes for the same content.
    loaded = pickle.loads(data.replace(b"numpy.core.", b"numpy._core."), encoding="bytes")
    assert loaded[b"labels"] == labels_of(12) and np.array_equal(loaded[b"data"], images.reshape(12, -1))
    pixels, labels = read_batch(data, "batch")
    assert pixels.dtype == np.uint8 and np.array_equal(pixels, images)
    assert labels.dtype == np.int64 and labels.tolist() == labels_of(12)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_batch_that_todays_python_wrote(order: Any) -> None:
    images = random_images(5, 1)
    content = {"data": np.array(images.reshape(5, -1), order=order), "labels": labels_of(5)}
    pixels, labels = read_batch(pickle.dumps(content, protocol=3), "batch")
    assert np.array_equal(pixels, images) and labels.tolist() == labels_of(5)


class Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_no_function_is_called(tmp_path: Path, protocol: int) -> None:
    trap = tmp_path / "trap"
    data = pickle.dumps({"data": Touch(trap), "labels": [0]}, protocol=protocol)
    message = refusal(data)
    assert message.startswith("batch: this pickle does more than CIFAR-10's do (")
    assert message.endswith(") and was not loaded; get cifar-10-python.tar.gz from its authors")
    assert not trap.exists()
    pickle.loads(data)
    assert trap.exists(), "the trap itself works"


@pytest.mark.parametrize(
    "instructions, shown",
    [
        (b"cbuiltins\neval\n(U\x011tR.", "GLOBAL 'builtins eval'"),
        (b"cnumpy\nload\n.", "GLOBAL 'numpy load'"),
        (b"cnumpy\nndarray.tofile\n.", "GLOBAL 'numpy ndarray.tofile'"),
        (b"c__builtin__\nfile\n.", "GLOBAL '__builtin__ file'"),
        (b"(ios\nsystem\n.", "INST 'os system'"),
        (b"P1\n.", "PERSID '1'"),
        (b"\x82\x01.", "EXT1 1"),
        (b"]r\xff\xff\xff\x7f.", "LONG_BINPUT 2147483647"),
        (b"\x96\xff\xff\xff\xff\xff\x00\x00\x00.", None),
        (b"\x8b\xff\xff\xff\x7f.", None),
    ],
)
def test_other_instructions_are_refused(instructions: bytes, shown: str | None) -> None:
    message = refusal(b"\x80\x02" + instructions)
    if shown is None:
        assert message == DAMAGED
    else:
        assert f"({shown})" in message


def test_without_the_first_step_the_second_still_calls_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar10_pickle, "_check_instructions", lambda data, where: None)
    for protocol in range(6):
        assert refusal(pickle.dumps({"data": Touch(tmp_path / "trap"), "labels": [0]}, protocol=protocol)) == DAMAGED
    assert not (tmp_path / "trap").exists()


def test_stand_ins_cannot_be_changed() -> None:
    # Builds attributes onto what a name stands for, as instruction BUILD can.
    for name in (b"cnumpy\ndtype\n", b"cnumpy.core.multiarray\n_reconstruct\n", b"cnumpy\nndarray\n"):
        for state in (b"}" + text(b"x") + integer(1) + b"s", b"N}" + text(b"x") + integer(1) + b"s\x86"):
            assert refusal(b"\x80\x02" + name + state + b"b.") == DAMAGED
    assert read_batch(python2_batch(random_images(2, 0), [1, 2]), "batch")[1].tolist() == [1, 2]


def test_millions_of_objects_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar10_pickle, "MAX_INSTRUCTIONS", 1000)
    tracemalloc.start()
    try:
        assert "(EMPTY_LIST)" in refusal(b"\x80\x02" + b"]" * (1 << 20) + b".")
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def batch(data: bytes, labels: bytes = b"](K\x01K\x02e") -> bytes:
    return b"\x80\x02}(" + text(b"data") + data + text(b"labels") + labels + b"u."


ROWS = np.zeros((2, 3072), np.uint8)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x02",
        b"no pickle",
        b"\x80\x02N.",
        b"\x80\x02}.",
        python2_batch(random_images(3, 0), [1, 2, 3])[:-100],
        batch(text(b"x" * 6144)),
        batch(array(ROWS[:1])),
        batch(array(ROWS[:, :3071])),
        batch(array(ROWS.reshape(-1))),
        batch(array(ROWS).replace(b"U\x02u1", b"U\x02O8")),
        batch(array(ROWS).replace(b"U\x02u1", b"U\x02i2")),
        batch(array(ROWS).replace(b"K\x02J\x00\x0c", b"K\x03J\x00\x0c")),
        batch(array(ROWS), b"](K\x01K\x0ae"),
        batch(array(ROWS), b"](K\x01J\xff\xff\xff\xffe"),
        batch(array(ROWS), b"](K\x01\x88e"),
        batch(array(ROWS), b"](K\x01e"),
        batch(array(ROWS), b"K\x01"),
        # An array that was made but never filled.
        batch(b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"),
    ],
)
def test_damaged_batches(data: bytes) -> None:
    assert refusal(data) == DAMAGED


def test_the_damaged_batches_start_from_a_right_one() -> None:
    assert read_batch(batch(array(ROWS)), "batch")[1].tolist() == [1, 2]
