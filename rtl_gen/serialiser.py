"""Gives out a group of outputs a few channels at a time, so that few requantisers serve many sums."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from mixq.plan.folding import Folding
from rtl_gen.arithmetic import looked_up
from rtl_gen.counters import advanced, carry_places, decremented, loop_counter, with_carries


class Serialiser(wiring.Component):
    """Gives out ``folding.pe`` channels of a group of pixels, some channels and pixels in each cycle.

    Where the layer has stride 2, the pixels between are left out. Surplus channels of the last fold do not leave.

    Members
    -------
    sums, group, valid: outputs as :class:`rtl_gen.overlap_add.OverlapAdd` gives them, at most once in
    ``folding.out_interval`` cycles.
    x, x_valid: out_pixels / ``folding.turns`` pixels, pixel then channel, first lowest; x_group: group of out_lanes
    channels; the first :attr:`latency` cycles later, the others in the cycles behind it.
    """

    def __init__(self, folding: Folding, sum_bits: int) -> None:
        self._folding = folding
        self._bits = sum_bits
        self._beats = folding.fold_beats
        self._turns = folding.turns
        groups = folding.shape.out_channels // folding.out_lanes
        super().__init__(
            {
                "sums": In(unsigned(sum_bits * folding.pe * folding.packing.pixels)),
                "group": In(range(folding.folds)),
                "valid": In(1),
                "x": Out(unsigned(sum_bits * folding.out_lanes * folding.out_pixels // folding.turns)),
                "x_group": Out(max(1, ceil_log2(groups))),
                "x_valid": Out(1),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles to the first outputs."""
        return 0 if self._folding.out_interval == 1 else 1

    def elaborate(self, platform: object) -> Module:
        """Build a shift register, or wires where all channels leave at once."""
        m = Module()
        parts = [self._part(beat, turn) for beat in range(self._beats) for turn in range(self._turns)]
        if len(parts) == 1:
            m.d.comb += [self.x.eq(parts[0]), self.x_group.eq(self.group), self.x_valid.eq(self.valid)]
            return m
        held = Signal(sum(len(part) for part in parts), reset_less=True)
        left, turn = Signal(range(len(parts) + 1)), Signal(range(self._turns))
        last_turn = loop_counter(m, self.x_valid, turn, self._turns)
        m.d.comb += [self.x.eq(held[: len(self.x)]), self.x_valid.eq(left != 0)]
        m.d.sync += held.eq(held >> len(self.x))
        bits = len(self.x_group)
        carries = Signal(len(carry_places(bits)), name="x_group_carries")
        with m.If(last_turn):
            m.d.sync += Cat(self.x_group, carries).eq(advanced(self.x_group, carries))

        def first_group(fold: int) -> int:
            return with_carries(fold * self._beats, bits)

        first = looked_up(m, self.group, self._folding.folds, first_group, name="first_group")
        with m.If(self.valid):
            m.d.sync += [held.eq(Cat(*parts)), left.eq(self._count(m)), Cat(self.x_group, carries).eq(first)]
        with m.Else():
            m.d.sync += left.eq(Mux(left == 0, 0, decremented(left)))
        return m

    def _count(self, m: Module) -> Value:
        """Parts of the group that comes, without surplus channels."""
        folding = self._folding
        parts, last = self._beats * self._turns, folding.last_fold_beats * self._turns
        if last == parts:
            return Const(parts)
        return looked_up(
            m, self.group, folding.folds, lambda fold: last if fold == folding.folds - 1 else parts, name="parts"
        )

    def _part(self, beat: int, turn: int) -> Value:
        folding, pixels = self._folding, self._folding.packing.pixels
        step = folding.shape.stride if pixels > 1 else 1
        channels = range(beat * folding.out_lanes, (beat + 1) * folding.out_lanes)
        every = range(0, pixels, step)
        share = len(every) // self._turns
        return Cat(
            *(
                self.sums.word_select(c * pixels + p, self._bits)
                for p in every[turn * share : (turn + 1) * share]
                for c in channels
            )
        )
