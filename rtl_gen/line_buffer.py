"""Rows of the image that a convolution still needs, written as they come and read as often as they are used."""

from __future__ import annotations

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from mixq.plan.folding import Folding
from rtl_gen.arithmetic import times, wrap
from rtl_gen.counters import nested_counters
from rtl_gen.memory import DualPortMemory

LINE_BUFFER_LATENCY = 2
"""Clock cycles from the sequencer's position to the codes: the memory's read register and one behind the selection."""


class LineBuffer(wiring.Component):
    """Ring of ``folding.buffer_rows`` rows; codes of ``folding.rows`` kernel rows at a time.

    A word holds one group of pixels of ``folding.lanes`` channels. Kernel rows read side by side have a memory for each
    slot of the ring, otherwise there is one memory. Where a beat holds one pixel, each pixel of a word has a memory of
    its own. Codes on padding, and those beyond the row's end, read as 0.

    Members
    -------
    i: beats of ``folding.in_pixels`` pixels times ``folding.lanes`` channels of ``act_bits``.
    frame, top, slot, group, kernel_row, word: the reader's position, see :class:`rtl_gen.sequencer.Sequencer`.
    ready: all words of the position's group are there.
    codes: one field of pixels * act_bits for each input term; term kernel row * lanes + channel; first lowest;
    :data:`LINE_BUFFER_LATENCY` cycles after the position.
    """

    def __init__(self, folding: Folding) -> None:
        self._folding = folding
        scan, shape, packing = folding.scan, folding.shape, folding.packing
        self._words = shape.in_channels // folding.lanes
        self._pixel_bits = folding.lanes * packing.act_bits
        super().__init__(
            {
                "i": In(stream.Signature(unsigned(folding.in_pixels * self._pixel_bits))),
                "frame": In(scan.row_bits),
                "top": In(signed(scan.top_bits)),
                "slot": In(range(folding.buffer_rows)),
                "group": In(range(scan.steps)),
                "kernel_row": In(range(shape.kernel // folding.rows)),
                "word": In(range(self._words)),
                "ready": Out(1),
                "codes": Out(unsigned(folding.simd * packing.pixels * packing.act_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Join writer, memories and selection."""
        m = Module()
        written, column, slot, address, lane = self._writer(m)
        self._availability(m, written, column)
        push = Signal()
        m.d.comb += push.eq(self.i.valid & self.i.ready)
        base = times(self.group, self._words) + self.word
        if self._folding.rows > 1:
            words = [
                self._memory(m, f"row_{r}", address, base, push & (slot == r), lane)
                for r in range(self._folding.buffer_rows)
            ]
        else:
            row_words = self._folding.scan.groups * self._words
            read_slot = wrap(self.slot + self.kernel_row, self._folding.buffer_rows)
            words = [
                self._memory(
                    m, "rows", times(slot, row_words) + address, times(read_slot, row_words) + base, push, lane
                )
            ]
        self._select(m, words)
        return m

    def _writer(self, m: Module) -> tuple[Signal, Signal, Signal, Value, Signal]:
        """Place of the next beat: rows written modulo 2^n, group, slot, address within the slot and pixel."""
        folding, scan = self._folding, self._folding.scan
        word, lane = Signal(range(self._words)), Signal(range(folding.packing.pixels))
        image_group, written = Signal(range(folding.groups)), Signal(scan.row_bits)
        slot = Signal(range(folding.buffer_rows))
        push = self.i.valid & self.i.ready
        (word_end,) = nested_counters(m, push, [(word, self._words)])
        if folding.in_pixels == folding.packing.pixels:
            group_end = word_end
        else:
            short = folding.shape.width - (folding.groups - 1) * folding.packing.pixels
            last_of_row = (image_group == folding.groups - 1) & (lane == short - 1)
            last = (lane == folding.packing.pixels - 1) | last_of_row
            with m.If(word_end):
                m.d.sync += lane.eq(Mux(last, 0, lane + 1))
            group_end = word_end & last
        (row_end,) = nested_counters(m, group_end, [(image_group, folding.groups)])
        column = Signal(range(scan.groups)) if folding.merged_rows else image_group
        with m.If(group_end if folding.merged_rows else row_end):
            m.d.sync += [written.eq(written + 1), slot.eq(wrap(slot + 1, folding.buffer_rows))]
        address = times(column, self._words) + word
        return written, column, slot, address, lane

    def _availability(self, m: Module, written: Signal, column: Signal) -> None:
        """What the reader may read, and what the writer may overwrite, as distances in rows modulo 2^n."""
        shape, scan = self._folding.shape, self._folding.scan
        bits = scan.row_bits
        newest = self.top + (shape.kernel - 1)
        needed = Mux(newest >= scan.rows, scan.rows - 1, newest)
        oldest = Mux(self.top < 0, 0, self.top)
        ahead, behind = Signal(signed(bits)), Signal(signed(bits))
        group = Mux(self.group >= scan.groups, scan.groups - 1, self.group)
        m.d.comb += [
            ahead.eq(written - self.frame - needed),
            behind.eq(written - self.frame - oldest - self._folding.buffer_rows),
            self.ready.eq((ahead > 0) | ((ahead == 0) & (column > group))),
            # A group that was read is free only where the oldest kernel row lies in the image.
            self.i.ready.eq((behind < 0) | ((behind == 0) & (self.top >= 0) & (column < self.group))),
        ]

    def _memory(self, m: Module, name: str, write: Value, read: Value, push: Value, lane: Signal) -> Value:
        """One ring memory, or one for each pixel; returns the word read."""
        folding = self._folding
        rows = 1 if folding.rows > 1 else folding.buffer_rows
        depth = rows * folding.scan.groups * self._words
        alone = folding.in_pixels == 1 and folding.packing.pixels > 1
        pixels = folding.packing.pixels if alone else 1
        parts = []
        for n in range(pixels):
            memory = DualPortMemory(len(self.i.payload), depth)
            m.submodules[f"{name}_pixel_{n}" if alone else name] = memory
            m.d.comb += [
                memory.write_en.eq(push & (lane == n) if alone else push),
                memory.write_addr.eq(write),
                memory.write_data.eq(self.i.payload),
                memory.read_en.eq(1),
                memory.read_addr.eq(read),
            ]
            parts.append(memory.read_data)
        return Cat(*parts)

    def _select(self, m: Module, words: list[Value]) -> None:
        """Turn the ring so that the first kernel row comes first, clear what is padding, and order by input term."""
        folding, packing = self._folding, self._folding.packing
        slot, rows_valid, pixels_valid = Signal.like(self.slot), Signal(folding.rows), Signal(packing.pixels)
        m.d.sync += [slot.eq(self.slot), rows_valid.eq(self._rows_valid()), pixels_valid.eq(self._pixels_valid())]
        codes = []
        for row in range(folding.rows):
            if folding.rows == 1:
                word = words[0]
            else:
                turned = [Mux(slot == s, words[(s + row) % len(words)], 0) for s in range(len(words))]
                word = reduce(or_, turned)
            for channel in range(folding.lanes):
                for pixel in range(packing.pixels):
                    code = word.word_select(pixel * folding.lanes + channel, packing.act_bits)
                    codes.append(Mux(rows_valid[row] & pixels_valid[pixel], code, 0))
        m.d.sync += self.codes.eq(Cat(*(code[: packing.act_bits] for code in codes)))

    def _rows_valid(self) -> Value:
        """One bit for each kernel row: whether it lies in the image."""
        folding = self._folding
        if folding.shape.padding == 0:
            return Const((1 << folding.rows) - 1, folding.rows)
        rows = [self.top + self.kernel_row + row for row in range(folding.rows)]
        return Cat((row >= 0) & (row < folding.scan.rows) for row in rows)

    def _pixels_valid(self) -> Value:
        """One bit for each pixel of the group: whether it lies in the image."""
        folding, pixels = self._folding, self._folding.packing.pixels
        if folding.merged_rows:
            return Const((1 << pixels) - 1, pixels)
        short = folding.shape.width - (folding.groups - 1) * pixels
        return Cat(
            (self.group < folding.groups - 1) | ((self.group == folding.groups - 1) & (n < short))
            for n in range(pixels)
        )
