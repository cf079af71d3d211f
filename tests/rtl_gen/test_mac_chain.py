# amaranth: UnusedElaboratable=no
"""Chains of packed DSPs: lifted lanes of the accumulator against sums of products."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mixq.packing import Packing, candidates, solve
from rtl_gen.dsp import TARGETS
from rtl_gen.mac_chain import MacChain, operand_bits
from tests.rtl_gen.plain_bench import Row, play

# packing, length, accumulate
CASES: dict[str, tuple[Packing, int, int]] = {
    "narrow_port": (solve(4, 4), 3, 3),
    "wide_port": (solve(2, 2), 3, 1),
    "outer_product": (solve(4, 4, kernel=1), 1, 1),
    "channels": (next(p for p in candidates(2, 2, 3) if p.channels == 4 and p.accumulate_max >= 4), 2, 2),
    "signed": (solve(3, 5, act_signed=True, weight_range="full"), 1, 3),
    "deep": (solve(8, 8, accumulate=12), 4, 3),
}
SUMS = 24


def port_operand(packing: Packing, codes: np.ndarray) -> int:
    """What the chain expects: recentred codes side by side, or their sum where no pre-adder joins them."""
    recentred = codes - packing.recentre
    if packing.act_on_wide:
        mask = (1 << packing.act_bits) - 1
        return sum((int(code) & mask) << (n * packing.act_bits) for n, code in enumerate(recentred))
    total = sum(int(code) << (n * packing.pixel_stride) for n, code in enumerate(recentred))
    return total % (1 << operand_bits(packing))


def operands(packing: Packing, length: int, accumulate: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes (sum, cycle, place, pixel) and weights (sum, cycle, place, channel, tap), corners first."""
    rng = np.random.default_rng(seed)
    half = packing.half
    low, high = (-half, half - 1) if packing.act_signed else (0, 2 * half - 1)
    x = rng.integers(low, high + 1, (SUMS, accumulate, length, packing.pixels))
    w = rng.integers(*packing.weight_bounds, (SUMS, accumulate, length, packing.channels, packing.taps), endpoint=True)
    for corner in range(4):
        x[corner], w[corner] = (low, high)[corner & 1], packing.weight_bounds[corner >> 1]
    x[4:12], w[4:12] = rng.choice([low, high], x[4:12].shape), rng.choice(packing.weight_bounds, w[4:12].shape)
    return x, w


def played(packing: Packing, x: np.ndarray, w: np.ndarray) -> list[Row]:
    """Rows in which place i is i cycles late, as whoever feeds a chain has to make it."""
    _, accumulate, length, _ = x.shape
    steps = SUMS * accumulate
    rows: list[dict[str, int]] = [{"activations": 0, "weights": 0} for _ in range(steps + length + MacChain.LATENCY)]
    for step in range(steps):
        at, cycle = divmod(step, accumulate)
        for i in range(length):
            row = rows[step + i]
            row["activations"] |= port_operand(packing, x[at, cycle, i]) << (i * operand_bits(packing))
            row["weights"] |= int(packing.encode_weights(w[at, cycle, i])) << (i * packing.stored_bits)
        rows[step + length - 1]["go_on"] = int(cycle > 0)
    return list(rows)


@pytest.mark.parametrize("simulator, target", [("icarus", t) for t in TARGETS] + [("verilator", "dsp48e2")])
def test_lanes_are_lifted_sums(simulator: str, target: str, tmp_path: Path) -> None:
    parts = {
        name: MacChain(packing, length=length, accumulate=accumulate, target=target)  # type: ignore[arg-type]
        for name, (packing, length, accumulate) in CASES.items()
    }
    data = {name: operands(*case, seed) for seed, (name, case) in enumerate(CASES.items())}
    rows = {name: played(packing, *data[name]) for name, (packing, _, _) in CASES.items()}
    outputs = play(parts, rows, simulator=simulator, folder=tmp_path)
    for name, (packing, length, accumulate) in CASES.items():
        x, w = data[name]
        for at in range(SUMS):
            # Just behind the last operand of the sum's last cycle.
            p = outputs[name][(at + 1) * accumulate - 1 + length - 1 + MacChain.LATENCY]["p"]
            for lane in packing.lanes:
                true = -packing.product_bounds[0] * lane.terms * length * accumulate
                for n in range(packing.pixels):
                    k = lane.position - n
                    if 0 <= k < packing.taps:
                        codes = x[at, :, :, n] - packing.recentre
                        true += int((codes * w[at, :, :, lane.channel, k]).sum())
                assert p >> lane.offset & ((1 << lane.width) - 1) == true, (name, at, lane)


@pytest.mark.parametrize("length, accumulate", [(0, 1), (1, 0), (10, 1), (2, 5)])
def test_refuses_what_the_guard_bits_do_not_hold(length: int, accumulate: int) -> None:
    with pytest.raises(ValueError) as error:
        MacChain(solve(4, 4), length=length, accumulate=accumulate)
    assert str(error.value) == f"length * accumulate must be from 1 to 9, not {(length, accumulate)!r}"
