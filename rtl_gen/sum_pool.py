"""Sum-pooling stage: average-pooling, whose division is the requantisation behind it."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from mixq.formats import IntFormat
from mixq.plan.spatial_shapes import SumMemories, sum_pool_burst, sum_pool_shape
from mixq.streams import StreamShape
from rtl_gen.checks import checked_int
from rtl_gen.counters import advanced, carry_places, loop_counter
from rtl_gen.credits import CreditedOutput
from rtl_gen.interfaces import Stage
from rtl_gen.memory import DualPortMemory
from rtl_gen.pipeline import delayed
from rtl_gen.windows import Windows


class WindowSum(wiring.Component):
    """Sums of a word of codes and of what was summed at the same address before.

    An address must not come back in the next cycle, unless there is only one.

    Parameters: ``source``, ``target``, formats of a code that is added and of a sum; ``lanes``, codes of a word;
    ``depth``, addresses; ``style`` of the memory, which has ``depth`` words of ``lanes`` sums (a register at depth 1).

    Members: ``x``, ``address``, ``valid``, and ``first``, with which a sum begins anew; ``y``, the sums with ``x``
    among them, 2 cycles (``LATENCY``) later. Throughput: a word a cycle.
    """

    LATENCY = 2

    def __init__(self, source: IntFormat, target: IntFormat, *, lanes: int, depth: int, style: str = "auto") -> None:
        self._source, self._target = source, target
        self._lanes, self._depth, self._style = lanes, depth, style
        super().__init__(
            {
                "x": In(lanes * source.width),
                "address": In(max(1, ceil_log2(depth))),
                "first": In(1),
                "valid": In(1),
                "y": Out(lanes * target.width),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Read, add and write back."""
        m = Module()
        x, first = delayed(m, self.x, 1, name="x"), delayed(m, self.first, 1, name="first")
        valid = delayed(m, self.valid, 1, name="valid", reset=True)
        before = Signal(len(self.y))
        update = Cat(self._sum(x, before, first, lane) for lane in range(self._lanes))
        result = Signal(len(self.y), reset_less=True)
        m.d.comb += self.y.eq(result)
        if self._depth == 1:
            # The sum that is there in this cycle is needed in the next: too soon for a memory.
            m.d.comb += before.eq(result)
            with m.If(valid):
                m.d.sync += result.eq(update)
            return m
        m.submodules.memory = memory = DualPortMemory(len(before), self._depth, style=self._style)
        m.d.comb += [
            memory.read_en.eq(self.valid),
            memory.read_addr.eq(self.address),
            before.eq(memory.read_data),
            memory.write_en.eq(valid),
            memory.write_addr.eq(delayed(m, self.address, 1, name="address")),
            memory.write_data.eq(update),
        ]
        m.d.sync += result.eq(update)
        return m

    def _sum(self, x: Any, before: Any, first: Any, lane: int) -> Any:
        """Return the sum of a lane with its new code."""
        width = self._target.width
        code = x.word_select(lane, self._source.width)
        added = code.as_signed() if self._source.signed else code
        return (Mux(first, 0, before.word_select(lane, width)).as_signed() + added)[:width]


