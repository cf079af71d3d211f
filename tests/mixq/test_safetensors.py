"""The safetensors reader: every dtype, and one clear line for every malformed file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mixq.errors import UserError
from mixq.safetensors import read_safetensors

NAMES = {"f8": "F64", "f4": "F32", "f2": "F16", "i8": "I64", "i4": "I32", "i2": "I16", "i1": "I8", "u1": "U8"}


def encode(tensors: dict[str, np.ndarray]) -> bytes:
    """A safetensors file of these arrays."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, array in tensors.items():
        body = array.tobytes()
        header[name] = {
            "dtype": NAMES[array.dtype.str[1:]],
            "shape": list(array.shape),
            "data_offsets": [len(data), len(data) + len(body)],
        }
        data += body
    return raw(header, data)


def raw(header: object, data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def read(tmp_path: Path, content: bytes) -> dict[str, np.ndarray]:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    return read_safetensors(path, max_bytes=10_000)


def test_every_dtype_comes_back(tmp_path: Path) -> None:
    tensors = {kind: np.arange(-3, 3).reshape(2, 3).astype(kind) for kind in NAMES}
    tensors["scalar"], tensors["empty"] = np.array(2.5, "f4"), np.zeros((0, 4), "f8")
    found = read(tmp_path, encode(tensors))
    assert found.keys() == tensors.keys()
    for name, array in tensors.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)


def test_bfloat16_becomes_float32(tmp_path: Path) -> None:
    values = np.array([1.0, -2.5, 0.0, 256.0], dtype="<f4")
    body = (values.view("<u4") >> 16).astype("<u2").tobytes()
    found = read(tmp_path, raw({"a": {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]}}, body))
    assert found["a"].dtype == np.float32
    assert found["a"].tolist() == values.tolist()


def entry(**change: object) -> bytes:
    return raw({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **change}}, b"x" * 8)


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "it is shorter than 8 bytes"),
        (b"\xff" * 8, f"its header cannot have {2**64 - 1} bytes"),
        (b"\x05" + b"\0" * 7 + b"{}", "its header cannot have 5 bytes"),
        (raw([1], b""), "its header is no JSON object"),
        (entry(dtype="C64"), "dtype 'C64' is not supported"),
        (entry(shape=[3]), "a tensor's offsets do not fit its shape or the file"),
        (entry(shape=[-2]), "shapes and offsets must be whole numbers"),
        (entry(shape=[2.0]), "shapes and offsets must be whole numbers"),
        (entry(data_offsets=[8, 16]), "a tensor's offsets do not fit its shape or the file"),
        (entry(data_offsets=[8, 0], shape=[]), "a tensor's offsets do not fit its shape or the file"),
        (entry(data_offsets=[0]), "not enough values to unpack"),
        (entry(shape=None), "Value after * must be an iterable, not NoneType"),
        (entry(dtype=[]), "unhashable type"),
        (raw({"a": 3}, b""), "'int' object is not subscriptable"),
        (raw({"a": {}}, b""), "'dtype'"),
        ((2).to_bytes(8, "little") + b"\xff\xff", "'utf-8' codec can't decode byte 0xff"),
        ((2).to_bytes(8, "little") + b"{,", "Expecting property name"),
    ],
)
def test_malformed_files(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(UserError) as raised:
        read(tmp_path, content)
    message = str(raised.value)
    assert message.startswith(f"{tmp_path / 'm.safetensors'} is no safetensors file ({reason}")
    assert message.endswith("); save it again")
    assert "\n" not in message


def test_files_that_are_too_large_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="larger than 10000 bytes"):
        read(tmp_path, b"x" * 10_001)
