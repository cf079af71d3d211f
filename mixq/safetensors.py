"""Reads safetensors files: a length, a JSON header, then the tensors' bytes. No code in them can run.

Layout: 8 bytes, the header's length n as an unsigned little-endian integer; n bytes of JSON, name ->
``{"dtype", "shape", "data_offsets": [begin, end]}`` with offsets counted from the end of the header, and
perhaps ``__metadata__``; then the data, little-endian, row-major, without gaps.
"""

from __future__ import annotations

import json
import math
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixq.errors import UserError
from mixq.files import read_bytes

MAX_HEADER_BYTES = 10 << 20

_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U8": "|u1",
}


def read_safetensors(path: str | os.PathLike[str], *, max_bytes: int) -> dict[str, NDArray[Any]]:
    """The tensors of a file of at most ``max_bytes`` bytes, by name; bfloat16 comes as float32.

    Raises:
        UserError: the file cannot be read or is no well-formed safetensors file.
    """
    content = read_bytes(path, max_bytes=max_bytes)
    try:
        header, data = _split(content)
        tensors = {name: _tensor(entry, data) for name, entry in header.items() if name != "__metadata__"}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise UserError(f"{path} is no safetensors file ({reason}); save it again") from None
    return tensors


def _split(content: bytes) -> tuple[dict[str, Any], memoryview]:
    """The header, and the bytes behind it."""
    if len(content) < 8:
        raise ValueError("it is shorter than 8 bytes")
    length = int.from_bytes(content[:8], "little")
    if length > min(MAX_HEADER_BYTES, len(content) - 8):
        raise ValueError(f"its header cannot have {length} bytes")
    header = json.loads(content[8 : 8 + length].decode("utf-8"))
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    return header, memoryview(content)[8 + length :]


def _tensor(entry: dict[str, Any], data: memoryview) -> NDArray[Any]:
    """One tensor, copied out of ``data`` after checking that its bytes are all there."""
    if entry["dtype"] not in _DTYPES:
        raise ValueError(f"dtype {entry['dtype']!r} is not supported")
    dtype = np.dtype(_DTYPES[entry["dtype"]])
    numbers = [*entry["shape"], *entry["data_offsets"]]
    if any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in numbers):
        raise ValueError("shapes and offsets must be whole numbers")
    begin, end = entry["data_offsets"]
    if end > len(data) or end - begin != math.prod(entry["shape"]) * dtype.itemsize:
        raise ValueError("a tensor's offsets do not fit its shape or the file")
    array = np.frombuffer(data[begin:end], dtype=dtype).reshape(entry["shape"])
    if entry["dtype"] == "BF16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(dtype.newbyteorder("="))
