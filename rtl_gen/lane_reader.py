"""Reads the lanes of an accumulator, exactly, with what they spilled into each other put back."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mixq.packing import Product
from rtl_gen.operands import sub_low


def reader_latency(product: Product, low: int, high: int) -> int:
    """A register behind a pair's sum and difference, and one behind corrected lanes; none where lanes are wires."""
    return int(product.pair) + int(any(product.residues(low, high) or ()))


class LaneReader(wiring.Component):
    """Lifted lanes from accumulators and residues: :func:`mixq.packing.arithmetic.extract` in logic.

    Parameters: product; low, high: bounds of what each (pixel, tap) has added.

    Members: p: accumulators, 48 bits each. residues: low bits of the lanes that need some, first lowest. lanes: all
    lanes in the order of ``product.lanes``, as wide as :meth:`mixq.packing.Product.lane_bits` says, first lowest;
    :attr:`latency` cycles after p.
    """

    def __init__(self, product: Product, *, low: int, high: int) -> None:
        known = product.residues(low, high)
        if known is None:
            raise ValueError(f"low and high must fit the lanes, not {(low, high)!r}")
        self._product = product
        self._known = known
        self._bits = product.lane_bits(low, high)
        self._latency = reader_latency(product, low, high)
        super().__init__(
            {
                "p": In(unsigned(48 * product.dsps)),
                "residues": In(unsigned(sum(known))),
                "lanes": Out(unsigned(sum(self._bits))),
            }
        )

    @property
    def known(self) -> tuple[int, ...]:
        """Low bits of each lane that residues tell."""
        return self._known

    @property
    def latency(self) -> int:
        """See :func:`reader_latency`."""
        return self._latency

    def elaborate(self, platform: object) -> Module:
        """Halve, compare, and correct."""
        m = Module()
        product = self._product
        words: list[Value] = [self.p.word_select(i, 48) for i in range(product.dsps)]
        residues: Value = self.residues
        if product.pair:
            plus, minus = words
            even, odd = Signal(48, name="even", reset_less=True), Signal(48, name="odd", reset_less=True)
            late = Signal.like(residues, name="residues_1", reset_less=True)
            m.d.sync += [even.eq(plus + minus), odd.eq(plus - minus), late.eq(residues)]
            words, residues = [even[1:], odd[1:]], late
        spilled: list[Value] = []
        at = 0
        for lane, bits in zip(product.lanes, self._known, strict=True):
            shown = words[lane.word][lane.offset : lane.offset + bits]
            known = residues[at : at + bits]
            spilled.append(Cat(*sub_low(list(shown), list(known))) if bits else Const(0, 0))
            at += bits
        lanes: list[Value] = []
        for i, (lane, bits) in enumerate(zip(product.lanes, self._bits, strict=True)):
            field = words[lane.word][lane.offset : lane.offset + lane.width]
            above = i + 1 < len(product.lanes) and product.lanes[i + 1].word == lane.word
            value = Cat(field, spilled[i + 1]) if above else field
            lanes.append(_sized(value - spilled[i] if len(spilled[i]) else value, bits))
        joined = Cat(*lanes)
        if any(self._known):
            register = Signal.like(self.lanes, name="read", reset_less=True)
            m.d.sync += register.eq(joined)
            joined = register
        m.d.comb += self.lanes.eq(joined)
        return m


def _sized(value: Value, bits: int) -> Value:
    """The low bits of a value that is not negative."""
    return value[:bits] if bits <= len(value) else Cat(value, Const(0, bits - len(value)))
