"""Products in look-up tables."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal, signed

from mixq.formats import IntFormat
from mixq.packing import SoftMultipliers
from rtl_gen.booth import BoothAddend, booth_digits, booth_rows, booth_sum

_NOTHING = BoothAddend(Const(0, signed(1)), IntFormat(1, True, 0, 0))


def product_latency(packing: SoftMultipliers) -> int:
    """Return the cycles of :func:`soft_products`: one for a table, otherwise one for each two bits of the weight."""
    return 1 if packing.tabulated else booth_rows(packing.weight_format, packing.product_format)


def soft_products(m: Module, packing: SoftMultipliers, weight: Any, activations: list[Any], *, name: str) -> list[Any]:
    """Return the signed products of a weight and each of some activations, :func:`product_latency` cycles later.

    No multiplication operator takes part, so that no tool makes a DSP of one. ``weight`` in ``weight_format``,
    activations in ``act_format``; ``name`` starts the names of registers.
    """
    names = [f"{name}_pixel_{pixel}" for pixel in range(len(activations))]
    if packing.tabulated:
        return [_looked_up(m, packing, weight, x, own) for x, own in zip(activations, names, strict=True)]
    digits = booth_digits(m, weight.as_signed(), product_latency(packing))
    return [
        booth_sum(
            m,
            x.as_signed() if packing.act_signed else x,
            packing.act_format,
            digits,
            _NOTHING,
            result=packing.product_format,
            name=own,
        )
        for x, own in zip(activations, names, strict=True)
    ]


def _looked_up(m: Module, packing: SoftMultipliers, weight: Any, x: Any, name: str) -> Any:
    """Return the register behind a table of all products, one look-up table for each of its bits."""
    weights, acts = packing.weight_format, packing.act_format
    table = [
        _code(value, weights) * _code(code, acts)
        for code in range(1 << acts.width)
        for value in range(1 << weights.width)
    ]
    result = Signal(signed(packing.product_format.width), name=name, reset_less=True)
    index = Cat(weight, x)
    bits = []
    for bit in range(len(result)):
        ones = sum(((value >> bit) & 1) << at for at, value in enumerate(table))
        bits.append(Const(ones, len(table)).bit_select(index, 1))
    m.d.sync += result.eq(Cat(*bits))
    return result


def _code(field: int, format: IntFormat) -> int:
    """Return the value of a field of a format's width."""
    return field - (1 << format.width) if format.signed and field >> (format.width - 1) else field
