"""What planner and search need to know of a board; the files are kept and read by the package ``boards``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Resources:
    """Counts of what a design takes or a device has; block RAM in units of 36 Kb, halves for 18 Kb.

    >>> Resources(lut=10, dsp=1) + Resources(lut=5, bram36=0.5)
    Resources(lut=15, ff=0, dsp=1, bram36=0.5, uram=0)
    """

    lut: int = 0
    ff: int = 0
    dsp: int = 0
    bram36: float = 0.0
    uram: int = 0

    def __add__(self, other: Resources) -> Resources:
        return Resources(
            self.lut + other.lut,
            self.ff + other.ff,
            self.dsp + other.dsp,
            self.bram36 + other.bram36,
            self.uram + other.uram,
        )

    def times(self, count: int) -> Resources:
        """``count`` of the same."""
        return Resources(self.lut * count, self.ff * count, self.dsp * count, self.bram36 * count, self.uram * count)

    def excess(self, limit: Resources) -> dict[str, float]:
        """By how much each kind goes beyond the limit; empty where all fits."""
        over = {name: getattr(self, name) - getattr(limit, name) for name in REPORT_KEYS}
        return {name: amount for name, amount in over.items() if amount > 0}

    def report(self) -> dict[str, float]:
        """The counts under the names that report files use."""
        return {key: getattr(self, name) for name, key in REPORT_KEYS.items()}


REPORT_KEYS = {"lut": "LUT", "ff": "FF", "dsp": "DSP", "bram36": "BRAM_36K", "uram": "URAM"}
"""Field of :class:`Resources` -> its name in report files and messages."""


DSP_CLOCK_MHZ: Mapping[str, float] = MappingProxyType({"dsp48e2": 645.0, "dsp48e1": 464.0})
"""Clock that DSPs with all their registers reach in the slowest speed grade (-1) at the usual voltage, by device.

Source: the switching characteristics in AMD's data sheets, of the Zynq UltraScale+ (DS925) and the Artix-7 (DS181).
"""


PROCESSING_SYSTEMS = ("zynq-ultrascale+", "zynq-7000", "none")
"""Kinds of processor beside the fabric, in board files."""

DMA_BITS = (32, 64, 128, 256, 512)
"""Data widths that a port to memory may have."""


@dataclass(frozen=True)
class VivadoBoard:
    """What a block design for a board in Vivado starts from.

    ps: one of :data:`PROCESSING_SYSTEMS`. board_part: name of the board in Vivado's board files, which has the preset
    of the processing system ("xilinx.com:zcu104:part0:1.1"). dma_bits: data width of the widest port to memory that
    needs no conversion, one of :data:`DMA_BITS`.

    Raises: ValueError for another kind or width, or a board part that is not vendor, board, file and version.
    """

    ps: str
    board_part: str
    dma_bits: int

    def __post_init__(self) -> None:
        if self.ps not in PROCESSING_SYSTEMS:
            raise ValueError(f"ps must be one of {', '.join(PROCESSING_SYSTEMS)}, not {self.ps!r}")
        if not re.fullmatch(r"[^\s:]+:[^\s:]+:[^\s:]+:[^\s:]+", self.board_part):
            raise ValueError(f"board_part must be VENDOR:BOARD:part0:VERSION, not {self.board_part!r}")
        if isinstance(self.dma_bits, bool) or self.dma_bits not in DMA_BITS:
            raise ValueError(f"dma_bits must be one of {', '.join(map(str, DMA_BITS))}, not {self.dma_bits!r}")


@dataclass(frozen=True)
class Board:
    """A board as a value.

    name: as given to ``--board``. part: the device's order code. resources: what the device has. dsp_columns,
    dsp_column_height: how its DSPs are arranged; together they hold all of them, and nothing else is planned by it.
    clock_mhz: the fabric clock planned for. device: name of the DSP ("dsp48e2"). aliases: other spellings accepted.
    dsp_clock_mhz: what the DSPs can be clocked at, where the file says it; :attr:`dsp_limit_mhz` otherwise. vivado:
    what a block design in Vivado needs, where the file says it.
    """

    name: str
    part: str
    resources: Resources
    dsp_columns: int
    dsp_column_height: int
    clock_mhz: float
    device: str = "dsp48e2"
    description: str = ""
    aliases: tuple[str, ...] = ()
    dsp_clock_mhz: float | None = None
    vivado: VivadoBoard | None = None

    def __post_init__(self) -> None:
        if self.clock_mhz <= 0:
            raise ValueError(f"clock_mhz must be positive, not {self.clock_mhz!r}")
        if self.dsp_clock_mhz is not None and self.dsp_clock_mhz <= 0:
            raise ValueError(f"dsp_clock_mhz must be positive or None, not {self.dsp_clock_mhz!r}")
        if self.dsp_columns * self.dsp_column_height < self.resources.dsp:
            raise ValueError(f"dsp_columns must hold all {self.resources.dsp} DSPs, not {self.dsp_columns!r}")

    @property
    def dsp_limit_mhz(self) -> float:
        """Clock that the DSPs are taken to reach: the file's, or that of the slowest grade, :data:`DSP_CLOCK_MHZ`."""
        return DSP_CLOCK_MHZ.get(self.device, 0.0) if self.dsp_clock_mhz is None else self.dsp_clock_mhz
