"""Rows of the image that a convolution still needs, written as they come and read as often as they are used."""

from __future__ import annotations

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from mixq.plan.folding import Folding
from rtl_gen.buffer_level import BufferLevel
from rtl_gen.counters import EVERY_STEP, LoopEnd, end_register, incremented, nested_loop
from rtl_gen.memory import DualPortMemory
from rtl_gen.pipeline import delayed
from rtl_gen.read_position import Ends, ReadPosition, moved, offset_counter

LINE_BUFFER_LATENCY = 2
"""Clock cycles from the sequencer's step to the codes: the memory's read register and one behind the selection."""


class LineBuffer(wiring.Component):
    """Ring of ``folding.buffer_rows`` rows; codes of ``folding.rows`` kernel rows at a time.

    A word holds one group of pixels of ``folding.lanes`` channels. Kernel rows read side by side have a memory for each
    slot of the ring, otherwise there is one memory. Where a beat holds one pixel, each pixel of a word has a memory of
    its own. Codes on padding, and those beyond the row's end, read as 0.

    Members
    -------
    i: beats of ``folding.in_pixels`` pixels times ``folding.lanes`` channels of ``act_bits``.
    step, ends, row, group, kernel_row: of the reader's step, see :class:`rtl_gen.sequencer.Sequencer`.
    granted: all words of the reader's group are there.
    codes: one field of pixels * act_bits for each input term; term kernel row * lanes + channel; first lowest;
    :data:`LINE_BUFFER_LATENCY` cycles after the step.
    """

    def __init__(self, folding: Folding) -> None:
        self._folding = folding
        scan, shape, packing = folding.scan, folding.shape, folding.packing
        self._words = folding.line_words
        self._pixel_bits = folding.lanes * packing.act_bits
        super().__init__(
            {
                "i": In(stream.Signature(unsigned(folding.in_pixels * self._pixel_bits))),
                "step": In(1),
                "ends": In(Ends(folding)),
                "row": In(range(scan.out_rows)),
                "group": In(range(scan.steps)),
                "kernel_row": In(range(shape.kernel // folding.rows)),
                "granted": Out(1),
                "codes": Out(unsigned(folding.inputs * packing.pixels * packing.act_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Join writer, reader's position, memories and selection."""
        m = Module()
        folding = self._folding
        m.submodules.position = position = ReadPosition(folding)
        m.submodules.level = level = BufferLevel(folding)
        push, written = Signal(), Signal()
        slot, offset, lane = self._writer(m, push, written)
        for name in ("step", "ends", "row", "group", "kernel_row"):
            m.d.comb += getattr(position, name).eq(getattr(self, name))
        for name in ("step", "ends", "row"):
            m.d.comb += getattr(level, name).eq(getattr(self, name))
        m.d.comb += [
            level.written.eq(written),
            level.top_valid.eq(position.top_valid),
            level.group_valid.eq(position.group_valid),
            self.granted.eq(level.granted),
            self.i.ready.eq(level.room),
            push.eq(self.i.valid & self.i.ready),
        ]
        if folding.rows > 1:
            words = [
                self._memory(m, f"row_{r}", offset, position.offset, push & (slot == r), lane)
                for r in range(folding.buffer_rows)
            ]
        else:
            write = self._row_start(m, slot, name="write_row") + offset
            read = self._row_start(m, position.slot, name="read_row") + position.offset
            words = [self._memory(m, "rows", write, read, push, lane)]
        self._select(m, words, position)
        return m

    def _writer(self, m: Module, push: Signal, written: Signal) -> tuple[Signal, Signal, Signal]:
        """Place of the next beat: slot, address within the slot and pixel; ``written``: it is the last of its group."""
        folding, scan = self._folding, self._folding.scan
        word, lane = Signal(range(self._words)), Signal(range(folding.packing.pixels))
        image_group = Signal(range(folding.groups), name="image_group")
        slot = Signal(range(folding.buffer_rows), name="write_slot")
        # The ends are those of the current beat, whether it has come or not.
        word_end = group_end = nested_loop(m, push, word, self._words)
        if folding.in_pixels != folding.packing.pixels:
            group_end = self._lanes(m, push, lane, word_end, image_group)
        row_end = nested_loop(m, push, image_group, folding.groups, inner=group_end, short=self._words == 1)
        m.d.comb += written.eq(push & group_end.now)
        offset = offset_counter(
            m,
            push,
            word_end=word_end.now,
            group_end=group_end.now,
            row_end=(group_end if folding.merged_rows else row_end).now,
            words=scan.groups * self._words,
        )
        with m.If(push & (group_end if folding.merged_rows else row_end).now):
            m.d.sync += slot.eq(moved(m, slot, 1, folding.buffer_rows, name="next_write_slot"))
        return slot, offset, lane

    def _lanes(self, m: Module, push: Signal, lane: Signal, word_end: LoopEnd, image_group: Signal) -> LoopEnd:
        """Count the pixels of a word, which are fewer in the last group of a row; returns where a group ends."""
        folding = self._folding
        pixels = folding.packing.pixels
        short = folding.shape.width - (folding.groups - 1) * pixels
        in_last = image_group == folding.groups - 1
        last = Signal(name="lane_last", init=folding.groups == 1 and short == 1)
        # The next group may have one pixel alone.
        alone = image_group == max(folding.groups - 2, 0) if short == 1 else Const(0, 1)
        soon = Mux(last, alone, (lane == pixels - 2) | (in_last & (lane == short - 2)))
        with m.If(push & word_end.now):
            m.d.sync += [lane.eq(Mux(last, 0, incremented(lane))), last.eq(soon)]
        if word_end is EVERY_STEP:
            return LoopEnd(last, soon)
        return end_register(m, push, word_end.soon & last, name="group_end")

    def _row_start(self, m: Module, slot: Value, *, name: str) -> Signal:
        """Address of a slot's first word, looked up."""
        slots, words = self._folding.buffer_rows, self._folding.scan.groups * self._words
        start = Signal(range((slots - 1) * words + 1), name=name)
        with m.Switch(slot):
            for at in range(slots):
                with m.Case(at):
                    m.d.comb += start.eq(at * words)
        return start

    def _memory(self, m: Module, name: str, write: Value, read: Value, push: Value, lane: Signal) -> Value:
        """One ring memory, or one for each pixel; returns the word read."""
        folding = self._folding
        rows = 1 if folding.rows > 1 else folding.buffer_rows
        depth = rows * folding.scan.groups * self._words
        alone = folding.in_pixels == 1 and folding.packing.pixels > 1
        pixels = folding.packing.pixels if alone else 1
        parts = []
        for n in range(pixels):
            # A place that was read may be written in the next cycle, in which its word is still there.
            memory = DualPortMemory(len(self.i.payload), depth, early=folding.rows == 1)
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

    def _select(self, m: Module, words: list[Value], position: ReadPosition) -> None:
        """Turn the ring so that the first kernel row comes first, clear what is padding, and order by input term."""
        folding, packing = self._folding, self._folding.packing
        slot = delayed(m, position.slot, 1, name="slot")
        rows_valid = delayed(m, position.rows_valid, 1, name="rows_valid")
        pixels_valid = delayed(m, position.pixels_valid, 1, name="pixels_valid")
        codes = []
        for row in range(folding.rows):
            if folding.rows == 1:
                word = words[0]
            else:
                below = row * folding.shape.dilation
                turned = [Mux(slot == s, words[(s + below) % len(words)], 0) for s in range(len(words))]
                word = reduce(or_, turned)
            for channel in range(folding.lanes):
                for pixel in range(packing.pixels):
                    code = word.word_select(pixel * folding.lanes + channel, packing.act_bits)
                    codes.append(Mux(rows_valid[row] & pixels_valid[pixel], code, 0))
        m.d.sync += self.codes.eq(Cat(*(code[: packing.act_bits] for code in codes)))
