"""Arrays of integers in ``.npy`` files that users give and get."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mixq.errors import UserError
from mixq.files import read_bytes, write_atomic

MAX_BYTES = 4 << 30


def read_frames(path: Path) -> npt.NDArray[Any]:
    """Return an integer array (frames, C, H, W) of at least one frame; UserError for any other file."""
    data = read_bytes(path, max_bytes=MAX_BYTES)
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError, SyntaxError, KeyError, TypeError, OverflowError, MemoryError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:100]
        raise UserError(f"{path} is no .npy file of integers ({reason}); write it with numpy.save") from None
    if not isinstance(array, np.ndarray):
        raise UserError(f"{path} holds several arrays; save one array with numpy.save")
    if array.dtype.kind not in "iu":
        raise UserError(f"{path} must hold integers, not {array.dtype}; convert the array with astype")
    if array.ndim != 4 or not len(array):
        raise UserError(f"{path} must have the shape (frames, C, H, W) with at least one frame, not {array.shape}")
    return array


def write_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write ``array`` as ``.npy``, whole or not at all; UserError where the system refuses."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_atomic(path, buffer.getvalue())
