"""Counters: of nested loops, and up and down.

They are built of gates: an adder would take a carry chain, and what follows from its sum would stand behind it. Long
ones have carries in registers, set a step ahead, so that no bit follows from more than three below it.
"""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

_MOST_GATES = 24
"""Bits up to which all lower ones are seen in two levels of look-up tables, and the sum is ready with the third."""

_CARRIED_BITS = 4
"""Bits of a long counter from one carry to the next."""


def incremented(value: Value) -> Value:
    """``value + 1`` modulo 2^len, without a carry chain up to 24 bits."""
    if len(value) > _MOST_GATES:
        return (value + 1)[: len(value)]
    return Cat(value[i] ^ value[:i].all() if i else ~value[0] for i in range(len(value)))


def carry_places(bits: int) -> range:
    """The numbers of low bits of a counter of so many bits that :func:`advanced` wants a carry for."""
    return range(_CARRIED_BITS, bits, _CARRIED_BITS)


def with_carries(value: int, bits: int) -> int:
    """A count with its carries above its ``bits``.

    >>> bin(with_carries(0b0_1111, 5))
    '0b101111'
    """
    carries = [value & (1 << place) - 1 == (1 << place) - 1 for place in carry_places(bits)]
    return value | sum(carry << bits + index for index, carry in enumerate(carries))


def advanced(value: Value, carries: Value) -> Value:
    """``value + 1`` modulo 2^len, and above it its carries.

    carries: a bit for each of :func:`carry_places`: whether so many low bits of ``value`` are all set.
    """
    places = carry_places(len(value))
    chunks: list[Value] = []
    for index, start in enumerate([0, *places]):
        chunk = value[start : start + _CARRIED_BITS]
        chunks.append(Mux(carries[index - 1], incremented(chunk), chunk) if index else incremented(chunk))
    return Cat(*chunks, *(value[:place] == (1 << place) - 2 for place in places))


def decremented(value: Value) -> Value:
    """``value - 1`` modulo 2^len, without a carry chain up to 24 bits."""
    if len(value) > _MOST_GATES:
        return (value - 1)[: len(value)]
    return Cat(value[i] ^ ~value[:i].any() if i else ~value[0] for i in range(len(value)))


def up_down(m: Module, signal: Signal, *, up: Value, down: Value) -> None:
    """Count up with ``up`` and down with ``down``; with both, or none, keep the value."""
    # Each bit turns by itself, so that both may come late in a cycle: no sum is chosen behind them.
    for i, bit in enumerate(signal):
        all_set, none_set = (signal[:i].all(), ~signal[:i].any()) if i else (Const(1, 1), Const(1, 1))
        m.d.sync += bit.eq(bit ^ Mux(down, ~up & none_set, up & all_set))


def loop_counter(m: Module, enable: Value, signal: Signal, steps: int) -> Value:
    """Count 0 to ``steps - 1`` and again, a step in each cycle with ``enable``; returns whether the count is the last.

    That comes from a register, set a step ahead. ``signal`` must start from 0.
    """
    if steps == 1:
        return Const(1, 1)
    last = Signal(name=f"{signal.name}_last")
    carries = Signal(len(carry_places(len(signal))), name=f"{signal.name}_carries")
    with m.If(enable):
        m.d.sync += [Cat(signal, carries).eq(Mux(last, 0, advanced(signal, carries))), last.eq(signal == steps - 2)]
    return last


@dataclass(frozen=True)
class LoopEnd:
    """Where a loop ends, its inner ones included.

    now: the current step ends it, from a register, whether the step is done in this cycle or not. soon: the step behind
    the current one will.
    """

    now: Value
    soon: Value


EVERY_STEP = LoopEnd(Const(1, 1), Const(1, 1))
"""The loop inside the innermost one: each step ends it."""


def nested_loop(
    m: Module, step: Value, signal: Signal, steps: int, *, inner: LoopEnd = EVERY_STEP, short: bool = False
) -> LoopEnd:
    """Count 0 to ``steps - 1`` and again, a count in each cycle with ``step`` in which the loop ``inner`` ends.

    short: the inner loop may end with its first step although it is not :data:`EVERY_STEP`. ``signal`` must start from
    0. What hangs on the end of the loop follows from ``step`` and one register, however deep the loops are nested.
    """
    if steps == 1:
        return inner
    last = loop_counter(m, step if inner is EVERY_STEP else step & inner.now, signal, steps)
    last_soon = signal == steps - 2
    if inner is EVERY_STEP:
        return LoopEnd(last, last_soon)
    soon = inner.soon & (Mux(inner.now, last_soon, last) if short else last)
    return end_register(m, step, soon, name=f"{signal.name}_end")


def end_register(m: Module, step: Value, soon: Value, *, name: str) -> LoopEnd:
    """The end of a loop of more than one step, of which is known whether the step behind the current one ends it."""
    now = Signal(name=name)
    with m.If(step):
        m.d.sync += now.eq(soon)
    return LoopEnd(now, soon)
