"""Simple dual-port memory with a registered read, and the choice of its style."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from mixq.plan import memories
from rtl_gen.checks import checked_choice, checked_int

STYLES = ("auto", "distributed", "block", "ultra")


def memory_style(width: int, depth: int, style: str = "auto") -> str:
    """Return the style of a memory of ``depth`` words of ``width`` bits: "distributed", "block" or "ultra".

    "auto" is what the planner counts on, :func:`mixq.plan.memories.memory_style`. Raises: ValueError for an unknown
    style.
    """
    checked_choice("style", style, STYLES)
    return memories.memory_style(width, depth) if style == "auto" else style


class DualPortMemory(wiring.Component):
    """Memory with one write port and one read port in the same clock domain.

    A word written in cycle t is read by a read enabled in cycle t + 1 or later; its data is there one cycle
    after the enable and holds until the next enabled read. A read of the word that is written in the same
    cycle returns the old word. A depth of 1 is a plain register with the same timing. All words are 0 at
    configuration; a reset leaves them as they are.

    With ``early`` the register of LUT RAM lies in front of it, at the end of the logic that makes the address: the same
    timing, but a word that is read must not be written in the same cycle, and ``read_data`` is good for one cycle: it
    follows what is written later. Other styles, and a depth of 1, are as without.

    Parameters: ``width`` of a word in bits; ``depth`` in words; ``style`` as in :func:`memory_style`; ``early``.
    Raises: TypeError, ValueError for a width or depth below 1 or an unknown style.
    """

    def __init__(self, width: int, depth: int, *, style: str = "auto", early: bool = False) -> None:
        self._early = early
        self._width = checked_int("width", width, low=1)
        self._depth = checked_int("depth", depth, low=1)
        self._style = memory_style(self._width, self._depth, style)
        # Depth 1 keeps an address bit that nothing reads: a port of width 0 is not Verilog.
        address = max(1, ceil_log2(self._depth))
        super().__init__(
            {
                "write_en": In(1),
                "write_addr": In(address),
                "write_data": In(self._width),
                "read_en": In(1),
                "read_addr": In(address),
                "read_data": Out(self._width),
            }
        )

    @property
    def depth(self) -> int:
        """Words."""
        return self._depth

    @property
    def width(self) -> int:
        """Bits of a word."""
        return self._width

    @property
    def style(self) -> str:
        """The style that was chosen."""
        return self._style

    def elaborate(self, platform: Any) -> Module:
        """Build the memory, or the register that stands for one word."""
        m = Module()
        if self._depth == 1:
            word = Signal(self._width)
            with m.If(self.write_en):
                m.d.sync += word.eq(self.write_data)
            with m.If(self.read_en):
                m.d.sync += self.read_data.eq(word)
            return m
        m.submodules.memory = storage = memory.Memory(
            shape=self._width, depth=self._depth, init=[], attrs={"ram_style": self._style}
        )
        write = storage.write_port()
        m.d.comb += [
            write.en.eq(self.write_en),
            write.addr.eq(self.write_addr),
            write.data.eq(self.write_data),
        ]
        if self._early and self._style == "distributed":
            read = storage.read_port(domain="comb")
            address = Signal.like(self.read_addr, reset_less=True)
            with m.If(self.read_en):
                m.d.sync += address.eq(self.read_addr)
            m.d.comb += read.addr.eq(address)
        else:
            read = storage.read_port()
            m.d.comb += [read.en.eq(self.read_en), read.addr.eq(self.read_addr)]
        m.d.comb += self.read_data.eq(read.data)
        return m
