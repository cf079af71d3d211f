"""Holds what comes on the input bus to whole frames, and says of each frame whether it is one."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from boards.axis_ports import BusShape, bus_word
from boards.packets import PacketEnd
from boards.registers import BATCH_BITS
from rtl_gen.counters import loop_counter


class FrameGuard(wiring.Component):
    """Passes frames of ``bus.beats`` beats on, however many come with their ``last``, and gives a verdict on each.

    A packet of ``batch`` frames has ``last`` on the last beat of its last frame. What is wrong with a frame:

    - ``last`` comes before its end: it is *short*, and filled up with beats of zeros; the packet ends with it.
    - A byte of it is not kept: it is short, too. Bytes of its last beat beyond it do not matter.
    - It is its packet's last and its last beat has no ``last``: it is *long*, whatever was kept of it, and beats are
      dropped up to the next ``last`` and with it.

    A whole frame with ``last`` that is not its packet's last is good; the packet ends with it, and counts as short.

    Parameters: ``bus``.

    Members: ``i``: stream of :func:`boards.axis_ports.bus_word`; ``o``: stream of ``bus.bits``; ``verdicts``: stream of
    1 for a good frame and 0 for another, given with the frame's last beat that comes in; ``batch``: see
    :class:`boards.packets.PacketEnd`; ``taken``, ``short``, ``long``: 1 for a cycle when a good frame came, a short
    frame or packet, a long frame; ``busy``: some of a frame is in, but not all, or beats are dropped.

    Latency: 0. ``i.ready`` follows ``o.ready`` and ``verdicts.ready`` within the cycle, and nothing else.
    Throughput: a beat a cycle, a good frame right behind another one.
    """

    def __init__(self, bus: BusShape) -> None:
        self._bus = bus
        super().__init__(
            {
                "i": In(stream.Signature(bus_word(bus.bits))),
                "o": Out(stream.Signature(unsigned(bus.bits))),
                "verdicts": Out(stream.Signature(1)),
                "batch": In(BATCH_BITS),
                "taken": Out(1),
                "short": Out(1),
                "long": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """A beat goes on and gives its verdict in the same cycle, when there is room for both."""
        m = Module()
        word = self.i.payload
        m.submodules.packet = packet = PacketEnd()
        filling, dropping, amid, lacking = Signal(), Signal(), Signal(), Signal()
        accept, push, ends, missing, short, long, good = (Signal() for _ in range(7))
        last_beat = loop_counter(m, push, Signal(range(self._bus.beats), name="beat"), self._bus.beats)
        own = self._bus.rest * self._bus.container_bits // 8
        m.d.comb += [
            self.i.ready.eq(dropping | (self.o.ready & self.verdicts.ready & ~filling)),
            self.o.valid.eq(filling | (self.i.valid & self.verdicts.ready & ~dropping)),
            self.o.payload.eq(Mux(filling, 0, word.data)),
            push.eq(self.o.valid & self.o.ready),
            accept.eq(push & ~filling),
            ends.eq(accept & (last_beat | word.last)),
            missing.eq(lacking | ~word.keep.all() & ~(last_beat & word.keep[:own].all())),
            long.eq(last_beat & packet.ends & ~word.last),
            good.eq(last_beat & ~missing & ~long),
            short.eq(~long & (~good | (word.last & ~packet.ends))),
            self.verdicts.valid.eq(ends),
            self.verdicts.payload.eq(good),
            packet.batch.eq(self.batch),
            packet.step.eq(ends),
            packet.restart.eq(word.last),
            self.busy.eq(amid | filling | dropping),
        ]
        m.d.sync += [self.taken.eq(ends & good), self.short.eq(ends & short), self.long.eq(ends & long)]
        with m.If(accept):
            m.d.sync += [amid.eq(~ends), lacking.eq(missing & ~ends), filling.eq(word.last & ~last_beat)]
        with m.If(filling & push & last_beat):
            m.d.sync += filling.eq(0)
        with m.If(ends & long):
            m.d.sync += dropping.eq(1)
        with m.Elif(dropping & self.i.valid & word.last):
            m.d.sync += dropping.eq(0)
        return m
