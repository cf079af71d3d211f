"""Stages between a bus of B codes a beat and beats of one pixel x c channels, aligned at frames.

A frame starts with a new beat of the bus. Its codes follow each other pixel by pixel with channels innermost,
the order of beats of one pixel, so that both sides are the same sequence cut in different places.
"""

from __future__ import annotations

from math import gcd
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from mixq.streams import StreamShape
from rtl_gen.arithmetic import looked_up
from rtl_gen.checks import checked_int
from rtl_gen.counters import loop_counter
from rtl_gen.fifo import StreamFifo


def bus_layout(codes: int, width: int) -> data.StructLayout:
    """Return the payload of the bus at the output: ``codes`` codes of ``width`` bits, how many count, the last beat.

    Members, least significant first: ``codes``, the first code lowest; ``count``, 1 to ``codes``: how many belong
    to the frame (the rest are 0); ``last``: the frame's last beat.
    """
    return data.StructLayout({"codes": unsigned(codes * width), "count": range(codes + 1), "last": 1})


class _Gearbox(wiring.Component):
    """What both directions share: the figures of a frame in units of gcd(B, c) codes, and the buffer.

    The buffer holds the units that came and have not left, the oldest lowest. In one cycle the units of an output
    beat may leave and those of an input beat come in behind the rest.
    """

    def __init__(self, bus_codes: int, shape: StreamShape, members: dict[str, Any]) -> None:
        self._unit_codes = gcd(bus_codes, shape.lanes)
        self._unit_bits = self._unit_codes * shape.format.width
        self._bus_units = bus_codes // self._unit_codes
        self._beat_units = shape.lanes // self._unit_codes
        self._bus_codes = bus_codes
        self._shape = shape
        frame_units = shape.beats * self._beat_units
        self._bus_beats = -(-frame_units // self._bus_units)
        # Units of the frame in its last beat of the bus.
        self._rest_units = frame_units - (self._bus_beats - 1) * self._bus_units
        super().__init__(members)

    @staticmethod
    def _checked(bus_codes: object, shape: object) -> tuple[int, StreamShape]:
        if not isinstance(shape, StreamShape):
            raise TypeError(f"shape must be a StreamShape, not {shape!r}")
        if shape.pixels != 1:
            raise ValueError(f"shape must have 1 pixel a beat, not {shape.pixels!r}")
        if not shape.even:
            raise ValueError(f"shape must have lanes that divide its channels, not {shape!r}")
        return checked_int("bus_codes", bus_codes, low=1), shape

    @property
    def shape(self) -> StreamShape:
        """Shape of the tensor and of its beats of one pixel."""
        return self._shape

    @property
    def bus_codes(self) -> int:
        """Codes of a beat of the bus."""
        return self._bus_codes

    @property
    def bus_beats(self) -> int:
        """Beats of the bus a frame."""
        return self._bus_beats

    @property
    def cycles_per_frame(self) -> int:
        """The larger of the frame's beats on either side."""
        return max(self._bus_beats, self._shape.beats)

    def _inserted(self, m: Module, kept: Any, position: Any, new: Any, positions: range) -> Signal:
        """Return ``kept`` with the units ``new`` at ``position`` (in ``positions``), which cut off what is above."""
        result = Signal.like(kept, name="inserted")
        with m.Switch(position):
            for at in positions:
                with m.Case(at):
                    m.d.comb += result.eq(Cat(kept[: at * self._unit_bits], new))
        return result


class CodesToBeats(_Gearbox):
    """Turn a bus of B codes a beat into beats of 1 pixel x c channels.

    Codes of a frame's last bus beat beyond the frame are dropped by their position.

    Parameters: ``bus_codes``: B; ``shape`` of the tensor and of the output's beats, one pixel each.

    Members: ``i``: stream of B codes, the first one lowest; ``o``: stream of beats of ``shape``.

    Latency: bus beats of a beat of the output, and 1 cycle. Throughput: ``cycles_per_frame`` = max(bus beats,
    output beats).

    Raises: TypeError, ValueError for no bus of codes, no shape or more than one pixel a beat.
    """

    def __init__(self, bus_codes: int, shape: StreamShape) -> None:
        bus_codes, shape = self._checked(bus_codes, shape)
        super().__init__(
            bus_codes,
            shape,
            {
                "i": In(stream.Signature(unsigned(bus_codes * shape.format.width))),
                "o": Out(stream.Signature(unsigned(shape.payload_bits))),
            },
        )

    @property
    def latency(self) -> int:
        """Cycles from a frame's first accepted input beat to its first output beat, when nothing stalls."""
        return -(-self._beat_units // self._bus_units) + 1

    def elaborate(self, platform: Any) -> Module:
        """Take a beat of the bus whenever the buffer would otherwise be short of an output beat."""
        m = Module()
        m.submodules.fifo = fifo = StreamFifo(self.shape.payload_bits, 2)
        bus, beat, bits = self._bus_units, self._beat_units, self._unit_bits
        capacity = bus + beat - 1
        held = Signal(capacity * bits, reset_less=True)
        count, kept_count = Signal(range(capacity + 1)), Signal(range(capacity + 1))
        kept = Signal.like(held)
        give, accept = Signal(), Signal()
        last = loop_counter(m, accept, Signal(range(self._bus_beats), name="arrived"), self._bus_beats)
        enough = looked_up(m, count, capacity + 1, lambda units: units >= beat, name="enough")
        less = looked_up(m, count, capacity + 1, lambda units: max(units - beat, 0), name="less")
        m.d.comb += [
            fifo.i.payload.eq(held),
            fifo.i.valid.eq(enough),
            give.eq(fifo.i.valid & fifo.i.ready),
            kept.eq(Mux(give, held >> beat * bits, held)),
            kept_count.eq(Mux(give, less, count)),
            self.i.ready.eq(looked_up(m, kept_count, capacity + 1, lambda units: units < beat, name="short")),
            accept.eq(self.i.valid & self.i.ready),
        ]
        inserted = self._inserted(m, kept, kept_count, self.i.payload, range(beat))
        whole = looked_up(m, kept_count, beat, lambda units: units + bus, name="whole")
        partial = looked_up(m, kept_count, beat, lambda units: units + self._rest_units, name="partial")
        m.d.sync += [held.eq(kept), count.eq(kept_count)]
        with m.If(accept):
            m.d.sync += [
                held.eq(inserted),
                count.eq(Mux(last, partial, whole)),
            ]
        wiring.connect(m, fifo.o, wiring.flipped(self.o))
        return m


class BeatsToCodes(_Gearbox):
    """Turn beats of 1 pixel x c channels into a bus of B codes a beat.

    A frame's last bus beat leaves as soon as its codes are there, filled up with zero codes.

    Parameters: ``bus_codes``: B; ``shape`` of the tensor and of the input's beats, one pixel each; ``depth`` of the
    FIFO at the output, 2 at least.

    Members: ``i``: stream of beats of ``shape``; ``o``: stream of :func:`bus_layout`.

    Latency: beats of a beat of the bus (of the frame, where that is shorter), and that of the FIFO, 1 cycle or 2.
    Throughput: ``cycles_per_frame`` = max(input beats, bus beats).

    Raises: TypeError, ValueError for no bus of codes, no shape, more than one pixel a beat or a depth below 2.
    """

    def __init__(self, bus_codes: int, shape: StreamShape, *, depth: int = 2) -> None:
        bus_codes, shape = self._checked(bus_codes, shape)
        self._depth = checked_int("depth", depth, low=2)
        super().__init__(
            bus_codes,
            shape,
            {
                "i": In(stream.Signature(unsigned(shape.payload_bits))),
                "o": Out(stream.Signature(bus_layout(bus_codes, shape.format.width))),
            },
        )

    @property
    def latency(self) -> int:
        """Cycles from a frame's first accepted input beat to its first output beat, when nothing stalls."""
        return min(-(-self._bus_units // self._beat_units), self.shape.beats) + (1 if self._depth == 2 else 2)

    def elaborate(self, platform: Any) -> Module:
        """Take a beat whenever it fits; a frame's last one is followed by zeros up to a whole beat of the bus."""
        m = Module()
        bus, beat, bits = self._bus_units, self._beat_units, self._unit_bits
        layout = bus_layout(self.bus_codes, self.shape.format.width)
        # How many codes count follows from the mark of the last beat: it need not lie in the FIFO.
        m.submodules.fifo = fifo = StreamFifo(self.bus_codes * self.shape.format.width + 1, self._depth)
        capacity = -(-(bus + beat - 1) // bus) * bus
        held = Signal(capacity * bits, reset_less=True)
        count, kept_count = Signal(range(capacity + 1)), Signal(range(capacity + 1))
        kept = Signal.like(held)
        give, accept = Signal(), Signal()
        arrived, given = Signal(range(self.shape.beats)), Signal(range(self._bus_beats))
        last_in = loop_counter(m, accept, arrived, self.shape.beats)
        last_out = loop_counter(m, give, given, self._bus_beats)
        enough = looked_up(m, count, capacity + 1, lambda units: units >= bus, name="enough")
        less = looked_up(m, count, capacity + 1, lambda units: max(units - bus, 0), name="less")
        word = Signal(layout)
        m.d.comb += [
            fifo.i.payload.eq(Cat(held[: bus * bits], last_out)),
            fifo.i.valid.eq(enough),
            give.eq(fifo.i.valid & fifo.i.ready),
            kept.eq(Mux(give, held >> bus * bits, held)),
            kept_count.eq(Mux(give, less, count)),
            accept.eq(self.i.valid & self.i.ready),
        ]
        places = range(min(capacity - beat, bus) + 1)
        # Insertion leaves zeros above the new units: they fill up the last beat.
        inserted = self._inserted(m, kept, kept_count, self.i.payload, places)
        filled = self._filled(m, kept_count, places)
        more = looked_up(m, kept_count, len(places), lambda units: units + beat, name="more")
        m.d.sync += [held.eq(kept), count.eq(kept_count)]
        with m.If(accept):
            m.d.sync += [
                held.eq(inserted),
                count.eq(Mux(last_in, filled, more)),
            ]
        codes, last = fifo.o.payload[:-1], fifo.o.payload[-1]
        m.d.comb += [
            word.codes.eq(codes),
            word.count.eq(Mux(last, self._rest_units * self._unit_codes, self.bus_codes)),
            word.last.eq(last),
            self.o.payload.eq(word),
            self.o.valid.eq(fifo.o.valid),
            fifo.o.ready.eq(self.o.ready),
        ]
        return m

    def _filled(self, m: Module, kept_count: Signal, places: range) -> Signal:
        """Return the units of whole bus beats after an insertion; be ready where there is a place for one."""
        filled = Signal.like(kept_count, name="filled")
        with m.Switch(kept_count):
            for at in places:
                with m.Case(at):
                    whole = -(-(at + self._beat_units) // self._bus_units) * self._bus_units
                    m.d.comb += [filled.eq(whole), self.i.ready.eq(1)]
        return filled
