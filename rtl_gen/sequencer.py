"""Loop counters of a convolution: which words are read and what is done with them in each cycle."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mixq.plan.folding import Folding
from rtl_gen.control import Control
from rtl_gen.counters import decremented, incremented, loop_counter, nested_loop
from rtl_gen.read_position import Ends


class Sequencer(wiring.Component):
    """Walks through the loops of :class:`mixq.plan.folding.Folding`, one step in each cycle.

    A block (``folding.steps`` cycles) starts when its pixels are in the line buffer and its outputs have a place; then
    it runs without a gap. The last group of outputs of a row is complete only with the padding behind the row: it
    leaves with the first block of the next row, or in an idle cycle where that one has to wait.

    What a block needs is known from registers when it is its turn, so that few bits decide whether a step is done.

    Members
    -------
    granted: the pixels of the current group are there. credit: a group of outputs has a place.
    step: the current step is done. ends: the loops that end with it. row, group, kernel_row: its counters; weight:
    address of the weights. take: a place is taken. control: what the pipeline is to do.
    """

    def __init__(self, folding: Folding) -> None:
        self._folding = folding
        shape, scan = folding.shape, folding.scan
        super().__init__(
            {
                "granted": In(1),
                "credit": In(1),
                "step": Out(1),
                "ends": Out(Ends(folding)),
                "row": Out(range(scan.out_rows)),
                "group": Out(range(scan.steps)),
                "kernel_row": Out(range(shape.kernel // folding.rows)),
                "weight": Out(range(folding.weight_depth)),
                "take": Out(1),
                "control": Out(Control(folding)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build the counters and the rules of starting and flushing."""
        m = Module()
        fold, tap_pass = Signal(range(self._folding.folds)), Signal(range(self._folding.packing.passes))
        block_last = self._loops(m, fold, tap_pass)
        begins, block_end = Signal(init=1), Signal()
        m.d.comb += block_end.eq(self.step & block_last)
        with m.If(self.step):
            m.d.sync += begins.eq(block_last)
        self._reads(m, block_end)

        emits, emits_after = self._emits(m)
        due, alone, flush_fold = self._flushes(m, begins, block_end, fold)
        # Whether the block whose turn it is takes a place is known when its turn comes.
        completes, needs = Signal(init=emits.init), Signal()
        m.d.sync += completes.eq(Mux(self.step & self.ends.group, emits_after, emits))
        m.d.comb += needs.eq(completes | due)
        m.d.comb += [
            self.step.eq(~begins | (self.granted & (self.credit | ~needs))),
            self.take.eq((begins & needs & self.step) | alone),
            self.control.tap_pass.eq(tap_pass),
            self.control.update.eq(block_end),
            self.control.start.eq(self.group == 0),
            self.control.emit.eq(block_end & emits),
            self.control.fold.eq(Mux(alone, flush_fold, fold)),
        ]
        return m

    def _loops(self, m: Module, fold: Signal, tap_pass: Signal) -> Value:
        """Count, innermost first; returns whether a block ends with the current step."""
        folding, shape, scan, ends, step = self._folding, self._folding.shape, self._folding.scan, self.ends, self.step
        words, kernel_rows = folding.words, shape.kernel // folding.rows
        word = Signal(range(words))
        # The words of weights are as many as the steps of a group.
        group_end = nested_loop(m, step, self.weight, folding.weight_depth)
        word_end = nested_loop(m, step, word, words)
        pass_end = nested_loop(m, step, self.kernel_row, kernel_rows, inner=word_end)
        block_end = nested_loop(m, step, tap_pass, folding.packing.passes, inner=pass_end)
        if folding.splits_inputs:
            share = Signal(range(folding.shared_folds), name="share_fold")
            m.d.comb += ends.share.eq(nested_loop(m, step, share, folding.shared_folds, inner=block_end).now)
        row_end = nested_loop(m, step, self.group, scan.steps, inner=group_end)
        frame_end = nested_loop(m, step, self.row, scan.out_rows, inner=row_end)
        loop_counter(m, step & block_end.now, fold, folding.folds)
        m.d.comb += [
            ends.word.eq(word_end.now),
            ends.tap_pass.eq(pass_end.now),
            ends.group.eq(group_end.now),
            ends.row.eq(row_end.now),
            ends.frame.eq(frame_end.now),
        ]
        return block_end.now

    def _reads(self, m: Module, block_end: Value) -> None:
        """Say when the DSPs start a sum and when it is read."""
        most = self._folding.accumulate
        summed, full = Signal(range(most)), Signal(init=most == 1)
        loaded = Signal()
        reads = self.ends.tap_pass | full
        read = self.step & reads
        with m.If(self.step):
            m.d.sync += summed.eq(Mux(reads, 0, incremented(summed)))
            if most > 1:
                m.d.sync += full.eq(~reads & (summed == most - 2))
        with m.If(block_end):
            m.d.sync += loaded.eq(0)
        with m.Elif(read):
            m.d.sync += loaded.eq(1)
        m.d.comb += [self.control.go_on.eq(summed != 0), self.control.read.eq(read), self.control.load.eq(~loaded)]

    def _emits(self, m: Module) -> tuple[Signal, Signal]:
        """Whether the current group completes one of outputs, and whether the next one will."""
        folding, steps = self._folding, self._folding.scan.steps
        first = range(folding.delay, folding.delay + folding.out_groups)
        completes = [int(folding.merged_rows or group in first) for group in range(steps)]
        drops = folding.drops_groups
        now = Signal(name="emits", init=completes[0] and not (drops and folding.delay % 2))
        after = Signal(name="emits_after")
        within = Signal(init=completes[0])
        within_after = Signal()
        m.d.comb += within_after.eq(within)
        with m.Switch(self.group):
            for group in range(steps):
                if completes[(group + 1) % steps] != completes[group]:
                    with m.Case(group):
                        m.d.comb += within_after.eq(completes[(group + 1) % steps])
        with m.If(self.step & self.ends.group):
            m.d.sync += within.eq(within_after)
        odd = self.group[0] if drops and steps > 1 else Const(0, 1)
        # Where it counts, a group ends.
        odd_after, wanted = ~self.ends.row & ~odd, folding.delay % 2
        m.d.comb += [
            now.eq(within & (odd == wanted) if drops else within),
            after.eq(within_after & (odd_after == wanted) if drops else within_after),
        ]
        return now, after

    def _flushes(self, m: Module, begins: Value, block_end: Value, block_fold: Value) -> tuple[Value, Value, Value]:
        """Last outputs of a row: whether the current block takes them along, whether they leave alone, their fold."""
        folding = self._folding
        pending, due, fold = Signal(name="flush_pending"), Signal(name="flush_due"), Signal(range(folding.folds))
        if not folding.flush:
            return Const(0, 1), Const(0, 1), fold
        # Groups of outputs are requantised one after another: the next must not come before the last is through. That
        # one has begun is counted from the next cycle on, in which it shows by itself.
        interval = folding.out_interval
        begun, rested = Signal(), Signal(init=1)
        busy = Signal(range(max(1, interval - 1)))
        idle = rested & ~begun if interval > 1 else Const(1, 1)
        alone, along, done = Signal(), Signal(), Signal()
        m.d.comb += [
            # A block that has its pixels starts where there is a place.
            alone.eq(pending & begins & self.credit & idle & ~self.granted),
            # What is due is among the needs.
            along.eq(due & begins & self.step),
            done.eq(alone | along),
        ]
        m.d.sync += begun.eq(block_end | alone)
        with m.If(begun):
            m.d.sync += [busy.eq(max(0, interval - 2)), rested.eq(interval <= 2)]
        with m.Else():
            m.d.sync += [busy.eq(Mux(busy == 0, 0, decremented(busy))), rested.eq(busy <= 1)]
        last = loop_counter(m, done, fold, folding.folds)
        # The fold that left last: where the current block is of the same, the next block takes its own along.
        left = Signal.like(fold, init=folding.folds - 1, name="flush_left")
        with m.If(done):
            m.d.sync += left.eq(fold)
        with m.If(done & last):
            m.d.sync += pending.eq(0)
        with m.If(self.step & self.ends.row):
            m.d.sync += pending.eq(1)
        # A block that begins and takes them along: there is a place then, and pixels.
        stays = due & ~(begins & self.credit & (self.granted | idle))
        after = self.ends.row | Mux(due & begins, ~last, pending & (left == block_fold))
        # A block that took them along knows it until its end.
        taken = Signal()
        with m.If(begins & self.step):
            m.d.sync += taken.eq(due)
        m.d.sync += due.eq(Mux(block_end, after, stays))
        m.d.comb += self.control.flush.eq((block_end & Mux(begins, due, taken)) | alone)
        return due, alone, fold
