"""`mixq verify` and `mixq run`: the Verilog on the disk against the integers that must come out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mixq.execute import run, run_all
from mixq.graph import Dense, Graph
from tests.mixq.cli.conftest import Run
from tests.rtl_gen.shallow import residual_block, residual_plan, write_unrefused


@pytest.mark.parametrize(
    ("simulator", "stalls"), [("icarus", "random"), ("verilator", "none"), ("verilator", "random")]
)
def test_no_integer_differs_and_cycles_are_the_plans(build: Path, simulator: str, stalls: str, mixq: Run) -> None:
    words = ["--simulator", simulator, "--stalls", stalls, "--frames", "4", "--seed", "3"]
    outcome = mixq("verify", build, *words)
    assert outcome.status == 0, outcome.err
    assert "mismatches        0 of 40 integers" in outcome.out and "as planned" in outcome.out
    last = json.loads((build / "report/rtlsim_performance.json").read_text())
    assert last == json.loads((build / f"report/rtlsim_performance_{simulator}.json").read_text())
    assert last.pop("sim_seconds") >= 0 and last.pop("latency_cycles") > 0
    cycles = json.loads((build / "report/estimate_network_performance.json").read_text())["max_cycles"]
    assert last == {
        "simulator": simulator,
        "frames": 4,
        "cycles_per_frame": cycles,
        "mismatches": 0,
        "stalls": stalls,
        "seed": 3,
    }


@pytest.mark.verilator
def test_inputs_of_ones_own_come_out_as_the_interpreter_says(build: Path, tmp_path: Path, mixq: Run) -> None:
    pixels = np.random.default_rng(7).integers(0, 256, (2, 1, 4, 4))
    given, simulated, computed = (tmp_path / name for name in ("in.npy", "rtl.npy", "run.npy"))
    np.save(given, pixels)
    outcome = mixq("verify", build, "--inputs", given, "--outputs", simulated)
    assert outcome.status == 0 and "the converted PyTorch model\n" in outcome.out
    assert "not measured: it takes 3 frames" in outcome.out
    assert mixq("run", build, "--inputs", given, "--outputs", computed).status == 0
    found = np.load(simulated)
    assert found.dtype == np.int64 and found.shape == (2, 10, 1, 1)
    assert np.array_equal(found, np.load(computed))
    (build / "checkpoints/model.pt").unlink()
    outcome = mixq("verify", build, "--inputs", given, "--frames", "1")
    assert outcome.status == 0 and "reference         the interpreter\n" in outcome.out


@pytest.mark.verilator
def test_a_wrong_integer_is_shown_and_fails(build: Path, tmp_path: Path, mixq: Run) -> None:
    expected = np.load(build / "reference/expected.npy")
    want = int(expected[1, 4, 0, 0])
    expected[1, 4] += 1
    np.save(tmp_path / "expect.npy", expected)
    words = ["--frames", "2", "--expect", tmp_path / "expect.npy", "--outputs", tmp_path / "out.npy"]
    outcome = mixq("verify", build, *words)
    assert outcome.status == 1
    assert outcome.complaint == "mixq: 1 mismatches in 1 of 2 frames (verilator, stalls none, seed 0)"
    assert [line.split() for line in outcome.out.splitlines()[:2]] == [
        ["frame", "channel", "row", "column", "got", "want"],
        [f"{number:,}" for number in (1, 4, 0, 0, want, want + 1)],
    ]
    assert np.array_equal(np.load(tmp_path / "out.npy"), np.load(build / "reference/expected.npy")[:2])
    assert json.loads((build / "report/rtlsim_performance.json").read_text())["mismatches"] == 1


@pytest.mark.verilator
def test_flipped_bits_of_weights_show_as_the_arithmetic_says(build: Path, tmp_path: Path, mixq: Run) -> None:
    graph, codes = Graph.load(build), np.load(build / "reference/codes.npy")
    dense = graph.node("dense")
    assert isinstance(dense, Dense)
    image = build / "rtl/dense_weights_0.mem"
    words = [int(word, 16) for word in image.read_text().split()]
    # One weight of two bits stands in a word, input after input for each output.
    assert [word - 4 * (word >> 1) for word in words] == dense.weights.ravel().tolist()
    # Inputs of 3 bits are multiplied less 4; the constant that puts 4 times the weights back is not flipped.
    inputs = run_all(graph, codes)[dense.input][:, :, 0, 0] - 4
    for at in (0, 37, 319):
        flipped = words.copy()
        flipped[at] ^= 1
        image.write_text("".join(f"{word:x}\n" for word in flipped))
        expected = np.load(build / "reference/expected.npy")
        expected[:, at // 32, 0, 0] += (1 - 2 * (words[at] & 1)) * inputs[:, at % 32]
        outcome = mixq("verify", build, "--outputs", tmp_path / "out.npy")
        assert outcome.status == int(inputs[:, at % 32].any())
        assert np.array_equal(np.load(tmp_path / "out.npy"), expected)


@pytest.mark.verilator
def test_cycles_that_are_not_the_plans_fail(build: Path, mixq: Run) -> None:
    text = (build / "plan.yaml").read_text()
    words = (mixq("plan", build, "--board", "ultra96-v2", "--max-dsp", "60"), (build / "plan.yaml").read_text())
    assert words[0].status == 0 and words[1] != text
    outcome = mixq("verify", build, "--frames", "4")
    assert outcome.status == 1 and "where the plan is newer than the Verilog, run mixq generate" in outcome.complaint
    assert mixq("verify", build, "--frames", "3").status == 0


@pytest.mark.verilator
def test_a_run_that_fails_leaves_no_older_report(build: Path, mixq: Run) -> None:
    assert mixq("verify", build, "--frames", "1").status == 0
    top = build / "rtl/mixq_top.v"
    top.write_text("module mixq_top(\n")
    outcome = mixq("verify", build, "--frames", "1")
    assert outcome.status in (1, 2) and "mixq_top" in outcome.complaint
    assert not list((build / "report").glob("rtlsim_performance*.json"))


@pytest.mark.icarus
def test_a_deadlock_names_node_fifo_and_depth(tmp_path: Path, mixq: Run) -> None:
    graph = residual_block()
    write_unrefused(graph, residual_plan(14), tmp_path)
    np.save(tmp_path / "codes.npy", np.zeros((3, *graph.tensor("x").shape), np.int64))
    words = ("verify", tmp_path, "--simulator", "icarus", "--inputs", tmp_path / "codes.npy")
    outcome = mixq(*words)
    assert outcome.status == 1
    said = "mixq: deadlock: add5 waits for conv4, and the FIFO from conv0 to add5 is full, which holds 14 beats: "
    assert outcome.complaint.startswith(f"{said}give it 15 in the plan, under fifos of add5 (mixq_top in icarus")
    residual_plan(15).save(tmp_path)
    assert mixq(*words).complaint.startswith(f"{said}the plan gives it 15, so run mixq generate (")
    residual_plan(14).save(tmp_path)
    refused = mixq("generate", tmp_path)
    assert refused.status == 2 and "node add5 starves" in refused.complaint


def test_what_is_refused(build: Path, tmp_path: Path, mixq: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*words: object) -> str:
        outcome = mixq(*words)
        assert outcome.status == 2, outcome
        return outcome.complaint

    codes = build / "reference/codes.npy"
    assert refused("verify", build, "--frames", "11") == (
        f"mixq: {codes} holds 10 frames, not 11; ask for 10 with --frames, or fewer"
    )
    np.save(tmp_path / "one.npy", np.zeros((1, 10, 1, 1), np.int64))
    complaint = refused("verify", build, "--frames", "2", "--expect", tmp_path / "one.npy")
    assert complaint == f"mixq: {tmp_path / 'one.npy'} holds 1 frames, not 2; ask for 1 with --frames, or fewer"
    complaint = refused("verify", build, "--expect", codes)
    assert complaint == f"mixq: {codes} must have the shape (frames, 10, 1, 1), not (10, 1, 4, 4)"
    complaint = refused("verify", build, "--inputs", tmp_path / "one.npy")
    assert complaint.endswith("must have the shape (N, 1, 4, 4) = (N, C, H, W), not (1, 10, 1, 1)")
    assert "Invalid value for '--simulator'" in refused("verify", build, "--simulator", "vcs")
    assert refused("verify", tmp_path) == (
        f"mixq: {tmp_path} is no build folder (it has no graph.json); make one with: mixq import"
    )
    codes.rename(tmp_path / "in.npy")
    assert refused("verify", build) == f"mixq: {codes} is missing; name a file of frames with --inputs"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert refused("verify", build, "--simulator", "icarus") == (
        "mixq: Icarus Verilog is missing; install it with: sudo apt-get install iverilog"
    )
    (build / "rtl/files.f").write_bytes(b"\xff\n")
    monkeypatch.undo()
    assert refused("verify", build, "--inputs", tmp_path / "in.npy", "--simulator", "icarus") == (
        f"mixq: {(build / 'rtl/files.f').resolve()} is no text (byte 0); generate the build again"
    )
    (build / "rtl/mixq_top.v").unlink()
    assert refused("verify", build) == (f"mixq: {build / 'rtl'} holds no Verilog; make it with: mixq generate {build}")


@pytest.mark.parametrize(
    ("array", "line"),
    [
        (np.zeros((1, 1, 4, 4)), "must hold integers, not float64; convert the array with astype"),
        (np.zeros((4, 4), np.int64), "must have the shape (frames, C, H, W) with at least one frame, not (4, 4)"),
        (np.zeros((0, 1, 4, 4), np.int64), "with at least one frame, not (0, 1, 4, 4)"),
        (np.full((1, 1, 4, 4), 256), "codes of pixels must lie in 0..255, not 256..256"),
        (np.full((1, 1, 4, 4), -1), "codes of pixels must lie in 0..255, not -1..-1"),
        (np.array([[[[object()]]]]), "is no .npy file of integers (Object arrays cannot be loaded when "),
    ],
)
def test_inputs_that_no_network_takes(array: np.ndarray, line: str, build: Path, tmp_path: Path, mixq: Run) -> None:
    np.save(tmp_path / "in.npy", array, allow_pickle=True)
    outcome = mixq("run", build, "--inputs", tmp_path / "in.npy", "--outputs", tmp_path / "out.npy")
    assert outcome.status == 2 and line in outcome.complaint
    assert not (tmp_path / "out.npy").exists()


@pytest.mark.parametrize("shape", [f"({1 << 40}, 1, 4, 4)", f"({9**30}, 1, 4, 4)", "(True, 1, 4, 4)"])
def test_headers_that_promise_too_much(shape: str, build: Path, tmp_path: Path, mixq: Run) -> None:
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    (tmp_path / "in.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
    outcome = mixq("run", build, "--inputs", tmp_path / "in.npy", "--outputs", tmp_path / "out.npy")
    assert outcome.status == 2 and "in.npy is no .npy file of integers (" in outcome.complaint


def test_run_gives_the_interpreters_integers(built: Path, tmp_path: Path, mixq: Run) -> None:
    outcome = mixq("run", built, "--inputs", built / "reference/codes.npy", "--outputs", tmp_path / "out.npy")
    assert outcome.status == 0
    found = np.load(tmp_path / "out.npy")
    assert found.dtype == np.int64 and np.array_equal(found, np.load(built / "reference/expected.npy"))
    assert np.array_equal(found, run(Graph.load(built), np.load(built / "reference/codes.npy")))
    text = tmp_path / "text.npy"
    text.write_text("not an array")
    outcome = mixq("run", built, "--inputs", text, "--outputs", tmp_path / "out.npy")
    assert outcome.status == 2 and f"{text} is no .npy file of integers" in outcome.complaint
    outcome = mixq("run", built, "--inputs", built / "reference/codes.npy", "--outputs", tmp_path / "no/out.npy")
    assert outcome.status == 2 and outcome.complaint.startswith(f"mixq: cannot write {tmp_path}/no/out.npy")
