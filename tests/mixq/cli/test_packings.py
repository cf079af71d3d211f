"""`mixq packings`: densities as tables, as JSON, drawn, and as Verilog."""

from __future__ import annotations

import json
import sys
from math import ceil
from pathlib import Path
from types import ModuleType

import pytest

from mixq.packing import Packing, candidates, solve
from mixq.packing.cost import packing_luts
from tests.mixq.cli.conftest import Run

CELL = ("--kernel", "3", "--weight-bits", "4", "--act-bits", "4")


def test_json_is_one_document_and_nothing_else(mixq: Run) -> None:
    outcome = mixq("packings", "--json", "--kernel", "3", "--weight-bits", "4")
    assert outcome.status == 0
    records = json.loads(outcome.out)
    assert [(r["kernel"], r["weight_bits"], r["act_bits"]) for r in records] == [(3, 4, a) for a in range(2, 9)]
    density = {record["act_bits"]: record["density"] for record in records}
    assert (density[2], density[4], density[8]) == (12, 7.5, 4.5)  # known geometries of a DSP or a pair
    for record in records:
        passes = ceil(3 / record["taps"])
        assert record["density"] == record["pixels"] * record["channels"] * 3 / passes / record["dsps"]
        assert record["residue_bits"] == 0 and record["tracked"] is False
        assert record["weight_range"] == "narrow" and record["accumulate_max"] >= 1
        assert record["macs"] == record["pixels"] * record["taps"] * record["channels"]
        assert set(record["strides"]) == {"pixel", "tap", "channel"}
        assert record["proof"] in ("exhaustive", "smt")
        assert isinstance(record["luts"], float) and isinstance(record["accumulate_max"], int)


@pytest.mark.parametrize("residue_bits", [0, 1, 2])
def test_json_has_the_densest_packing_of_each_cell(residue_bits: int, mixq: Run) -> None:
    outcome = mixq("packings", "--json", "--act-bits", "8", "--residue-bits", residue_bits)
    records = json.loads(outcome.out)
    cells = [(r["kernel"], r["weight_bits"], r["act_bits"]) for r in records]
    assert cells == [(k, w, 8) for k in (1, 3, 5, 7) for w in range(2, 9)]
    for record in records:
        packing = solve(record["weight_bits"], 8, record["kernel"], residue_bits)
        assert record["density"] == max(
            p.density for p in candidates(record["weight_bits"], 8, record["kernel"], residue_bits)
        )
        assert record["residue_bits"] == packing.residue_bits <= residue_bits
        assert record["luts"] == round(packing_luts(packing), 1)
        assert (record["dsps"], record["split"]) == (packing.dsps, packing.split)
        assert record["pair"] == any(part.product.pair for part in packing.parts)


def test_json_lists_the_strides_of_both_parts_of_a_split_operand(mixq: Run) -> None:
    outcome = mixq(
        "packings", "--json", "--kernel", "3", "--weight-bits", "2", "--act-bits", "8", "--residue-bits", "2"
    )
    (record,) = json.loads(outcome.out)
    # Two halves of four bits, each five pixels at strides of five bits: half of 15 products a DSP.
    assert (record["split"], record["density"], record["dsps"]) == (True, 7.5, 2)
    assert [(part["act_shift"], part["pixels"], part["taps"]) for part in record["strides"]] == [(4, 5, 3), (0, 5, 3)]
    assert all({"pixel", "tap", "channel", "weight_shift"} <= set(part) for part in record["strides"])


def test_every_kernel_and_pair_by_default(mixq: Run) -> None:
    outcome = mixq("packings", "--weight-bits", "2", "--act-bits", "2", "--json")
    assert [record["kernel"] for record in json.loads(outcome.out)] == [1, 3, 5, 7]
    outcome = mixq("packings", "--kernel", "1")
    lines = outcome.out.splitlines()
    assert lines[0] == "multiplications per DSP and cycle, kernel 1 x 1 and dense"
    assert lines[1].split() == [f"a{a}" for a in range(2, 9)]
    assert [line.split()[0] for line in lines[2:]] == [f"w{w}" for w in range(2, 9)]
    assert lines[4].split() == ["w4", "8", "6", "6", "4", "4", "4", "3"]


