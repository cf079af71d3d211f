"""Operands that adders join, against the sums that they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from amaranth.hdl import Module, Signal, signed
from amaranth.sim import Simulator

from mixq.packing import candidates
from mixq.packing.operand import Operand
from rtl_gen.operands import assembled

# weight and activation bits, kernel, known bits: of packings whose operands have from two to nine terms.
WIDTHS = [
    (1, 8, 3, 0),
    (1, 7, 5, 0),
    (1, 7, 5, 2),
    (2, 5, 5, 0),
    (1, 5, 5, 2),
    (2, 2, 5, 2),
    (1, 2, 3, 2),
    (1, 1, 3, 2),
]


def operands(widths: tuple[int, int, int, int]) -> dict[Operand, int]:
    """Operands of activations that adders join, each with the bits of an activation."""
    parts = [part.product for packing in candidates(*widths) for part in packing.parts]
    return {own: part.act_bits for part in parts if part.joins_activations for own in part.act_operands}


def overlapping(operand: Operand) -> int:
    """Terms that lie in the bits of the one above them."""
    return sum(field.gap is not None and field.gap < field.bits for field in operand.fields)


@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_assembled_is_the_sum(widths: tuple[int, int, int, int]) -> None:
    rng = np.random.default_rng(1)
    for operand, bits in operands(widths).items():
        low, high = -(1 << bits - 1), (1 << bits - 1) - 1
        count = max(term.index for term in operand.terms) + 1
        rows = rng.choice([low, low + 1, -1, 0, min(1, high), high], (200, count))
        rows[::2] = rng.integers(low, high + 1, rows[::2].shape)
        m = Module()
        values = [Signal(signed(bits), name=f"value_{n}") for n in range(count)]
        total = Signal(signed(operand.bits))
        m.d.comb += total.eq(assembled(operand, values))
        found: list[int] = []

        async def bench(ctx, rows=rows, values=values, total=total, found=found) -> None:  # type: ignore[no-untyped-def]
            for row in rows.tolist():
                for signal, value in zip(values, row, strict=True):
                    ctx.set(signal, value)
                found.append(ctx.get(total))

        simulator = Simulator(m)
        simulator.add_testbench(bench)
        simulator.run()
        assert found == [
            sum((-row[t.index] if t.negative else row[t.index]) << t.offset for t in operand.terms)
            for row in rows.tolist()
        ]


def test_all_ways_to_assemble_are_among_them() -> None:
    kinds = {(min(len(own.terms), 3), bool(overlapping(own))) for widths in WIDTHS for own in operands(widths)}
    assert kinds >= {(2, False), (3, False), (2, True), (3, True)}
