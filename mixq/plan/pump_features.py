"""What double-pumped DSPs take beside others: multiplexers and registers between two clocks, counted one by one."""

from __future__ import annotations

from functools import cache

from mixq.board import Resources
from mixq.packing import Packing
from mixq.plan.folding import Folding
from mixq.plan.layer_features import operand_sizes, stored_sizes

_PHASE = Resources(lut=3, ff=4)
"""What tells the halves of a cycle, and whether a sum goes on."""

_CONSTANT = Resources(lut=1, ff=2)
"""Weights that never change: bits that differ between the two terms of a unit are the phase or its inverse."""


def array(folding: Folding, *, share: float = 1.0) -> Resources:
    """What :class:`rtl_gen.pumped_array.PumpedArray` has beside DSPs, operands, weights and readers of others.

    Before each unit a register of the fast clock behind a 2:1 multiplexer, one for each bit: those of activations serve
    all columns of a group. Behind each chain a register of the slow clock for each bit that is read. share: of the sums
    that are read. Raises TypeError for multipliers without DSPs.
    """
    packing = folding.dsp_packing
    acts, *_ = operand_sizes(packing, folding.bounds, folding.summed_now)
    chains = folding.columns * folding.chains
    before = folding.inputs // 2 * acts
    behind = round(chains * share * _read_bits(packing, folding.bounds, folding.summed_now))
    total = _PHASE + Resources(lut=before, ff=before + behind)
    if folding.weight_depth == 1:
        return total + _CONSTANT
    varying, different = stored_sizes(packing)
    # Bits of look-up tables that are copies of others are found to be so; those of block RAM are not.
    weights = chains * folding.chain_units * (varying if folding.weight_style == "block" else different)
    return total + Resources(lut=weights, ff=weights)


@cache
def _read_bits(packing: Packing, bounds: tuple[int, int] | None, products: int) -> int:
    """Bits of a chain's accumulators that are read: of a pair, all up to the highest lane, since both are added."""
    bits = 0
    for slot in packing.slots:
        product = slot.product
        widths = product.lane_bits(*(bounds or product.sum_bounds(products)))
        if product.pair:
            bits += 2 * max(lane.offset + width + 1 for lane, width in zip(product.lanes, widths, strict=True))
        else:
            bits += sum(min(lane.width, width) for lane, width in zip(product.lanes, widths, strict=True))
    return bits
