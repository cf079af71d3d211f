# amaranth: UnusedElaboratable=no
"""The packed multiplier on its own, against sums written out product by product."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rtl_gen
from mixq.packing import Packing, solve
from rtl_gen.packed_mac import PackedMac
from tests.rtl_gen.convolution_cases import (
    KNOWN,
    P22,
    PAIR_KNOWN,
    PAIR_NARROW,
    PAIR_WIDE,
    SPLIT_ACTS,
    SPLIT_WEIGHTS,
    TRACKED,
    TRACKED_DENSE,
)
from tests.rtl_gen.plain_bench import Row, play

P44 = solve(4, 4, accumulate=9)
WIDE = solve(4, 8, weight_range="full", accumulate=4)
# name: packing, length, accumulate. Between them: both ports, both weight ranges, signed activations, one lane a
# channel and many, one channel and many, chains and sums in time, the deepest sums that fit, and every kind of packing.
CASES: dict[str, tuple[Packing, int, int]] = {
    "w4a4_dsp": (P44, 1, 1),
    "w4a4_chain": (P44, 3, 3),
    "w2a2_dense": (solve(2, 2, kernel=1), 1, 1),
    "w2a2_full": (P22, 1, P22.accumulate_max),
    "w3a3_wide": (solve(3, 3, accumulate=4), 2, 2),
    "w8a8_pair": (PAIR_NARROW, 2, PAIR_NARROW.accumulate_max // 2),
    "w8a8_vector": (solve(8, 8, kernel=1, pixels=1), 1, solve(8, 8, kernel=1, pixels=1).accumulate_max),
    "w4a4_pair": (PAIR_WIDE, 3, 1),
    "w4a8_pair": (PAIR_KNOWN, 1, 1),
    "w5a3_signed": (solve(5, 3, act_signed=True), 1, solve(5, 3, act_signed=True).accumulate_max),
    "w4a8_full": (WIDE, 1, WIDE.accumulate_max),
    "w2a8_5x5": (solve(2, 8, kernel=5, accumulate=4), 4, 1),
    "w4a4_known": (KNOWN, 1, 1),
    "w4a4_deep": (solve(4, 4, residue_bits=1, accumulate=16, pixels=2), 4, 4),
    "w4a4_tracked": (TRACKED, 3, 12),
    "w4a4_wraps": (TRACKED, 1, 400),  # the top lane overflows the accumulator
    "w4a4_tracked_dense": (TRACKED_DENSE, 2, 5),
    "w7a8_split": (SPLIT_ACTS, 1, 1),
    "w8a4_split": (SPLIT_WEIGHTS, 1, 1),
    "w1a4": (solve(1, 4, residue_bits=2, accumulate=3), 1, 3),
    "w1a1_7x7": (solve(1, 1, kernel=7, accumulate=2), 2, 1),
}


def expected_lanes(packing: Packing, products: list[tuple[np.ndarray, np.ndarray]]) -> list[list[int]]:
    """Sums [channel][position] over products of activations (L, pixels) and weights (L, channels, taps)."""
    lanes = [[0] * (packing.pixels + packing.taps - 1) for _ in range(packing.channels)]
    for activations, weights in products:
        for i in range(len(activations)):
            for m in range(packing.channels):
                for n in range(packing.pixels):
                    for k in range(packing.taps):
                        lanes[m][n + k] += int(activations[i, n]) * int(weights[i, m, k])
    return lanes


def flat(values: np.ndarray, bits: int) -> int:
    """Codes as one vector, first lowest."""
    return sum((int(value) & ((1 << bits) - 1)) << (i * bits) for i, value in enumerate(values.reshape(-1)))


class Traffic:
    """Random sums for one component: rows of stimulus, and the sums expected in the cycles after."""

    def __init__(self, mac: PackedMac, length: int, accumulate: int, *, sums: int, seed: int) -> None:
        self.mac = mac
        packing = mac.packing
        rng = np.random.default_rng(seed)
        acts = packing.act_bounds
        self.rows: list[Row] = []
        self.expected: dict[int, list[list[int]]] = {}
        for number in range(sums):
            # Corners first: every operand at an end of its range, for the whole of the longest sum.
            corner = (acts[number & 1], packing.weight_bounds[number >> 1 & 1]) if number < 4 else None
            cycles = accumulate if number < 6 else int(rng.integers(1, accumulate + 1))
            products = []
            for cycle in range(cycles):
                x = rng.integers(acts[0], acts[1] + 1, (length, packing.pixels))
                w = rng.integers(
                    packing.weight_bounds[0], packing.weight_bounds[1] + 1, (length, packing.channels, packing.taps)
                )
                if corner:
                    x[:], w[:] = corner
                elif number % 2:
                    x, w = rng.choice(acts, x.shape), rng.choice(packing.weight_bounds, w.shape)
                if packing.weight_bits == 1:
                    w = np.where(w > 0, 1, -1)
                while number > 5 and rng.random() < 0.3:
                    self.rows.append(self.row(x[::-1], w[::-1], valid=0, first=int(rng.integers(2)), last=1))
                products.append((x, w))
                self.rows.append(self.row(x, w, valid=1, first=int(cycle == 0), last=int(cycle == cycles - 1)))
            self.expected[len(self.rows) - 1 + mac.latency] = expected_lanes(packing, products)
        self.rows += [{}] * (mac.latency + 1)

    def row(self, x: np.ndarray, w: np.ndarray, **bits: int) -> Row:
        packing = self.mac.packing
        if packing.weight_bits == 1:  # a bit of 1 stands for +1
            w = (w + 1) // 2
        return {"activations": flat(x, packing.act_bits), "weights": flat(w, packing.weight_bits), **bits}

    def seen(self, outputs: list[dict[str, int]]) -> dict[int, list[list[int]]]:
        """Sums by the cycle in which ``done`` was high."""
        packing, width = self.mac.packing, self.mac.lane_format.width

        def lane(word: int, m: int, e: int) -> int:
            value = word >> ((m * packing.positions + e) * width) & ((1 << width) - 1)
            return value - (value >> (width - 1) << width)

        return {
            cycle: [[lane(row["lanes"], m, e) for e in range(packing.positions)] for m in range(packing.channels)]
            for cycle, row in enumerate(outputs)
            if row["done"]
        }


def check(cases: dict[str, tuple[Packing, int, int]], simulator: str, target: Any, folder: Path, sums: int) -> None:
    macs = {
        name: PackedMac(packing, length=length, accumulate=accumulate, target=target)
        for name, (packing, length, accumulate) in cases.items()
    }
    traffic = {
        name: Traffic(macs[name], length, accumulate, sums=sums, seed=seed)
        for seed, (name, (_, length, accumulate)) in enumerate(cases.items())
    }
    outputs = play(macs, {name: one.rows for name, one in traffic.items()}, simulator=simulator, folder=folder)
    for name, one in traffic.items():
        cycles = len(one.rows)
        assert one.seen(outputs[name][:cycles]) == one.expected, name


@pytest.mark.parametrize("simulator", ["icarus", "verilator"])
@pytest.mark.parametrize("target", ["dsp48e2", "generic"])
def test_equals_sums_of_products(simulator: str, target: str, tmp_path: Path) -> None:
    check(CASES, simulator, target, tmp_path, sums=40)


@pytest.mark.parametrize("simulator", ["icarus"])
def test_dsp48e1(simulator: str, tmp_path: Path) -> None:
    cases: dict[str, tuple[Packing, int, int]] = {}
    for name, packing in {
        "w4a4": solve(4, 4, accumulate=4, device="dsp48e1"),
        "w8a8": solve(8, 8, device="dsp48e1"),
        "w3a3": solve(3, 3, residue_bits=2, device="dsp48e1"),
    }.items():
        cases[name] = (packing, 1, packing.accumulate_max)
        cases[name + "_chain"] = (packing, min(2, packing.accumulate_max), 1)
    check(cases, simulator, "dsp48e1", tmp_path, sums=40)


@pytest.mark.parametrize("simulator", ["icarus"])
def test_reset_drops_what_is_on_its_way(simulator: str, tmp_path: Path) -> None:
    packing = P44
    mac = PackedMac(packing, length=3, accumulate=3)
    before, after = (Traffic(mac, 3, 3, sums=sums, seed=seed) for sums, seed in ((2, 1), (8, 2)))
    for at in range(6):
        rows = [*before.rows[:at], {"rst": 1}, *after.rows]
        outputs = play({"mac": mac}, {"mac": rows}, simulator=simulator, folder=tmp_path / str(at))["mac"]
        assert after.seen(outputs[at + 1 :]) == after.expected
        assert not any(row["done"] for row in outputs[: at + 1])
        mac = PackedMac(packing, length=3, accumulate=3)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"length": 0}, "length must be at least 1, not 0"),
        ({"accumulate": 0}, "accumulate must be at least 1, not 0"),
        ({"length": 4, "accumulate": 3}, "length * accumulate must be at most 9 for this packing, not 12"),
        ({"target": "dsp58"}, "target must be one of dsp48e2, dsp48e1, generic, not 'dsp58'"),
        ({"target": "dsp48e1"}, "packing must be solved for dsp48e1 to be built of it, not 'dsp48e2'"),
    ],
)
def test_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        PackedMac(P44, **arguments)
    assert str(error.value) == message


def test_refuses_wrong_types() -> None:
    with pytest.raises(TypeError, match=r"^packing must be a Packing, not 4$"):
        PackedMac(4)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^length must be an integer, not 1\.5$"):
        PackedMac(solve(4, 4), length=1.5)  # type: ignore[arg-type]


def test_lane_format_is_tight() -> None:
    # 2 products of 3 terms each of -7..7 times 0..15.
    assert PackedMac(P44, length=2).lane_format.high == 2 * 2 * 15 * 7
    assert PackedMac(P44, length=2).lane_format.low == -2 * 2 * 15 * 7
    assert PackedMac(solve(5, 3, act_signed=True)).lane_format.low < 0


def test_is_found_without_loading_amaranth(root: Path) -> None:
    lazily = "import sys, rtl_gen; assert 'amaranth' not in sys.modules; rtl_gen.PackedMac"
    subprocess.run([sys.executable, "-c", lazily], check=True, cwd=root)
    assert rtl_gen.PackedMac is PackedMac
    with pytest.raises(AttributeError, match="'rtl_gen' has no attribute 'nothing'"):
        _ = rtl_gen.nothing
