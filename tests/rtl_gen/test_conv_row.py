# amaranth: UnusedElaboratable=no
"""Rows of one-dimensional convolutions, against sums written out sample by sample."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mixq.packing import Packing, candidates
from rtl_gen.conv_row import ConvRow
from tests.rtl_gen.plain_bench import Row, play
from tests.rtl_gen.plain_codes import flat, flat_weights, operands, unflat
from tests.rtl_gen.plain_packings import (
    DEEP,
    ROW,
    ROW_BINARY,
    ROW_BINARY_SHORT,
    ROW_BINARY_SIGNED,
    ROW_OLDER,
    ROW_PAIR,
    ROW_PAIR_WIDE,
    ROW_PIXEL,
    ROW_RESIDUES,
    ROW_SPLIT,
    ROW_TRACKED,
)


@dataclass(frozen=True)
class Case:
    """A unit, its DSPs, and the cycles from a group to its outputs."""

    packing: Packing
    in_channels: int
    out_channels: int
    dsps: int
    latency: int

    def unit(self, target: Any) -> ConvRow:
        return ConvRow(self.packing, in_channels=self.in_channels, out_channels=self.out_channels, target=target)


# Between them: groups that reach one group ahead and several, no carried sums at all, one share of the taps and
# several, the last one full and not, one chain and several, one column and several, the last one full and not.
CASES: dict[str, Case] = {
    "row": Case(ROW, 1, 1, dsps=1, latency=7),
    "channels": Case(ROW, 5, 2, dsps=10, latency=11),
    "chains": Case(ROW, 19, 1, dsps=19, latency=15),
    "pixel": Case(ROW_PIXEL, 2, 5, dsps=20, latency=8),
    "kernel_1": Case(DEEP, 2, 3, dsps=4, latency=8),
    "pair": Case(ROW_PAIR, 2, 1, dsps=8, latency=10),
    "pair_wide": Case(ROW_PAIR_WIDE, 1, 2, dsps=12, latency=9),
    "residues": Case(ROW_RESIDUES, 3, 1, dsps=6, latency=10),
    "tracked": Case(ROW_TRACKED, 3, 2, dsps=6, latency=11),
    "split": Case(ROW_SPLIT, 2, 1, dsps=8, latency=10),
    "binary": Case(ROW_BINARY, 3, 2, dsps=24, latency=12),
    "binary_short": Case(ROW_BINARY_SHORT, 5, 1, dsps=20, latency=12),
    "binary_signed": Case(ROW_BINARY_SIGNED, 2, 1, dsps=4, latency=9),
}


class Traffic:
    """Rows of samples for one unit: stimulus, and the outputs expected in the cycles after."""

    def __init__(self, case: Case, *, rows: int, seed: int, first: bool = True) -> None:
        self.case = case
        rng = np.random.default_rng(seed)
        packing, kernel, pixels = case.packing, case.packing.kernel, case.packing.pixels
        shapes = ((case.in_channels, pixels), (case.out_channels, case.in_channels, kernel))
        self.rows: list[Row] = []
        self.expected: dict[int, list[list[int]]] = {}
        for number in range(rows):
            # As many groups as taps reach, corners first.
            groups = [
                operands(rng, packing, *shapes, kind=min(number, 4 + number % 2)) for _ in range(kernel + number % 3)
            ]
            for group in range(len(groups)):
                x, w = groups[group]
                while number > 5 and rng.random() < 0.3:
                    self.rows.append(self.row(x[:, ::-1], w[..., ::-1], valid=0, first=int(rng.integers(2))))
                self.rows.append(self.row(x, w, valid=1, first=int(first and group == 0)))
                self.expected[len(self.rows) - 1 + case.latency] = expected_outputs(groups[: group + 1], pixels, kernel)
        self.rows += [{}] * (case.latency + 1)

    def row(self, x: np.ndarray, w: np.ndarray, **bits: int) -> Row:
        packing = self.case.packing
        return {"activations": flat(x, packing.act_bits), "weights": flat_weights(packing, w), **bits}

    def seen(self, outputs: list[dict[str, int]], width: int) -> dict[int, list[Any]]:
        """Outputs by the cycle in which ``done`` was high."""
        shape = (self.case.out_channels, self.case.packing.pixels)
        return {cycle: unflat(row["outputs"], shape, width) for cycle, row in enumerate(outputs) if row["done"]}


def expected_outputs(groups: list[tuple[np.ndarray, np.ndarray]], pixels: int, kernel: int) -> list[list[int]]:
    """Outputs [m][n] of the last group of a row: samples (c, n) and weights (m, c, k) beside them, group by group."""
    out_channels, in_channels, _ = groups[0][1].shape
    outputs = [[0] * pixels for _ in range(out_channels)]
    for m in range(out_channels):
        for n in range(pixels):
            for k in range(kernel):
                sample = (len(groups) - 1) * pixels + n - k
                if sample >= 0:
                    samples, weights = groups[sample // pixels]
                    for c in range(in_channels):
                        outputs[m][n] += int(samples[c, sample % pixels]) * int(weights[m, c, k])
    return outputs


def check(cases: dict[str, Case], simulator: str, target: Any, folder: Path, rows: int) -> None:
    units = {name: case.unit(target) for name, case in cases.items()}
    traffic = {name: Traffic(case, rows=rows, seed=seed) for seed, (name, case) in enumerate(cases.items())}
    outputs = play(units, {name: one.rows for name, one in traffic.items()}, simulator=simulator, folder=folder)
    for name, one in traffic.items():
        assert one.seen(outputs[name][: len(one.rows)], units[name].output_format.width) == one.expected, name


@pytest.mark.parametrize(
    "target, simulator",
    [
        ("dsp48e2", "icarus"),
        pytest.param("generic", "verilator", marks=pytest.mark.slow),
        pytest.param("generic", "icarus", marks=pytest.mark.slow),
        pytest.param("dsp48e2", "verilator", marks=pytest.mark.slow),
    ],
)
def test_equals_sums_of_products(target: str, simulator: str, tmp_path: Path) -> None:
    check(CASES, simulator, target, tmp_path, rows=9)


@pytest.mark.parametrize("simulator", ["icarus"])
def test_equals_sums_of_products_in_a_dsp48e1(simulator: str, tmp_path: Path) -> None:
    check({"older": Case(ROW_OLDER, 3, 2, dsps=6, latency=9)}, simulator, "dsp48e1", tmp_path, rows=9)


@pytest.mark.slow
@pytest.mark.parametrize("simulator", ["icarus"])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_packings_of_the_solver(kernel: int, simulator: str, tmp_path: Path) -> None:
    every = [
        packing
        for weight_bits in range(1, 9)
        for act_bits in range(1, 9)
        for packing in candidates(weight_bits, act_bits, kernel, 2, act_signed=weight_bits == act_bits)
        if packing.dsps <= 8
    ]
    # Every one of them would take an hour.
    sample = np.random.default_rng(kernel).permutation(len(every))[:45]
    kinds = {(every[i].split, every[i].tracked, every[i].residue_bits, every[i].passes > 1) for i in sample}
    assert len(kinds) > 5
    cases = {}
    for i in sample:
        case = Case(every[i], 1 + int(i) % 3, 1, dsps=0, latency=0)
        unit = case.unit("generic")
        cases[f"case{i}"] = replace(case, dsps=unit.dsps, latency=unit.latency)
    check(cases, simulator, "generic", tmp_path, rows=7)


@pytest.mark.parametrize("name", list(CASES))
def test_figures(name: str) -> None:
    case = CASES[name]
    unit = case.unit("dsp48e2")
    assert (unit.dsps, unit.latency) == (case.dsps, case.latency)
    assert (unit.packing, unit.in_channels, unit.out_channels) == (case.packing, case.in_channels, case.out_channels)


@pytest.mark.parametrize("simulator", ["icarus"])
@pytest.mark.parametrize("name", ["row", "tracked", "binary_signed"])
def test_reset_drops_what_is_on_its_way(name: str, simulator: str, tmp_path: Path) -> None:
    case = CASES[name]
    # The row after the reset is not marked: a reset starts one.
    before, after = (Traffic(case, rows=1, seed=seed, first=False) for seed in (1, 2))
    cycles = len(before.rows) - case.latency - 1
    for at in (1, cycles, cycles + 2, cycles + case.latency):
        unit = case.unit("generic")
        rows = [*before.rows[:at], {"rst": 1}, *after.rows]
        outputs = play({"unit": unit}, {"unit": rows}, simulator=simulator, folder=tmp_path / str(at))["unit"]
        width = unit.output_format.width
        finished = {cycle: values for cycle, values in before.expected.items() if cycle <= at}
        assert before.seen(outputs[: at + 1], width) == finished
        assert after.seen(outputs[at + 1 :], width) == after.expected


def test_output_format_is_tight() -> None:
    # 5 channels of 3 taps, each of -7..7 times 0..15; signed, 7 taps of -31..31 times -128..127.
    unit = ConvRow(ROW, in_channels=5)
    assert (unit.output_format.low, unit.output_format.high) == (-15 * 105, 15 * 105)
    assert ConvRow(ROW_PAIR).output_format.high == 7 * 31 * 128


REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"packing": "4"}, TypeError, "packing must be a Packing, not '4'"),
    ({"in_channels": 0}, ValueError, "in_channels must be at least 1, not 0"),
    ({"in_channels": 1.0}, TypeError, "in_channels must be an integer, not 1.0"),
    ({"out_channels": -1}, ValueError, "out_channels must be at least 1, not -1"),
    ({"target": "dsp58"}, ValueError, "target must be one of dsp48e2, dsp48e1, generic, not 'dsp58'"),
    ({"target": "dsp48e1"}, ValueError, "packing must be solved for dsp48e1 to be built of it, not 'dsp48e2'"),
]


@pytest.mark.parametrize("arguments, error, message", REFUSED)
def test_refuses(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        ConvRow(**{"packing": ROW, **arguments})
    assert str(raised.value) == message
