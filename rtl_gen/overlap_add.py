"""Joins the sums of neighbouring groups of pixels into the outputs of a row."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mixq.plan.folding import Folding
from rtl_gen.memory import DualPortMemory


class OverlapAdd(wiring.Component):
    """Adds what a group of pixels contributes to the outputs around it, and gives out those that are complete.

    Sums that wait for later pixels are kept for each output channel. A row starts with what the padding on its left
    gives and ends with what the padding on its right gives; neither passes the multipliers.

    Members
    -------
    sums: as :class:`rtl_gen.lane_accumulator.LaneAccumulator` gives them. update, start, emit, flush, fold: see
    :class:`rtl_gen.control.Control`; next_fold: the fold of the next cycle. left, right: of the fold, see
    :class:`rtl_gen.padding_table.PaddingTable`.
    outputs: a group of pixels of folding.pe channels, sum_bits each, index channel * pixels + pixel, first lowest;
    one cycle after ``emit`` or ``flush``, with ``valid`` and its ``group`` of channels.
    """

    LATENCY = 1
    """Clock cycles from the sums to the outputs."""

    def __init__(self, folding: Folding, sum_bits: int) -> None:
        self._folding = folding
        self._bits = bits = sum_bits
        super().__init__(
            {
                "sums": In(unsigned(bits * folding.pe * folding.positions)),
                "update": In(1),
                "start": In(1),
                "emit": In(1),
                "flush": In(1),
                "fold": In(range(folding.folds)),
                "next_fold": In(range(folding.folds)),
                "left": In(unsigned(bits * folding.pe * folding.carried)),
                "right": In(unsigned(bits * folding.pe * folding.packing.pixels)),
                "outputs": Out(unsigned(bits * folding.pe * folding.packing.pixels)),
                "group": Out(range(folding.folds)),
                "valid": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build the adders around the memory of waiting sums."""
        m = Module()
        folding, bits = self._folding, self._bits
        pixels, carried = folding.packing.pixels, folding.carried
        kept = Signal(bits * folding.pe * carried)
        waiting = self._waiting(m, kept)

        def before(channel: int, place: int) -> Value:
            sum_ = waiting.word_select(channel * carried + place, bits)
            # The first outputs of a row are not complete with its first group, where they wait for later ones at all;
            # their places then show what the row before left, for its last outputs.
            if place < pixels and folding.delay:
                return sum_
            return Mux(self.start, self.left.word_select(channel * carried + place, bits), sum_)

        def contribution(channel: int, place: int) -> Value:
            sum_ = self.sums.word_select(channel * folding.positions + place - folding.first_lane, bits)
            if place >= pixels or not folding.flush:
                return sum_
            return Mux(self.flush, self.right.word_select(channel * pixels + place, bits), sum_)

        for channel in range(folding.pe):
            for place in range(pixels + carried):
                terms = [before(channel, place)] if place < carried else []
                if place >= folding.first_lane:
                    terms.append(contribution(channel, place))
                total = sum(terms[1:], terms[0])
                if place < pixels:
                    m.d.sync += self.outputs.word_select(channel * pixels + place, bits).eq(total)
                else:
                    m.d.comb += kept.word_select(channel * carried + place - pixels, bits).eq(total)
        m.d.sync += [self.valid.eq(self.emit | self.flush), self.group.eq(self.fold)]
        return m

    def _waiting(self, m: Module, kept: Signal) -> Value:
        """Sums that wait, of the current fold: a register, or a memory that is read a cycle ahead.

        What was written in one cycle is not needed in the next: in between come the other folds.
        """
        if not len(kept):
            return Const(0, 1)
        if self._folding.folds == 1:
            held = Signal.like(kept, name="held", reset_less=True)
            with m.If(self.update):
                m.d.sync += held.eq(kept)
            return held
        depth = self._folding.folds
        m.submodules.waiting = storage = DualPortMemory(len(kept), depth, style="distributed")
        m.d.comb += [
            storage.write_en.eq(self.update),
            storage.write_addr.eq(self.fold),
            storage.write_data.eq(kept),
            storage.read_en.eq(1),
            storage.read_addr.eq(self.next_fold),
        ]
        return storage.read_data
