"""Why a product is exact whatever its operands: plain integers for the operands, an SMT solver for the lanes.

Together the two show, for every number of products and every bounds that :meth:`Product.residues` allows, that the
lanes read are the sums of products:

1. :func:`operand_fault`, in Python's integers: the operands fit their ports, and what each DSP multiplies is the sum of
   ``± activation[n] * weight[m, k] * 2^offset`` with the offset of the lane of (m, n + k). An accumulator, lifted, is
   therefore the sum of ``± u_i * 2^offset_i`` modulo 2^48, with u_i from 0 to ``terms_i * (high - low)``.
2. :func:`lane_fault`, by Z3 in bit-vectors: from such accumulators and the low bits of the u_i, any u_i within their
   bounds and independent of each other, :mod:`mixq.packing.arithmetic` reads the u_i. Its very functions are evaluated
   on bit-vectors of 64 bits, which compute as the integers of NumPy do. Of a carry-tracked product it is one step of an
   induction: whatever the accumulator held, the value read grows by what the lane grew by in the cycle.

:func:`control_fault` is the test of the test: with one product more, or one known bit fewer, lanes are read wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from mixq.errors import UserError
from mixq.packing.arithmetic import carries, halved, lane_values, operands, tracked_values
from mixq.packing.product import Product
from mixq.packing.values import ACCUMULATOR_BITS, TRACKED_PRODUCTS, Lane

Lemma = tuple[tuple[Lane, ...], bool, bool, int, tuple[int, ...]]
"""All that decides about the reading of lanes: where they lie, pair or not, tracked or not, bounds, known bits."""

_MASK = (1 << ACCUMULATOR_BITS) - 1
_WORD = 64
_TIMEOUT_MS = 60_000


def load_solver() -> Any:
    """The module of Z3; UserError with the command that installs it where it is missing."""
    try:
        import z3
    except ImportError:
        raise UserError("proofs need Z3; install it with: python -m pip install 'mixq[prove]'") from None
    return z3


# -- operands --------------------------------------------------------------------------------------


def operand_fault(product: Product) -> str | None:
    """What is wrong with the operands, their ports, the lanes' offsets or the lift; None where all is right."""
    acts, weights = _factors(product)
    ends = {"activations": (-product.half, product.half - 1), "weights": (product.weight_low, product.weight_high)}
    for what, factors, bits in (
        ("activations", acts, product.act_port_bits),
        ("weights", weights, product.weight_port_bits),
    ):
        on_wide = product.act_on_wide == (what == "activations")
        for coefficients in [*factors, *(_pre_adder(factors) if product.pair and on_wide else [])]:
            low, high = _range(coefficients, *ends[what])
            if not -(1 << (bits - 1)) <= low <= high < 1 << (bits - 1):
                return f"{what} reach from {low} to {high} on a port of {bits} bits"
    return _offset_fault(product, acts, weights) or _bounds_fault(product)


def _factors(product: Product) -> tuple[list[list[int]], list[list[int]]]:
    """What each value counts in each DSP's two factors: of every pixel, and of every weight, channel by channel.

    Factors are sums of shifted values, so one value at a time tells all about them.
    """
    weights = product.channels * product.taps
    alone = np.eye(product.pixels, dtype=np.int64)
    words = np.eye(weights, dtype=np.int64).reshape(weights, product.channels, product.taps)
    one = np.ones((1, product.channels, product.taps), np.int64)
    acts = [x.tolist() for x, _ in operands(product, alone, one)]
    return acts, [y.tolist() for _, y in operands(product, np.ones((1, product.pixels), np.int64), words)]


