"""Images as PNG in data URIs, without an image library."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

URI_START = "data:image/png;base64,"


def png_data_uri(pixels: NDArray[np.uint8]) -> str:
    """A grey image (H, W), or one (H, W, 3) of red, green and blue, pixel for pixel.

    Raises:
        TypeError: other than bytes. ValueError: another shape.
    """
    if pixels.dtype != np.uint8:
        raise TypeError(f"pixels must be uint8, not {pixels.dtype!r}")
    if pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,)) or not pixels.size:
        raise ValueError(f"pixels must be of shape (H, W) or (H, W, 3), not {pixels.shape!r}")
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)
    # Each row starts with the number of its filter: none.
    scanlines = np.hstack([np.zeros((height, 1), np.uint8), rows]).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if pixels.ndim == 2 else 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(scanlines, 9))
    return URI_START + base64.b64encode(png + _chunk(b"IEND", b"")).decode()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
