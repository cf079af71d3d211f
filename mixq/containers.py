"""Codes in memory and on AXI4-Stream: containers of 8, 16, 32 or 64 bits, pixel by pixel.

A frame is its pixels in row-major order, each with its channels innermost; every code stands in the
smallest container that holds its width, little-endian, sign-extended where the format is signed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mixq.formats import IntFormat


def container_bits(format: IntFormat) -> int:
    """Return 8, 16, 32 or 64: the smallest container that holds ``format.width`` bits."""
    if not isinstance(format, IntFormat):
        raise TypeError(f"format must be an IntFormat, not {format!r}")
    return next(bits for bits in (8, 16, 32, 64) if format.width <= bits)


def container_dtype(format: IntFormat) -> np.dtype[np.generic]:
    """Return the little-endian NumPy type of the container of ``format``."""
    size = container_bits(format) // 8
    return np.dtype(f"<{'i' if format.signed else 'u'}{size}")


def frame_bytes(shape: tuple[int, int, int], format: IntFormat) -> int:
    """Return the bytes of one frame of shape (C, H, W)."""
    channels, height, width = shape
    return channels * height * width * (container_bits(format) // 8)


def to_bytes(frames: npt.ArrayLike, format: IntFormat) -> bytes:
    """Return the bytes of ``frames``, integer codes (F, C, H, W), frame after frame.

    TypeError for codes that are no integers, ValueError for another number of dimensions or a code
    outside the format.
    """
    codes = np.asarray(frames)
    if codes.dtype.kind not in "iu":
        raise TypeError(f"frames must hold integers, not {codes.dtype}")
    if codes.ndim != 4:
        raise ValueError(f"frames must have the shape (F, C, H, W), not {codes.shape!r}")
    if not format.contains(codes):
        found = f"{int(codes.min())}..{int(codes.max())}"
        raise ValueError(f"frames must hold codes in {format.low}..{format.high}, not {found}")
    return codes.transpose(0, 2, 3, 1).astype(container_dtype(format)).tobytes()


def from_bytes(data: bytes, format: IntFormat, shape: tuple[int, int, int]) -> npt.NDArray[np.int64]:
    """Return the codes int64 (F, C, H, W) of whole frames of ``shape`` (C, H, W).

    Each container is read as a whole, so that a wrong sign extension shows as a wrong code. ValueError for
    a number of bytes that is not a multiple of a frame's, or an unsigned code beyond int64.
    """
    size = frame_bytes(shape, format)
    if size <= 0 or len(data) % size:
        raise ValueError(f"data must be a multiple of the frame's {size} bytes, not {len(data)!r} bytes")
    codes = frame_view(data, format, shape, count=len(data) // size)
    if codes.dtype == np.dtype("<u8") and codes.size and int(codes.max()) > np.iinfo(np.int64).max:
        raise ValueError(f"data must hold codes below 2**63, not {int(codes.max())!r}")
    return np.ascontiguousarray(codes, dtype=np.int64)


def frame_view(
    buffer: Any, format: IntFormat, shape: tuple[int, int, int], *, count: int, stride: int | None = None
) -> npt.NDArray[Any]:
    """Return the codes of ``count`` frames of ``shape`` (C, H, W) that stand in ``buffer``, as (count, C, H, W).

    Nothing is copied: what is written to the array is written to the buffer, where that can be written to.
    ``stride``: bytes from the start of a frame to that of the next, at least a frame's; by default there is no gap.
    ValueError for a stride that is less, or a buffer that is too small.
    """
    channels, height, width = shape
    dtype, size = container_dtype(format), frame_bytes(shape, format)
    step = size if stride is None else stride
    if step < size:
        raise ValueError(f"stride must be at least the frame's {size} bytes, not {stride!r}")
    needed, held = (count - 1) * step + size if count else 0, memoryview(buffer).nbytes
    if held < needed:
        raise ValueError(f"buffer must hold {count} frames, {needed} bytes, not {held}")
    pixel = channels * dtype.itemsize
    strides = (step, width * pixel, pixel, dtype.itemsize)
    return np.ndarray((count, height, width, channels), dtype, buffer, strides=strides).transpose(0, 3, 1, 2)
