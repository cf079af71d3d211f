# amaranth: UnusedElaboratable=no
"""Dot products of any length, against sums written out product by product."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rtl_gen
from mixq.packing import Packing, candidates
from rtl_gen.dot_product import DotProduct
from rtl_gen.mac_grid import LONGEST_CHAIN, MacGrid, chain_lengths
from tests.rtl_gen.plain_bench import Row, play
from tests.rtl_gen.plain_codes import flat, flat_weights, operands, unflat
from tests.rtl_gen.plain_packings import (
    BINARY,
    BINARY_TRACKED,
    DEEP,
    OLDER,
    ONE_BIT,
    RESIDUES,
    ROW,
    SHALLOW,
    SIGNED,
    SPLIT,
    TRACKED,
    VECTOR,
)


@dataclass(frozen=True)
class Case:
    """A unit, its DSPs, and the cycles from the last operands to the sums."""

    packing: Packing
    terms: int
    channels: int
    accumulate: int
    dsps: int
    latency: int

    def unit(self, target: Any) -> DotProduct:
        return DotProduct(
            self.packing, terms=self.terms, channels=self.channels, accumulate=self.accumulate, target=target
        )


# Between them: sums held in the DSPs and in accumulators, one chain and several, chains of different lengths, one
# column and several, the last one full and not, several pixels.
CASES: dict[str, Case] = {
    "one": Case(DEEP, 1, 1, 1, dsps=1, latency=6),
    "in_dsps": Case(DEEP, 6, 2, 3, dsps=6, latency=11),
    "in_dsps_chains": Case(DEEP, 19, 3, 1, dsps=38, latency=16),
    "deep": Case(DEEP, 5, 3, 21, dsps=10, latency=11),
    "tree": Case(SHALLOW, 3, 4, 1, dsps=3, latency=8),
    "shallow": Case(SHALLOW, 6, 4, 7, dsps=6, latency=10),
    "vector": Case(VECTOR, 4, 3, 4, dsps=8, latency=9),
    "residues": Case(RESIDUES, 5, 4, 9, dsps=10, latency=11),
    "tracked": Case(TRACKED, 5, 3, 9, dsps=5, latency=11),
    "split": Case(SPLIT, 3, 7, 3, dsps=30, latency=10),
    "binary": Case(BINARY, 16, 7, 5, dsps=32, latency=15),
    "binary_tracked": Case(BINARY_TRACKED, 3, 7, 20, dsps=6, latency=10),
    "signed": Case(SIGNED, 4, 3, 6, dsps=8, latency=9),
    "one_bit": Case(ONE_BIT, 3, 8, 4, dsps=6, latency=9),
}


def expected_sums(packing: Packing, products: list[tuple[np.ndarray, np.ndarray]]) -> list[list[int]]:
    """Sums [channel][pixel] over activations (terms, pixels) and weights (terms, channels)."""
    terms, pixels = products[0][0].shape
    channels = products[0][1].shape[1]
    sums = [[0] * pixels for _ in range(channels)]
    for activations, weights in products:
        for i in range(terms):
            for m in range(channels):
                for n in range(pixels):
                    sums[m][n] += int(activations[i, n]) * int(weights[i, m])
    return sums


class Traffic:
    """Random sums for one unit: rows of stimulus, and the sums expected in the cycles after."""

    def __init__(self, case: Case, *, sums: int, seed: int) -> None:
        self.case = case
        packing = case.packing
        rng = np.random.default_rng(seed)
        self.rows: list[Row] = []
        self.expected: dict[int, list[list[int]]] = {}
        for number in range(sums):
            # Corners first, for the whole of the longest sum.
            cycles = case.accumulate if number < 5 else int(rng.integers(1, case.accumulate + 1))
            products = []
            for cycle in range(cycles):
                x, w = operands(
                    rng,
                    packing,
                    (case.terms, packing.pixels),
                    (case.terms, case.channels),
                    kind=min(number, 4 + number % 2),
                )
                while number > 5 and rng.random() < 0.3:
                    self.rows.append(self.row(x, w[::-1], valid=0, first=int(rng.integers(2)), last=1))
                products.append((x, w))
                self.rows.append(self.row(x, w, valid=1, first=int(cycle == 0), last=int(cycle == cycles - 1)))
            self.expected[len(self.rows) - 1 + case.latency] = expected_sums(packing, products)
        self.rows += [{}] * (case.latency + 1)

    def row(self, x: np.ndarray, w: np.ndarray, **bits: int) -> Row:
        packing = self.case.packing
        return {"activations": flat(x, packing.act_bits), "weights": flat_weights(packing, w), **bits}

    def seen(self, outputs: list[dict[str, int]], width: int) -> dict[int, list[Any]]:
        """Sums by the cycle in which ``done`` was high."""
        shape = (self.case.channels, self.case.packing.pixels)
        return {cycle: unflat(row["sums"], shape, width) for cycle, row in enumerate(outputs) if row["done"]}


def check(cases: dict[str, Case], simulator: str, target: Any, folder: Path, sums: int) -> None:
    units = {name: case.unit(target) for name, case in cases.items()}
    traffic = {name: Traffic(case, sums=sums, seed=seed) for seed, (name, case) in enumerate(cases.items())}
    outputs = play(units, {name: one.rows for name, one in traffic.items()}, simulator=simulator, folder=folder)
    for name, one in traffic.items():
        seen = one.seen(outputs[name][: len(one.rows)], units[name].sum_format.width)
        assert seen == one.expected, name


@pytest.mark.parametrize(
    "target, simulator",
    [
        ("dsp48e2", "icarus"),
        pytest.param("generic", "verilator", marks=pytest.mark.slow),
        pytest.param("generic", "icarus", marks=pytest.mark.slow),
        pytest.param("dsp48e2", "verilator", marks=pytest.mark.slow),
    ],
)
def test_equals_sums_of_products(simulator: str, target: str, tmp_path: Path) -> None:
    check(CASES, simulator, target, tmp_path, sums=10)


@pytest.mark.slow
@pytest.mark.parametrize("simulator", ["icarus"])
def test_packings_of_the_solver(simulator: str, tmp_path: Path) -> None:
    every = [
        packing
        for weight_bits in range(1, 9)
        for act_bits in range(1, 9)
        for packing in candidates(weight_bits, act_bits, 1, 2, act_signed=weight_bits == act_bits)
        if packing.dsps <= 8
    ]
    # Every one of them would take long.
    sample = np.random.default_rng(1).permutation(len(every))[:90]
    assert len({(every[i].split, every[i].tracked, every[i].residue_bits) for i in sample}) > 4
    cases = {}
    for i in sample:
        case = Case(every[i], 2, every[i].channels + 1, 3, dsps=0, latency=0)
        unit = case.unit("generic")
        cases[f"case{i}"] = replace(case, dsps=unit.dsps, latency=unit.latency)
    check(cases, simulator, "generic", tmp_path, sums=8)


@pytest.mark.parametrize("simulator", ["icarus"])
def test_equals_sums_of_products_in_a_dsp48e1(simulator: str, tmp_path: Path) -> None:
    # The primitive cannot add both the cascade and what it holds: one DSP holds its sum, a chain does not.
    cases = {
        "alone": Case(OLDER, 1, 2, 4, dsps=1, latency=6),
        "chain": Case(OLDER, 2, 2, 4, dsps=2, latency=8),
    }
    check(cases, simulator, "dsp48e1", tmp_path, sums=10)


@pytest.mark.parametrize("name", list(CASES))
def test_figures(name: str) -> None:
    case = CASES[name]
    unit = case.unit("dsp48e2")
    assert (unit.dsps, unit.latency) == (case.dsps, case.latency)
    assert (unit.packing, unit.terms, unit.channels, unit.accumulate) == (
        case.packing,
        case.terms,
        case.channels,
        case.accumulate,
    )


@pytest.mark.parametrize("simulator", ["icarus"])
@pytest.mark.parametrize("name", ["in_dsps", "tree", "deep", "tracked"])
def test_reset_drops_what_is_on_its_way(name: str, simulator: str, tmp_path: Path) -> None:
    case = CASES[name]
    before, after = Traffic(case, sums=1, seed=1), Traffic(case, sums=8, seed=2)
    for at in (1, case.accumulate, case.accumulate + 2, case.accumulate + case.latency - 2):
        unit = case.unit("generic")
        rows = [*before.rows[:at], {"rst": 1}, *after.rows]
        outputs = play({"unit": unit}, {"unit": rows}, simulator=simulator, folder=tmp_path / str(at))["unit"]
        assert not any(row["done"] for row in outputs[: at + 1])
        assert after.seen(outputs[at + 1 :], unit.sum_format.width) == after.expected


def test_sum_format_is_tight() -> None:
    # 3 terms over 4 cycles, each of -7..7 times 0..15; of 1 bit, -1 and +1 times 0..15; signed, -4..3 times -15..15.
    unit = DotProduct(DEEP, terms=3, channels=1, accumulate=4)
    assert (unit.sum_format.low, unit.sum_format.high) == (-12 * 105, 12 * 105)
    assert DotProduct(BINARY, terms=3, channels=1).sum_format.high == 3 * 15
    unit = DotProduct(SIGNED, terms=2, channels=1)
    assert (unit.sum_format.low, unit.sum_format.high, unit.sum_format.width) == (-120, 120, 8)


def test_chains_are_few_and_even() -> None:
    assert chain_lengths(SHALLOW, terms=3, accumulate=1) == (1, 1, 1)
    assert chain_lengths(DEEP, terms=37, accumulate=1) == (13, 12, 12)
    assert chain_lengths(DEEP, terms=7, accumulate=6) == (3, 2, 2)
    assert chain_lengths(TRACKED, terms=100, accumulate=100) == (100,)
    roomy = next(p for p in candidates(8, 5, 1) if p.accumulate_max > 2 * LONGEST_CHAIN)
    assert chain_lengths(roomy, terms=2 * LONGEST_CHAIN, accumulate=1) == (LONGEST_CHAIN, LONGEST_CHAIN)


REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"packing": 4}, TypeError, "packing must be a Packing, not 4"),
    ({"packing": ROW}, ValueError, "packing must have kernel 1, not 3"),
    ({"terms": 0}, ValueError, "terms must be at least 1, not 0"),
    ({"terms": 1.5}, TypeError, "terms must be an integer, not 1.5"),
    ({"channels": 0}, ValueError, "channels must be at least 1, not 0"),
    ({"accumulate": 0}, ValueError, "accumulate must be at least 1, not 0"),
    ({"accumulate": True}, TypeError, "accumulate must be an integer, not True"),
    (
        {"accumulate": 1 << 60},
        ValueError,
        f"terms * accumulate must be at most {(2**63 - 1) // 105} for this packing, not {1 << 61}",
    ),
    ({"target": "dsp58"}, ValueError, "target must be one of dsp48e2, dsp48e1, generic, not 'dsp58'"),
    ({"target": "dsp48e1"}, ValueError, "packing must be solved for dsp48e1 to be built of it, not 'dsp48e2'"),
]


@pytest.mark.parametrize("arguments, error, message", REFUSED)
def test_refuses(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        DotProduct(**{"packing": DEEP, "terms": 2, "channels": 3, **arguments})
    assert str(raised.value) == message


def test_the_grid_refuses_sums_that_no_dsp_holds() -> None:
    with pytest.raises(ValueError, match=r"^accumulate must be at most 18, not 19$"):
        MacGrid(DEEP, terms=1, channels=1, accumulate=19)


@pytest.mark.parametrize("name", ["DotProduct", "ConvRow"])
def test_is_found_without_loading_amaranth(name: str, root: Path) -> None:
    lazily = f"import sys, rtl_gen; assert 'amaranth' not in sys.modules; rtl_gen.{name}"
    subprocess.run([sys.executable, "-c", lazily], check=True, cwd=root)
    assert getattr(rtl_gen, name).__name__ == name
