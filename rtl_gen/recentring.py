"""Puts right, beside a packed multiplier, what recentring takes from its sums and lifting adds to them."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from mixq.packing import Packing
from rtl_gen.arithmetic import times
from rtl_gen.operands import weight_value
from rtl_gen.pipeline import delayed


class Recentring(wiring.Component):
    """``recentre * sum of weights - lift * products`` for every sum of :class:`rtl_gen.packed_chain.PackedChain`.

    Parameters: packing, length, accumulate: as there. skewed: whether position i comes i cycles later; otherwise all
    come together. lift: of each product, where sums are lifted product by product; else 0, and ``constant`` of a sum.

    Members: weights: plain codes of all positions, 0 where not valid, first lowest. valid: a bit for each position, in
    its cycle. go_on: 0 with the first operands of a sum of the last position. corrections: for channel and
    position, signed, of :attr:`bits`, index channel * positions + position; :attr:`latency` cycles after the last
    weights.
    """

    def __init__(
        self, packing: Packing, *, length: int, accumulate: int, skewed: bool, lift: int = 0, constant: int = 0
    ) -> None:
        self._packing = packing
        self._length = length
        self._accumulate = accumulate
        self._levels = 1 if skewed else max(1, ceil_log2(length))
        self._skewed = skewed
        self._lift = lift
        self._constant = constant
        pairs = min(packing.pixels, packing.taps)
        most = max(abs(bound) for bound in packing.weight_bounds)
        largest = pairs * (length * accumulate * (packing.recentre * most + lift) + constant)
        self._bits = largest.bit_length() + 1
        super().__init__(
            {
                "weights": In(unsigned(length * packing.channels * packing.taps * packing.weight_bits)),
                "valid": In(length),
                "go_on": In(1),
                "corrections": Out(unsigned(self._bits * packing.channels * packing.positions)),
            }
        )

    @property
    def bits(self) -> int:
        """Width of one correction."""
        return self._bits

    @property
    def latency(self) -> int:
        """Weights summed over positions, over cycles, over taps, and scaled."""
        return self._levels + 3

    def elaborate(self, platform: object) -> Module:
        """Sum up weights and products, and scale them."""
        m = Module()
        packing = self._packing
        go_on = delayed(m, self.go_on, self._levels, name="go_on")
        products: Value = Const(0, 1)
        if self._lift:
            count = delayed(m, Mux(self.valid[-1], Const(self._length), 0), self._levels, name="valid")
            products = self._held(m, count, go_on, "products")
        sums: dict[tuple[int, int], Value] = {}
        if packing.recentre:
            for channel in range(packing.channels):
                for tap in range(packing.taps):
                    total = self._over_positions(m, channel, tap)
                    sums[channel, tap] = self._held(m, total, go_on, f"weights_{channel}_{tap}")
        lifted = Signal(unsigned(self._bits), name="lifted", reset_less=True)
        m.d.sync += lifted.eq(times(products, self._lift) if self._lift else 0)
        for channel in range(packing.channels):
            for position in range(packing.positions):
                index = channel * packing.positions + position
                out = self.corrections.word_select(index, self._bits)
                m.d.comb += out.eq(self._correction(m, channel, position, sums, lifted))
        return m

    def _over_positions(self, m: Module, channel: int, tap: int) -> Value:
        """Sum of the weights of a channel and tap: along the skew like the products, or in a tree."""
        packing = self._packing
        size = packing.channels * packing.taps * packing.weight_bits
        terms = []
        for i in range(self._length):
            codes = self.weights.word_select(i, size)
            value = weight_value(packing, codes, channel, tap)
            # A weight of 1 bit is never 0, so that one that is not valid must be taken for it.
            terms.append(Mux(self.valid[i], value, 0).as_signed() if packing.weight_bits == 1 else value)
        name = f"partial_{channel}_{tap}"
        if self._skewed:
            total: Value = Const(0, 1)
            for i, term in enumerate(terms):
                total = self._registered(m, term + total, f"{name}_{i}")
            return total
        for level in range(self._levels):
            pairs = [terms[i : i + 2] for i in range(0, len(terms), 2)]
            terms = [self._registered(m, sum(p[1:], p[0]), f"{name}_{level}_{i}") for i, p in enumerate(pairs)]
        return terms[0]

    @staticmethod
    def _registered(m: Module, value: Value, name: str) -> Value:
        register = Signal(value.shape(), name=name, reset_less=True)
        m.d.sync += register.eq(value)
        return register

    def _held(self, m: Module, total: Value, go_on: Value, name: str) -> Value:
        """Sum over the cycles from the first on."""
        bits = len(total) + (self._accumulate - 1).bit_length()
        held = Signal(signed(bits + 1), name=name, reset_less=True)
        m.d.sync += held.eq(total + Mux(go_on, held, 0))
        return held

    def _correction(
        self, m: Module, channel: int, position: int, sums: dict[tuple[int, int], Value], lifted: Value
    ) -> Value:
        packing = self._packing
        taps = [tap for tap in range(packing.taps) if 0 <= position - tap < packing.pixels]
        name = f"{channel}_{position}"
        scaled: Value = Const(-self._constant * len(taps))
        if sums:
            total = self._registered(
                m, sum((sums[channel, t] for t in taps[1:]), sums[channel, taps[0]]), f"seen_{name}"
            )
            powers = [bit for bit in range(packing.recentre.bit_length()) if packing.recentre >> bit & 1]
            scaled = sum((total << bit for bit in powers), scaled)
        if self._lift:
            scaled = scaled - times(lifted, len(taps))
        correction = Signal(signed(self._bits), name=f"correction_{name}", reset_less=True)
        m.d.sync += correction.eq(scaled)
        return correction
