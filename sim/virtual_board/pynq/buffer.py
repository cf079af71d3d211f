"""Arrays in memory that the processor shares with a DMA engine."""

from __future__ import annotations

from typing import Any

import numpy as np

from sim.virtual_board.memory import Memory, Region

MEMORY = Memory()
"""The board's."""


class PynqBuffer(np.ndarray[Any, Any]):
    """An array with a physical address; what is cut of it knows where it lies."""

    region: Region | None

    def __array_finalize__(self, source: Any) -> None:
        self.region = getattr(source, "region", None)

    @property
    def physical_address(self) -> int:
        """Of the first element."""
        assert self.region is not None
        return self.region.address + self._offset

    @property
    def device_address(self) -> int:
        """The same."""
        return self.physical_address

    def flush(self) -> None:
        """Write what the processor wrote to memory, for the DMA to see it."""
        assert self.region is not None
        self.region.flush(self._offset, self.nbytes)

    def invalidate(self) -> None:
        """Let the processor see what the DMA wrote."""
        assert self.region is not None
        self.region.invalidate(self._offset, self.nbytes)

    def freebuffer(self) -> None:
        """Give the memory back."""
        assert self.region is not None
        MEMORY.free(self.region)

    def close(self) -> None:
        """The same."""
        self.freebuffer()

    @property
    def _offset(self) -> int:
        assert self.region is not None
        return int(self.ctypes.data - self.region.cached.ctypes.data)


def allocate(shape: Any, dtype: Any = "u4", target: Any = None, **_: Any) -> PynqBuffer:
    """An array of the shape and type in memory of its own, which holds noise."""
    kind = np.dtype(dtype)
    size = int(np.prod(shape)) * kind.itemsize
    region = MEMORY.allocate(size)
    array = region.cached.view(kind).reshape(shape).view(PynqBuffer)
    array.region = region
    return array