def test_widths_of_one_bit_come_when_asked_for(mixq: Run) -> None:
    lines = mixq("packings", "--kernel", "3", "--weight-bits", "1").out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["a2", "w1"]
    assert len(lines[1].split()) == 7
    (record,) = json.loads(mixq("packings", *CELL[:2], "--weight-bits", "1", "--act-bits", "1", "--json").out)
    assert (record["weight_bits"], record["act_bits"]) == (1, 1) and record["density"] > 18


def test_all_lists_every_candidate(mixq: Run) -> None:
    outcome = mixq("packings", *CELL, "--residue-bits", "2", "--all")
    lines = outcome.out.splitlines()
    assert "density  LUTs per mult." in lines[0] and "pixels x taps x channels" in lines[0]
    found = candidates(4, 4, 3, 2)
    assert len(lines) == 1 + len(found)
    tracked = next(line for line in lines if line.endswith("tracked") and line.split()[0] == "12")
    assert "1,048,576" in tracked and "4 x 3 x 1" in tracked
    records = json.loads(mixq("packings", *CELL, "--residue-bits", "2", "--all", "--json").out)
    assert [record["density"] for record in records] == [packing.density for packing in found]


def test_one_cell_is_told_in_words(mixq: Run) -> None:
    lines = mixq("packings", *CELL, "--residue-bits", "2").out.splitlines()
    facts = {line.split("  ")[0]: line.split("  ")[-1].strip() for line in lines}
    assert facts["density"] == "12 multiplications per DSP and cycle"
    assert facts["kind"] == "tracked, 1 DSP"
    assert facts["strides"] == "pixel 7, tap 7, channel 0 bits"
    assert facts["summed before the lanes are read"] == "1,048,576 products at most"
    assert facts["known low bits of a lane"] == "2 at most"


def test_a_drawing_shows_every_lane(mixq: Run) -> None:
    words = ("--kernel", "1", "--weight-bits", "4", "--act-bits", "4")
    outcome = mixq("packings", *words, "--draw")
    assert outcome.status == 0 and "6 multiplications per DSP and cycle" in outcome.out
    assert "x0*w0" in outcome.out and "accumulator, 48 bits" in outcome.out
    assert "x0*w0" not in mixq("packings", *words).out


# -- proofs and Verilog --------------------------------------------------------------------------------


@pytest.fixture
def proved(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[Packing], int]]:
    """What is handed to the proofs."""
    calls: list[tuple[list[Packing], int]] = []
    module = ModuleType("mixq.cli.proving")
    module.run_proofs = lambda packings, products: calls.append((packings, products))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mixq.cli.proving", module)
    return calls


@pytest.mark.parametrize(
    ("words", "bits"), [((), (0, 1, 2)), (("--residue-bits", "1"), (0, 1)), (("--residue-bits", "0"), (0,))]
)
def test_proofs_take_all_candidates(
    words: tuple[str, ...], bits: tuple[int, ...], mixq: Run, proved: list[tuple[list[Packing], int]]
) -> None:
    assert mixq("packings", *CELL, "--prove", *words).status == 0
    ((packings, products),) = proved
    assert products == 10_000_000
    assert set(packings) == {p for b in bits for p in candidates(4, 4, 3, b)}
    assert len(packings) == len(set(packings))


def test_proofs_cover_the_chosen_cells(mixq: Run, proved: list[tuple[list[Packing], int]]) -> None:
    assert mixq("packings", "--weight-bits", "8", "--kernel", "5", "--prove", "--products", "1000").status == 0
    ((packings, products),) = proved
    assert products == 1000
    assert {(p.kernel, p.weight_bits, p.act_bits) for p in packings} == {(5, 8, a) for a in range(2, 9)}


@pytest.mark.parametrize(
    ("words", "primitive", "dsps"),
    [
        ((), "DSP48E2", 1),
        (("--target", "generic", "--length", "2", "--accumulate", "4"), None, 2),
        (("--target", "dsp48e1", "--length", "2"), "DSP48E1", 2),
    ],
)
def test_verilog_is_one_file(
    words: tuple[str, ...], primitive: str | None, dsps: int, mixq: Run, tmp_path: Path
) -> None:
    path = tmp_path / "packed.v"
    outcome = mixq("packings", "--kernel", "1", "--weight-bits", "4", "--act-bits", "4", "--verilog", path, *words)
    assert outcome.status == 0
    text = path.read_text()
    name = next(line.split()[1] for line in outcome.out.splitlines() if line.startswith("module"))
    assert f"\nmodule {name}(" in text and text.startswith(f"// {name}: ")
    assert f" {dsps} DSP" in next(line for line in text.splitlines() if "in all" in line)
    found = {word for word in ("DSP48E1", "DSP48E2") if f"  {word} " in text}
    assert found == ({primitive} if primitive else set())
    assert [file.name for file in tmp_path.iterdir()] == ["packed.v"]
    before = text
    mixq("packings", "--kernel", "1", "--weight-bits", "4", "--act-bits", "4", "--verilog", path, *words)
    assert path.read_text() == before


