"""Loop counters of a convolution: which words are read and what is done with them in each cycle."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mixq.plan.folding import Folding
from rtl_gen.control import Control
from rtl_gen.counters import nested_counters


class Sequencer(wiring.Component):
    """Walks through the loops of :class:`mixq.plan.folding.Folding`, one step in each cycle.

    A block (``folding.steps`` cycles) starts when its pixels are in the line buffer and its outputs have a place; then
    it runs without a gap. The last group of outputs of a row is complete only with the padding behind the row: it
    leaves with the first block of the next row, or in an idle cycle where that one has to wait.

    Members
    -------
    ready: the pixels of the current group are there. credit: a group of outputs has a place.
    frame: rows that earlier frames had, modulo 2^n. top: first kernel row's row in the frame, negative on padding.
    slot: the line buffer's slot of row ``top``. group, kernel_row, word: place of the data of this step.
    weight: address of the weights. step: the counters' step is done in this cycle.
    take: a place is taken. control: what the pipeline is to do.
    """

    def __init__(self, folding: Folding) -> None:
        self._folding = folding
        shape, scan = folding.shape, folding.scan
        super().__init__(
            {
                "ready": In(1),
                "credit": In(1),
                "frame": Out(scan.row_bits),
                "top": Out(signed(scan.top_bits), init=-shape.padding),
                "slot": Out(range(folding.buffer_rows), init=-shape.padding % folding.buffer_rows),
                "group": Out(range(scan.steps)),
                "kernel_row": Out(range(shape.kernel // folding.rows)),
                "word": Out(range(shape.in_channels // folding.lanes)),
                "weight": Out(range(folding.weight_depth)),
                "step": Out(1),
                "take": Out(1),
                "control": Out(Control(folding)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build the counters and the rules of starting and flushing."""
        m = Module()
        folding, scan = self._folding, self._folding.scan
        fold, tap_pass = Signal(range(folding.folds)), Signal(range(folding.packing.passes))
        row = Signal(range(scan.out_rows))
        loops = [
            (self.word, folding.shape.in_channels // folding.lanes),
            (self.kernel_row, folding.shape.kernel // folding.rows),
            (tap_pass, folding.packing.passes),
            (fold, folding.folds),
            (self.group, scan.steps),
            (row, scan.out_rows),
        ]
        _, pass_end, block_end, group_end, row_end, frame_end = nested_counters(m, self.step, loops)
        begins = Signal(init=1)
        with m.If(self.step):
            m.d.sync += [begins.eq(block_end), self.weight.eq(Mux(group_end, 0, self.weight + 1))]
        self._rows(m, row_end, frame_end)
        self._reads(m, pass_end, block_end)

        emits = self._emits()
        flush, flush_alone, flush_fold = self._flushes(m, begins, block_end, row_end, fold)
        start = begins & self.ready & (self.credit | ~(emits | flush))
        m.d.comb += [
            self.step.eq(start | ~begins),
            self.take.eq((begins & self.step & (emits | flush)) | flush_alone),
            self.control.tap_pass.eq(tap_pass),
            self.control.update.eq(block_end),
            self.control.start.eq(self.group == 0),
            self.control.emit.eq(block_end & emits),
            self.control.fold.eq(Mux(flush_alone, flush_fold, fold)),
        ]
        return m

    def _rows(self, m: Module, row_end: Value, frame_end: Value) -> None:
        """Follow the rows of the kernel through frames and through the line buffer."""
        folding, shape, scan = self._folding, self._folding.shape, self._folding.scan
        slots = folding.buffer_rows
        first = -shape.padding
        next_row, next_frame = shape.stride % slots, (scan.rows - (scan.out_rows - 1) * shape.stride) % slots

        def moved(distance: int) -> Value:
            wrapped = self.slot >= slots - distance
            return Mux(wrapped, self.slot + distance - slots, self.slot + distance)[: len(self.slot)]

        with m.If(frame_end):
            m.d.sync += [self.top.eq(first), self.slot.eq(moved(next_frame)), self.frame.eq(self.frame + scan.rows)]
        with m.Elif(row_end):
            m.d.sync += [self.top.eq(self.top + shape.stride), self.slot.eq(moved(next_row))]

    def _reads(self, m: Module, pass_end: Value, block_end: Value) -> None:
        """Say when the DSPs start a sum and when it is read."""
        summed = Signal(range(self._folding.accumulate))
        loaded = Signal()
        read = self.step & (pass_end | (summed == self._folding.accumulate - 1))
        with m.If(self.step):
            m.d.sync += summed.eq(Mux(read, 0, summed + 1))
        with m.If(block_end):
            m.d.sync += loaded.eq(0)
        with m.Elif(read):
            m.d.sync += loaded.eq(1)
        m.d.comb += [self.control.go_on.eq(summed != 0), self.control.read.eq(read), self.control.load.eq(~loaded)]

    def _emits(self) -> Value:
        """Whether the current group completes one of outputs."""
        folding = self._folding
        if folding.merged_rows:
            return Const(1, 1)
        done = (self.group >= folding.delay) & (self.group < folding.delay + folding.out_groups)
        if folding.drops_groups:
            done &= (self.group & 1) == folding.delay % 2
        return done

    def _flushes(
        self, m: Module, begins: Value, block_end: Value, row_end: Value, fold: Value
    ) -> tuple[Value, Value, Value]:
        """Last outputs of a row: whether this block takes them along, whether they leave alone, and their fold."""
        folding = self._folding
        pending, flush_fold = Signal(), Signal(range(folding.folds))
        taken = Signal()
        if not folding.flush:
            return Const(0, 1), Const(0, 1), flush_fold
        # A block that took them along knows it until its end.
        due = pending & (self.group == 0) & (flush_fold == fold)
        with m.If(begins & self.step):
            m.d.sync += taken.eq(due)
        together = Mux(begins, due, taken)
        # Groups of outputs are requantised one after another: the next must not come before the last is through.
        interval = folding.pe // folding.out_lanes
        busy = Signal(range(interval + 1))
        alone = pending & begins & ~self.step & self.credit & (busy == 0)
        with m.If(block_end | alone):
            m.d.sync += busy.eq(interval - 1)
        with m.Elif(busy != 0):
            m.d.sync += busy.eq(busy - 1)
        with m.If(alone | (begins & self.step & due)):
            last = flush_fold == folding.folds - 1
            m.d.sync += [flush_fold.eq(Mux(last, 0, flush_fold + 1)), pending.eq(~last)]
        with m.If(row_end):
            m.d.sync += pending.eq(1)
        m.d.comb += self.control.flush.eq((block_end & together) | alone)
        return due, alone, flush_fold
