"""What packings take in look-up tables and flip-flops: estimates to choose by, fitted to what Yosys counts.

``docs/packing-luts.md`` has the counts beside the estimates. :func:`packing_luts` compares packings by themselves,
with the accumulators that they need; :func:`unit_chain_cost` is for a chain of a layer, without them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import ceil

from mixq.packing.packing import Packing
from mixq.packing.product import Product
from mixq.packing.values import ACCUMULATOR_BITS

COUNTER_BITS = 8
"""Width of a carry counter that comparisons of packings reckon with."""

DEEP = 16
"""Products beyond which a deeper sum hardly lowers the share of reading."""


@dataclass(frozen=True)
class ChainCost:
    """Look-up tables and flip-flops of a chain of DSPs beside the DSPs."""

    lut: float
    ff: float

    def __add__(self, other: ChainCost) -> ChainCost:
        return ChainCost(self.lut + other.lut, self.ff + other.ff)

    def times(self, count: int) -> ChainCost:
        """``count`` of the same."""
        return ChainCost(self.lut * count, self.ff * count)


def residue_luts(terms: int, bits: int) -> int:
    """The low bits of a sum of ``terms`` products, added to those of the sum so far."""
    if bits == 0:
        return 0
    # One bit: a tree of ANDs and XORs over 2 * terms + 1 inputs. Two: the carries between them as well.
    return ceil(2 * terms / 5) if bits == 1 else ceil(2.2 * terms)


def chain_cost(product: Product, bounds: tuple[int, int], length: int, accumulate: int) -> ChainCost:
    """A chain of ``length`` products over ``accumulate`` cycles.

    bounds: of what each (pixel, tap) adds until it is read; of a carry-tracked product, of what it adds in one cycle.
    """
    known = product.residues(*bounds)
    if known is None:
        raise ValueError(f"bounds must fit the lanes, not {bounds!r}")
    if product.tracked:
        total = tracked_reading_cost(product, length * accumulate)
        for before in range(length):
            total += tracked_dsp_cost(product, (before + 1) * accumulate, cascade=before > 0)
        return total
    lanes = product.lane_bits(*bounds)
    lut = length * _residues(product, known) + _correction_luts(product, known)
    ff = length * (_act_registers(product, known) + _weight_registers(product, known) + sum(known))
    if product.pair:
        # Both words up to the highest bit of their top lanes, and the one that halving drops.
        tops = [lane.offset + bits + 1 for lane, bits in zip(product.lanes, lanes, strict=True)]
        used = [max(t for lane, t in zip(product.lanes, tops, strict=True) if lane.word == word) for word in (0, 1)]
        lut += sum(used) + 5
        ff += sum(min(lane.width, bits) for lane, bits in zip(product.lanes, lanes, strict=True))
        # Residues of a single cycle wait for the words in shift registers.
        ff += sum(known) * (1 if accumulate > 1 else -2)
    if any(known):
        ff += sum(known) + sum(lanes)
        if accumulate > 1:
            ff += 3
    return ChainCost(lut, ff)


def tracked_dsp_cost(product: Product, cycles: int, *, cascade: bool = False) -> ChainCost:
    """One carry-tracked DSP's residues, comparison and counters, for sums of so many products.

    cascade: whether it goes on with the sum of another one.
    """
    known = product.residues(*product.sum_bounds(1))
    assert known is not None
    counters = counter_bits(product, cycles)
    # For each known bit a comparison, one more in a counter's adder, and the choice of what a sum starts from.
    each = 3 if cascade else 2
    return ChainCost(
        _residues(product, known) + each * sum(known) + sum(counters),
        _act_registers(product, known) + _weight_registers(product, known) + 3 * sum(known) + sum(counters) + 7,
    )


def tracked_reading_cost(product: Product, products: int) -> ChainCost:
    """What reads the lanes of a carry-tracked sum of so many products."""
    lanes = product.lane_bits(*product.sum_bounds(products))
    return ChainCost(sum(lanes[1:]), ACCUMULATOR_BITS + sum(lanes))


@cache
def unit_chain_cost(packing: Packing, bounds: tuple[int, int] | None, length: int, accumulate: int) -> ChainCost:
    """A chain of ``length`` units over ``accumulate`` cycles, with the adders of the parts of a split operand.

    bounds: of what each (pixel, tap) adds until it is read, where they are less than whatever operands allow; none for
    carry-tracked and split packings.
    """
    total = ChainCost(0, 0)
    products = length * accumulate
    waits = []
    acts, weights = set(), set()
    for slot in packing.slots:
        product = slot.product
        own = bounds or product.sum_bounds(1 if packing.tracked else products)
        total += chain_cost(product, own, length, accumulate)
        known = product.residues(*own)
        assert known is not None
        waits.append((int(product.pair) + int(any(known)), sum(product.lane_bits(*product.sum_bounds(products)))))
        # Low bits of operands are registered once for all slots that share them.
        shared = _act_registers(product, known) if slot.acts in acts else 0
        shared += _weight_registers(product, known) if slot.weights in weights else 0
        total += ChainCost(0, -length * shared)
        acts.add(slot.acts)
        weights.add(slot.weights)
    if not packing.split:
        return total
    # Lanes that are read early wait for the others.
    slowest = max(cycles for cycles, _ in waits)
    return total + _share_cost(packing, products) + ChainCost(0, sum((slowest - c) * bits for c, bits in waits))


def _share_cost(packing: Packing, products: int) -> ChainCost:
    """Trees that add the parts of a split operand; every sum goes through as many registers."""
    widths = packing.sum_widths(*packing.sum_bounds(products))
    # The first and last bit of each part of each sum.
    shares: list[list[tuple[int, int]]] = [[] for _ in widths]
    for slot in packing.slots:
        shift = packing.parts[slot.part].shift
        for lane, bits in zip(
            slot.product.lanes, slot.product.lane_bits(*slot.product.sum_bounds(products)), strict=True
        ):
            position = slot.pixel + slot.tap + lane.position
            shares[(slot.channel + lane.channel) * packing.positions + position].append((shift, shift + bits))
    lut = ff = 0
    for _ in range((max(map(len, shares)) - 1).bit_length()):
        for index, width in enumerate(widths):
            parts, shares[index] = shares[index], []
            for one, other in zip(parts[::2], [*parts[1::2], None], strict=False):
                if other is None:
                    added = one
                else:
                    added = min(one[0], other[0]), min(width, max(one[1], other[1]) + 1)
                    # Beyond the shorter of both, carries need no look-up tables.
                    lut += max(0, min(one[1], other[1]) - max(one[0], other[0]))
                ff += added[1] - added[0]
                shares[index].append(added)
    return ChainCost(lut, ff)


def _residues(product: Product, known: tuple[int, ...]) -> int:
    return sum(residue_luts(lane.terms, bits) for lane, bits in zip(product.lanes, known, strict=True))


def _act_registers(product: Product, known: tuple[int, ...]) -> int:
    """Flip-flops for the low bits of activations, registered twice."""
    return 2 * product.pixels * max(known)


def _weight_registers(product: Product, known: tuple[int, ...]) -> int:
    """Flip-flops for the low bits of weights: as they are stored, with the borrows between them, and as they are."""
    return max(known) * max(0, 3 * product.taps * product.channels - 1)


def counter_bits(product: Product, cycles: int) -> list[int]:
    """Bits of the counter of what each lane of a tracked product spills in so many cycles, in the order of its lanes.

    The top lane's counts how often the accumulator wraps, 0 bits where it cannot.
    """
    low, high = product.sum_bounds(1)
    bits, spilled = [], 0
    for lane in product.lanes:
        spilled = (cycles * lane.terms * (high - low) + spilled) >> lane.width
        bits.append(spilled.bit_length())
    return bits


def extraction_luts(product: Product, known: tuple[int, ...]) -> int:
    """Lanes from the words of an accumulator: what spilled from lane to lane, and the sum and difference of a pair."""
    return (2 * product.word_bits if product.pair else 0) + _correction_luts(product, known)


def _correction_luts(product: Product, known: tuple[int, ...]) -> int:
    """What spilled into each lane, and taking it out of there."""
    total = 0
    for i, (lane, bits) in enumerate(zip(product.lanes, known, strict=True)):
        own = known[i + 1] if i + 1 < len(known) and product.lanes[i + 1].word == lane.word else 0
        total += bits + min(lane.width + own, 16) if bits else 0
    return total


@cache
def packing_luts(packing: Packing) -> float:
    """Look-up tables of a unit for each cycle: residues, and its share of reading its lanes and adding them up.

    Of a carry-tracked packing without the reading, which comes once for a sum of any length; of a split operand the
    adders of its parts are reckoned with.
    """
    total = sum(_product_luts(slot.product) for slot in packing.slots)
    if packing.split:
        shared = sum(len(slot.product.lanes) for slot in packing.slots)
        total += 8 * (shared - packing.channels * packing.positions)
    return total


def _product_luts(product: Product) -> float:
    depth = product.accumulate_max
    known = product.residues(*product.sum_bounds(1 if product.tracked else depth))
    assert known is not None
    residues = sum(residue_luts(lane.terms, bits) for lane, bits in zip(product.lanes, known, strict=True))
    if product.tracked:
        # Of each lane with residues a comparison, and a counter for the lane below.
        return residues + sum(bits + COUNTER_BITS for bits in known if bits)
    adding = sum(min(lane.width + 1, 16) for lane in product.lanes)
    return residues + (extraction_luts(product, known) + adding) / min(depth, DEEP)
