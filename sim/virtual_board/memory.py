"""Memory that a processor with caches and a DMA engine share: each sees its own side until somebody flushes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_START = 0x10000000
_PAGE = 4096


@dataclass
class Region:
    """Memory in one piece: ``address``, physical; ``cached``, the processor's side; ``stored``, that of the DMA."""

    address: int
    cached: NDArray[np.uint8]
    stored: NDArray[np.uint8]

    def flush(self, start: int, size: int) -> None:
        """Write what the processor wrote to memory."""
        self.stored[start : start + size] = self.cached[start : start + size]

    def invalidate(self, start: int, size: int) -> None:
        """Let the processor see what is in memory, which drops what it has not flushed."""
        self.cached[start : start + size] = self.stored[start : start + size]


class Memory:
    """All regions; both sides of a new one hold noise, each its own."""

    def __init__(self) -> None:
        self._regions: dict[int, Region] = {}
        self._next = _START
        self._random = np.random.default_rng(0)

    def allocate(self, size: int) -> Region:
        """A region of ``size`` bytes, from a page on; no two touch, and no address comes twice."""
        sides = [self._random.integers(0, 256, size, dtype=np.uint8) for _ in range(2)]
        region = Region(self._next, *sides)
        self._regions[region.address] = region
        self._next += (size // _PAGE + 2) * _PAGE
        return region

    def free(self, region: Region) -> None:
        """Give a region back; a DMA that reaches for it finds nothing there."""
        self._regions.pop(region.address, None)

    def find(self, address: int, size: int) -> tuple[Region, int] | None:
        """The region that holds so many bytes from an address on, and where in it; None where there is none."""
        for region in self._regions.values():
            start = address - region.address
            if 0 <= start and start + size <= len(region.stored):
                return region, start
        return None
