"""Stages between beats of N pixels and beats of one pixel; the channels of a beat stay."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.utils import ceil_log2

from mixq.plan.conversion import burst_beats
from mixq.streams import StreamShape
from rtl_gen.checks import checked_int
from rtl_gen.counters import incremented, loop_counter
from rtl_gen.credits import CreditedOutput
from rtl_gen.interfaces import Stage
from rtl_gen.memory import DualPortMemory
from rtl_gen.pipeline import delayed


class Ungroup(Stage):
    """Turn beats of N pixels x c channels into beats of 1 pixel x c channels.

    The groups of channels of N pixels come pixel-innermost and leave channel-innermost, so that they are held in
    one half of a memory of 2 x groups beats while the other half is filled. Pixels beyond the width, in the last
    group of a row, are dropped.

    Parameters: ``input_shape``; ``style`` of the memory.

    Latency: as many cycles as there are groups of channels, and 4. Throughput: an output beat a cycle,
    ``cycles_per_frame`` = output beats.

    Raises: TypeError for no StreamShape.
    """

    # Read the memory, select the pixel.
    _PIPELINE = 2

    def __init__(self, input_shape: StreamShape, *, style: str = "auto") -> None:
        if not isinstance(input_shape, StreamShape):
            raise TypeError(f"input_shape must be a StreamShape, not {input_shape!r}")
        super().__init__(input_shape, input_shape.with_beat(pixels=1, lanes=input_shape.lanes))
        self._style = style
        self._output = CreditedOutput(self.output_shape.payload_bits, latency=self._PIPELINE)

    @property
    def latency(self) -> int:
        """Cycles from a frame's first accepted input beat to its first output beat, when nothing stalls."""
        return self.input_shape.channel_groups + self._output.latency

    @property
    def cycles_per_frame(self) -> int:
        """Output beats of a frame."""
        return self.output_shape.beats

    def elaborate(self, platform: Any) -> Module:
        """Fill one half, empty the other."""
        m = Module()
        groups = self.input_shape.channel_groups
        m.submodules.output = output = self._output
        m.submodules.memory = memory = DualPortMemory(
            self.input_shape.payload_bits, 1 << ceil_log2(groups) + 1, style=self._style
        )
        full = Signal(2)
        write_half, write_group = Signal(), Signal(range(groups))
        read_half, read_group = Signal(), Signal(range(groups))
        accept, issue = Signal(), output.issue
        last_written, last_read = (
            loop_counter(m, enable, group, groups) for enable, group in ((accept, write_group), (issue, read_group))
        )
        pixel, last_pixel = self._pixels(m, last_read & issue)
        m.d.comb += [
            self.i.ready.eq(~full.bit_select(write_half, 1)),
            accept.eq(self.i.valid & self.i.ready),
            memory.write_en.eq(accept),
            memory.write_addr.eq(Cat(write_group, write_half)),
            memory.write_data.eq(self.i.payload),
            issue.eq(full.bit_select(read_half, 1) & output.can_issue),
            memory.read_en.eq(issue),
            memory.read_addr.eq(Cat(read_group, read_half)),
        ]
        with m.If(accept & last_written):
            m.d.sync += [write_half.eq(~write_half), full.bit_select(write_half, 1).eq(1)]
        with m.If(issue & last_read & last_pixel):
            m.d.sync += [read_half.eq(~read_half), full.bit_select(read_half, 1).eq(0)]
        result = Signal(self.output_shape.payload_bits, reset_less=True)
        selected = delayed(m, pixel, 1, name="pixel")
        m.d.sync += result.eq(memory.read_data.word_select(selected, len(result)))
        m.d.comb += [
            output.result.eq(result),
            output.result_valid.eq(delayed(m, issue, self._PIPELINE, name="valid", reset=True)),
        ]
        wiring.connect(m, output.o, wiring.flipped(self.o))
        return m

    def _pixels(self, m: Module, step: Any) -> tuple[Signal, Signal]:
        """Count pixels of a group and groups of a row: (pixel, whether it is the group's last)."""
        shape = self.input_shape
        pixel, group, last_pixel = Signal(range(shape.pixels)), Signal(range(shape.groups)), Signal()
        last_group = loop_counter(m, step & last_pixel, group, shape.groups)
        rest = shape.width - (shape.groups - 1) * shape.pixels
        m.d.comb += last_pixel.eq(pixel == Mux(last_group, rest - 1, shape.pixels - 1))
        with m.If(step):
            m.d.sync += pixel.eq(Mux(last_pixel, 0, incremented(pixel)))
        return pixel, last_pixel