class SumPoolStage(Stage):
    """Sum-pooling of a stream of 1 pixel x c channels: exact sums over windows side by side, no padding.

    Output size: ``floor(size / kernel)`` in each direction; rows and columns that are left over belong to no window. A
    window of the size of the image makes it global: one pixel of sums.

    Where a pixel takes several beats there is one sum for each beat of an output row; else columns are summed first, in
    a register, and then rows. See :class:`mixq.plan.spatial_shapes.SumMemories`. A row of sums has a place at the
    output, so that it may leave at a steady pace although it comes within one of several rows.

    Parameters: ``input_shape``, one pixel a beat; ``kernel``, (rows, columns) of a window; ``style`` of the memory.

    Latency: the beats before the one that completes the first window, 2 cycles for each sum in a row and 2 for the
    output. Throughput: an input beat a cycle, ``cycles_per_frame`` = input beats.

    Raises: TypeError, ValueError for a kernel below 1 or larger than the tensor, or more than one pixel a beat.
    """

    def __init__(self, input_shape: StreamShape, *, kernel: tuple[int, int], style: str = "auto") -> None:
        if not isinstance(input_shape, StreamShape):
            raise TypeError(f"input_shape must be a StreamShape, not {input_shape!r}")
        if not input_shape.even:
            raise ValueError(f"input_shape must have lanes that divide its channels, not {input_shape!r}")
        if input_shape.pixels != 1:
            raise ValueError(f"input_shape must have 1 pixel a beat, not {input_shape.pixels!r}")
        if not isinstance(kernel, tuple) or len(kernel) != 2:
            raise TypeError(f"kernel must be (rows, columns), not {kernel!r}")
        sides = zip(kernel, (input_shape.height, input_shape.width), strict=True)
        self._rows, self._columns = (checked_int("kernel", side, low=1, high=size) for side, size in sides)
        kernel = (self._rows, self._columns)
        super().__init__(input_shape, sum_pool_shape(input_shape, kernel))
        self._memories = SumMemories.of(input_shape, kernel)
        self._output = CreditedOutput(
            self.output_shape.payload_bits,
            latency=WindowSum.LATENCY * self._memories.count,
            burst=sum_pool_burst(input_shape, kernel),
        )
        self._style = style

    @property
    def latency(self) -> int:
        """Cycles from a frame's first accepted input beat to its first output beat, when nothing stalls."""
        shape = self.input_shape
        before = (self._rows - 1) * shape.width + self._columns - 1
        return before * shape.channel_groups + self._output.latency

    @property
    def cycles_per_frame(self) -> int:
        """Input beats of a frame."""
        return self.input_shape.beats

    def elaborate(self, platform: Any) -> Module:
        """Count columns, rows and channel groups; sum what belongs to a window."""
        m = Module()
        shape, groups = self.input_shape, self.input_shape.channel_groups
        m.submodules.output = output = self._output
        m.submodules.x = x = Windows(shape.width, self._columns)
        m.submodules.y = y = Windows(shape.height, self._rows)
        accept, gives = Signal(), Signal()
        last_group = loop_counter(m, accept, Signal(range(groups), name="group"), groups)
        m.d.comb += [
            gives.eq(x.last & y.last),
            # Only a beat that completes a window needs a place at the output.
            self.i.ready.eq(output.can_issue | ~gives),
            accept.eq(self.i.valid & self.i.ready),
            output.issue.eq(accept & gives),
            x.step.eq(accept & last_group),
            y.step.eq(accept & last_group & x.end),
            output.result.eq(self._sums(m, x, y, accept, last_group)),
            output.result_valid.eq(
                delayed(m, output.issue, WindowSum.LATENCY * self._memories.count, name="valid", reset=True)
            ),
        ]
        wiring.connect(m, output.o, wiring.flipped(self.o))
        return m

    def _sums(self, m: Module, x: Windows, y: Windows, accept: Signal, last_group: Any) -> Any:
        """Return the sums, for each beat in order; accept: there is one in this cycle."""
        shape, target, memories = self.input_shape, self.output_shape.format, self._memories
        inside = Signal()
        m.d.comb += inside.eq(accept & x.inside)
        code, format, first, valid, late = self.i.payload, shape.format, x.first, inside, 0
        if memories.columns is not None:
            m.submodules.columns = columns = WindowSum(format, memories.columns, lanes=shape.lanes, depth=1)
            m.d.comb += [columns.x.eq(code), columns.first.eq(first), columns.valid.eq(valid)]
            code, format, late = columns.y, memories.columns, WindowSum.LATENCY
            first, valid = y.first, inside & x.last
        elif memories.depth:
            first = x.first & y.first
        if not memories.depth:
            return _widened(code, format, target, shape.lanes)
        m.submodules.rows = rows = WindowSum(format, target, lanes=shape.lanes, depth=memories.depth, style=self._style)
        address = self._address(m, x, inside, last_group)
        m.d.comb += [
            rows.x.eq(code),
            rows.first.eq(delayed(m, first, late, name="row_first")),
            rows.valid.eq(delayed(m, valid, late, name="row_valid", reset=True)),
            rows.address.eq(delayed(m, address, late, name="row_address")),
        ]
        return rows.y

    def _address(self, m: Module, x: Windows, inside: Signal, last_group: Any) -> Signal:
        """Return where the sum of the present beat lies: a place for each window of a row and group of channels."""
        depth = self._memories.depth
        address = Signal(max(1, ceil_log2(depth)))
        carries = Signal(len(carry_places(len(address))), name="address_carries")
        start = Signal(len(address) + len(carries), name="window_start")
        following = Signal.like(start)
        m.d.comb += following.eq(advanced(address, carries))
        with m.If(inside):
            m.d.sync += Cat(address, carries).eq(following)
            with m.If(last_group & ~x.last):
                m.d.sync += Cat(address, carries).eq(start)
            with m.If(last_group & x.last & (depth > self.input_shape.channel_groups)):
                m.d.sync += start.eq(following)
        # One place for each group alone, where rows are not summed.
        again = x.end if depth > self.input_shape.channel_groups else last_group
        with m.If(x.step & again):
            m.d.sync += [Cat(address, carries).eq(0), start.eq(0)]
        return address


def _widened(code: Any, source: IntFormat, target: IntFormat, lanes: int) -> Any:
    """Return codes as sums of one code each."""
    words = [code.word_select(lane, source.width) for lane in range(lanes)]
    added = target.width - source.width
    # A sum has two bits at least, and may then be wider than its code.
    return Cat(Cat(word, (word[-1] if source.signed else Const(0, 1)).replicate(added)) for word in words)
