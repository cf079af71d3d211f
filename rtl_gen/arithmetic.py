"""Small arithmetic that must stay out of DSPs."""

from __future__ import annotations

from functools import reduce

from amaranth.hdl import Mux, Value


def times(value: Value, factor: int) -> Value:
    """``value * factor`` by shifts and additions, which no tool takes for a DSP."""
    terms = [value << bit for bit in range(factor.bit_length()) if factor >> bit & 1]
    return reduce(lambda a, b: a + b, terms)


def wrap(value: Value, modulus: int) -> Value:
    """``value`` modulo ``modulus``, for values below twice the modulus."""
    return Mux(value >= modulus, value - modulus, value)
