"""Sums over the steps of a block, of multipliers that are read in every step."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mixq.plan.folding import Folding


class SumAccumulator(wiring.Component):
    """Adds up the sums of the steps of a block, modulo 2^sum_bits; where there is only one step, it is wires.

    Parameters: folding; sum_bits.

    Members
    -------
    chains: sums of a step as :class:`rtl_gen.soft_array.SoftArray` gives them. read, load, tap_pass: see
    :class:`rtl_gen.control.Control`, in the cycle of these; there is one pass over the taps.
    sums: in the same order, complete :attr:`latency` cycles after the last step of a block.
    """

    def __init__(self, folding: Folding, sum_bits: int) -> None:
        self._bits = sum_bits
        self._accumulates = folding.steps > 1
        size = unsigned(sum_bits * folding.pe * folding.positions)
        super().__init__(
            {
                "chains": In(size),
                "read": In(1),
                "load": In(1),
                "tap_pass": In(range(folding.packing.passes)),
                "sums": Out(size),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from the last sums of a block's steps to its own."""
        return int(self._accumulates)

    def elaborate(self, platform: object) -> Module:
        """Build an accumulator for each sum."""
        m = Module()
        if not self._accumulates:
            m.d.comb += self.sums.eq(self.chains)
            return m
        for index in range(len(self.sums) // self._bits):
            held = Signal(self._bits, name=f"sum_{index}", reset_less=True)
            with m.If(self.read):
                m.d.sync += held.eq(Mux(self.load, 0, held) + self.chains.word_select(index, self._bits))
            m.d.comb += self.sums.word_select(index, self._bits).eq(held)
        return m
