"""DSPs whose lanes run over into each other while look-up tables count what spills."""

from __future__ import annotations

from functools import reduce
from operator import or_

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


def tracked_latency(length: int) -> int:
    """Accumulator, its register, counters beside it, corrected lanes; and their sum where there are several DSPs."""
    return DSP_LATENCY + 3 + int(length > 1)


class TrackedDsp(wiring.Component):
    """A DSP that accumulates a carry-tracked product, and the counters of its lanes.

    Parameters: product, tracked. cycles: most products of a sum. target: "dsp48e2" or "generic".

    Members
    -------
    activations, weights: as :class:`rtl_gen.mac_chain.MacChain` takes them. go_on: 0 with the first operands of a sum.
    valid: there are operands; others are 0. p: the accumulator, :data:`rtl_gen.dsp.DSP_LATENCY` cycles after the
    operands. counts: of the lanes, :func:`mixq.packing.cost.counter_bits` each, first lowest, a cycle after p.
    """

    def __init__(self, product: Product, *, cycles: int, target: Target = "dsp48e2") -> None:
        known = product.residues(*product.sum_bounds(1))
        if not product.tracked or known is None:
            raise ValueError(f"product must be tracked, not {product!r}")
        self._product = product
        self._known = known
        self._bits = counter_bits(product, cycles)
        self._target = target
        super().__init__(
            {
                "activations": In(unsigned(product.act_word_bits)),
                "weights": In(unsigned(product.stored_bits)),
                "go_on": In(1),
                "valid": In(1, init=1),
                "p": Out(unsigned(48)),
                "counts": Out(unsigned(sum(self._bits))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Accumulate, and compare the low bits of lanes before and after each cycle."""
        m = Module()
        product = self._product
        (lift,) = product.lift(product.product_bounds[0])
        m.submodules.dsp = dsp = Dsp(cascade_in=False, accumulates=True, constant=lift, every=True, target=self._target)
        d, a, b = dsp_operands(product, self.activations, self.weights, 0)
        m.d.comb += [dsp.d.eq(d), dsp.a.eq(a), dsp.b.eq(b), dsp.go_on.eq(self.go_on), dsp.valid.eq(self.valid)]
        m.d.comb += self.p.eq(dsp.p)
        m.submodules.terms = terms = LaneTerms(product, self._known)
        m.d.comb += [terms.activations.eq(self.activations), terms.weights.eq(self.weights)]
        valid = delayed(m, self.valid, LaneTerms.LATENCY, name="valid")
        soon = delayed(m, self.go_on, DSP_LATENCY - 1, name="go_on")
        now = delayed(m, soon, 1, name="go_on_now")
        counts: list[Value] = []
        at = 0
        for i, (lane, bits) in enumerate(zip(product.lanes, self._known, strict=True)):
            if bits:
                lifted = add_low(
                    list(terms.terms[at : at + bits]),
                    const_low(product.lane_lift(lane, product.product_bounds[0]), bits),
                )
                shown = dsp.p[lane.offset : lane.offset + bits]
                spilled = self._spilled(m, i, lifted, shown, valid, soon)
                counts.append(self._count(m, i - 1, Cat(*spilled), now))
                at += bits
            elif i:
                counts.append(Const(0, self._bits[i - 1]))
        if self._bits[-1]:
            top = Signal(name="top", reset_less=True)
            m.d.sync += top.eq(Mux(soon, dsp.p[-1], 0))
            counts.append(self._count(m, len(product.lanes) - 1, top & ~dsp.p[-1], now))
        m.d.comb += self.counts.eq(Cat(*counts))
        return m

    def _spilled(
        self, m: Module, index: int, lifted: list[Value], shown: Value, valid: Value, soon: Value
    ) -> list[Value]:
        """What the lane below spilled into this one: what it shows, less what it showed and what was added to it."""
        term = Signal(len(lifted), name=f"term_{index}", reset_less=True)
        late = Signal.like(term, name=f"term_{index}_late", reset_less=True)
        before = Signal.like(term, name=f"before_{index}", reset_less=True)
        m.d.sync += [
            term.eq(Mux(valid, Cat(*lifted), 0)),
            late.eq(term),
            before.eq(Mux(soon, shown, 0)),
        ]
        return sub_low(sub_low(list(shown), list(before)), list(late))

    def _count(self, m: Module, index: int, more: Value, go_on: Value) -> Value:
        count = Signal(self._bits[index], name=f"count_{index}", reset_less=True)
        m.d.sync += count.eq(Mux(go_on, count, 0) + more)
        return count


class TrackedChain(wiring.Component):
    """Lifted lanes of the sum of ``length`` carry-tracked DSPs over up to ``cycles`` cycles.

    The DSPs do not cascade. DSP i works a cycle later than DSP 0 and so is done a cycle later: one reader takes the
    lanes of one DSP after another and adds them up. Sums must be at least ``length`` cycles long.

    Parameters: product, length, cycles, target: as :class:`TrackedDsp`.

    Members: activations, weights: of all DSPs, first lowest. go_on, valid, read: a bit for each DSP, in the cycle of
    its operands; read is 1 with the last of a sum. lanes: in the order of ``product.lanes``, :attr:`lane_bits` each,
    first lowest, :attr:`latency` cycles after the last operands of the last DSP.
    """

    def __init__(self, product: Product, *, length: int, cycles: int, target: Target = "dsp48e2") -> None:
        self._product = product
        self._length = length
        self._cycles = cycles
        self._target = target
        self._counter_bits = counter_bits(product, cycles)
        super().__init__(
            {
                "activations": In(unsigned(length * product.act_word_bits)),
                "weights": In(unsigned(length * product.stored_bits)),
                "go_on": In(length),
                "valid": In(length, init=(1 << length) - 1),
                "read": In(length),
                "lanes": Out(unsigned(sum(self.lane_bits))),
            }
        )

    @property
    def lane_bits(self) -> list[int]:
        """Bits of each lane."""
        return self._product.lane_bits(*self._product.sum_bounds(self._length * self._cycles))

    @property
    def latency(self) -> int:
        """See :func:`tracked_latency`."""
        return tracked_latency(self._length)

    def elaborate(self, platform: object) -> Module:
        """Choose the DSP that is done, correct its lanes, add them up."""
        m = Module()
        product = self._product
        dsps = []
        for i in range(self._length):
            m.submodules[f"dsp_{i}"] = dsp = TrackedDsp(product, cycles=self._cycles, target=self._target)
            m.d.comb += [
                dsp.activations.eq(self.activations.word_select(i, product.act_word_bits)),
                dsp.weights.eq(self.weights.word_select(i, product.stored_bits)),
                dsp.go_on.eq(self.go_on[i]),
                dsp.valid.eq(self.valid[i]),
            ]
            dsps.append(dsp)
        done = delayed(m, self.read, DSP_LATENCY, name="done", reset=True)
        counted = delayed(m, done, 1, name="counted", reset=True)
        p = Signal(48, reset_less=True)
        counts = Signal(sum(self._counter_bits), reset_less=True)
        m.d.sync += [
            p.eq(self._chosen(done, [dsp.p for dsp in dsps])),
            counts.eq(self._chosen(counted, [dsp.counts for dsp in dsps])),
        ]
        p = delayed(m, p, 1, name="p")
        read = Signal(sum(self.lane_bits), reset_less=True)
        m.d.sync += read.eq(Cat(*self._corrected(p, counts)))
        if self._length == 1:
            m.d.comb += self.lanes.eq(read)
            return m
        # The first DSP's lanes start a sum, those of the others are added.
        starts = delayed(m, counted[0], 2, name="starts", reset=True)
        adds = delayed(m, counted.any(), 2, name="adds", reset=True)
        at = 0
        for i, bits in enumerate(self.lane_bits):
            total = Signal(bits, name=f"total_{i}", reset_less=True)
            with m.If(adds):
                m.d.sync += total.eq(Mux(starts, 0, total) + read[at : at + bits])
            m.d.comb += self.lanes[at : at + bits].eq(total)
            at += bits
        return m

    def _chosen(self, which: Value, values: list[Value]) -> Value:
        """The value whose bit is set; one that has no rivals is taken as it is."""
        if len(values) == 1:
            return values[0]
        return reduce(or_, (Mux(which[i], value, 0) for i, value in enumerate(values)))

    def _corrected(self, p: Value, counts: Value) -> list[Value]:
        """Lane i holds its field and what it spilled, less what the lane below spilled into it."""
        lanes: list[Value] = []
        below: Value | None = None
        at = 0
        for lane, bits, counter in zip(self._product.lanes, self.lane_bits, self._counter_bits, strict=True):
            own = counts[at : at + counter]
            value = Cat(p[lane.offset : lane.offset + lane.width], own)
            exact = value if below is None else value - below
            lanes.append(exact[:bits] if len(exact) >= bits else Cat(exact, Const(0, bits - len(exact))))
            below = own
            at += counter
        return lanes
