"""Joins the sums of neighbouring groups of pixels into the outputs of a row."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from mixq.plan.folding import Folding
from rtl_gen.convolution_constants import ConvolutionConstants, IntArray


class OverlapAdd(wiring.Component):
    """Adds what a group of pixels contributes to the outputs around it, and gives out those that are complete.

    Sums that wait for later pixels are kept for each output channel. A row starts with what the padding on its left
    gives and ends with what the padding on its right gives; neither passes the multipliers.

    Members
    -------
    sums: as :class:`rtl_gen.lane_accumulator.LaneAccumulator` gives them. update, start, emit, flush, fold: see
    :class:`rtl_gen.control.Control`.
    outputs: a group of pixels of folding.pe channels, sum_bits each, index channel * pixels + pixel, first lowest;
    one cycle after ``emit`` or ``flush``, with ``valid`` and its ``group`` of channels.
    """

    LATENCY = 1
    """Clock cycles from the sums to the outputs."""

    def __init__(self, folding: Folding, constants: ConvolutionConstants) -> None:
        self._folding = folding
        self._constants = constants
        bits = constants.sum_bits
        super().__init__(
            {
                "sums": In(unsigned(bits * folding.pe * folding.positions)),
                "update": In(1),
                "start": In(1),
                "emit": In(1),
                "flush": In(1),
                "fold": In(range(folding.folds)),
                "outputs": Out(unsigned(bits * folding.pe * folding.packing.pixels)),
                "group": Out(range(folding.folds)),
                "valid": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build the adders around the memory of waiting sums."""
        m = Module()
        folding, bits = self._folding, self._constants.sum_bits
        pixels, carried = folding.packing.pixels, folding.carried
        kept = Signal(bits * folding.pe * carried)
        waiting = self._waiting(m, kept)
        left, right = self._table(m, "left", self._constants.left), self._table(m, "right", self._constants.right)

        def before(channel: int, place: int) -> Value:
            sum_ = waiting.word_select(channel * carried + place, bits)
            # The first outputs of a row are not complete with its first group, where they wait for later ones at all;
            # their places then show what the row before left, for its last outputs.
            if place < pixels and folding.delay:
                return sum_
            return Mux(self.start, left[channel * carried + place], sum_)

        def contribution(channel: int, place: int) -> Value:
            sum_ = self.sums.word_select(channel * folding.positions + place - folding.first_lane, bits)
            return Mux(self.flush, right[channel * pixels + place], sum_) if place < pixels and folding.flush else sum_

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
        """Sums that wait, of the current fold: a register, or a memory read in the same cycle."""
        if not len(kept):
            return Const(0, 1)
        if self._folding.folds == 1:
            held = Signal.like(kept, name="held", reset_less=True)
            with m.If(self.update):
                m.d.sync += held.eq(kept)
            return held
        depth = self._folding.folds
        m.submodules.waiting = storage = memory.Memory(
            shape=unsigned(len(kept)), depth=depth, init=[], attrs={"ram_style": "distributed"}
        )
        write, read = storage.write_port(), storage.read_port(domain="comb")
        m.d.comb += [
            write.en.eq(self.update),
            write.addr.eq(self.fold),
            write.data.eq(kept),
            read.addr.eq(self.fold),
        ]
        return read.data

    def _table(self, m: Module, name: str, values: IntArray) -> list[Value]:
        """Constants (C_out, n) of the current fold, one value for each channel of the fold and n."""
        folding, bits = self._folding, self._constants.sum_bits
        rows = values.reshape(folding.folds, folding.pe * values.shape[1])
        if folding.folds == 1:
            return [Const(value, bits) for value in rows[0].tolist()]
        used = [i for i in range(rows.shape[1]) if rows[:, i].any()]
        if not used:
            return [Const(0, bits)] * rows.shape[1]
        words = [sum(int(row[i]) << (bits * j) for j, i in enumerate(used)) for row in rows]
        m.submodules[name] = table = memory.Memory(shape=unsigned(bits * len(used)), depth=folding.folds, init=words)
        read = table.read_port(domain="comb")
        m.d.comb += read.addr.eq(self.fold)
        return [
            read.data.word_select(used.index(i), bits) if i in used else Const(0, bits) for i in range(rows.shape[1])
        ]