class Group(Stage):
    """Turn beats of 1 pixel x c channels into beats of N pixels x c channels.

    All but the last pixel of a group wait in memories, one a pixel, of a beat for each group of channels; a beat
    leaves with its last pixel. The last group of a row leaves with the row's last pixel; the places beyond the
    width carry zero codes.

    Parameters: ``input_shape``, one pixel a beat; ``pixels``: N, 1 or more; ``style`` of the memories.

    Latency: the beats before the group's last pixel (or the row's, where it is shorter), and 4 cycles.
    Throughput: an input beat a cycle, ``cycles_per_frame`` = input beats.

    Raises: TypeError, ValueError for pixels below 1 or more than one pixel a beat at the input.
    """

    # Read the memories, join the pixels.
    _PIPELINE = 2

    def __init__(self, input_shape: StreamShape, *, pixels: int, style: str = "auto") -> None:
        if not isinstance(input_shape, StreamShape):
            raise TypeError(f"input_shape must be a StreamShape, not {input_shape!r}")
        if input_shape.pixels != 1:
            raise ValueError(f"input_shape must have 1 pixel a beat, not {input_shape.pixels!r}")
        pixels = checked_int("pixels", pixels, low=1)
        super().__init__(input_shape, input_shape.with_beat(pixels=pixels, lanes=input_shape.lanes))
        self._style = style
        burst = burst_beats(input_shape)
        self._output = CreditedOutput(self.output_shape.payload_bits, latency=self._PIPELINE, burst=burst)

    @property
    def latency(self) -> int:
        """Cycles from a frame's first accepted input beat to its first output beat, when nothing stalls."""
        before = min(self.output_shape.pixels, self.input_shape.width) - 1
        return before * self.input_shape.channel_groups + self._output.latency

    @property
    def cycles_per_frame(self) -> int:
        """Input beats of a frame."""
        return self.input_shape.beats

    def elaborate(self, platform: Any) -> Module:
        """Store pixels; with the last one of a group, read the others and join them."""
        m = Module()
        shape, count = self.input_shape, self.output_shape.pixels
        bits, groups = shape.payload_bits, shape.channel_groups
        m.submodules.output = output = self._output
        group, pixel, column = Signal(range(groups)), Signal(range(count)), Signal(range(shape.width))
        # A register, set a step ahead: whether a beat needs a place at the output hangs on it.
        gives, accept = Signal(init=count == 1 or shape.width == 1), Signal()
        last_group = loop_counter(m, accept, group, groups)
        loop_counter(m, accept & last_group, column, shape.width)
        last_column_after = Const(1, 1) if shape.width == 1 else column == shape.width - 2
        m.d.comb += [
            self.i.ready.eq(output.can_issue | ~gives),
            accept.eq(self.i.valid & self.i.ready),
            output.issue.eq(accept & gives),
        ]
        with m.If(accept & last_group):
            m.d.sync += [
                pixel.eq(Mux(gives, 0, incremented(pixel))),
                gives.eq(Mux(gives, count == 1, pixel == count - 2) | last_column_after),
            ]
        newest, present = delayed(m, self.i.payload, 1, name="newest"), delayed(m, pixel, 1, name="present")
        result = Signal(count * bits, reset_less=True)
        for at in range(count):
            stored: Any = 0
            if at < count - 1:
                m.submodules[f"pixel{at}"] = memory = DualPortMemory(bits, groups, style=self._style)
                m.d.comb += [
                    memory.write_en.eq(accept & (pixel == at)),
                    memory.write_addr.eq(group),
                    memory.write_data.eq(self.i.payload),
                    memory.read_en.eq(output.issue),
                    memory.read_addr.eq(group),
                ]
                stored = Mux(present > at, memory.read_data, 0)
            m.d.sync += result.word_select(at, bits).eq(Mux(present == at, newest, stored))
        m.d.comb += [
            output.result.eq(result),
            output.result_valid.eq(delayed(m, output.issue, self._PIPELINE, name="valid", reset=True)),
        ]
        wiring.connect(m, output.o, wiring.flipped(self.o))
        return m
