"""Operands of a multiplier: their bounds, what is stored of them, and that wiring makes one of the other."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from mixq.packing.operand import Operand, Term
from tests.mixq.packing.cases import every_product

#: Offsets and signs of terms, lowest and highest value.
OPERANDS = [
    ([(0, False)], -8, 7),
    ([(0, False), (4, False)], -8, 7),
    ([(0, False), (5, False), (9, False)], -3, 3),
    ([(7, False), (0, False), (14, False)], 0, 7),
    ([(0, False), (3, True), (6, False)], -4, 3),
    ([(2, False), (10, True)], -16, 15),
    ([(0, False), (2, False), (4, False), (6, False)], -1, 1),
    ([(0, True), (1, False), (3, True)], -4, 3),  # terms closer than a value is wide
]


def of(terms: list[tuple[int, bool]], low: int, high: int) -> Operand:
    return Operand.of([Term(offset, i, negative) for i, (offset, negative) in enumerate(terms)], low, high)


def every_value(terms: list[tuple[int, bool]], low: int, high: int) -> np.ndarray:
    return np.array(list(product(range(low, high + 1), repeat=len(terms))))


def wired(operand: Operand, stored: list[int], bits: int) -> int:
    """What wiring makes of stored fields: each sign-extended up to the next, the top one to the end of the port."""
    total = 0
    for field, value in zip(operand.fields, stored, strict=True):
        gap = bits - field.offset if field.gap is None else field.gap
        signed = value - ((value >> (field.bits - 1)) << field.bits)
        total |= (signed & ((1 << gap) - 1)) << field.offset
    return total - ((total >> (bits - 1)) << bits)


@pytest.mark.parametrize(("terms", "low", "high"), OPERANDS)
def test_the_value_is_the_sum_of_shifted_terms(terms: list[tuple[int, bool]], low: int, high: int) -> None:
    operand, values = of(terms, low, high), every_value(terms, low, high)
    written_out = [
        sum((-v if negative else v) * 2**offset for v, (offset, negative) in zip(row, terms, strict=True))
        for row in values.tolist()
    ]
    assert operand.value(values).tolist() == written_out
    assert operand.bounds == (min(written_out), max(written_out))
    fitting = next(
        bits for bits in range(1, 40) if -(2 ** (bits - 1)) <= min(written_out) <= max(written_out) < 2 ** (bits - 1)
    )
    assert operand.fits(fitting) and not operand.fits(fitting - 1)


@pytest.mark.parametrize(("terms", "low", "high"), OPERANDS)
def test_stored_fields_come_back_and_wiring_makes_the_operand(
    terms: list[tuple[int, bool]], low: int, high: int
) -> None:
    operand, values = of(terms, low, high), every_value(terms, low, high)
    stored = operand.encode(values)
    for field, bits in zip(operand.fields, stored, strict=True):
        assert bits.min() >= 0 and bits.max() < 1 << field.bits
    decoded = operand.decode(stored)
    assert np.array_equal(np.stack([decoded[i] for i in range(len(terms))], -1), values)
    rows = np.stack(stored, -1).tolist()
    assert [wired(operand, row, 27) for row in rows] == operand.value(values).tolist()


def test_terms_are_stored_by_rising_offset() -> None:
    assert [(field.offset, field.index) for field in of([(7, False), (0, False), (14, False)], 0, 7).fields] == [
        (0, 1),
        (7, 0),
        (14, 2),
    ]


def test_narrow_values_take_their_width_and_full_ones_a_bit_more() -> None:
    # A field holds its value less a borrow: -7 - 1 fits 4 bits, -8 - 1 takes 5.
    terms = [(0, False), (11, False), (22, False)]
    assert [field.bits for field in of(terms, -7, 7).fields] == [4, 4, 4]
    assert [field.bits for field in of(terms, -8, 7).fields] == [4, 5, 5]
    assert of(terms, -8, 7).stored_bits == 14


def test_unsigned_values_are_stored_with_a_sign_that_is_never_set() -> None:
    operand = of([(0, False), (3, False)], 0, 7)
    assert [field.bits for field in operand.fields] == [4, 4]
    assert max(int(bits.max()) for bits in operand.encode(every_value([(0, False)] * 2, 0, 7))) == 7


def test_operands_of_every_product_are_wired_from_what_is_stored() -> None:
    rng = np.random.default_rng(0)
    compared = 0
    for found in every_product():
        for operand in (*found.act_operands, *found.weight_operands):
            values = rng.integers(
                operand.low, operand.high, (6, max(t.index for t in operand.terms) + 1), endpoint=True
            )
            values[3:] = rng.choice([operand.low, operand.high], values.shape)[3:]
            stored = operand.encode(values)
            bits = found.ports.wide
            assert [wired(operand, [int(f[i]) for f in stored], bits) for i in range(6)] == operand.value(
                values
            ).tolist()
            for index, value in operand.decode(stored).items():
                assert np.array_equal(value, values[:, index]), (found, index)
            compared += 1
    assert compared > 5000
