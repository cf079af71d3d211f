"""Max-pooling stage."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from mixq.formats import IntFormat
from mixq.plan.conversion import burst_beats
from mixq.streams import StreamShape
from rtl_gen.checks import checked_int
from rtl_gen.counters import advanced, carry_places, decremented, loop_counter
from rtl_gen.credits import CreditedOutput
from rtl_gen.interfaces import Stage
from rtl_gen.memory import DualPortMemory
from rtl_gen.pipeline import delayed


class SlidingMax(wiring.Component):
    """Maximum of a word of codes and the ``kernel - 1`` words that came before at the same address.

    Addresses come in turn, 0 to ``depth - 1`` and again, so that a word returns to the memory before its address
    comes back.

    Parameters: ``format`` of a code; ``lanes``, codes of a word; ``kernel``, 2 or more; ``depth``, addresses;
    ``style`` of the memory, which has ``depth`` words of ``kernel - 1`` codes a lane (a register at depth 1).

    Members: ``x``, ``address``, ``valid``; ``y``, 2 cycles (``LATENCY``) later. Throughput: a word a cycle.
    """

    LATENCY = 2

    def __init__(self, format: IntFormat, *, lanes: int, kernel: int, depth: int, style: str = "auto") -> None:
        self._format = format
        self._lanes = lanes
        self._kernel = kernel
        self._depth = depth
        self._bits = lanes * format.width
        self._style = style
        super().__init__(
            {
                "x": In(self._bits),
                "address": In(max(1, ceil_log2(depth))),
                "valid": In(1),
                "y": Out(self._bits),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Read, compare and write back: the new word in front, the oldest dropped."""
        m = Module()
        x = delayed(m, self.x, 1, name="x")
        valid = delayed(m, self.valid, 1, name="valid", reset=True)
        before = Signal((self._kernel - 1) * self._bits)
        update = Cat(x, before)[: len(before)]
        if self._depth == 1:
            # The word written in this cycle is needed in the next: too soon for a memory.
            held = Signal.like(before)
            m.d.comb += before.eq(held)
            with m.If(valid):
                m.d.sync += held.eq(update)
        else:
            m.submodules.memory = memory = DualPortMemory(len(before), self._depth, style=self._style)
            m.d.comb += [
                memory.read_en.eq(self.valid),
                memory.read_addr.eq(self.address),
                before.eq(memory.read_data),
                memory.write_en.eq(valid),
                memory.write_addr.eq(delayed(m, self.address, 1, name="address")),
                memory.write_data.eq(update),
            ]
        result = Signal(self._bits, reset_less=True)
        words = [x, *(before.word_select(age, self._bits) for age in range(self._kernel - 1))]
        m.d.sync += result.eq(Cat(self._largest(words, lane) for lane in range(self._lanes)))
        m.d.comb += self.y.eq(result)
        return m

    def _largest(self, words: list[Any], lane: int) -> Any:
        """Return the largest code of a lane in several words."""
        width = self._format.width
        codes = [word.word_select(lane, width) for word in words]
        if self._format.signed:
            codes = [code.as_signed() for code in codes]
        # All pairs are compared at the same time, so that one carry chain and one look-up table follow each other.
        if len(codes) == 2:
            return Mux(codes[1] > codes[0], codes[1], codes[0])[:width]
        a, b, c = codes
        return Mux((a >= b) & (a >= c), a, Mux(b >= c, b, c))[:width]


