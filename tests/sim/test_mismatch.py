"""Faults in the Verilog of a small network, each found in the stage that has it; what stages do, and waveforms."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mixq.build_folder import BuildFolder
from mixq.cli import main
from mixq.cli.explaining import make_case
from mixq.execute import run_all
from mixq.graph import Conv, Graph, Requantise, accumulator_format
from sim import verilated
from sim.mismatch import Comparison, Difference, compare
from sim.parts import Part
from sim.tap import Case, record
from tests.sim.faulty import BLIND, FRAMES, switch, write_faulty

pytestmark = [pytest.mark.slow, pytest.mark.verilator]


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The build; its models are compiled in no time and run slowly."""
    folder = tmp_path_factory.mktemp("faulty") / "build"
    write_faulty(folder)
    flags = ("OPT_FAST=-O0", "OPT_SLOW=-O0", "OPT_GLOBAL=-O0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(verilated._OPTIMISATIONS, "compile", flags)
        yield folder


@pytest.fixture
def build(faulty: Path) -> Iterator[Path]:
    """The build without faults, before and after the test."""
    image = faulty / "rtl/conv7_weights_0.mem"
    words = image.read_text()
    yield faulty
    switch(faulty, None)
    image.write_text(words)


def _tensors(build: Path) -> dict[str, np.ndarray]:
    return run_all(Graph.load(build), np.load(build / "reference/codes.npy"))


def _case(build: Path) -> tuple[Case, Graph, np.ndarray]:
    graph, codes = Graph.load(build), np.load(build / "reference/codes.npy")
    return make_case(BuildFolder(build), graph, codes, stalls="random", seed=2), graph, codes


def _compared(build: Path, fault: str | None) -> Comparison:
    switch(build, fault)
    case, graph, codes = _case(build)
    return compare(record(case, graph, frames=FRAMES), graph, codes)


def _culprit(found: Comparison) -> tuple[Part, Difference]:
    [part] = found.culprits
    own = found.wrong(part)
    assert own is not None
    return part, own


def _assert_wrong(own: Difference, want: np.ndarray, got: np.ndarray) -> None:
    """Every place of the first frame with anything wrong, in the order of the stream: row, column, channel."""
    wrong = (want != got).any(axis=(1, 2, 3))
    frame = int(wrong.argmax())
    places = np.argwhere((want != got)[frame].transpose(1, 2, 0))[:, [2, 0, 1]]
    assert wrong.any() and (own.frame, own.frames) == (frame, int(wrong.sum()))
    assert own.places.tolist() == places.tolist() and own.got is not None
    assert own.got.tolist() == got[frame][tuple(places.T)].tolist()
    assert own.want.tolist() == want[frame][tuple(places.T)].tolist()


def test_nothing_is_wrong(build: Path) -> None:
    found = _compared(build, None)
    assert found.culprits == [] and found.stuck is None and found.output is None and not found.recording.hang
    assert all(len(tap.rows) == FRAMES * tap.shape.beats for tap in found.recording.taps)


def test_comparison_of_a_pool(build: Path) -> None:
    found = _compared(build, "pool")
    part, own = _culprit(found)
    assert (part.name, part.kind, part.node) == ("pool6", "stage", "pool6")
    tensors = _tensors(build)
    source, got = tensors["t5"], tensors["t6"].copy()
    got[:, 2] = source[:, 2].reshape(-1, 6, 3, 2).min(axis=3).reshape(-1, 3, 2, 3).max(axis=2)
    _assert_wrong(own, tensors["t6"], got)
    assert own.hints[0] == "only channel 2"
    assert [(giver.name, stage.name) for giver, stage in found.feeders(part)] == [("add4", "add4")]
    assert [other.name for other in found.consequences(part)][-2:] == ["dense10", "output_bus"]


def test_padding_of_a_convolution(build: Path) -> None:
    part, own = _culprit(_compared(build, "padding"))
    assert (part.name, part.node, part.tensor) == ("conv0", "conv0", "t1")
    assert own.hints[:1] == ["only channel 1"] and "only the last column, 5" in own.hints


def test_a_constant_of_a_requantisation(build: Path) -> None:
    part, own = _culprit(_compared(build, "requantise"))
    assert (part.name, part.node, part.tensor) == ("conv0", "conv0", "t1") and own.hints[0] == "only channel 1"
    # The lane multiplies by -7 and leaves out four bits that are always the same: 64 more is a bias greater by 1024.
    graph, codes = Graph.load(build), np.load(build / "reference/codes.npy")
    node = graph.node("requantise1")
    assert isinstance(node, Requantise) and node.multiplier[1] == -7 * 16
    bias = node.bias.copy()
    bias[1] += 64 * 16
    nodes = tuple(replace(one, bias=bias) if one is node else one for one in graph.nodes)
    changed = Graph("changed", graph.tensors, nodes, graph.input, graph.output)
    _assert_wrong(own, _tensors(build)["t1"], run_all(changed, codes)["t1"])


def _place(code: int) -> tuple[int, int, int]:
    """Channel, row and column of a code of a tensor of 8 channels and 3 columns that travels as one pixel."""
    pixel, channel = divmod(code, 8)
    return channel, *divmod(pixel, 3)


@pytest.mark.parametrize(
    ("fault", "name", "kind", "tensor", "bit", "wrong"),
    [
        # Code 0 of each beat of 12; the tensor has 8 channels of 9 pixels, one after the other.
        ("converter", "dense10_converter_0", "converter", "t9", 1, [_place(12 * beat) for beat in range(6)]),
        ("fork", "conv0_fork", "fifo", "t1", 8, [(3, row, column) for row in range(6) for column in range(6)]),
        ("bus", "output_bus", "bus", "t10", 1, [(channel, 0, 0) for channel in range(5)]),
    ],
)
def test_parts_that_only_pass_on(
    build: Path, fault: str, name: str, kind: str, tensor: str, bit: int, wrong: list[tuple[int, int, int]]
) -> None:
    part, own = _culprit(_compared(build, fault))
    assert (part.name, part.kind, part.node, part.tensor) == (name, kind, None, tensor)
    want = _tensors(build)[tensor]
    got = want.copy()
    for place in wrong:
        got[:, *place] ^= bit
    _assert_wrong(own, want, got)


def test_a_concatenation(build: Path) -> None:
    found = _compared(build, "join")
    part, own = _culprit(found)
    assert (part.name, part.kind, part.node) == ("concat9", "stage", "concat9")
    # One input is the pooled tensor, the other what the convolution makes of it; both come through parts of no layer.
    feeders = found.feeders(part)
    assert [stage.name for _, stage in feeders] == ["pool6", "conv7"]
    assert all(giver.node is None for giver, _ in feeders)
    want = _tensors(build)["t9"]
    got = want.copy()
    got[:, [1, 5]] ^= 2
    _assert_wrong(own, want, got)


def test_a_stage_that_stands_still(build: Path) -> None:
    found = _compared(build, "hang")
    assert found.recording.hang and found.culprits == []
    assert found.stuck is not None and found.stuck.name == "concat9"


def _weight(build: Path, output: int, source: int, value: int) -> np.ndarray:
    """Write another weight of conv7 into the memory image; returns what the convolution's codes are then."""
    graph, codes = Graph.load(build), np.load(build / "reference/codes.npy")
    conv = graph.node("conv7")
    assert isinstance(conv, Conv)
    image = build / "rtl/conv7_weights_0.mem"
    rows = [sum((int(weight) & 15) << 4 * at for at, weight in enumerate(row)) for row in conv.weights[:, :, 0, 0]]
    assert [int(word, 16) for word in image.read_text().split()] == rows
    weights = conv.weights.copy()
    weights[output, source] = value
    rows[output] = sum((int(weight) & 15) << 4 * at for at, weight in enumerate(weights[output, :, 0, 0]))
    image.write_text("".join(f"{row:04x}\n" for row in rows))
    changed = tuple(replace(node, weights=weights) if node is conv else node for node in graph.nodes)
    assert weights[output].sum() != conv.weights[output].sum()
    source_format = graph.tensor(conv.input).format
    tensors = tuple(
        replace(tensor, format=accumulator_format(weights, source_format)) if tensor.name == conv.output else tensor
        for tensor in graph.tensors
    )
    return run_all(Graph("changed", tensors, changed, graph.input, graph.output), codes)["t8"]


def test_a_weight_of_a_memory_image_that_shows_nowhere_else(build: Path, capsys: pytest.CaptureFixture[str]) -> None:
    got = _weight(build, BLIND - 4, 0, 4)
    part, own = _culprit(_compared(build, None))
    assert (part.name, part.node) == ("conv7", "conv7")
    _assert_wrong(own, _tensors(build)["t8"], got)
    assert own.hints[0] == "only channel 3"
    # All integers that come out are right, and the command fails all the same.
    assert main(["verify", str(build), "--frames", str(FRAMES), "--explain"]) == 1
    said = capsys.readouterr()
    assert "mismatches        0 of 30 integers" in said.out
    frame, (channel, row, column) = own.frame, own.places[0].tolist()
    place = f"frame {frame}, channel {channel}, row {row}, column {column}"
    values = f"got {got[frame, channel, row, column]}, want {own.want[0]}"
    assert f"mixq: stage conv7 is the first that is wrong: {place}: {values}" in said.err
    document = json.loads((build / "report/mismatch.json").read_text())
    assert document["part"] == {"name": "conv7", "kind": "stage", "node": "conv7", "tensor": "t8"}
    keys = ("frame", "channel", "row", "column", "got", "want", "differ")
    assert [document[key] for key in keys] == [
        frame,
        channel,
        row,
        column,
        got[frame, channel, row, column],
        own.want[0],
        len(own.places),
    ]
    assert document["fed_by"] == [{"name": "pool6_fork", "tensor": "t6", "stage": "pool6"}]
    assert document["follows"][-1] == "dense10_converter_0" and document["others"] == []
    waves = document["waves"]
    assert waves["first_cycle"] <= document["cycle"] <= waves["last_cycle"]
    values_at = _values(build / waves["file"], document["signal"])
    time = document["cycle"] * waves["units_of_cycle"]
    assert values_at[max(at for at in values_at if at <= time)] == document["got"]
    assert min(values_at) == waves["first_cycle"] * waves["units_of_cycle"]


def _values(path: Path, signal: str) -> dict[int, int]:
    """Values of a signal in a VCD file by the time from which it has them."""
    text = path.read_text()
    found = re.search(rf"\$var\s+\w+\s+\d+\s+(\S+)\s+{signal}(?:\s|\[)", text)
    assert found is not None
    values, now = {}, 0
    for line in text.split("$enddefinitions $end")[1].splitlines():
        if line.startswith("#"):
            now = int(line[1:])
        elif line.startswith("b") and line.split()[1] == found[1]:
            values[now] = int(line.split()[0][1:], 2)
    return values


def test_all_is_right_and_what_the_stages_do(build: Path, capsys: pytest.CaptureFixture[str]) -> None:
    BuildFolder(build).report_file("mismatch.json").write_text("{}")
    assert main(["verify", str(build), "--frames", str(FRAMES), "--explain"]) == 0
    assert f"every stage gives what the interpreter computes, in {FRAMES} frames" in capsys.readouterr().out
    assert not (build / "report/mismatch.json").exists() and not (build / "sim/mismatch.vcd").exists()
    text = (build / "report/activity.json").read_text()
    document = json.loads(text)
    assert len(text) < 200_000 and (document["simulator"], document["frames"]) == ("verilator", 1)
    assert document["end"] - document["start"] == 36  # of the plan: a pixel of the image in a cycle
    stages = {stage["name"]: stage for stage in document["stages"]}
    for stage in stages.values():
        ends = [document["start"], *(end for _, end, _ in stage["intervals"])]
        assert [begin for begin, _, _ in stage["intervals"]] == ends[:-1] and ends[-1] == document["end"]
    # The first convolution takes a beat in each cycle; the fork behind the pool gives 9, each for 4 cycles of another.
    assert stages["conv0"]["intervals"] == [[document["start"], document["end"], "works"]]
    assert _cycles(stages["pool6_fork"], "works") == 9 and _cycles(stages["pool6_fork"], "blocked") == 27
    # 18 beats of two inputs in turn, and 18 given.
    assert stages["dense10"]["node"] == "dense10" and stages["conv2_fifo"]["node"] is None


def test_the_reference_alone_is_wrong(build: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph, codes = Graph.load(build), np.load(build / "reference/codes.npy")
    wanted = run_all(graph, codes)[graph.output][:FRAMES]
    wanted[FRAMES - 1, 0, 0, 0] += 1
    np.save(tmp_path / "wanted.npy", wanted)
    command = ["verify", str(build), "--frames", str(FRAMES), "--explain", "--expect", str(tmp_path / "wanted.npy")]
    assert main(command) == 1
    printed = capsys.readouterr()
    ending = f"it is {tmp_path / 'wanted.npy'} that differs from the interpreter"
    assert f"every stage gives what the interpreter computes, in {FRAMES} frames: {ending}" in printed.out
    assert "1 of" in printed.err
    assert not (build / "report/mismatch.json").exists()


def _cycles(stage: dict[str, list[tuple[int, int, str]]], kind: str) -> int:
    return sum(end - begin for begin, end, own in stage["intervals"] if own == kind)


def test_verilog_without_names_of_payloads(build: Path, capsys: pytest.CaptureFixture[str]) -> None:
    top = build / "rtl/mixq_top.v"
    text = top.read_text()
    top.write_text(text.replace("carries =", "carried ="))
    assert main(["verify", str(build), "--explain"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("make it again with: mixq generate")
    top.write_text(text)
    assert main(["verify", str(build), "--explain", "--simulator", "icarus"]) == 2