def _pre_adder(factors: list[list[int]]) -> Iterator[list[int]]:
    """What goes into a pair's pre-adders: half of the sum and of the difference of what comes out."""
    for sign in (1, -1):
        yield [(plus + sign * minus) // 2 for plus, minus in zip(*factors, strict=True)]


def _range(coefficients: Sequence[int], low: int, high: int) -> tuple[int, int]:
    """Lowest and highest sum of values from low to high times coefficients."""
    return (
        sum(min(c * low, c * high) for c in coefficients),
        sum(max(c * low, c * high) for c in coefficients),
    )


def _offset_fault(product: Product, acts: list[list[int]], weights: list[list[int]]) -> str | None:
    lanes = {(lane.channel, lane.position): lane for lane in product.lanes}
    terms = dict.fromkeys(lanes, 0)
    low, _ = product.product_bounds
    for dsp, (x, y) in enumerate(zip(acts, weights, strict=True)):
        lift = 0
        for m, k, n in np.ndindex(product.channels, product.taps, product.pixels):
            lane = lanes.get((m, n + k))
            # The halved sum of a pair holds the even positions, the halved difference the odd ones.
            sign = -1 if dsp and lane is not None and lane.word else 1
            weight = x[n] * y[m * product.taps + k]
            if lane is None or weight != sign << lane.offset:
                return f"activation {n} times weight {(m, k)} counts {weight} in DSP {dsp}, elsewhere than its lane"
            terms[m, n + k] += 1
            lift -= low * weight
        if product.lift(low)[dsp] != lift % (1 << ACCUMULATOR_BITS):
            return f"the lift of DSP {dsp} is not {lift % (1 << ACCUMULATOR_BITS)}"
    wrong = [lane for at, lane in lanes.items() if terms[at] != lane.terms * product.dsps]
    return f"not so many products lie in {wrong[0]!r}" if wrong else None


def _bounds_fault(product: Product) -> str | None:
    codes = np.arange(-product.half, product.half)
    every = np.multiply.outer(codes, np.arange(product.weight_low, product.weight_high + 1))
    if product.product_bounds != (every.min(), every.max()):
        return f"products are from {every.min()} to {every.max()}"
    return None


# -- lanes -----------------------------------------------------------------------------------------


def readings(product: Product) -> Iterator[tuple[int, tuple[int, ...]]]:
    """All that may be read: each tuple of known bits, with the largest ``high - low`` that it is enough for.

    Known bits only grow with what is added, so each tuple stands for all smaller sums that take as many bits.
    """
    span = _largest(lambda some: product.residues(0, some) is not None)
    while span:
        known = product.residues(0, span)
        assert known is not None
        yield span, known
        span = _largest(partial(_takes_less, product, span))


def _takes_less(product: Product, span: int, some: int) -> bool:
    return some < span and product.residues(0, some) != product.residues(0, span)


def _largest(holds: Callable[[int], bool]) -> int:
    """The largest number that something holds for that holds for all smaller ones, 0 included."""
    found = 0
    for bit in reversed(range(ACCUMULATOR_BITS)):
        if holds(found | 1 << bit):
            found |= 1 << bit
    return found


def lane_fault(product: Product, proved: set[Lemma] | None = None) -> str | None:
    """A counterexample to what is read from the lanes, None where Z3 shows that there is none.

    proved: lemmas that hold already, and those that are found to; products with equal lanes share theirs.
    """
    proved = set() if proved is None else proved
    for span, known in readings(product):
        lemma = (product.lanes, product.pair, product.tracked, span, known)
        if lemma in proved:
            continue
        fault = (_step_fault if product.tracked else _reading_fault)(product, span, known)
        if fault:
            return f"with {known} known bits and sums of up to {span} for each (pixel, tap): {fault}"
        proved.add(lemma)
    return None


def _reading_fault(product: Product, span: int, known: tuple[int, ...]) -> str | None:
    """Whether lanes are read from the accumulators that they add up to."""
    z3 = load_solver()
    values, within = _free_lanes(product, span)
    even, *odd = [_word(product, values, word) for word in range(product.words)]
    accumulators = [(even + odd[0]) & _MASK, (even - odd[0]) & _MASK] if odd else [even & _MASK]
    residues = [value & ((1 << bits) - 1) for value, bits in zip(values, known, strict=True)]
    read = lane_values(product, halved(product, accumulators), residues, known)
    return _refuted(within, z3.And([a == b for a, b in zip(read, values, strict=True)]), values)


def _step_fault(product: Product, span: int, known: tuple[int, ...]) -> str | None:
    """Whether one cycle makes the value read of each lane, ``f_i - hi_i + hi_(i+1) * 2^s_i``, grow as it should."""
    z3 = load_solver()
    values, within = _free_lanes(product, span)
    before = z3.ZeroExt(_WORD - ACCUMULATOR_BITS, z3.BitVec("before", ACCUMULATOR_BITS))
    after = (before + _word(product, values, 0)) & _MASK
    residues = [value & ((1 << bits) - 1) for value, bits in zip(values, known, strict=True)]
    counts = carries(product, before, after, residues, known)
    old = tracked_values(product, before, [0] * len(counts))
    new = tracked_values(product, after, counts)
    # One lane at a time: several times faster here, slower where nothing is tracked.
    for less, more, value in zip(old, new, values, strict=True):
        fault = _refuted(within, more - less == value, [before, *values])
        if fault:
            return fault
    return None


def _free_lanes(product: Product, span: int) -> tuple[list[Any], list[Any]]:
    """A free number for each lane, as a word, and that it is within its bounds."""
    z3 = load_solver()
    values, within = [], []
    for i, lane in enumerate(product.lanes):
        most = lane.terms * span
        number = z3.BitVec(f"u{i}", most.bit_length())
        values.append(z3.ZeroExt(_WORD - number.size(), number))
        within.append(z3.ULE(number, most))
    return values, within


def _word(product: Product, values: Sequence[Any], word: int) -> Any:
    """The sum of the lanes of a word at their offsets, modulo 2^64, from the top lane down."""
    lanes = [(value, lane) for value, lane in zip(values, product.lanes, strict=True) if lane.word == word]
    total, above = lanes[-1][0], lanes[-1][1].offset
    for value, lane in reversed(lanes[:-1]):
        total = (total << (above - lane.offset)) + value
        above = lane.offset
    return total << above


def _refuted(given: list[Any], claim: Any, shown: list[Any]) -> str | None:
    """Values for which a claim does not hold, None where it always does."""
    z3 = load_solver()
    solver = z3.SolverFor("QF_BV")
    solver.set("timeout", _TIMEOUT_MS)
    solver.add(given)
    solver.add(z3.Not(claim))
    answer = solver.check()
    if answer == z3.unsat:
        return None
    if answer != z3.sat:
        return f"not decided in {_TIMEOUT_MS // 1000} s"
    model = solver.model()
    return f"wrong for {[model.eval(value, model_completion=True).as_long() for value in shown]}"


# -- controls --------------------------------------------------------------------------------------


def control_fault(product: Product) -> str | None:
    """What still reads right though it must not; None where the limits are as tight as they are said to be.

    Of a product that is not tracked: one product more than :attr:`Product.accumulate_max`, all of the operands whose
    product is largest; that takes every lane to its bound at once. Real operands show it, in Python's integers. Of a
    tracked one: a cycle that adds most to a full accumulator, with one known bit less than there are.
    """
    if product.tracked:
        return _tracked_control(product)
    products = product.accumulate_max + 1
    if products > TRACKED_PRODUCTS:
        return None
    low, high = product.sum_bounds(products)
    if product.residues(low, high) is not None:
        return f"{products} products are allowed, more than accumulate_max"
    known = _needed(product, high - low)
    few = tuple(min(bits, product.residue_bits, lane.width) for bits, lane in zip(known, product.lanes, strict=True))
    x, w = _largest_product(product)
    factors = operands(product, np.full(product.pixels, x), np.full((product.channels, product.taps), w))
    lifts = product.lift(low)
    accumulators = [(products * int(a) * int(b) + lift) & _MASK for (a, b), lift in zip(factors, lifts, strict=True)]
    right = [lane.terms * products * x * w + product.lane_lift(lane, low) for lane in product.lanes]
    residues = [value & ((1 << bits) - 1) for value, bits in zip(right, few, strict=True)]
    if lane_values(product, halved(product, accumulators), residues, few) == right:
        return f"{products} products are read right as well, though no more than {products - 1} should be"
    return None


def _tracked_control(product: Product) -> str | None:
    low, high = product.sum_bounds(1)
    known = product.residues(low, high)
    assert known is not None
    if not any(known):
        return None  # a single lane
    most = max(range(len(known)), key=lambda i: known[i])
    few = tuple(bits - (i == most) for i, bits in enumerate(known))
    x, w = _largest_product(product)
    ((a, b),) = operands(product, np.full(product.pixels, x), np.full((product.channels, product.taps), w))
    (lift,) = product.lift(low)
    after = (_MASK + int(a) * int(b) + lift) & _MASK
    terms = [lane.terms * x * w + product.lane_lift(lane, low) for lane in product.lanes]
    counts = carries(product, _MASK, after, terms, few)
    grown = [
        new - old
        for new, old in zip(
            tracked_values(product, after, counts), tracked_values(product, _MASK, [0] * len(counts)), strict=True
        )
    ]
    return f"known bits {few} are enough, fewer than {known}" if grown == terms else None


def _largest_product(product: Product) -> tuple[int, int]:
    """An activation and a weight whose product is largest."""
    ends: list[tuple[int, int]] = [
        (x, w) for x in (-product.half, product.half - 1) for w in (product.weight_low, product.weight_high)
    ]
    return max(ends, key=lambda pair: pair[0] * pair[1])


def _needed(product: Product, span: int) -> list[int]:
    """Bits that would have to be known of each lane, however many."""
    needed: list[int] = []
    spill = 0
    for i, lane in enumerate(product.lanes):
        if i == 0 or product.lanes[i - 1].word != lane.word:
            spill = 0
        needed.append(spill.bit_length())
        spill = (lane.terms * span + spill) >> lane.width
    return needed
