"""Sums of lanes that go beyond what the DSPs' guard bits hold."""

from __future__ import annotations

from functools import reduce
from operator import add

from amaranth.hdl import Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from mixq.plan.folding import Folding


class LaneAccumulator(wiring.Component):
    """Adds the lanes of all chains of a column, and of all reads of a block.

    Parameters: folding; sum_bits, which hold every sum.

    Members
    -------
    chains: sums of chains as :class:`rtl_gen.mac_array.MacArray` gives them. read, load, tap_pass: see
    :class:`rtl_gen.control.Control`, in the cycle of these.
    sums: sum_bits each, index output channel within the fold * positions + position, first lowest; complete
    :attr:`latency` cycles after the last read of a block.
    """

    def __init__(self, folding: Folding, sum_bits: int) -> None:
        self._folding = folding
        self._bits = sum_bits
        self._widths = folding.packing.sum_widths(*folding.read_bounds)
        super().__init__(
            {
                "chains": In(unsigned(sum(self._widths) * folding.columns * folding.chains)),
                "read": In(1),
                "load": In(1),
                "tap_pass": In(range(folding.packing.passes)),
                "sums": Out(unsigned(sum_bits * folding.pe * folding.positions)),
            }
        )

    @property
    def accumulates(self) -> bool:
        """Whether a block takes more than one read."""
        return self._folding.reads_per_pass * self._folding.packing.passes > 1

    @property
    def levels(self) -> int:
        """Registered levels of the tree that adds chains."""
        return ceil_log2(self._folding.chains)

    @property
    def latency(self) -> int:
        """Cycles from the last sums of chains of a block to its own."""
        return self.levels + int(self.accumulates)

    def elaborate(self, platform: object) -> Module:
        """Build a tree and, where needed, an accumulator for each lane."""
        m = Module()
        folding, packing = self._folding, self._folding.packing
        read, load, tap_pass = self._late_control(m)
        for column in range(folding.columns):
            lanes = self._lanes(m, column)
            for channel in range(packing.channels):
                for position in range(folding.positions):
                    out = (column * packing.channels + channel) * folding.positions + position
                    total = self.sums.word_select(out, self._bits)
                    term = self._term(lanes, channel, position, tap_pass)
                    if not self.accumulates:
                        m.d.comb += total.eq(term)
                        continue
                    held = Signal(self._bits, name=f"sum_{out}", reset_less=True)
                    with m.If(read):
                        m.d.sync += held.eq(Mux(load, 0, held) + term)
                    m.d.comb += total.eq(held)
        return m

    def _lanes(self, m: Module, column: int) -> dict[tuple[int, int], Value]:
        """Sums of the chains of a column, by channel and position."""
        folding = self._folding
        size = sum(self._widths)
        chains = [self.chains.word_select(column * folding.chains + chain, size) for chain in range(folding.chains)]
        lanes: dict[tuple[int, int], Value] = {}
        at = 0
        for index, width in enumerate(self._widths):
            terms = [chain[at : at + width] for chain in chains]
            lanes[divmod(index, folding.packing.positions)] = self._tree(m, terms)
            at += width
        return lanes

    def _late_control(self, m: Module) -> tuple[Value, Value, Value]:
        """Control bits beside the result of the tree."""
        read, load, tap_pass = self.read, self.load, self.tap_pass
        for level in range(self.levels):
            signals = (read, load, tap_pass)
            names = ("read", "load", "tap_pass")
            late = [Signal.like(s, name=f"{n}_{level + 1}") for s, n in zip(signals, names, strict=True)]
            m.d.sync += [register.eq(signal) for register, signal in zip(late, signals, strict=True)]
            read, load, tap_pass = late
        return read, load, tap_pass

    def _tree(self, m: Module, terms: list[Value]) -> Value:
        """Add up, two at a time, a register behind each level."""
        while len(terms) > 1:
            pairs = [terms[i : i + 2] for i in range(0, len(terms), 2)]
            level = []
            for pair in pairs:
                total = reduce(add, pair)
                register = Signal(min(len(total), self._bits), name="tree", reset_less=True)
                m.d.sync += register.eq(total)
                level.append(register)
            terms = level
        return terms[0]

    def _term(self, lanes: dict[tuple[int, int], Value], channel: int, position: int, tap_pass: Value) -> Value:
        """What this read adds at a position: a later pass over the taps is shifted by the taps before it."""
        packing = self._folding.packing
        share = packing.taps * self._folding.shape.dilation
        choices = [lanes.get((channel, position - i * share)) for i in range(packing.passes)]
        term: Value = Const(0, 1)
        for i, choice in enumerate(choices):
            if choice is not None:
                term = Mux(tap_pass == i, choice, term) if packing.passes > 1 else choice
        return term
