# amaranth: UnusedElaboratable=no
"""Chains of packed DSPs: lifted accumulators against sums of products laid out bit by bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mixq.packing import Packing, Product, candidates, solve
from rtl_gen.dsp import TARGETS
from rtl_gen.mac_chain import MacChain
from tests.rtl_gen.convolution_cases import KNOWN, P44, PAIR_NARROW, PAIR_WIDE
from tests.rtl_gen.plain_bench import Row, play

OUTER = next(p for p in candidates(2, 2, 1, 1) if not p.split and p.product.channels > 1 and p.product.pixels > 1)

# packing, length, accumulate
CASES: dict[str, tuple[Packing, int, int]] = {
    "narrow_port": (P44, 3, 3),
    "wide_port": (next(p for p in candidates(3, 3, 3) if p.product.act_on_wide and p.product.taps == 3), 1, 1),
    "outer_product": (OUTER, 1, 1),
    "residues": (KNOWN, 1, 1),
    "deep": (solve(8, 8, pixels=1, accumulate=12), 4, 3),
    "pair_wide": (PAIR_WIDE, 3, 1),
    "pair_narrow": (PAIR_NARROW, 2, 2),
}
SUMS = 24


def group_word(product: Product, x: np.ndarray) -> int:
    """What the chain expects of recentred activations: themselves where they are kept, then what is joined of them."""
    word = at = 0
    if product.keeps_activations:
        for value in x:
            word |= (int(value) & ((1 << product.act_bits) - 1)) << at
            at += product.act_bits
    if product.joins_activations:
        for operand in product.act_operands:
            total = sum((-1 if t.negative else 1) * int(x[t.index]) << t.offset for t in operand.terms)
            word |= (total & ((1 << operand.bits) - 1)) << at
            at += operand.bits
    return word


def operands(packing: Packing, length: int, accumulate: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Recentred activations (sum, cycle, place, pixel) and weights (sum, cycle, place, channel, tap), corners first."""
    rng = np.random.default_rng(seed)
    low, high = (bound - packing.recentre for bound in packing.act_bounds)
    x = rng.integers(low, high + 1, (SUMS, accumulate, length, packing.pixels))
    w = rng.integers(*packing.weight_bounds, (SUMS, accumulate, length, packing.channels, packing.taps), endpoint=True)
    for corner in range(4):
        x[corner], w[corner] = (low, high)[corner & 1], packing.weight_bounds[corner >> 1]
    x[4:12], w[4:12] = rng.choice([low, high], x[4:12].shape), rng.choice(packing.weight_bounds, w[4:12].shape)
    return x, w


def played(packing: Packing, x: np.ndarray, w: np.ndarray) -> list[Row]:
    """Rows in which place i is i cycles late, as whoever feeds a chain has to make it."""
    _, accumulate, length, _ = x.shape
    bits = packing.product.act_word_bits
    steps = SUMS * accumulate
    rows: list[dict[str, int]] = [{"activations": 0, "weights": 0} for _ in range(steps + length + MacChain.LATENCY)]
    for step in range(steps):
        at, cycle = divmod(step, accumulate)
        for i in range(length):
            row = rows[step + i]
            row["activations"] |= group_word(packing.product, x[at, cycle, i]) << (i * bits)
            row["weights"] |= int(packing.encode_weights(w[at, cycle, i])) << (i * packing.stored_bits)
        rows[step + length - 1]["go_on"] = int(cycle > 0)
    return list(rows)


def expected(packing: Packing, x: np.ndarray, w: np.ndarray) -> list[int]:
    """Accumulators of one sum: every product, lifted by the lowest there is, at its place; in 48 bits."""
    product = packing.product
    lowest = min(a * b for a in (-product.half, product.half - 1) for b in packing.weight_bounds)
    found = []
    for dsp in range(product.dsps):
        total = 0
        for lane in product.lanes:
            for k in range(product.taps):
                n = lane.position - k
                if 0 <= n < product.pixels:
                    terms = [
                        int(x[cycle, i, n]) * int(w[cycle, i, lane.channel, k]) - lowest
                        for cycle in range(x.shape[0])
                        for i in range(x.shape[1])
                    ]
                    # The second DSP of a pair sees the odd pixels and taps negated: its base is -2^t in place of 2^t.
                    total += (-1 if dsp and lane.position % 2 else 1) * sum(terms) << lane.offset
        found.append(total % (1 << 48))
    return found


@pytest.mark.parametrize("simulator, target", [("icarus", t) for t in TARGETS] + [("verilator", "dsp48e2")])
def test_accumulators_are_lifted_sums(simulator: str, target: Any, tmp_path: Path) -> None:
    cases = dict(CASES)
    if target == "dsp48e1":
        e1 = solve(4, 4, accumulate=4, device="dsp48e1")
        cases = {"chain": (e1, 4, 1), "in_time": (e1, 1, 4), "pair": (solve(8, 8, device="dsp48e1"), 1, 1)}
    parts: dict[str, MacChain] = {}
    for name, (packing, length, accumulate) in cases.items():
        low = packing.sum_bounds(length * accumulate)[0]
        parts[name] = MacChain(packing.product, length=length, accumulate=accumulate, low=low, target=target)
    data = {name: operands(*case, seed) for seed, (name, case) in enumerate(cases.items())}
    rows = {name: played(packing, *data[name]) for name, (packing, _, _) in cases.items()}
    outputs = play(parts, rows, simulator=simulator, folder=tmp_path)
    for name, (packing, length, accumulate) in cases.items():
        x, w = data[name]
        for at in range(SUMS):
            # Just behind the last operand of the sum's last cycle.
            p = outputs[name][(at + 1) * accumulate - 1 + length - 1 + MacChain.LATENCY]["p"]
            seen = [p >> (48 * dsp) & ((1 << 48) - 1) for dsp in range(packing.product.dsps)]
            assert seen == expected(packing, x[at], w[at]), (name, at)


@pytest.mark.parametrize("length, accumulate", [(0, 1), (1, 0)])
def test_refuses_sizes(length: int, accumulate: int) -> None:
    with pytest.raises(ValueError) as error:
        MacChain(P44.product, length=length, accumulate=accumulate, low=-1)
    assert str(error.value) == f"length and accumulate must be at least 1, not {(length, accumulate)!r}"


def test_a_chain_of_dsp48e1_does_not_sum_in_time() -> None:
    with pytest.raises(ValueError, match=r"^accumulate must be 1 for a chain of DSP48E1, not 2$"):
        MacChain(P44.product, length=2, accumulate=2, low=-1, target="dsp48e1")