def test_verilog_takes_a_packing_that_is_deep_enough(mixq: Run, tmp_path: Path) -> None:
    path = tmp_path / "packed.v"
    assert mixq("packings", *CELL, "--verilog", path, "--length", "9").status == 0
    deep = next(p for p in candidates(4, 4) if p.accumulate_max >= 9)
    assert f" {9 * deep.dsps} DSPs in all" in path.read_text()
    most = max(p.accumulate_max for p in candidates(4, 4))
    outcome = mixq("packings", *CELL, "--verilog", path, "--length", "5", "--accumulate", "10000000")
    assert outcome.status == 2
    assert outcome.complaint == (
        f"mixq: --length times --accumulate must be at most {most} for these widths, not 50000000; give less of either"
    )


def test_verilog_into_no_folder(mixq: Run, tmp_path: Path) -> None:
    outcome = mixq("packings", *CELL, "--verilog", tmp_path / "none" / "packed.v")
    assert outcome.status == 2 and outcome.complaint.startswith("mixq: cannot write ")


# -- refusals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--kernel", "9"], "--kernel must be one of 1, 3, 5, 7, not 9"),
        (["--weight-bits", "0"], "--weight-bits must be one of 1, 2, 3, 4, 5, 6, 7, 8, not 0"),
        (["--act-bits", "9"], "--act-bits must be one of 1, 2, 3, 4, 5, 6, 7, 8, not 9"),
        (["--act-bits", "-1"], "--act-bits must be one of 1, 2, 3, 4, 5, 6, 7, 8, not -1"),
        (["--residue-bits", "3"], "--residue-bits must be one of 0, 1, 2, not 3"),
        (["--draw", "--kernel", "3"], "--draw draws one packing; give --kernel, --weight-bits and --act-bits too"),
        (["--verilog", "a.v"], "--verilog writes one packing; give --kernel, --weight-bits and --act-bits too"),
        (
            ["--all", "--kernel", "3"],
            "--all lists the packings of one pair of widths; give --kernel, --weight-bits and --act-bits "
            "too, or --json",
        ),
        (["--draw", "--json", *CELL], "--draw and --json exclude each other; give one of them"),
        (["--prove", "--json", *CELL], "--json and --prove exclude each other; give one of them"),
        (["--prove", "--verilog", "a.v", *CELL], "--prove and --verilog exclude each other; give one of them"),
        (["--all", "--draw", *CELL], "--all and --draw exclude each other; give one of them"),
        (["--products", "5", *CELL], "--products belongs to --prove; give both"),
        (["--target", "generic", *CELL], "--target belongs to --verilog; give both"),
        (["--length", "2", "--draw", *CELL], "--length belongs to --verilog; give both"),
        (["--accumulate", "2"], "--accumulate belongs to --verilog; give both"),
        (["--verilog", "a.v", "--length", "0", *CELL], "--length must be at least 1, not 0"),
        (["--verilog", "a.v", "--accumulate", "-1", *CELL], "--accumulate must be at least 1, not -1"),
        (
            ["--verilog", "a.v", "--target", "dsp58", *CELL],
            "--target must be one of dsp48e2, dsp48e1, generic, not dsp58",
        ),
    ],
)
def test_what_is_refused(words: list[str], line: str, mixq: Run) -> None:
    outcome = mixq("packings", *words)
    assert (outcome.status, outcome.err, outcome.out) == (2, f"mixq: {line}\n", "")


def test_products_are_a_number_from_one(mixq: Run, proved: list[tuple[list[Packing], int]]) -> None:
    outcome = mixq("packings", *CELL, "--prove", "--products", "0")
    assert (outcome.status, outcome.complaint) == (2, "mixq: --products must be at least 1, not 0")
    assert proved == []


def test_a_width_that_is_no_number(mixq: Run) -> None:
    outcome = mixq("packings", "--weight-bits", "four")
    assert outcome.status == 2 and "--weight-bits" in outcome.complaint and outcome.err.count("\n") == 1
