"""`mixq packings`: densities as tables, as JSON, and drawn."""

from __future__ import annotations

import json

import pytest

from tests.mixq.cli.conftest import Run


def test_json_is_one_document_and_nothing_else(mixq: Run) -> None:
    outcome = mixq("packings", "--json", "--kernel", "3", "--weight-bits", "4")
    assert outcome.status == 0
    records = json.loads(outcome.out)
    assert [(r["kernel"], r["weight_bits"], r["act_bits"]) for r in records] == [(3, 4, a) for a in range(2, 9)]
    density = {record["act_bits"]: record["density"] for record in records}
    assert (density[2], density[4], density[6]) == (12, 6, 6)  # known geometries of one DSP
    for record in records:
        passes = -(-3 // record["taps"])
        assert record["density"] == record["pixels"] * record["channels"] * 3 / passes
        assert record["dsps"] == 1 and record["residue_bits"] == 0 and record["luts"] is None
        assert record["weight_range"] == "narrow" and record["accumulate_max"] >= 1
        assert record["macs"] == record["pixels"] * record["taps"] * record["channels"] >= record["density"]
        assert set(record["strides"]) == {"pixel", "tap", "channel"}
        assert "proof" not in record


def test_every_kernel_and_pair_by_default(mixq: Run) -> None:
    outcome = mixq("packings", "--weight-bits", "2", "--act-bits", "2", "--json")
    assert [record["kernel"] for record in json.loads(outcome.out)] == [1, 3, 5]
    outcome = mixq("packings", "--kernel", "1")
    lines = outcome.out.splitlines()
    assert lines[0] == "multiplications per DSP and cycle, kernel 1 x 1 and dense"
    assert lines[1].split() == [f"a{a}" for a in range(2, 9)]
    assert [line.split()[0] for line in lines[2:]] == [f"w{w}" for w in range(2, 9)]
    assert lines[4].split() == ["w4", "8", "6", "6", "4", "4", "4", "3"]


def test_a_drawing_shows_every_lane(mixq: Run) -> None:
    outcome = mixq("packings", "--kernel", "3", "--weight-bits", "4", "--act-bits", "6", "--draw")
    assert outcome.status == 0 and "6 multiplications per DSP and cycle" in outcome.out
    assert "x0*w0" in outcome.out and "accumulator, 48 bits" in outcome.out
    assert "x0*w0" not in mixq("packings", "--kernel", "3", "--weight-bits", "4", "--act-bits", "6").out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--kernel", "7"], "--kernel must be one of 1, 3, 5, not 7"),
        (["--weight-bits", "0"], "--weight-bits must be one of 2, 3, 4, 5, 6, 7, 8, not 0"),
        (["--act-bits", "9"], "--act-bits must be one of 2, 3, 4, 5, 6, 7, 8, not 9"),
        (["--act-bits", "-1"], "--act-bits must be one of 2, 3, 4, 5, 6, 7, 8, not -1"),
        (["--draw", "--kernel", "3"], "--draw draws one packing; give --kernel, --weight-bits and --act-bits too"),
        (
            ["--draw", "--json", "--kernel", "3", "--weight-bits", "4", "--act-bits", "4"],
            "--draw and --json exclude each other; give one of them",
        ),
    ],
)
def test_what_is_refused(words: list[str], line: str, mixq: Run) -> None:
    outcome = mixq("packings", *words)
    assert (outcome.status, outcome.err, outcome.out) == (2, f"mixq: {line}\n", "")


def test_a_width_that_is_no_number(mixq: Run) -> None:
    outcome = mixq("packings", "--weight-bits", "four")
    assert outcome.status == 2 and "--weight-bits" in outcome.complaint and outcome.err.count("\n") == 1
