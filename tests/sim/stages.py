"""Small stages to try the bench on: one that keeps the rules of streams, and the ways in which it can break them."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, ClockSignal, Instance, Module, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

FAULTS = (
    "drops a beat",
    "repeats the first beat after reset",
    "changes while stalled",
    "valid falls",
    "valid waits for ready",
    "valid follows ready",
    "looks at payload without valid",
    "keeps state over reset",
    "one beat too many",
    "needs the next frame",
)


class SkidBuffer(wiring.Component):
    """Two registers: full throughput with no path from ``o.ready`` to ``i.ready``; latency 1.

    ``fault`` is None or one of :data:`FAULTS`; a frame is four beats.
    """

    def __init__(self, width: int, *, fault: str | None = None) -> None:
        if fault is not None and fault not in FAULTS:
            raise ValueError(f"fault must be None or one of {FAULTS}, not {fault!r}")
        self._width, self._fault = width, fault
        signature = stream.Signature(unsigned(width))
        super().__init__({"i": In(signature), "o": Out(signature), "add": In(4)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        words = Array(Signal(self._width, name=f"word{index}") for index in range(2))
        count, write, read, beats = Signal(2), Signal(), Signal(), Signal(8)
        seen = Signal(reset_less=True)
        put, take = Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(count < 2),
            self.o.valid.eq(count > 0),
            self.o.payload.eq(words[read] + self.add),
            put.eq(self.i.valid & self.i.ready),
            take.eq(self.o.valid & self.o.ready),
        ]
        m.d.sync += count.eq(count + put - take)
        with m.If(put):
            m.d.sync += [
                words[write].eq(self.i.payload),
                write.eq(~write),
                beats.eq(beats + 1),
                seen.eq(seen | (beats == 2)),
            ]
        with m.If(take):
            m.d.sync += read.eq(~read)
        self._break(m, count=count, words=words, read=read, write=write, put=put, take=take, beats=beats, seen=seen)
        return m

    def _break(self, m: Module, **s: Any) -> None:
        count, words, beats, put, take = s["count"], s["words"], s["beats"], s["put"], s["take"]
        match self._fault:
            case "drops a beat":
                with m.If(put & (beats == 5)):
                    m.d.sync += [count.eq(count - take), s["write"].eq(s["write"])]
            case "repeats the first beat after reset":
                with m.If(take & (beats == 1) & ~put):
                    m.d.sync += [count.eq(count), s["read"].eq(s["read"]), beats.eq(2)]
            case "changes while stalled":
                with m.If(~take & (count == 2)):
                    m.d.sync += words[s["read"]].eq(words[s["read"]] + 1)
            case "valid falls":
                hide = Signal()
                m.d.sync += hide.eq((count == 2) & ~self.o.ready & ~hide)
                with m.If(hide):
                    m.d.comb += self.o.valid.eq(0)
            case "valid waits for ready":
                asked = Signal()
                m.d.sync += asked.eq(self.o.ready | (asked & ~take))
                m.d.comb += self.o.valid.eq((count > 0) & asked)
            case "valid follows ready":
                m.d.comb += self.o.valid.eq((count > 0) & self.o.ready)
            case "looks at payload without valid":
                with m.If((count < 2) & ~put):
                    m.d.sync += words[s["read"]].eq(self.i.payload)
            case "keeps state over reset":
                with m.If(s["seen"] & (beats == 1)):
                    m.d.comb += self.o.payload.eq(~words[s["read"]])
            case "one beat too many":
                with m.If(take & ~put & (count == 1) & (beats[:2] == 0)):
                    m.d.sync += [count.eq(1), s["read"].eq(s["read"]), beats.eq(beats + 1)]
            case "needs the next frame":
                with m.If((beats[:2] == 0) & (count == 1)):
                    m.d.comb += self.o.valid.eq(0)


class Unclocked(wiring.Component):
    """A wire: no register, so that its latency is 0."""

    def __init__(self, width: int) -> None:
        signature = stream.Signature(unsigned(width))
        super().__init__({"i": In(signature), "o": Out(signature)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        wiring.connect(m, wiring.flipped(self.i), wiring.flipped(self.o))
        unused = Signal()
        m.d.sync += unused.eq(~unused)
        return m


class TableStage(wiring.Component):
    """Looks the payload up in a memory image, in an instance of the hand-written read-only memory; latency 1."""

    def __init__(self, table: list[int]) -> None:
        self._table = table
        self.memory_images = {"table.mem": "".join(f"{word:02x}\n" for word in table)}
        super().__init__({"i": In(stream.Signature(unsigned(4))), "o": Out(stream.Signature(unsigned(8)))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        enable = Signal()
        m.submodules.rom = Instance(
            "mixq_rom",
            p_WIDTH=8,
            p_DEPTH=len(self._table),
            p_ADDR_WIDTH=4,
            p_FILE="table.mem",
            i_clk=ClockSignal("sync"),
            i_en=enable,
            i_addr=self.i.payload,
            o_data=self.o.payload,
        )
        m.d.comb += [enable.eq(~self.o.valid | self.o.ready), self.i.ready.eq(enable)]
        with m.If(enable):
            m.d.sync += self.o.valid.eq(self.i.valid)
        return m
