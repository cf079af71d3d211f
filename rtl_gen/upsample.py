"""Upsampling stage: every pixel several times in each direction."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring

from mixq.plan.spatial_shapes import upsample_shape, upsample_words
from mixq.streams import StreamShape
from rtl_gen.checks import checked_int
from rtl_gen.counters import advanced, carry_places, loop_counter, up_down
from rtl_gen.credits import CreditedOutput, count_places
from rtl_gen.interfaces import Stage
from rtl_gen.memory import DualPortMemory
from rtl_gen.pipeline import delayed


class UpsampleStage(Stage):
    """Nearest-neighbour upsampling of a stream of 1 pixel x c channels: pixels ``factor`` times in both directions.

    A row is read from a memory ``factor`` times, each of its pixels ``factor`` times. A second row is written
    meanwhile, so that what comes before may give a row at a steady pace.

    Parameters: ``input_shape``, one pixel a beat; ``factor``, 2 to 4; ``style`` of the memory.

    Latency: 4 cycles. Throughput: an output beat a cycle, ``cycles_per_frame`` = output beats.

    Raises: TypeError, ValueError for another factor, or more than one pixel a beat.
    """

    def __init__(self, input_shape: StreamShape, *, factor: int, style: str = "auto") -> None:
        if not isinstance(input_shape, StreamShape):
            raise TypeError(f"input_shape must be a StreamShape, not {input_shape!r}")
        if not input_shape.even:
            raise ValueError(f"input_shape must have lanes that divide its channels, not {input_shape!r}")
        if input_shape.pixels != 1:
            raise ValueError(f"input_shape must have 1 pixel a beat, not {input_shape.pixels!r}")
        self._factor = checked_int("factor", factor, low=2, high=4)
        super().__init__(input_shape, upsample_shape(input_shape, factor))
        self._words = upsample_words(input_shape)
        self._output = CreditedOutput(input_shape.payload_bits, latency=1)
        self._style = style

    @property
    def latency(self) -> int:
        """Cycles from a frame's first accepted input beat to its first output beat, when nothing stalls."""
        return 1 + self._output.latency

    @property
    def cycles_per_frame(self) -> int:
        """Output beats of a frame."""
        return self.output_shape.beats

    def elaborate(self, platform: Any) -> Module:
        """Write rows one after the other, read each of them over and over."""
        m = Module()
        words = self._words
        m.submodules.output = output = self._output
        m.submodules.memory = memory = DualPortMemory(self.input_shape.payload_bits, words, style=self._style)
        accept, issue, frees, granted = Signal(), output.issue, Signal(), Signal()
        write = Signal(range(words), name="write_address")
        loop_counter(m, accept, write, words)
        read, fresh, last = self._reader(m, issue)
        m.d.comb += [
            self.i.ready.eq(count_places(m, words, taken=accept, freed=frees)),
            accept.eq(self.i.valid & self.i.ready),
            granted.eq(~fresh | self._arrived(m, came=accept, taken=issue & fresh)),
            issue.eq(granted & output.can_issue),
            frees.eq(issue & last),
            memory.write_en.eq(accept),
            memory.write_addr.eq(write),
            memory.write_data.eq(self.i.payload),
            memory.read_en.eq(issue),
            memory.read_addr.eq(read),
            output.result.eq(memory.read_data),
            output.result_valid.eq(delayed(m, issue, 1, name="valid", reset=True)),
        ]
        wiring.connect(m, output.o, wiring.flipped(self.o))
        return m

    def _arrived(self, m: Module, *, came: Value, taken: Value) -> Signal:
        """Whether a beat is there that has not been read yet, from a register."""
        count, some = Signal(range(self._words + 1), name="unread"), Signal(name="some_unread")
        up_down(m, count, up=came, down=taken)
        m.d.sync += some.eq(came | (count > 1) | ((count == 1) & ~taken))
        return some

    def _reader(self, m: Module, step: Value) -> tuple[Signal, Value, Value]:
        """Return the address that is read, whether for the first time, and whether for the last time."""
        shape, factor, groups = self.input_shape, self._factor, self.input_shape.channel_groups
        last_group = loop_counter(m, step, Signal(range(groups), name="group"), groups)
        pixel_done = step & last_group
        copy, row_copy, column = Signal(range(factor)), Signal(range(factor)), Signal(range(shape.width))
        last_copy = loop_counter(m, pixel_done, copy, factor)
        last_column = loop_counter(m, pixel_done & last_copy, column, shape.width)
        row_done = pixel_done & last_copy & last_column
        last_row_copy = loop_counter(m, row_done, row_copy, factor)
        second = Signal(name="second_half")
        address = Signal(range(self._words), name="read_address")
        carries = Signal(len(carry_places(len(address))), name="read_address_carries")
        place = Cat(address, carries)
        pixel, row, following = (Signal(len(place), name=name) for name in ("pixel_start", "row_start", "following"))
        m.d.comb += following.eq(Mux(second & row_done & last_row_copy, 0, advanced(address, carries)))
        with m.If(step):
            m.d.sync += place.eq(following)
        with m.If(pixel_done):
            m.d.sync += [place.eq(Mux(last_copy, following, pixel)), pixel.eq(Mux(last_copy, following, pixel))]
        with m.If(row_done):
            again = Mux(last_row_copy, following, row)
            m.d.sync += [place.eq(again), pixel.eq(again), row.eq(again), second.eq(second ^ last_row_copy)]
        fresh, last = Signal(name="fresh"), Signal(name="last_read")
        m.d.comb += [fresh.eq((copy == 0) & (row_copy == 0)), last.eq(last_copy & last_row_copy)]
        return address, fresh, last
