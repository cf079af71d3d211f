"""The part of PYNQ that an accelerator's driver uses, on a board in simulation; see :mod:`sim.virtual_board`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sim.virtual_board import read_bitstream
from sim.virtual_board.board import Board
from sim.virtual_board.dma import Dma

from .buffer import MEMORY, PynqBuffer, allocate
from .lib.dma import DMA

__all__ = ["MMIO", "DefaultIP", "Overlay", "PynqBuffer", "allocate"]

_CELLS = {
    "dma": {"phys_addr": 0xA0000000, "addr_range": 0x10000, "type": "xilinx.com:ip:axi_dma:7.1"},
    "accelerator": {"phys_addr": 0xA0010000, "addr_range": 0x1000, "type": "mixq:mixq:mixq_top:1.0"},
}


class MMIO:
    """Registers, 32 bits each, by byte offset."""

    def __init__(self, board: Any) -> None:
        self._board = board

    def read(self, offset: int = 0) -> int:
        """A register."""
        return int(self._board.read(offset))

    def write(self, offset: int, value: int) -> None:
        """Write a register."""
        self._board.write(offset, value)


class DefaultIP:
    """A cell without a driver of its own: its registers."""

    def __init__(self, board: Any) -> None:
        self.mmio = MMIO(board)
        self.read, self.write = self.mmio.read, self.mmio.write


class Overlay:
    """A bitstream, loaded; cells are attributes by their names.

    Parameters: ``bitfile_name``: a file of :func:`sim.virtual_board.write_bitstream`; ``download``: whether to load it.
    """

    def __init__(self, bitfile_name: str, download: bool = True, **_: Any) -> None:
        self.bitfile_name = str(bitfile_name)
        self.ip_dict = _CELLS
        self._cells: dict[str, Any] = {}
        self._board: Board | None = None
        if download:
            self.download()

    def download(self) -> None:
        """Load the bitstream: a board as after power-up."""
        self.free()
        self._board = Board(read_bitstream(Path(self.bitfile_name)))
        self._cells = {"dma": DMA(Dma(self._board, MEMORY)), "accelerator": DefaultIP(self._board)}

    def free(self) -> None:
        """End the board."""
        self._cells = {}
        if self._board is not None:
            self._board.close()
            self._board = None

    def __getattr__(self, name: str) -> Any:
        if name in _CELLS:
            if name not in self._cells:
                raise RuntimeError("Overlay not currently loaded")
            return self._cells[name]
        raise AttributeError(f"Could not find IP or hierarchy {name} in overlay")


def get_rails() -> dict[str, Any]:
    """Supplies with sensors: this board has none."""
    return {}
