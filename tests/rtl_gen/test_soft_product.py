# amaranth: UnusedElaboratable=no
"""Products in look-up tables: every one of small widths, and samples of 8 x 8 bits."""

from __future__ import annotations

import random
from itertools import product
from typing import Any

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module, Signal, unsigned

from mixq.packing import SoftMultipliers
from rtl_gen.soft_product import product_latency, soft_products
from tests.rtl_gen.test_booth import results


def multiplied(packing: SoftMultipliers, pairs: list[tuple[int, int]]) -> list[int]:
    """The products of (weight, activation) pairs by the hardware, one a cycle."""
    m = Module()
    weight, x = Signal(unsigned(packing.weight_format.width)), Signal(unsigned(packing.act_bits))
    (total,) = soft_products(m, packing, weight, [x], name="p")
    fields = [(w & ((1 << len(weight)) - 1), a & ((1 << len(x)) - 1)) for w, a in pairs]
    return results(m, [weight, x], total, fields, product_latency(packing))


@pytest.mark.parametrize("act_signed", [False, True])
@pytest.mark.parametrize("weight_range", ["full", "narrow"])
@pytest.mark.parametrize("weight_bits, act_bits", [(1, 3), (2, 2), (3, 3), (2, 5), (4, 2), (4, 4), (5, 3), (3, 6)])
def test_every_product(weight_bits: int, act_bits: int, weight_range: Any, act_signed: bool) -> None:
    packing = SoftMultipliers(weight_bits, act_bits, 1, act_signed=act_signed, weight_range=weight_range)
    (low, high), (least, most) = packing.weight_bounds, packing.act_bounds
    pairs = [(w, a) for w, a in product(range(low, high + 1), range(least, most + 1)) if w or weight_bits > 1]
    assert multiplied(packing, pairs) == [w * a for w, a in pairs]


@pytest.mark.parametrize("act_signed", [False, True])
def test_products_of_eight_bits(act_signed: bool) -> None:
    packing = SoftMultipliers(8, 8, 3, act_signed=act_signed)
    (low, high), (least, most) = packing.weight_bounds, packing.act_bounds
    rng = random.Random(8)
    pairs = list(product((low, -1, 0, 1, high), (least, 0, 1, most)))
    pairs += [(rng.randint(low, high), rng.randint(least, most)) for _ in range(2000)]
    assert multiplied(packing, pairs) == [w * a for w, a in pairs]


@pytest.mark.parametrize("weight_bits, act_bits", [(3, 3), (8, 8)])
def test_no_multiplication_is_left_to_a_tool(weight_bits: int, act_bits: int) -> None:
    packing = SoftMultipliers(weight_bits, act_bits, 1)
    m = Module()
    weight, x = Signal(packing.weight_format.width), Signal(act_bits)
    (total,) = soft_products(m, packing, weight, [x], name="p")
    assert "$mul" not in rtlil.convert(m, ports=[weight, x, total])
