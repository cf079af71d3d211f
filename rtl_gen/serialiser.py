"""Gives out a group of outputs a few channels at a time, so that few requantisers serve many sums."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from mixq.plan.folding import Folding
from rtl_gen.arithmetic import times


class Serialiser(wiring.Component):
    """Turns ``folding.pe`` channels of a group of pixels into beats of ``folding.out_lanes`` channels.

    Where the layer has stride 2, the pixels between are left out.

    Members
    -------
    sums, group, valid: outputs as :class:`rtl_gen.overlap_add.OverlapAdd` gives them, at most once in ``beats`` cycles.
    x, x_valid: pixel then channel, first lowest; x_group: group of out_lanes channels; the first beat :attr:`latency`
    cycles later, the others in the cycles behind it.
    """

    def __init__(self, folding: Folding, sum_bits: int) -> None:
        self._folding = folding
        self._bits = sum_bits
        self._beats = folding.pe // folding.out_lanes
        groups = folding.shape.out_channels // folding.out_lanes
        super().__init__(
            {
                "sums": In(unsigned(sum_bits * folding.pe * folding.packing.pixels)),
                "group": In(range(folding.folds)),
                "valid": In(1),
                "x": Out(unsigned(sum_bits * folding.out_lanes * folding.out_pixels)),
                "x_group": Out(max(1, ceil_log2(groups))),
                "x_valid": Out(1),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles to the first beat."""
        return 0 if self._beats == 1 else 1

    def elaborate(self, platform: object) -> Module:
        """Build a shift register, or wires where all channels leave at once."""
        m = Module()
        beats = [self._beat(i) for i in range(self._beats)]
        if self._beats == 1:
            m.d.comb += [self.x.eq(beats[0]), self.x_group.eq(self.group), self.x_valid.eq(self.valid)]
            return m
        held = Signal(sum(len(beat) for beat in beats), reset_less=True)
        left = Signal(range(self._beats + 1))
        m.d.comb += [self.x.eq(held[: len(self.x)]), self.x_valid.eq(left != 0)]
        m.d.sync += [held.eq(held >> len(self.x)), self.x_group.eq(self.x_group + 1)]
        with m.If(self.valid):
            m.d.sync += [held.eq(Cat(*beats)), left.eq(self._beats), self.x_group.eq(times(self.group, self._beats))]
        with m.Else():
            m.d.sync += left.eq(Mux(left == 0, 0, left - 1))
        return m

    def _beat(self, index: int) -> Value:
        folding, pixels = self._folding, self._folding.packing.pixels
        step = folding.shape.stride if pixels > 1 else 1
        channels = range(index * folding.out_lanes, (index + 1) * folding.out_lanes)
        return Cat(
            *(self.sums.word_select(c * pixels + p, self._bits) for p in range(0, pixels, step) for c in channels)
        )
