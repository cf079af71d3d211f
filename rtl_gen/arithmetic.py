"""Small arithmetic that must stay out of DSPs."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

from amaranth.hdl import Module, Signal, Value


def times(value: Value, factor: int) -> Value:
    """``value * factor`` by shifts and additions, which no tool takes for a DSP."""
    terms = [value << bit for bit in range(factor.bit_length()) if factor >> bit & 1]
    return reduce(lambda a, b: a + b, terms)


def looked_up(m: Module, value: Value, count: int, function: Callable[[int], int], *, name: str) -> Signal:
    """``function(value)``, not negative, of a value of 0 to ``count - 1``, in look-up tables of its bits."""
    results = [function(at) for at in range(count)]
    result = Signal(range(max(results) + 1), name=name)
    # Beyond the range there is nothing to be right: the widest table is the smallest.
    m.d.comb += result.eq(results[-1])
    if len(value):
        with m.Switch(value):
            for at, found in enumerate(results[:-1]):
                with m.Case(at):
                    m.d.comb += result.eq(found)
    return result