class _WindowCounter(wiring.Component):
    """Position along one axis: ``complete`` is 1 where a window ends, at kernel - 1 and every ``stride`` on.

    Members: ``step`` advances by one position; ``last`` is 1 at the last one, from which a step goes to 0.
    """

    def __init__(self, size: int, *, kernel: int, stride: int) -> None:
        self._size, self._kernel, self._stride = size, kernel, stride
        super().__init__({"step": In(1), "complete": Out(1), "last": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        """Count positions up, and down to the end of the next window."""
        m = Module()
        position, complete = Signal(range(self._size)), Signal(name="complete")
        missing = Signal(range(self._kernel), init=self._kernel - 1)
        m.d.comb += [
            self.complete.eq(complete),
            self.last.eq(loop_counter(m, self.step, position, self._size)),
        ]
        with m.If(self.step):
            # Set a step ahead: whether a beat needs a place at the output hangs on it.
            m.d.sync += [
                missing.eq(Mux(complete, self._stride - 1, decremented(missing))),
                complete.eq(Mux(complete, self._stride == 1, missing == 1)),
            ]
            with m.If(self.last):
                m.d.sync += [missing.eq(self._kernel - 1), complete.eq(0)]
        return m


class MaxPoolStage(Stage):
    """Max-pooling of a stream of 1 pixel x c channels: the maximum over kernel x kernel windows, no padding.

    Output size: ``floor((size - kernel) / stride) + 1`` in each direction. Columns are compared first, then rows:
    a memory of ``kernel - 1`` codes for each channel, and one of ``kernel - 1`` codes for each channel of each
    output column.

    Parameters: ``input_shape``, one pixel a beat; ``kernel``, 2 or 3; ``stride``, 1 to ``kernel``; ``style`` of
    the row memory.

    Latency: the beats before the one that completes the first window, and 6 cycles. Throughput: an input beat a
    cycle, ``cycles_per_frame`` = input beats.

    Raises: TypeError, ValueError for another kernel or stride, more than one pixel a beat, or a tensor smaller
    than the kernel.
    """

    def __init__(self, input_shape: StreamShape, *, kernel: int, stride: int, style: str = "auto") -> None:
        if not isinstance(input_shape, StreamShape):
            raise TypeError(f"input_shape must be a StreamShape, not {input_shape!r}")
        if not input_shape.even:
            raise ValueError(f"input_shape must have lanes that divide its channels, not {input_shape!r}")
        if input_shape.pixels != 1:
            raise ValueError(f"input_shape must have 1 pixel a beat, not {input_shape.pixels!r}")
        self._kernel = checked_int("kernel", kernel, low=2, high=3)
        self._stride = checked_int("stride", stride, low=1, high=self._kernel)
        for name in ("height", "width"):
            if getattr(input_shape, name) < kernel:
                raise ValueError(
                    f"input_shape must have a {name} of at least kernel = {kernel}, not {getattr(input_shape, name)!r}"
                )
        height, width = ((size - kernel) // stride + 1 for size in (input_shape.height, input_shape.width))
        super().__init__(input_shape, replace(input_shape, height=height, width=width))
        bits = self.output_shape.payload_bits
        burst = burst_beats(input_shape)
        self._output = CreditedOutput(bits, latency=2 * SlidingMax.LATENCY, burst=burst)
        self._style = style

    @property
    def latency(self) -> int:
        """Cycles from a frame's first accepted input beat to its first output beat, when nothing stalls."""
        shape, before = self.input_shape, self._kernel - 1
        return before * (shape.width + 1) * shape.channel_groups + self._output.latency

    @property
    def cycles_per_frame(self) -> int:
        """Input beats of a frame."""
        return self.input_shape.beats

    def _sliding_max(self, depth: int, style: str) -> SlidingMax:
        shape = self.input_shape
        return SlidingMax(shape.format, lanes=shape.lanes, kernel=self._kernel, depth=depth, style=style)

    def elaborate(self, platform: Any) -> Module:
        """Chain the comparison of columns and that of rows; count columns, rows and channel groups."""
        m = Module()
        shape, groups = self.input_shape, self.input_shape.channel_groups
        depth = self.output_shape.width * groups
        m.submodules.output = output = self._output
        m.submodules.columns = columns = self._sliding_max(groups, "auto")
        m.submodules.rows = rows = self._sliding_max(depth, self._style)
        m.submodules.x = x = _WindowCounter(shape.width, kernel=self._kernel, stride=self._stride)
        m.submodules.y = y = _WindowCounter(shape.height, kernel=self._kernel, stride=self._stride)
        accept, gives = Signal(), Signal()
        group, position = Signal(range(groups)), Signal(unsigned(max(1, ceil_log2(depth))))
        carries = Signal(len(carry_places(len(position))), name="position_carries")
        last_group = loop_counter(m, accept, group, groups)
        m.d.comb += [
            gives.eq(x.complete & y.complete),
            # Only a beat that completes a window needs a place at the output.
            self.i.ready.eq(output.can_issue | ~gives),
            accept.eq(self.i.valid & self.i.ready),
            output.issue.eq(accept & gives),
            x.step.eq(accept & last_group),
            y.step.eq(accept & last_group & x.last),
            columns.x.eq(self.i.payload),
            columns.address.eq(group),
            columns.valid.eq(accept),
            rows.x.eq(columns.y),
            rows.address.eq(delayed(m, position, SlidingMax.LATENCY, name="position")),
            rows.valid.eq(delayed(m, accept & x.complete, SlidingMax.LATENCY, name="complete", reset=True)),
            output.result.eq(rows.y),
            output.result_valid.eq(delayed(m, output.issue, 2 * SlidingMax.LATENCY, name="valid", reset=True)),
        ]
        wiring.connect(m, output.o, wiring.flipped(self.o))
        with m.If(accept):
            with m.If(last_group & x.last):
                m.d.sync += Cat(position, carries).eq(0)
            with m.Elif(x.complete):
                m.d.sync += Cat(position, carries).eq(advanced(position, carries))
        return m
