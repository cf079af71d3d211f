"""Operands of packed products in logic: assembled from small integers, stored as fields, and taken apart again.

The rules are those of :class:`mixq.packing.operand.Operand`; each function here is its method of the same purpose.
"""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Mux, Value

from mixq.packing import Packing, Product, Slot
from mixq.packing.operand import Operand


def assembled(operand: Operand, values: Sequence[Value]) -> Value:
    """The operand of signed values, as a signed value: no adder stands behind another.

    Two terms that overlap take one short adder, more of them one as long as the operand. Where no terms overlap, each
    takes over a sign from below, which needs no adder; nor does its own sign.
    """
    fields = operand.fields
    if any(field.gap is not None and field.gap < field.bits for field in fields):
        return _added(operand, values) if len(fields) > 2 else widened(operand, encoded(operand, values))
    parts: list[Value] = [Const(0, fields[0].offset)]
    sign: Value | None = None
    for field in fields:
        value = values[field.index]
        # An adder whose last bit is the sign would stand before all that hangs on it: tools find that they are equal.
        low = _joined(value, None if sign is None else sign.as_signed(), negative=field.negative, bits=len(value))
        sign = Mux(value == 0, Const(0, 1) if sign is None else sign, value[-1] ^ field.negative)
        parts.append(_resized(Cat(low, sign), field.bits if field.gap is None else field.gap))
    return Cat(*parts).as_signed()


def _added(operand: Operand, values: Sequence[Value]) -> Value:
    """The operand as one sum of every other term, the terms between, and a constant.

    With its top bit turned over a signed value is an unsigned one, which is larger by a constant. A bit of each of the
    three becomes a sum and a carry, which are functions of so few bits that the look-up tables of the adder have room
    for them.
    """
    bits = operand.bits
    rows = [[Const(0, 1)] * bits, [Const(0, 1)] * bits]
    constant = 0
    for number, term in enumerate(operand.terms):
        value = values[term.index]
        plain = Cat(value[:-1], ~value[-1])
        constant += (int(term.negative) - (1 << len(value) - 1)) << term.offset
        row = rows[number % 2]
        for bit, source in enumerate(~plain if term.negative else plain):
            assert isinstance(row[term.offset + bit], Const), "a term ends before the next but one begins"
            row[term.offset + bit] = source
    totals, carries = [], [Const(0, 1)]
    for bit, (a, b) in enumerate(zip(*rows, strict=True)):
        one = constant >> bit & 1
        totals.append(~(a ^ b) if one else a ^ b)
        carries.append(a | b if one else a & b)
    return (Cat(*totals) + Cat(*carries[:bits]))[:bits].as_signed()


def encoded(operand: Operand, values: Sequence[Value]) -> Value:
    """Stored fields of signed values, first lowest."""
    parts: list[Value] = []
    below: Value | None = None
    for field in operand.fields:
        whole = _joined(values[field.index], below, negative=field.negative, bits=field.bits)
        parts.append(whole)
        below = whole >> field.gap if field.gap is not None else None
    return Cat(*parts)


def widened(operand: Operand, stored: Value) -> Value:
    """The operand that stored fields stand for, as a signed value, by wiring alone."""
    parts: list[Value] = [Const(0, operand.fields[0].offset)]
    for field, whole in zip(operand.fields, _stored_fields(operand, stored), strict=True):
        parts.append(whole if field.gap is None else _resized(whole, field.gap))
    return Cat(*parts).as_signed()


def low_values(operand: Operand, stored: Value, bits: int) -> dict[int, list[Value]]:
    """Lowest ``bits`` bits of the values, by index, lowest first, that stored fields were made of; none negated."""
    found: dict[int, list[Value]] = {}
    below: Value | None = None
    for field, whole in zip(operand.fields, _stored_fields(operand, stored), strict=True):
        low = low_bits(whole, bits)
        found[field.index] = low if below is None else sub_low(low, low_bits(below, bits))
        below = whole >> field.gap if field.gap is not None else None
    return found


# -- arithmetic modulo 2 or 4, in gates: adders would take a carry chain each ------------------------


def low_bits(value: Value, bits: int) -> list[Value]:
    """Lowest bits of a signed value, sign-extended where it is shorter."""
    return [value[min(bit, len(value) - 1)] for bit in range(bits)]


def add_low(a: Sequence[Value], b: Sequence[Value]) -> list[Value]:
    """``a + b`` modulo 2^bits, bits 1 or 2."""
    total = [x ^ y for x, y in zip(a, b, strict=True)]
    return total if len(a) == 1 else [total[0], total[1] ^ (a[0] & b[0])]


def sub_low(a: Sequence[Value], b: Sequence[Value]) -> list[Value]:
    """``a - b`` modulo 2^bits, bits 1 or 2."""
    total = [x ^ y for x, y in zip(a, b, strict=True)]
    return total if len(a) == 1 else [total[0], total[1] ^ (~a[0] & b[0])]


def mul_low(a: Sequence[Value], b: Sequence[Value]) -> list[Value]:
    """``a * b`` modulo 2^bits, bits 1 or 2."""
    low = a[0] & b[0]
    return [low] if len(a) == 1 else [low, (a[1] & b[0]) ^ (a[0] & b[1])]


