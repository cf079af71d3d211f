"""The registers of the accelerator on AXI4-Lite: one table, which hardware, driver and documentation share.

Registers are 32 bits wide, at byte offsets that are multiples of 4. This file needs the standard library alone: it
travels to the board with the driver, where an older Python may be.
"""

from __future__ import annotations

from dataclasses import dataclass

ADDRESS_BITS = 8
"""Width of an address on AXI4-Lite: 256 bytes, of which those without a register read 0 and ignore writes."""

MAGIC = 0x4D495851
"""What ``ID`` reads: "MIXQ" in ASCII, the first letter in the highest byte."""

MAP_VERSION = 1
"""What ``VERSION`` reads. A map with other meanings has another number; added registers do not change it."""

READ, READ_WRITE, WRITE_ONE_CLEARS = "read", "read, write", "read, write 1 clears"
"""Accesses: what a register cannot do is ignored and answered with OKAY."""

SOFT_RESET = 1 << 0
"""Bit of ``CONTROL``."""

SHORT_FRAME, LONG_FRAME, BUSY = 1 << 0, 1 << 1, 1 << 2
"""Bits of ``STATUS``."""

BATCH_BITS = 16
"""Bits of ``BATCH`` that can be written; those above read 0."""


@dataclass(frozen=True)
class Register:
    """A register: its byte offset, what a bus may do with it, what it reads after reset if that is fixed."""

    name: str
    offset: int
    access: str
    description: str
    reset: int | None = 0


REGISTERS = (
    Register("ID", 0x00, READ, '"MIXQ" in ASCII, first letter in the highest byte', MAGIC),
    Register("VERSION", 0x04, READ, "version of this map", MAP_VERSION),
    Register("BUILD_HASH_LOW", 0x08, READ, "build hash, bits 31 to 0", None),
    Register("BUILD_HASH_HIGH", 0x0C, READ, "build hash, bits 63 to 32", None),
    Register("CONTROL", 0x10, READ_WRITE, "bit 0: soft reset, done when it reads 0 again"),
    Register("STATUS", 0x14, WRITE_ONE_CLEARS, "bit 0: a short frame came, 1: a long one, 2: frames are inside"),
    Register("FRAMES_IN", 0x18, READ, "whole frames taken in"),
    Register("FRAMES_OUT", 0x1C, READ, "frames given out, up to their last beat"),
    Register("SHORT_FRAMES", 0x20, READ, "short frames dropped"),
    Register("LONG_FRAMES", 0x24, READ, "long frames dropped"),
    Register("CYCLES_LOW", 0x28, READ, "cycles of ap_clk since reset, bits 31 to 0; a read holds the other half", None),
    Register("CYCLES_HIGH", 0x2C, READ, "bits 63 to 32, of when CYCLES_LOW was read last"),
    Register("FRAME_CYCLES", 0x30, READ, "cycles between the last beats of the two frames given out last, else 0"),
    Register("INPUT_BYTES", 0x34, READ, "bytes of an input frame", None),
    Register("OUTPUT_BYTES", 0x38, READ, "bytes of an output frame", None),
    Register("BUS_BITS", 0x3C, READ, "width of s_axis_0_tdata in bits 15 to 0, of m_axis_0_tdata in 31 to 16", None),
    Register("BATCH", 0x40, READ_WRITE, "frames in a packet, at both streams, up to 65,535; 0 counts as 1", 1),
)
"""All registers, by offset."""

OFFSETS = {register.name: register.offset for register in REGISTERS}
"""Name of a register -> its byte offset."""
