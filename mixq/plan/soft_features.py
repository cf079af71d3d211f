"""What the multipliers of layers without DSPs take: look-up tables and flip-flops, as Yosys counts them.

Bits of carry chains and registers are counted as :mod:`rtl_gen.soft_product`, :mod:`rtl_gen.soft_array` and
:mod:`rtl_gen.constant_matrix` make them; only what selects a digit's multiple is from counts.
"""

from __future__ import annotations

from functools import cache
from math import exp

from mixq.board import Resources
from mixq.formats import IntFormat
from mixq.packing import SoftMultipliers
from mixq.plan.folding import Folding

_DIGIT_LUTS = 1.5
"""Look-up tables beside the carry chains of a product of several rows: they tell the multiple that a digit asks for."""

_SHIFT_REGISTER = 3
"""Registers in a row that become a shift register, which is a look-up table."""


def array(folding: Folding, packing: SoftMultipliers, bits: int) -> Resources:
    """The array of multipliers and the accumulators behind it, without weight memories. bits: of the layer's sums."""
    lanes = [position for position in range(packing.positions) if folding.uses(position)]
    held = folding.pe * len(lanes) * bits * (folding.steps > 1)
    if packing.constant:
        return Resources(lut=packing.adder_bits + held, ff=packing.register_bits + held)
    pairs = [_pairs(packing, e) for e in lanes]
    lut, ff = _product(packing)
    products = folding.pe * folding.simd * sum(pairs)
    waiting = _waiting(packing) * folding.inputs
    trees = [_tree(packing, count * folding.simd, _levels(folding, packing), bits) for count in pairs]
    digit_lut, digit_ff = _digits(folding, packing)
    weights = folding.pe * folding.simd * packing.taps
    return Resources(
        lut=round(products * lut + weights * digit_lut) + folding.pe * sum(own for own, _ in trees) + held,
        ff=round(products * ff + weights * digit_ff) + folding.pe * sum(own for _, own in trees) + waiting + held,
    )


def array_latency(folding: Folding, packing: SoftMultipliers) -> int:
    """Cycles from a position to its sums, less the levels of a tree over the input terms."""
    over_terms = (folding.simd - 1).bit_length()
    if packing.constant:
        return 2 + max(0, packing.cycles - over_terms)
    cycles = 1 if packing.tabulated else len(packing.row_bits)
    return 2 + cycles + _levels(folding, packing) - over_terms


def _levels(folding: Folding, packing: SoftMultipliers) -> int:
    return (folding.simd * min(packing.pixels, packing.taps) - 1).bit_length()


def _pairs(packing: SoftMultipliers, position: int) -> int:
    """Products of an input term that belong to a position."""
    return min(position + 1, packing.pixels, packing.taps, packing.positions - position)


@cache
def _product(packing: SoftMultipliers) -> tuple[float, float]:
    """Look-up tables and flip-flops of a product, without what tells its digits."""
    width = packing.product_format.width
    if packing.tabulated:
        return width, width
    rows = packing.row_bits
    lut, ff = sum(rows) + (_DIGIT_LUTS if len(rows) > 1 else 0), sum(2 * row + own for row, own in enumerate(rows))
    # The two lowest bits that a row adds are final, and wait for the last row.
    for cycles in range(_SHIFT_REGISTER, len(rows) + 1):
        lut, ff = lut + 2, ff - 2 * cycles
    return lut, ff


def _digits(folding: Folding, packing: SoftMultipliers) -> tuple[float, float]:
    """Look-up tables and flip-flops for each weight that bring its bits to their rows.

    Memories have one or two registers of their own, which a shift register takes in; but not where there are more bits
    than contents that they can have: those of the same contents are one, which several rows read.
    """
    if packing.tabulated or folding.weight_depth == 1:
        return 0, 0
    width, last_row = packing.weight_format.width, len(packing.row_bits) - 1
    lasts = [min((bit + 1) // 2, last_row) for bit in range(width)]
    bits, contents = folding.pe * folding.simd * packing.taps * width, 2.0 ** min(folding.weight_depth, 60)
    if bits > contents:
        return 0, sum(lasts) * contents / bits * (1 - exp(-bits / contents))
    own = 1 if folding.weight_style == "block" else 2
    lut = ff = 0
    for bit, last in enumerate(lasts):
        row = bit // 2
        if row and own + row >= _SHIFT_REGISTER:
            lut, ff = lut + 1, ff - own + last - row
        else:
            ff += last
    return lut, ff


def _waiting(packing: SoftMultipliers) -> int:
    """Registers of an input term's activations until the last row of its products."""
    later = 0 if packing.tabulated else len(packing.row_bits) - 1
    return later * packing.pixels * packing.act_bits


@cache
def _tree(packing: SoftMultipliers, count: int, levels: int, bits: int) -> tuple[int, int]:
    """Bits of the adders of a tree over some products, and of its registers, those of the levels it lacks included."""
    low, high = packing.sum_bounds(1)

    def width(products: int) -> int:
        return min(bits, IntFormat.for_range(products * low, products * high, signed=True).width)

    lut = ff = 0
    terms = [1] * count
    for _ in range(levels):
        pairs = [terms[i : i + 2] for i in range(0, len(terms), 2)]
        terms = [sum(pair) for pair in pairs]
        lut += sum(width(sum(pair)) for pair in pairs if len(pair) > 1)
        ff += sum(width(products) for products in terms)
    return lut, ff