def const_low(value: int, bits: int) -> list[Value]:
    """Lowest bits of a constant."""
    return [Const(value >> bit & 1, 1) for bit in range(bits)]


# -- activations -------------------------------------------------------------------------------------


def recentred(packing: Packing, slot: Slot, codes: Value) -> list[Value]:
    """Activations that a slot multiplies, signed: codes (pixels * act_bits, first lowest) to values."""
    part, bits = packing.parts[slot.part], packing.act_bits
    start = part.act_shift
    found = []
    for pixel in range(slot.pixel, slot.pixel + slot.product.pixels):
        code = codes.word_select(pixel, bits)[start : start + slot.product.act_bits]
        # A lower part is recentred in any case; the upper one has the sign of the code.
        upper = start + slot.product.act_bits == bits
        flipped = not (upper and packing.act_signed)
        found.append((Cat(code[:-1], ~code[-1]) if flipped else code).as_signed())
    return found


def operand_bits(packing: Packing) -> int:
    """Bits of the activation operands of a unit."""
    return sum(group.product.act_word_bits for group in packing.act_groups)


def activation_operand(packing: Packing, codes: Value) -> Value:
    """Activation operands of a unit from its codes (pixels * act_bits, first lowest), group by group.

    A group has the recentred activations themselves where its product keeps them, and then, where it joins them, the
    operands of its product.
    """
    parts: list[Value] = []
    for group in packing.act_groups:
        values = recentred(packing, group, codes)
        if group.product.keeps_activations:
            parts += values
        if group.product.joins_activations:
            parts += [assembled(operand, values) for operand in group.product.act_operands]
    return Cat(*parts)


def kept_codes(product: Product, group: Value) -> list[Value]:
    """The recentred activations in a group of operands."""
    return [group.word_select(n, product.act_bits).as_signed() for n in range(product.pixels)]


def joined_operands(product: Product, group: Value) -> list[Value]:
    """The assembled operands in a group, signed."""
    if not product.joins_activations:
        return [kept_codes(product, group)[0]]
    at = product.pixels * product.act_bits if product.keeps_activations else 0
    found = []
    for operand in product.act_operands:
        width = operand.bits
        found.append(group[at : at + width].as_signed())
        at += width
    return found


def pre_adder_operands(product: Product, group: Value) -> tuple[Value, Value]:
    """What the pre-adder of a single product subtracts from what: low bits in place, sign bits in place."""
    low = [Const(0, 1)] * product.act_port_bits
    sign = list(low)
    for offset, code in zip(product.act_offsets, kept_codes(product, group), strict=True):
        for bit in range(product.act_bits - 1):
            low[offset + bit] = code[bit]
        sign[offset + product.act_bits - 1] = code[-1]
    return Cat(*low), Cat(*sign)


# -- weights -----------------------------------------------------------------------------------------


def stored_operands(product: Product, word: Value) -> list[Value]:
    """Stored fields of each weight operand in a product's word."""
    found, at = [], 0
    for operand in product.weight_operands:
        found.append(word[at : at + operand.stored_bits])
        at += operand.stored_bits
    return found


def low_weights(product: Product, word: Value, bits: int) -> dict[int, list[Value]]:
    """Lowest bits of the weights in a product's word, by channel * taps + tap."""
    stored = stored_operands(product, word)
    found = low_values(product.weight_operands[0], stored[0], bits)
    if product.pair and not product.act_on_wide:  # even and odd taps apart
        found |= low_values(product.weight_operands[1], stored[1], bits)
    return found


def encode_weights(packing: Packing, codes: Value) -> Value:
    """Stored word of plain weight codes (channel then tap, first lowest): ``packing.encode_weights`` in logic."""
    parts: list[Value] = []
    for group in packing.weight_groups:
        product, part = group.product, packing.parts[group.part]
        values: list[Value] = []
        for channel in range(group.channel, group.channel + product.channels):
            for tap in range(group.tap, group.tap + product.taps):
                code = weight_value(packing, codes, channel, tap)
                upper = packing.parts[0].weight_shift
                if part.weight_shift:
                    code = (code >> upper).as_signed()
                elif upper:
                    code = Cat(code[:upper], Const(0, 1)).as_signed()
                values.append(code)
        parts += [encoded(operand, values) for operand in product.weight_operands]
    return Cat(*parts)


def weight_value(packing: Packing, codes: Value, channel: int, tap: int) -> Value:
    """One weight of plain codes, signed; of 1 bit, a 1 stands for +1 and a 0 for -1."""
    code = codes.word_select(channel * packing.taps + tap, packing.weight_bits)
    return Cat(Const(1, 1), ~code).as_signed() if packing.weight_bits == 1 else code.as_signed()


def _joined(value: Value, below: Value | None, *, negative: bool, bits: int) -> Value:
    if below is None:
        whole = -value if negative else value
    else:
        whole = below - value if negative else value + below
    return _resized(whole, bits).as_signed()


def _resized(value: Value, width: int) -> Value:
    """The low bits of a signed value, sign-extended where it is shorter."""
    return value[:width] if width <= len(value) else Cat(value, value[-1].replicate(width - len(value)))


def _stored_fields(operand: Operand, stored: Value) -> list[Value]:
    found, at = [], 0
    for field in operand.fields:
        found.append(stored[at : at + field.bits].as_signed())
        at += field.bits
    return found
