"""Space-to-depth stage: blocks of pixels become pixels of more channels."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import wiring

from mixq.plan.spatial_shapes import BlockRows, space_to_depth_shape
from mixq.streams import StreamShape
from rtl_gen.checks import checked_int
from rtl_gen.counters import loop_counter
from rtl_gen.credits import CreditedOutput, count_places
from rtl_gen.fifo import StreamFifo
from rtl_gen.interfaces import Stage
from rtl_gen.memory import DualPortMemory
from rtl_gen.pipeline import delayed
from rtl_gen.segment_order import SegmentOrder


class SpaceToDepthStage(Stage):
    """Space-to-depth of a stream of 1 pixel x c channels.

    Formula: ``y[(u * block + v) * C + c, r, q] = x[c, r * block + u, q * block + v]``. Beats leave as they came, in
    another order: for a block of 2 and rows of 3 blocks, each letter a segment of 2 pixels,

        in   A B C | D E F         out   A D | B E | C F

    They lie in a memory of ``block`` rows, in which each goes to where the one that left before lay
    (:class:`rtl_gen.segment_order.SegmentOrder`). Where blocks are as wide as the image the order stays, and there is
    none.

    Parameters: ``input_shape``, one pixel a beat; ``block``, 2 to 4, which divides height and width; ``style`` of the
    memory.

    Latency: the beats of a row, and 3 cycles (1 cycle where the order stays). Throughput: a beat a cycle,
    ``cycles_per_frame`` = beats.

    Raises: TypeError, ValueError for another block, or more than one pixel a beat.
    """

    def __init__(self, input_shape: StreamShape, *, block: int, style: str = "auto") -> None:
        if not isinstance(input_shape, StreamShape):
            raise TypeError(f"input_shape must be a StreamShape, not {input_shape!r}")
        if not input_shape.even:
            raise ValueError(f"input_shape must have lanes that divide its channels, not {input_shape!r}")
        if input_shape.pixels != 1:
            raise ValueError(f"input_shape must have 1 pixel a beat, not {input_shape.pixels!r}")
        block = checked_int("block", block, low=2, high=4)
        if input_shape.height % block or input_shape.width % block:
            raise ValueError(f"block must divide the {input_shape.height} x {input_shape.width} pixels, not {block!r}")
        super().__init__(input_shape, space_to_depth_shape(input_shape, block))
        self._rows = BlockRows.of(input_shape, block)
        self._style = style
        bits = input_shape.payload_bits
        self._output = CreditedOutput(bits, latency=1) if self._rows.words else StreamFifo(bits, 2)

    @property
    def latency(self) -> int:
        """Cycles from a frame's first accepted input beat to its first output beat, when nothing stalls."""
        before = self._rows.per_row * self._rows.beats if self._rows.words else 0
        return before + self._output.latency

    @property
    def cycles_per_frame(self) -> int:
        """Beats of a frame."""
        return self.input_shape.beats

    def elaborate(self, platform: Any) -> Module:
        """Write in one order and read in the other, or pass on what need not be turned."""
        m = Module()
        m.submodules.output = output = self._output
        wiring.connect(m, output.o, wiring.flipped(self.o))
        if isinstance(output, StreamFifo):
            wiring.connect(m, wiring.flipped(self.i), output.i)
            return m
        rows = self._rows
        m.submodules.memory = memory = DualPortMemory(self.input_shape.payload_bits, rows.words, style=self._style)
        m.submodules.writer = writer = SegmentOrder(rows)
        m.submodules.reader = reader = SegmentOrder(rows)
        accept, issue = Signal(), output.issue
        turned = Signal(range(rows.words), init=rows.beats)
        m.d.comb += [
            self.i.ready.eq(count_places(m, rows.words, taken=accept, freed=issue)),
            accept.eq(self.i.valid & self.i.ready),
            issue.eq(self._granted(m, writer, reader) & output.can_issue),
            writer.step.eq(accept),
            reader.step.eq(issue),
            writer.stride.eq(turned),
            reader.stride.eq(turned),
            memory.write_en.eq(accept),
            memory.write_addr.eq(writer.address),
            memory.write_data.eq(self.i.payload),
            memory.read_en.eq(issue),
            memory.read_addr.eq(reader.address),
            output.result.eq(memory.read_data),
            output.result_valid.eq(delayed(m, issue, 1, name="valid", reset=True)),
        ]
        # Where the second row begins is the stride of its reader, and of the next block's writer.
        with m.If(accept & writer.last_beat & (writer.segment == rows.per_row - 1)):
            m.d.sync += turned.eq(writer.following)
        return m

    def _granted(self, m: Module, writer: SegmentOrder, reader: SegmentOrder) -> Value:
        """Whether the reader's segment is there: one carry chain, whose sign is the answer.

        Segment q of row u is number u * Q + q of those written and q * b + u of those read: so many more must have been
        written than read, and one. The first one waits until the stride is known, with the end of the first row.
        """
        block, per_row = self._rows.block, self._rows.per_row
        # At most all places are full, and a row less of them is asked for than have been read.
        spare = Signal(signed((2 * self._rows.segments).bit_length() + 1), init=-per_row)
        written, read = writer.step & writer.last_beat, reader.step & reader.last_beat
        lowest = loop_counter(m, read, Signal(range(block), name="row"), block)
        change = Signal(spare.shape())
        with m.If(reader.first):
            m.d.comb += change.eq(-1)
        with m.Elif(lowest & ~reader.last):
            m.d.comb += change.eq((block - 1) * per_row - 1)
        with m.Else():
            m.d.comb += change.eq(-per_row)
        m.d.sync += spare.eq(spare + Mux(read, change, 0) + written)
        return ~spare[-1]
