"""DSPs whose lanes run over into each other while look-up tables count what spills."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mixq.packing import Product
from mixq.packing.cost import counter_bits
from rtl_gen.dsp import DSP_LATENCY, Dsp, Target
from rtl_gen.mac_chain import dsp_operands
from rtl_gen.operands import add_low, const_low, sub_low
from rtl_gen.pipeline import delayed
from rtl_gen.residues import LaneTerms

TRACKED_LATENCY = DSP_LATENCY + 2
"""Cycles from the last operands of a carry-tracked sum to its lanes: accumulator, counters beside it, a register."""


class TrackedDsp(wiring.Component):
    """A DSP that accumulates a carry-tracked product, and the counters of its lanes.

    With ``cascade_in`` a sum does not start from 0 but from what the DSP before it in a cascade, and its counters, have
    at that moment.

    Parameters: product, tracked. cycles: most products of a sum, those of the DSPs before it included. target:
    "dsp48e2" or "generic". cascade_in: another such DSP, whose sum it goes on with.

    Members
    -------
    activations, weights: as :class:`rtl_gen.mac_chain.MacChain` takes them. go_on: 0 with the first operands of a sum.
    valid: there are operands; others are 0. p: the accumulator, :data:`rtl_gen.dsp.DSP_LATENCY` cycles after the
    operands. pcout: the same, for the next DSP. counts: of the lanes, :func:`mixq.packing.cost.counter_bits` each,
    first lowest, a cycle after p. pcin, p_before, counts_before: pcout, p and counts of the DSP before it.
    """

    def __init__(
        self, product: Product, *, cycles: int, target: Target = "dsp48e2", cascade_in: TrackedDsp | None = None
    ) -> None:
        known = product.residues(*product.sum_bounds(1))
        if not product.tracked or known is None:
            raise ValueError(f"product must be tracked, not {product!r}")
        self._product = product
        self._known = known
        self._bits = counter_bits(product, cycles)
        self._target = target
        self._bits_before = cascade_in.counter_bits if cascade_in is not None else []
        super().__init__(
            {
                "activations": In(unsigned(product.act_word_bits)),
                "weights": In(unsigned(product.stored_bits)),
                "go_on": In(1),
                "valid": In(1, init=1),
                "pcin": In(unsigned(48)),
                "p_before": In(unsigned(48)),
                "counts_before": In(unsigned(sum(self._bits_before))),
                "p": Out(unsigned(48)),
                "pcout": Out(unsigned(48)),
                "counts": Out(unsigned(sum(self._bits))),
            }
        )

    @property
    def counter_bits(self) -> list[int]:
        """Bits of each lane's counter."""
        return list(self._bits)

    def elaborate(self, platform: object) -> Module:
        """Accumulate, and compare the low bits of lanes before and after each cycle."""
        m = Module()
        product = self._product
        (lift,) = product.lift(product.product_bounds[0])
        cascade = bool(self._bits_before)
        m.submodules.dsp = dsp = Dsp(
            cascade_in=cascade, accumulates=True, constant=lift, every=True, target=self._target
        )
        d, a, b = dsp_operands(product, self.activations, self.weights, 0)
        m.d.comb += [dsp.d.eq(d), dsp.a.eq(a), dsp.b.eq(b), dsp.go_on.eq(self.go_on), dsp.valid.eq(self.valid)]
        m.d.comb += [dsp.pcin.eq(self.pcin), self.p.eq(dsp.p), self.pcout.eq(dsp.pcout)]
        m.submodules.terms = terms = LaneTerms(product, self._known)
        m.d.comb += [terms.activations.eq(self.activations), terms.weights.eq(self.weights)]
        valid = delayed(m, self.valid, LaneTerms.LATENCY, name="valid")
        soon = delayed(m, self.go_on, DSP_LATENCY - 1, name="go_on")
        now = delayed(m, soon, 1, name="go_on_now")
        # A sum starts from 0, or from what the DSP before shows.
        before: Value = Mux(soon, dsp.p, self.p_before if cascade else 0)
        starts = self._counts_before()
        counts: list[Value] = []
        at = 0
        for i, (lane, bits) in enumerate(zip(product.lanes, self._known, strict=True)):
            if bits:
                lifted = add_low(
                    list(terms.terms[at : at + bits]),
                    const_low(product.lane_lift(lane, product.product_bounds[0]), bits),
                )
                place = slice(lane.offset, lane.offset + bits)
                spilled = self._spilled(m, i, lifted, dsp.p[place], before[place], valid)
                counts.append(self._count(m, i - 1, Cat(*spilled), now, starts[i - 1]))
                at += bits
            elif i:
                counts.append(Const(0, self._bits[i - 1]))
        if self._bits[-1]:
            top = Signal(name="top", reset_less=True)
            m.d.sync += top.eq(before[-1])
            counts.append(self._count(m, len(product.lanes) - 1, top & ~dsp.p[-1], now, starts[-1]))
        m.d.comb += self.counts.eq(Cat(*counts))
        return m

    def _counts_before(self) -> list[Value]:
        """What each counter starts from."""
        if not self._bits_before:
            return [Const(0, 1) for _ in self._bits]
        ends = [sum(self._bits_before[: i + 1]) for i in range(len(self._bits))]
        return [self.counts_before[end - bits : end] for end, bits in zip(ends, self._bits_before, strict=True)]

    def _spilled(
        self, m: Module, index: int, lifted: list[Value], shown: Value, before: Value, valid: Value
    ) -> list[Value]:
        """What the lane below spilled into this one: what it shows, less what it showed and what was added to it."""
        term = Signal(len(lifted), name=f"term_{index}", reset_less=True)
        late = Signal.like(term, name=f"term_{index}_late", reset_less=True)
        showed = Signal.like(term, name=f"before_{index}", reset_less=True)
        m.d.sync += [term.eq(Mux(valid, Cat(*lifted), 0)), late.eq(term), showed.eq(before)]
        return sub_low(sub_low(list(shown), list(showed)), list(late))

    def _count(self, m: Module, index: int, more: Value, go_on: Value, start: Value) -> Value:
        count = Signal(self._bits[index], name=f"count_{index}", reset_less=True)
        m.d.sync += count.eq(Mux(go_on, count, start) + more)
        return count


