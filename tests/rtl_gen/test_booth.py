# amaranth: UnusedElaboratable=no
"""Multiply and add in LUTs: every operand of small formats, and the digits of the canonical signed form."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise, product
from typing import Any

import pytest
from amaranth.hdl import Module, Signal, signed, unsigned
from amaranth.sim import Simulator

from mixq.formats import IntFormat
from rtl_gen.adder_tree import Term, sum_terms, tree_latency
from rtl_gen.booth import BoothAddend, booth_digits, booth_rows, booth_sum
from rtl_gen.requantise_multiply import signed_digits


def shape_of(format: IntFormat) -> Any:
    return signed(format.width) if format.signed else unsigned(format.width)


def results(m: Module, inputs: list[Any], total: Any, operands: Sequence[tuple[int, ...]], latency: int) -> list[int]:
    """Put new operands in every cycle; return the sums that come ``latency`` cycles later."""
    found = []

    async def bench(ctx) -> None:  # type: ignore[no-untyped-def]
        for cycle in range(len(operands) + latency):
            for signal, value in zip(inputs, operands[min(cycle, len(operands) - 1)], strict=True):
                ctx.set(signal, value)
            if cycle >= latency:
                found.append(ctx.get(total))
            await ctx.tick()

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return found


@pytest.mark.parametrize(
    "x_format, m_format",
    [
        (IntFormat(4, True), IntFormat(4, True)),
        (IntFormat(4, False), IntFormat(3, False)),
        (IntFormat(3, True), IntFormat(5, True)),
        (IntFormat(5, False), IntFormat(1, False)),
        (IntFormat(3, True), IntFormat(6, False)),
    ],
)
def test_every_product(x_format: IntFormat, m_format: IntFormat) -> None:
    m = Module()
    x, multiplier, b = Signal(shape_of(x_format)), Signal(shape_of(m_format)), Signal(signed(5))
    ends = [x_end * m_end for x_end in (x_format.low, x_format.high) for m_end in (m_format.low, m_format.high)]
    result = IntFormat.for_range(min(ends) - 16, max(ends) + 15, signed=True)
    rows = booth_rows(m_format, result)
    addend = BoothAddend(b, IntFormat(5, True))
    total = booth_sum(m, x, x_format, booth_digits(m, multiplier, rows), addend, result=result, name="p")
    rng = random.Random(1)
    pairs = product(range(x_format.low, x_format.high + 1), range(m_format.low, m_format.high + 1))
    operands = [(x_code, m_code, b_code) for x_code, m_code in pairs for b_code in (-16, 15, rng.randint(-16, 15))]
    # The multiplier and B belong to the cycle in which x comes.
    found = results(m, [x, multiplier, b], total, operands, rows)
    assert found == [x_code * m_code + b_code for x_code, m_code, b_code in operands]


@pytest.mark.parametrize("coefficients", [(1,), (3, -1), (-5, 2, 1), (7, -8, 6, -12, 1)])
def test_adder_tree(coefficients: tuple[int, ...]) -> None:
    m = Module()
    inputs = [Signal(signed(4)) for _ in coefficients]
    terms = []
    for signal, coefficient in zip(inputs, coefficients, strict=True):
        terms += [Term(signal, -8, 7, shift, negative) for shift, negative in signed_digits(coefficient)]
    width = IntFormat.for_range(-8 * sum(map(abs, coefficients)), 8 * sum(map(abs, coefficients))).width
    total = sum_terms(m, terms, width=width, name="sum")
    if len(terms) == 1:
        m.d.sync += Signal().eq(1)  # a clock for the simulator
    rng = random.Random(2)
    operands = [tuple(rng.choice([-8, 7, rng.randint(-8, 7)]) for _ in coefficients) for _ in range(200)]
    found = results(m, inputs, total, operands, tree_latency(len(terms)))
    assert found == [sum(a * b for a, b in zip(operand, coefficients, strict=True)) for operand in operands]


def test_adder_tree_refuses_only_negative_terms() -> None:
    with pytest.raises(ValueError, match=r"^terms must have one that is not negative, not 1 negative ones$"):
        sum_terms(Module(), [Term(Signal(signed(3)), -4, 3, 0, True)], width=4, name="sum")


@pytest.mark.parametrize("value", [*range(-40, 41), 46341, -(1 << 30) + 1])
def test_signed_digits(value: int) -> None:
    digits = signed_digits(value)
    assert sum(-(1 << shift) if negative else 1 << shift for shift, negative in digits) == value
    shifts = [shift for shift, _ in digits]
    assert all(later - earlier >= 2 for earlier, later in pairwise(shifts))
