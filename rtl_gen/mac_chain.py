"""A chain of DSPs that sums packed products down its cascade."""

from __future__ import annotations

from typing import ClassVar

from amaranth.hdl import Cat, Const, Module, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mixq.packing import Packing
from rtl_gen.dsp import DSP_LATENCY, Dsp, Target


class MacChain(wiring.Component):
    """Lifted lanes of a sum of ``length`` packed products per cycle, over up to ``accumulate`` cycles.

    Operand i belongs to a cycle i later than operand 0: whoever feeds the chain delays activations and weight
    addresses, once for all chains that share them.

    Parameters
    ----------
    packing: arithmetic of each DSP. length: DSPs in the chain. accumulate: cycles summed before the lanes are read;
    length * accumulate must not exceed packing.accumulate_max. target: see :class:`rtl_gen.dsp.Dsp`.

    Members
    -------
    activations: length operands as :func:`activation_operand` makes them, first lowest.
    weights: length words as :meth:`mixq.packing.Packing.encode_weights` stores them, first lowest.
    go_on: 0 with the last operand of the first cycle of a sum, 1 with those of its other cycles.
    p: the accumulator of the last DSP, its lanes as ``packing.lanes`` says, lifted for length * accumulate products.

    Latency :attr:`LATENCY` from the last operand to p.
    """

    LATENCY: ClassVar[int] = DSP_LATENCY
    """Clock cycles from the last operand to p."""

    def __init__(self, packing: Packing, *, length: int, accumulate: int, target: Target = "dsp48e2") -> None:
        if length < 1 or accumulate < 1 or length * accumulate > packing.accumulate_max:
            raise ValueError(
                f"length * accumulate must be from 1 to {packing.accumulate_max}, not {(length, accumulate)!r}"
            )
        self._packing = packing
        self._length = length
        self._accumulate = accumulate
        self._target = target
        super().__init__(
            {
                "activations": In(unsigned(length * operand_bits(packing))),
                "weights": In(unsigned(length * packing.stored_bits)),
                "go_on": In(1),
                "p": Out(unsigned(48)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Put the DSPs in a row."""
        m = Module()
        packing = self._packing
        acts = operand_bits(packing)
        lift = packing.lift(self._length * self._accumulate)
        previous: Dsp | None = None
        for i in range(self._length):
            last = i == self._length - 1
            dsp = Dsp(cascade_in=i > 0, accumulates=last, constant=lift if last else 0, target=self._target)
            m.submodules[f"dsp_{i}"] = dsp
            activation = self.activations.word_select(i, acts)
            weight = weight_operand(packing, self.weights.word_select(i, packing.stored_bits))
            if packing.act_on_wide:
                low, sign = split_operand(packing, activation)
                m.d.comb += [dsp.d.eq(low), dsp.a.eq(sign), dsp.b.eq(weight)]
            else:
                m.d.comb += [dsp.d.eq(weight), dsp.b.eq(activation.as_signed())]
            if previous is not None:
                m.d.comb += dsp.pcin.eq(previous.pcout)
            if last:
                m.d.comb += [dsp.go_on.eq(self.go_on), self.p.eq(dsp.p)]
            previous = dsp
        return m


def operand_bits(packing: Packing) -> int:
    """Bits of an assembled activation operand: the codes alone on the wide port, else their sum on the narrow one."""
    if packing.act_on_wide:
        return packing.pixels * packing.act_bits
    return packing.act_offsets[-1] + packing.act_bits + (packing.pixels > 1)


def activation_operand(packing: Packing, codes: Value) -> Value:
    """Assemble activation codes (pixels * act_bits, first lowest) for the port that they go to.

    On the wide port the pre-adder joins the fields, so that recentring is one inverter for each code. On the narrow one
    the fields are joined here, by a short adder for each field above the first.
    """
    bits = packing.act_bits
    flip = 0 if packing.act_signed else 1 << (bits - 1)
    recentred = [(codes.word_select(n, bits) ^ flip)[:bits] for n in range(packing.pixels)]
    if packing.act_on_wide:
        return Cat(*recentred)
    fields: list[Value] = []
    borrow: Value = Const(0, 1)
    for n, code in enumerate(recentred):
        # What lies below makes a field one less where it is negative, so all but the first need a bit more.
        field = (code.as_signed() - borrow)[: bits + 1] if n else code
        borrow = field[-1]
        fields.append(field if n == packing.pixels - 1 else _sign_extend(field, packing.pixel_stride))
    return Cat(*fields)


def split_operand(packing: Packing, codes: Value) -> tuple[Value, Value]:
    """What the pre-adder subtracts from what: recentred codes to (low bits in place, sign bits in place)."""
    low: list[Value] = []
    sign: list[Value] = []
    bits = packing.act_bits
    for n in range(packing.pixels):
        code = codes.word_select(n, bits)
        gap = packing.pixel_stride - bits if n < packing.pixels - 1 else 0
        low += [code[:-1], Const(0, 1 + gap)]
        sign += [Const(0, bits - 1), code[-1], *([Const(0, gap)] if gap else [])]
    return Cat(*low), Cat(*sign)


def weight_operand(packing: Packing, word: Value) -> Value:
    """Widen a stored weight word to its port: every field is sign-extended up to the next, by wiring alone."""
    fields = packing.weight_fields
    ends = [offset for offset, *_ in fields[1:]] + [packing.weight_port_bits]
    parts: list[Value] = []
    position = 0
    for (offset, bits, _, _), end in zip(fields, ends, strict=True):
        parts.append(_sign_extend(word[position : position + bits], end - offset))
        position += bits
    return Cat(*parts).as_signed()


def _sign_extend(field: Value, width: int) -> Value:
    if width <= len(field):
        return field[:width]
    return Cat(field, field[-1].replicate(width - len(field)))
