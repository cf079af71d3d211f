"""`mixq check`: what fits a board, what does not, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixq.plan import Plan
from tests.mixq.cli.conftest import SMALL, Run

BOARD = ("--board", "ultra96-v2")


def test_a_network_beyond_the_boards_memory_is_refused_with_numbers(mixq: Run) -> None:
    outcome = mixq("check", "vgg-small", "--weight-bits", 8, *BOARD)
    assert outcome.status == 1
    # Of 4,656,768 weights the first convolution's 3,456 may do without memory: 8 bits each of 4,653,312.
    # 216 block RAMs of 36,864 bits and 70,560 look-up tables of 64.
    assert outcome.complaint.startswith(
        "mixq: vgg_small does not fit ultra96-v2 in any design: weights need at least 37.2 Mb and line buffers 0.1 Mb; "
        "block RAM holds 8.0 Mb and all 70,560 LUTs 4.5 Mb, 24.9 Mb too little: "
    )
    assert len(outcome.err.splitlines()) == 1
    assert "conv6" in outcome.out


def test_resnet18_is_refused_with_numbers_and_names_what_has_no_hardware(mixq: Run) -> None:
    outcome = mixq("check", "ResNet-18", *BOARD)
    assert outcome.status == 1
    assert "resnet18 does not fit ultra96-v2 in any design: weights need at least 43.3 Mb" in outcome.complaint
    assert "there is no hardware for conv1 (kernel 7), maxpool (3x3 with padding)" in outcome.complaint


def test_resnet18_where_there_is_memory_enough(mixq: Run, tmp_path: Path) -> None:
    board = tmp_path / "large.yaml"
    board.write_text(
        "name: large\ndescription: A large one\npart: none\ndevice: dsp48e2\n"
        "resources: {LUT: 1000000, FF: 2000000, DSP: 100, BRAM_36K: 1000, URAM: 0}\n"
        "dsp_columns: 1\ndsp_column_height: 100\nclock_mhz: 300\n"
    )
    outcome = mixq("check", "resnet18", "--board", board)
    assert outcome.status == 1
    assert outcome.complaint.startswith("mixq: resnet18 cannot be built: there is no hardware for conv1 (kernel 7), ")


@pytest.mark.parametrize("form", ["name", "random", "checkpoint", "folder"])
def test_a_network_that_fits_is_told_its_speed(form: str, build: Path, mixq: Run) -> None:
    assert mixq("plan", build, *BOARD).status == 0
    made = Plan.load(build)
    forms: dict[str, list[object]] = {
        "name": ["digits-cnn", *SMALL[2:]],
        "random": ["random:1", *SMALL],
        "checkpoint": [build / "checkpoints/model.pt", "--input-shape", "1,4,4"],
        "folder": [build],
    }
    outcome = mixq("check", *forms[form], *BOARD)
    assert outcome.status == 0
    facts = dict(line.split("  ", 1) for line in outcome.out.splitlines() if "  " in line)
    assert facts["board"].strip() == "ultra96-v2: it fits"
    assert facts["fastest"].strip() == f"{made.cycles:,} cycles per frame"
    assert facts["bottleneck"].strip() == made.bottleneck
    assert {"limited by", "gap", "speed"} <= facts.keys()


def test_a_network_that_only_the_planner_refuses(mixq: Run, tmp_path: Path) -> None:
    board = tmp_path / "tiny.yaml"
    board.write_text(
        "name: tiny\ndescription: A small one\npart: none\ndevice: dsp48e2\n"
        "resources: {LUT: 500, FF: 4000, DSP: 4, BRAM_36K: 4, URAM: 0}\n"
        "dsp_columns: 1\ndsp_column_height: 4\nclock_mhz: 300\n"
    )
    outcome = mixq("check", "random:1", *SMALL, "--board", board)
    assert outcome.status == 1
    assert outcome.complaint.startswith("mixq: the network does not fit tiny: LUT ")


def test_vgg_tiny_of_2_bits_fits(mixq: Run) -> None:
    outcome = mixq("check", "vgg-tiny", "--weight-bits", 2, "--act-bits", 2, *BOARD)
    assert outcome.status == 0 and "ultra96-v2: it fits" in outcome.out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["lenet"], "lenet is no network, checkpoint or folder; the networks are digits_cnn, "),
        ([""], "SOURCE is empty; give a network's name, random:SEED, "),
        (["none.pt"], "there is no file none.pt; check the path"),
        (["random:1"], "the network is not known; name it with --network"),
        (["random:x", *SMALL], "the seed of random:SEED must be an integer from 0 to 999999999, not 'x'"),
        (["vgg-tiny", "--network", "ultranet"], "--network cannot change the network vgg-tiny; leave it out"),
        (["vgg-tiny", "--weight-bits", "9"], "weight widths of vgg_tiny must be integers from 2 to 8, not 9"),
        (["digits-cnn", "--input-shape", "1,1,1"], "images of the shape 1,1,1 are too small for digits_cnn; "),
        (["resnet18", "--input-shape", "3,8,8"], "images of resnet18 must be at least 32 x 32, not 8 x 8"),
        (["vgg-tiny", "--weight-range", "wide"], "Invalid value for '--weight-range': "),
        (["vgg-tiny", "--quantizer", "ternary"], "Invalid value for '--quantizer': "),
    ],
)
def test_what_is_refused(words: list[str], line: str, mixq: Run) -> None:
    outcome = mixq("check", *words, *BOARD)
    assert outcome.status == 2
    assert outcome.complaint.startswith(f"mixq: {line}")


def test_a_folders_graph_cannot_be_changed(build: Path, mixq: Run) -> None:
    outcome = mixq("check", build, "--weight-range", "narrow", *BOARD)
    expected = f"mixq: --weight-range cannot change the graph in the folder {build}; leave it out"
    assert (outcome.status, outcome.complaint) == (2, expected)
    outcome = mixq("check", build, "--quantizer", "lsq", *BOARD)
    assert outcome.status == 2 and "--quantizer cannot change the graph" in outcome.complaint
    outcome = mixq("check", "vgg-tiny", "--board", "no-board")
    assert outcome.status == 2 and "no-board" in outcome.complaint


PROJECT = """\
name: small
network: digits_cnn
input_shape: [1, 4, 4]
data: {name: digits}
layers: {conv1: {weight_bits: 2, act_bits: 2}, conv2: {weight_bits: 2, act_bits: 2}}
board: zcu104
budget: {dsp: 7, lut: 5000, share: 0.5}
"""


def test_a_project_is_checked_with_its_widths_board_and_budget(tmp_path: Path, mixq: Run) -> None:
    project = tmp_path / "small.yaml"
    project.write_text(PROJECT)
    outcome = mixq("check", project)
    assert outcome.status == 0, outcome.err
    rows = {line.split()[0]: line.split() for line in outcome.out.splitlines() if line}
    # Of the ZCU104's 312 block RAMs half; LUTs and DSPs are bounded more tightly by the budget itself.
    assert (rows["DSP"][2], rows["LUT"][2], rows["BRAM_36K"][2]) == ("7", "5,000", "156")
    assert rows["board"] == ["board", "zcu104:", "it", "fits"]
    assert "the project's layers" in outcome.out
    wider = PROJECT.replace("conv2: {weight_bits: 2,", "conv2: {weight_bits: 8,")
    project.write_text(wider)
    other = mixq("check", project, "--board", "ultra96-v2")
    assert other.status == 0, other.err
    assert "ultra96-v2: it fits" in other.out
    assert {line.split()[0]: line.split() for line in other.out.splitlines() if line}["LUT"] != rows["LUT"]


def test_a_project_is_not_changed_by_options(tmp_path: Path, mixq: Run) -> None:
    project = tmp_path / "small.yaml"
    project.write_text(PROJECT)
    outcome = mixq("check", project, "--weight-bits", 3)
    assert outcome.status == 2
    assert outcome.complaint == f"mixq: --weight-bits cannot change the project {project}; leave it out"


def test_a_board_is_asked_for(mixq: Run) -> None:
    outcome = mixq("check", "digits-cnn")
    assert (outcome.status, outcome.complaint) == (2, "mixq: the board is not known; name it with --board")


def test_a_qonnx_file_is_checked_like_the_graph_that_is_read_from_it(build: Path, tmp_path: Path, mixq: Run) -> None:
    file = tmp_path / "small.onnx"
    assert mixq("export", build, "--to", "qonnx", file).status == 0
    assert mixq("import", file, "--out", tmp_path / "read").status == 0
    outcome, of_folder = mixq("check", file, *BOARD), mixq("check", tmp_path / "read", *BOARD)
    assert outcome.status == 0, outcome.err
    names = ("fastest", "board", "bottleneck", "LUT", "DSP")
    found, expected = (
        [line for line in each.out.splitlines() if line.startswith(names)] for each in (outcome, of_folder)
    )
    assert len(found) == len(names)
    assert found == expected
