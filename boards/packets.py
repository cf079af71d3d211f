"""Packets of several frames: which frame is a packet's last."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from boards.registers import BATCH_BITS


class PacketEnd(wiring.Component):
    """Counts the frames of a packet.

    Members: ``batch``: frames in a packet, 0 counts as 1; ``step``: the current frame ends in this cycle;
    ``restart``: with ``step``, and the packet with it, however many frames it had; ``hold``: ``ends`` must stay as it
    is; ``ends``: the current frame is its packet's last, from a register. Another ``batch`` counts from the packet on
    whose first frame has not ended.
    """

    def __init__(self) -> None:
        super().__init__(
            {"batch": In(BATCH_BITS), "step": In(1), "restart": In(1), "hold": In(1), "ends": Out(1, init=1)}
        )

    def elaborate(self, platform: Any) -> Module:
        """What the end of this frame makes of the next one is known beforehand."""
        m = Module()
        first, left, next_ends = Signal(init=1), Signal(BATCH_BITS), Signal()
        single, pair = self.batch[1:] == 0, (self.batch[2:] == 0) & ~self.batch[:2].all()
        over = self.ends | self.restart
        m.d.comb += next_ends.eq(Mux(over, single, Mux(first, pair, left == 1)))
        with m.If(self.step):
            m.d.sync += [
                first.eq(over),
                left.eq(Mux(first, self.batch - 2, left - 1)),
                self.ends.eq(next_ends),
            ]
        with m.Elif(first & ~self.hold):
            m.d.sync += self.ends.eq(single)
        return m
