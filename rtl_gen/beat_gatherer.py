"""Puts the codes of pixels that were requantised one after another into one beat."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl_gen.counters import loop_counter


class BeatGatherer(wiring.Component):
    """Joins ``turns`` parts of a beat, first lowest.

    Parameters: bits, of a part; turns, 1 or more.

    Members: part, part_valid; beat, valid: in the cycle of a beat's last part.
    """

    def __init__(self, *, bits: int, turns: int) -> None:
        self._bits = bits
        self._turns = turns
        super().__init__(
            {
                "part": In(unsigned(bits)),
                "part_valid": In(1),
                "beat": Out(unsigned(bits * turns)),
                "valid": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Hold the parts before the last one."""
        m = Module()
        early: list[Value] = []
        for turn in range(self._turns - 1):
            early.append(Signal(self._bits, name=f"part_{turn}", reset_less=True))
        with m.If(self.part_valid):
            m.d.sync += [part.eq(after) for part, after in zip(early, [*early[1:], self.part], strict=False)]
        last = loop_counter(m, self.part_valid, Signal(range(self._turns), name="turn"), self._turns)
        m.d.comb += [self.beat.eq(Cat(*early, self.part)), self.valid.eq(self.part_valid & last)]
        return m
