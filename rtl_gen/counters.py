"""Counters of nested loops."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Module, Mux, Signal, Value


def nested_counters(m: Module, enable: Value, counters: Sequence[tuple[Signal, int]]) -> list[Value]:
    """Count up nested loops, innermost first, one step in each cycle with ``enable``.

    counters: pairs of a signal and its number of steps. Returns for each loop whether it ends in this step, all inner
    ones included; the last of them is the end of the whole nest.
    """
    carry = enable
    ends = []
    for signal, steps in counters:
        last = signal == steps - 1
        with m.If(carry):
            m.d.sync += signal.eq(Mux(last, 0, signal + 1))
        carry = carry & last
        ends.append(carry)
    return ends
