"""`mixq quickstart`: the whole way; and the same bytes from anywhere."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mixq.bits import BitAllocation
from mixq.cli import quickstart
from mixq.plan import Plan
from tests.mixq.cli.conftest import Run


@pytest.mark.parametrize("missing", ["check_torch", "load_digits", "check_simulator", "find_yosys"])
def test_what_is_missing_is_found_before_anything_is_done(
    missing: str, tmp_path: Path, mixq: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mixq.errors import UserError

    def refuse(*_: object) -> None:
        raise UserError(f"{missing} says what to install")

    place = {"load_digits": "mixq.data.digits.load_digits", "find_yosys": "sim.tools.find_yosys"}
    monkeypatch.setattr(place.get(missing, f"{quickstart.__name__}.{missing}"), refuse)
    outcome = mixq("quickstart", "--out", tmp_path / "q")
    assert (outcome.status, outcome.err) == (2, f"mixq: {missing} says what to install\n")
    assert not (tmp_path / "q").exists()


#: What the steps before the simulation make, beside the Verilog and its memory images.
MADE = ("bits.yaml", "graph.json", "graph.npz", "plan.yaml")


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file that the steps before the simulation made."""
    paths = [*sorted((folder / "rtl").iterdir()), *(folder / name for name in MADE)]
    found = {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    manifest = json.loads((folder / "manifest.json").read_text())
    # The reports come after the simulation.
    manifest["stages"].pop("reports", None)
    return found | {"manifest.json": json.dumps(manifest)}


@pytest.mark.slow
@pytest.mark.icarus
@pytest.mark.verilator
def test_the_whole_way_and_again_and_the_same_bytes_elsewhere(tmp_path: Path, mixq: Run) -> None:
    out = tmp_path / "q"
    outcome = mixq("quickstart", "--out", out)
    assert outcome.status == 0, outcome.err
    hold_same_bytes(digests(out), tmp_path / "elsewhere")
    assert len(outcome.out.splitlines()) == 10
    assert [line for line in outcome.err.splitlines() if "/8 " in line] == [
        "1/8 search widths",
        "2/8 train on handwritten digits",
        "3/8 convert to integers",
        "4/8 plan for ultra96-v2",
        "5/8 generate Verilog",
        "6/8 verify 20 images",
        "7/8 count resources",
        "8/8 report",
    ]
    report = {path.stem: json.loads(path.read_text()) for path in (out / "report").glob("*.json")}
    assert report["accuracy"]["value"] >= 0.96 and report["accuracy"]["samples"] == 360
    for simulator in ("icarus", "verilator"):
        found = report[f"rtlsim_performance_{simulator}"]
        assert (found["mismatches"], found["frames"], found["stalls"]) == (0, 20, "random")
        assert found["cycles_per_frame"] == report["estimate_network_performance"]["max_cycles"]
    assert report["synth_resources"]["total"]["DSP"] == report["estimate_layer_resources"]["total"]["DSP"] <= 40
    assert report["synth_resources"]["total"]["LUT"] <= 10_000
    deepest = report["logic_depth"]["layers"]
    assert set(deepest) == set(report["synth_resources"]) - {"total"}
    assert all(path["within"] for path in deepest.values()), deepest
    found_bits = BitAllocation.load(out)
    widths = report["op_and_param_counts"].values()
    assert [layer["weight_bits"] for layer in widths] == list(found_bits.weight_bits)
    assert [layer["act_bits"] for layer in widths] == list(found_bits.act_bits)
    assert len(set(found_bits.weight_bits)) > 1 and len(set(found_bits.act_bits)) > 1
    # What the search promised without the trained weights holds with them.
    cycles = found_bits.predicted["cycles"]
    assert isinstance(cycles, int)
    assert report["estimate_network_performance"]["max_cycles"] <= cycles <= quickstart.BUDGET
    assert np.load(out / "reference/codes.npy").shape == (360, 1, 8, 8)
    assert np.load(out / "reference/expected.npy").shape == (360, 10, 1, 1)
    assert all(len(sample["logits"]) == 10 for sample in report["samples"])
    started = time.monotonic()
    again = mixq("quickstart", "--out", out)
    assert again.status == 0 and again.out == outcome.out
    assert again.err.count("unchanged") == 7 and time.monotonic() - started < 20
    outcome = mixq("verify", out, "--frames", "50", "--stalls", "random")
    assert outcome.status == 0 and "0 of 500 integers" in outcome.out
    assert mixq("verify", out, "--frames", "361").status == 2
    hold_plainer_packings(out, report["estimate_network_performance"]["max_cycles"], mixq)


def hold_plainer_packings(out: Path, cycles: int, mixq: Run) -> None:
    """The same network without packings that know low bits of lanes: no fewer cycles, and the same integers."""
    words = ("--board", "ultra96-v2", "--max-dsp", "40", "--max-lut", "10000", "--residue-bits", "0")
    packings = [layer.folding.packing for layer in Plan.load(out).layers if layer.folding]
    assert max(packing.residue_bits for packing in packings) > 0
    assert mixq("plan", out, *words).status == 0
    chosen = Plan.load(out)
    packings = [layer.folding.packing for layer in chosen.layers if layer.folding]
    assert max(packing.residue_bits for packing in packings) == 0 and chosen.cycles >= cycles
    assert mixq("generate", out).status == 0
    for simulator in ("icarus", "verilator"):
        outcome = mixq("verify", out, "--simulator", simulator, "--frames", "10", "--stalls", "random")
        assert outcome.status == 0 and "0 of 100 integers" in outcome.out


def hold_same_bytes(expected: dict[str, str], folder: Path) -> None:
    """Another process, in another folder and with another seed of its hashes, makes the same bytes."""
    folder.mkdir()
    code = (
        "from mixq.cli.quickstart import _Way\nfrom mixq.build_folder import BuildFolder\n"
        "way = _Way(BuildFolder('q'), 2)\n"
        "assert way.search() and way.train() and way.test() and way.plan() and way.generate()\n"
    )
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONWARNINGS": "error"}
    subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, check=True, capture_output=True)
    assert digests(folder / "q") == expected and len(expected) > 10
