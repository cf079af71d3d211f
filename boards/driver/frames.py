"""Frames in the buffers of the DMA: laid out as on the bus, each from a new beat on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from boards.driver.description import Port
from mixq.containers import container_dtype, frame_bytes, frame_view
from mixq.formats import IntFormat


class Frames:
    """Where frames of a port stand in a buffer.

    A frame's last beat is filled up, so that every frame starts with a new one.

    Members: ``frame_bytes`` without, ``stride`` with what fills the last beat up.
    """

    def __init__(self, port: Port) -> None:
        self.port = port
        self.frame_bytes = frame_bytes(port.shape, port.format)
        beat = port.bus_bits // 8
        self.stride = -(-self.frame_bytes // beat) * beat

    def bytes_of(self, count: int) -> int:
        """Bytes of a packet of so many frames."""
        return count * self.stride

    def pack(self, buffer: Any, codes: NDArray[Any]) -> None:
        """Write codes (N, C, H, W), which the format must hold, to the start of a buffer of bytes."""
        self._view(buffer, len(codes))[...] = codes

    def pixels(self, buffer: Any, count: int) -> NDArray[Any]:
        """So many frames at the start of a buffer as an array (count, H, W, C) that writes to it."""
        return self._view(buffer, count).transpose(0, 2, 3, 1)

    def unpack(self, buffer: Any, out: NDArray[np.int64]) -> None:
        """Read as many frames as ``out`` (N, C, H, W) has from the start of a buffer."""
        out[...] = self._view(buffer, len(out))

    def _view(self, buffer: Any, count: int) -> NDArray[Any]:
        return frame_view(buffer, self.port.format, self.port.shape, count=count, stride=self.stride)


def check_codes(codes: NDArray[Any], shape: Any, format: IntFormat) -> None:
    """Refuse what is no array of codes (N, C, H, W) of the format.

    Raises: TypeError for others than integers. ValueError for another shape, or a code that is out of range.
    """
    if codes.dtype.kind not in "iu":
        raise TypeError(f"frames must hold integers, not {codes.dtype}")
    if codes.ndim != 4 or codes.shape[1:] != tuple(shape):
        raise ValueError(f"frames must be of shape (N, {', '.join(map(str, shape))}), not {codes.shape!r}")
    if codes.dtype == container_dtype(format) and format.full_range and format.width == 8 * codes.itemsize:
        return  # whatever the type holds fits; looking would take as long as packing
    if not format.contains(codes):
        found = f"{int(codes.min())}..{int(codes.max())}"
        raise ValueError(f"frames must hold codes in {format.low}..{format.high}, not {found}")