class TrackedChain(wiring.Component):
    """Lifted lanes of the sum of ``length`` carry-tracked DSPs over ``cycles`` cycles each.

    The DSPs are a cascade in time: DSP i works ``cycles`` cycles later than DSP i - 1 and starts from its finished sum,
    so that the last one has the sum of all, and only its lanes are read. Sums of more than one DSP last ``cycles``
    cycles, without a gap; those of a single DSP up to so many.

    Parameters: product, length, cycles, target: as :class:`TrackedDsp`.

    Members: activations, weights: of all DSPs, first lowest. go_on, valid: a bit for each DSP, in the cycle of its
    operands. lanes: in the order of ``product.lanes``, :attr:`lane_bits` each, first lowest, :data:`TRACKED_LATENCY`
    cycles after the last operands of the last DSP.
    """

    def __init__(self, product: Product, *, length: int, cycles: int, target: Target = "dsp48e2") -> None:
        self._product = product
        self._length = length
        self._cycles = cycles
        self._target = target
        super().__init__(
            {
                "activations": In(unsigned(length * product.act_word_bits)),
                "weights": In(unsigned(length * product.stored_bits)),
                "go_on": In(length),
                "valid": In(length, init=(1 << length) - 1),
                "lanes": Out(unsigned(sum(self.lane_bits))),
            }
        )

    @property
    def lane_bits(self) -> list[int]:
        """Bits of each lane."""
        return self._product.lane_bits(*self._product.sum_bounds(self._length * self._cycles))

    def elaborate(self, platform: object) -> Module:
        """Put the DSPs one behind another, and correct the lanes of the last one."""
        m = Module()
        product = self._product
        before: TrackedDsp | None = None
        for i in range(self._length):
            dsp = TrackedDsp(product, cycles=(i + 1) * self._cycles, target=self._target, cascade_in=before)
            m.submodules[f"dsp_{i}"] = dsp
            m.d.comb += [
                dsp.activations.eq(self.activations.word_select(i, product.act_word_bits)),
                dsp.weights.eq(self.weights.word_select(i, product.stored_bits)),
                dsp.go_on.eq(self.go_on[i]),
                dsp.valid.eq(self.valid[i]),
            ]
            if before is not None:
                m.d.comb += [
                    dsp.pcin.eq(before.pcout),
                    dsp.p_before.eq(before.p),
                    dsp.counts_before.eq(before.counts),
                ]
            before = dsp
        assert before is not None
        p = delayed(m, before.p, 1, name="p")
        read = Signal(sum(self.lane_bits), reset_less=True)
        m.d.sync += read.eq(Cat(*self._corrected(p, before.counts, before.counter_bits)))
        m.d.comb += self.lanes.eq(read)
        return m

    def _corrected(self, p: Value, counts: Value, counter_bits: list[int]) -> list[Value]:
        """Lane i holds its field and what it spilled, less what the lane below spilled into it."""
        lanes: list[Value] = []
        below: Value | None = None
        at = 0
        for lane, bits, counter in zip(self._product.lanes, self.lane_bits, counter_bits, strict=True):
            own = counts[at : at + counter]
            value = Cat(p[lane.offset : lane.offset + lane.width], own)
            exact = value if below is None else value - below
            lanes.append(exact[:bits] if len(exact) >= bits else Cat(exact, Const(0, bits - len(exact))))
            below = own
            at += counter
        return lanes
