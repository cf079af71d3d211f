"""Stages that change how many channels a beat carries; the pixels of a beat stay."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring

from mixq.streams import StreamShape
from rtl_gen.checks import checked_int
from rtl_gen.counters import incremented, loop_counter
from rtl_gen.fifo import StreamFifo
from rtl_gen.interfaces import Stage


def with_lanes(shape: StreamShape, lanes: int) -> StreamShape:
    """Return ``shape`` with other lanes. Raises: TypeError, ValueError as the stages that call this say."""
    if not isinstance(shape, StreamShape):
        raise TypeError(f"input_shape must be a StreamShape, not {shape!r}")
    return shape.with_beat(pixels=shape.pixels, lanes=checked_int("lanes", lanes, low=1))


def selected_lanes(beat: Any, shape: StreamShape, first: int, count: int) -> Any:
    """Return channels ``first`` to ``first + count - 1`` of every pixel of a beat of ``shape``, pixel by pixel."""
    width = shape.format.width
    starts = ((pixel * shape.lanes + first) * width for pixel in range(shape.pixels))
    return Cat(beat[start : start + count * width] for start in starts)


class ChannelSplit(Stage):
    """Turn a beat of N pixels x c1 channels into c1 / c2 beats of the same pixels x c2 channels.

    Parameters: ``input_shape``; ``lanes``: c2, a divisor of c1.

    Latency: 2 cycles. Throughput: an output beat a cycle, ``cycles_per_frame`` = output beats.

    Raises: TypeError, ValueError for lanes that do not divide the input's.
    """

    def __init__(self, input_shape: StreamShape, *, lanes: int) -> None:
        output_shape = with_lanes(input_shape, lanes)
        if input_shape.lanes % lanes:
            raise ValueError(f"lanes must divide the input's {input_shape.lanes}, not {lanes!r}")
        if not input_shape.even:
            raise ValueError(f"input_shape must have lanes that divide its channels, not {input_shape!r}")
        super().__init__(input_shape, output_shape)
        self._parts = input_shape.lanes // lanes

    @property
    def latency(self) -> int:
        """Cycles from a frame's first accepted input beat to its first output beat, when nothing stalls."""
        return 2

    @property
    def cycles_per_frame(self) -> int:
        """Output beats of a frame."""
        return self.output_shape.beats

    def elaborate(self, platform: Any) -> Module:
        """Hold a beat and give its parts in turn; take the next one with the last part."""
        m = Module()
        m.submodules.fifo = fifo = StreamFifo(self.output_shape.payload_bits, 2)
        lanes = self.output_shape.lanes
        held, full = Signal.like(self.i.payload, reset_less=True), Signal()
        part = Signal(range(self._parts))
        last = loop_counter(m, full & fifo.i.ready, part, self._parts)
        parts = [selected_lanes(held, self.input_shape, at * lanes, lanes) for at in range(self._parts)]
        m.d.comb += [
            fifo.i.valid.eq(full),
            self.i.ready.eq(~full | (last & fifo.i.ready)),
        ]
        with m.Switch(part):
            for at, beat in enumerate(parts):
                with m.Case(at):
                    m.d.comb += fifo.i.payload.eq(beat)
        with m.If(full & fifo.i.ready):
            m.d.sync += full.eq(~last)
        with m.If(self.i.ready & self.i.valid):
            m.d.sync += [held.eq(self.i.payload), full.eq(1)]
        wiring.connect(m, fifo.o, wiring.flipped(self.o))
        return m


class ChannelGather(Stage):
    """Turn c2 / c1 beats of N pixels x c1 channels into one of the same pixels x c2 channels.

    Where c2 does not divide the channels, the last beat of a group of pixels leaves with the last channels there are.

    Parameters: ``input_shape``, with c1 a divisor of the channels; ``lanes``: c2, a multiple of c1.

    Latency: c2 / c1 cycles. Throughput: an input beat a cycle, ``cycles_per_frame`` = input beats.

    Raises: TypeError, ValueError for lanes that are no multiple of the input's, or an input of uneven beats.
    """

    def __init__(self, input_shape: StreamShape, *, lanes: int) -> None:
        output_shape = with_lanes(input_shape, lanes)
        if lanes % input_shape.lanes:
            raise ValueError(f"lanes must be a multiple of the input's {input_shape.lanes}, not {lanes!r}")
        if not input_shape.even:
            raise ValueError(f"input_shape must have lanes that divide its channels, not {input_shape!r}")
        super().__init__(input_shape, output_shape)
        self._parts = lanes // input_shape.lanes

    @property
    def latency(self) -> int:
        """Cycles from a frame's first accepted input beat to its first output beat, when nothing stalls."""
        return self._parts

    @property
    def cycles_per_frame(self) -> int:
        """Input beats of a frame."""
        return self.input_shape.beats

    def elaborate(self, platform: Any) -> Module:
        """Hold all parts but the last, which goes out with them."""
        m = Module()
        m.submodules.fifo = fifo = StreamFifo(self.output_shape.payload_bits, 2)
        shape = self.input_shape
        held = [Signal.like(self.i.payload, name=f"part{at}", reset_less=True) for at in range(self._parts - 1)]
        part = Signal(range(self._parts))
        accept = Signal()
        beats: list[Any] = [*held, self.i.payload]
        if self.output_shape.even:
            last = loop_counter(m, accept, part, self._parts)
        else:
            last, last_word, rest = self._uneven(m, accept, part)
            beats[rest - 1] = Mux(last_word, self.i.payload, held[rest - 1])
        m.d.comb += [
            accept.eq(self.i.valid & self.i.ready),
            fifo.i.valid.eq(self.i.valid & last),
            self.i.ready.eq(fifo.i.ready | ~last),
            fifo.i.payload.eq(
                Cat(
                    beat.word_select(pixel, shape.lanes * shape.format.width)
                    for pixel in range(shape.pixels)
                    for beat in beats
                )
            ),
        ]
        with m.If(accept), m.Switch(part):
            for at, word in enumerate(held):
                with m.Case(at):
                    m.d.sync += word.eq(self.i.payload)
        wiring.connect(m, fifo.o, wiring.flipped(self.o))
        return m

    def _uneven(self, m: Module, accept: Value, part: Signal) -> tuple[Value, Value, int]:
        """Count parts, of which a pixel's last beat has fewer: whether one is its beat's last, whether that beat is the
        pixel's last, and the parts of that."""
        words = self.output_shape.channel_groups
        rest = self.input_shape.channel_groups - (words - 1) * self._parts
        last = Signal(name="part_last")
        last_word = loop_counter(m, accept & last, Signal(range(words), name="word"), words)
        m.d.comb += last.eq(part == Mux(last_word, rest - 1, self._parts - 1))
        with m.If(accept):
            m.d.sync += part.eq(Mux(last, 0, incremented(part)))
        return last, last_word, rest
