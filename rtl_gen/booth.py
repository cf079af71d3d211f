"""Multiply and add in LUTs, two bits of the multiplier a cycle (radix-4 Booth recoding).

x * m + B is summed from B on: row j adds digit_j * x * 4^j, where digit_j = -2 m[2j+1] + m[2j] + m[2j-1] is one
of -2..2. A row is one carry chain, and each of its bits one 6-input LUT: three bits of m, two neighbouring bits
of x, and the sum so far. After row j the lowest 2j + 2 bits of the sum are final and take no part any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, signed

from mixq.formats import IntFormat
from rtl_gen.pipeline import delayed


@dataclass(frozen=True)
class BoothAddend:
    """B: its value, there together with x, and its format (signed)."""

    value: Any
    format: IntFormat


def booth_rows(multiplier: IntFormat, result: IntFormat) -> int:
    """Return the rows, which are the cycles, of a multiplication by ``multiplier`` into ``result``.

    An unsigned multiplier has a sign bit of 0 more; rows beyond the width of the result add nothing to it.
    """
    bits = multiplier.width + (not multiplier.signed)
    return min(-(-bits // 2), -(-result.width // 2))


def booth_digits(m: Module, multiplier: Any, rows: int) -> list[Any]:
    """Return the 3 bits of each digit, m[2j-1] lowest, at the time of their row: j cycles after ``multiplier``."""
    extended = Signal(signed(2 * rows + 1), name="multiplier_extended")
    # One 0 below the least significant bit.
    m.d.comb += extended.eq(multiplier << 1)
    return [delayed(m, extended[2 * row : 2 * row + 3], row, name=f"digit{row}") for row in range(rows)]


def booth_sum(
    m: Module, x: Any, format: IntFormat, digits: list[Any], addend: BoothAddend, *, result: IntFormat, name: str
) -> Any:
    """Return the signed sum x * multiplier + addend, ``len(digits)`` cycles later.

    ``format`` of x; ``digits`` of :func:`booth_digits`; ``result``: signed format of the sum, whose width no
    partial sum exceeds (arithmetic is modulo 2^width); ``name`` starts the names of registers.
    """
    width = format.width + (not format.signed)
    operand = Signal(signed(width), name=f"{name}_x")
    m.d.comb += operand.eq(x)
    total = Signal(signed(min(addend.format.width, result.width)), name=f"{name}_addend")
    m.d.comb += total.eq(addend.value)
    low, high = addend.format.low, addend.format.high
    largest = 2 * max(-format.low, format.high, 0)
    for row, digit in enumerate(digits):
        done = 2 * row
        low, high = low - (largest << done), high + (largest << done)
        bits = min(IntFormat.for_range(low, high, signed=True).width, result.width) - done
        label = f"{name}_row{row}"
        term, upper = Signal(signed(bits), name=f"{label}_term"), Signal(signed(bits), name=f"{label}_upper")
        twice = (digit == 0b011) | (digit == 0b100)
        once = digit[0] ^ digit[1]
        negative = digit[2]
        m.d.comb += [
            term.eq(Mux(once, operand, Mux(twice, operand << 1, 0)) ^ negative.replicate(bits).as_signed()),
            upper.eq(total >> done),
        ]
        # The bit below the sum carries the 1 of a negation into the same chain.
        added = Cat(1, upper) + Cat(negative, term)
        register = Signal(signed(done + bits), name=label, reset_less=True)
        m.d.sync += register.eq(Cat(total[:done], added[1 : bits + 1]))
        total = register
        operand = delayed(m, operand, 1, name=f"{label}_x")
    return total
