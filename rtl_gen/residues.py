"""The lowest bits of lanes, computed beside the DSPs in look-up tables."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mixq.packing import Lane, Product
from rtl_gen.dsp import DSP_LATENCY
from rtl_gen.operands import add_low, const_low, kept_codes, low_bits, low_weights, mul_low
from rtl_gen.pipeline import delayed


class LaneTerms(wiring.Component):
    """What one product adds to the low bits of its lanes, modulo 2^known.

    Parameters: product; known: low bits wanted of each lane, in the order of ``product.lanes``.

    Members: activations, weights: of one DSP or pair, as :class:`rtl_gen.mac_chain.MacChain` takes them. terms: the
    low bits of all lanes, first lowest, in the cycle of the operands' third register: a register later than
    :attr:`LATENCY` says, they stand beside what P held before.
    """

    LATENCY = 2
    """Cycles from the operands to their terms; they are not registered."""

    def __init__(self, product: Product, known: tuple[int, ...]) -> None:
        self._product = product
        self._known = known
        super().__init__(
            {
                "activations": In(unsigned(product.act_word_bits)),
                "weights": In(unsigned(product.stored_bits)),
                "terms": Out(unsigned(sum(known))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Register the low bits twice, take the borrows out of the weights between, and multiply."""
        m = Module()
        product, most = self._product, max(self._known)
        acts = [
            delayed(m, Cat(*low_bits(code, most)), 2, name=f"act_{n}")
            for n, code in enumerate(kept_codes(product, self.activations))
        ]
        word = delayed(m, self.weights, 1, name="word")
        weights = {
            index: delayed(m, Cat(*low), 1, name=f"weight_{index}")
            for index, low in low_weights(product, word, most).items()
        }
        parts = []
        for lane, bits in zip(product.lanes, self._known, strict=True):
            if bits:
                parts += self._lane(lane, bits, acts, weights)
        m.d.comb += self.terms.eq(Cat(*parts))
        return m

    def _lane(self, lane: Lane, bits: int, acts: list[Value], weights: dict[int, Value]) -> list[Value]:
        total: list[Value] | None = None
        for tap in range(self._product.taps):
            pixel = lane.position - tap
            if 0 <= pixel < self._product.pixels:
                act, weight = acts[pixel], weights[lane.channel * self._product.taps + tap]
                term = mul_low(list(act[:bits]), list(weight[:bits]))
                total = term if total is None else add_low(total, term)
        assert total is not None
        return total


class ResidueChain(wiring.Component):
    """Residues of the lanes of a :class:`rtl_gen.mac_chain.MacChain`, in the cycle of its accumulator.

    Parameters: product, length, accumulate, low: as there. known: low bits wanted of each lane.

    Members: activations, weights, go_on: as there. residues: the low bits of all lanes, first lowest.
    """

    LATENCY = DSP_LATENCY
    """Cycles from the last operand to the residues."""

    def __init__(self, product: Product, *, length: int, accumulate: int, low: int, known: tuple[int, ...]) -> None:
        self._product = product
        self._length = length
        self._accumulate = accumulate
        self._known = known
        self._lifts = [product.lane_lift(lane, low) for lane in product.lanes]
        super().__init__(
            {
                "activations": In(unsigned(length * product.act_word_bits)),
                "weights": In(unsigned(length * product.stored_bits)),
                "go_on": In(1),
                "residues": Out(unsigned(sum(known))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Add up along the skew of the chain, then over its cycles."""
        m = Module()
        total: Value | None = None
        for i in range(self._length):
            m.submodules[f"terms_{i}"] = terms = LaneTerms(self._product, self._known)
            m.d.comb += [
                terms.activations.eq(self.activations.word_select(i, self._product.act_word_bits)),
                terms.weights.eq(self.weights.word_select(i, self._product.stored_bits)),
            ]
            partial = Signal.like(self.residues, name=f"partial_{i}", reset_less=True)
            m.d.sync += partial.eq(terms.terms if total is None else self._added(terms.terms, total))
            total = partial
        assert total is not None
        start = Cat(*(Cat(*const_low(lift, bits)) for lift, bits in zip(self._lifts, self._known, strict=True) if bits))
        if self._accumulate > 1:
            go_on = delayed(m, self.go_on, DSP_LATENCY - 1, name="go_on")
            start = Mux(go_on, self.residues, start)
        held = Signal.like(self.residues, name="held", reset_less=True)
        m.d.sync += held.eq(self._added(total, start))
        m.d.comb += self.residues.eq(held)
        return m

    def _added(self, a: Value, b: Value) -> Value:
        parts, at = [], 0
        for bits in self._known:
            if bits:
                parts += add_low(list(a[at : at + bits]), list(b[at : at + bits]))
            at += bits
        return Cat(*parts)
