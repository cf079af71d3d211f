"""Lets output frames leave whose input frame was good, and swallows the others."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from boards.axis_ports import bus_word
from boards.packets import PacketEnd
from boards.registers import BATCH_BITS
from rtl_gen.fifo import StreamFifo


class OutputGate(wiring.Component):
    """Gives out the frames that a verdict calls good; a frame waits for its verdict, and a bad one is swallowed.

    ``last`` is 1 at the end of a packet alone, after ``batch`` frames that were given out. Within a packet all bytes
    are kept, those of a frame's last beat beyond it too, which are 0: a DMA engine takes no others there.

    Parameters: ``bits`` of the bus; ``frames``: verdicts that can wait.

    Members: ``verdicts``: stream of 1 for a good frame and 0 for another; ``i``, ``o``: streams of
    :func:`boards.axis_ports.bus_word`, ``i`` with ``last`` at the end of every frame; ``batch``: see
    :class:`boards.packets.PacketEnd`; ``closing``: no beat may be offered any more but one that stands; ``offering``:
    one is offered; ``given``: 1 for a cycle when a frame has left; ``waiting``: there is a frame with a verdict.

    Latency: 0; that of a verdict is 2 cycles. ``o.valid`` and ``o.payload`` follow ``i`` and ``closing`` within the
    cycle, ``i.ready`` follows ``o.ready``. Throughput: a beat a cycle.
    """

    def __init__(self, bits: int, frames: int) -> None:
        self._frames = frames
        word = bus_word(bits)
        super().__init__(
            {
                "verdicts": In(stream.Signature(1)),
                "i": In(stream.Signature(word)),
                "o": Out(stream.Signature(word)),
                "batch": In(BATCH_BITS),
                "closing": In(1),
                "offering": Out(1),
                "given": Out(1),
                "waiting": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """The FIFO of verdicts, whose head opens the gate or makes it swallow."""
        m = Module()
        m.submodules.verdicts = verdicts = StreamFifo(1, self._frames)
        m.submodules.packet = packet = PacketEnd()
        wiring.connect(m, wiring.flipped(self.verdicts), verdicts.i)
        word, good = self.i.payload, verdicts.o.payload
        standing, takes = Signal(), Signal()
        m.d.comb += [
            self.offering.eq(self.i.valid & verdicts.o.valid & good & (standing | ~self.closing)),
            takes.eq(verdicts.o.valid & Mux(good, self.o.ready & (standing | ~self.closing), 1)),
            self.o.valid.eq(self.offering),
            self.o.payload.data.eq(word.data),
            self.o.payload.keep.eq(word.keep | (~packet.ends).replicate(len(word.keep))),
            self.o.payload.last.eq(word.last & packet.ends),
            self.i.ready.eq(takes),
            verdicts.o.ready.eq(takes & self.i.valid & word.last),
            packet.batch.eq(self.batch),
            packet.step.eq(self.offering & self.o.ready & word.last),
            packet.hold.eq(self.offering),
            self.waiting.eq(verdicts.level != 0),
        ]
        m.d.sync += [standing.eq(self.offering & ~self.o.ready), self.given.eq(packet.step)]
        return m
