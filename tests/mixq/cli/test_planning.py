"""`mixq plan`, `generate`, `estimate`, `report` and `test`, each on the small build."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mixq.formats import IntFormat
from mixq.graph import Graph
from mixq.plan import Plan
from tests.mixq.cli.conftest import Run
from tests.mixq.graphs import Chain

#: So small a network takes no DSPs where it may do without.
DSPS = ("--board", "ultra96-v2", "--packings", "original")


def test_the_plan_keeps_to_its_limits_and_says_what_is_full(build: Path, mixq: Run) -> None:
    outcome = mixq("plan", build, "--board", "Ultra96_V2", "--max-dsp", "12", "--clock-mhz", "200")
    assert outcome.status == 0
    plan = Plan.load(build)
    assert plan.resources.dsp <= 12 and plan.limits.dsp == 12
    assert f"bottleneck        {plan.bottleneck}\n" in outcome.out
    assert f"{plan.fps:,.1f} frames per second at 200 MHz (assumed)" in outcome.out
    assert plan.fps == 200e6 / plan.cycles
    full = next(line for line in outcome.out.splitlines() if line.startswith("DSP "))
    assert full.split() == ["DSP", str(plan.resources.dsp), "12", f"{100 * plan.resources.dsp / 12:.1f}", "%"]
    performance = json.loads((build / "report/estimate_network_performance.json").read_text())
    assert performance["max_cycles"] == plan.cycles and performance["fps"] == plan.fps


def test_the_plan_says_what_limits_it_and_what_is_proved(build: Path, mixq: Run) -> None:
    outcome = mixq("plan", build, *DSPS, "--max-dsp", "12")
    plan = Plan.load(build)
    assert plan.limited_by == ("DSP",)
    assert "limited by        DSP, which would let a faster design in\n" in outcome.out
    assert (
        "gap               0 %: proved that no design that fits is faster and none as fast is cheaper\n" in outcome.out
    )
    outcome = mixq("plan", build, "--board", "ultra96-v2", "--max-cycles", "2000")
    assert "limited by        the speed that was asked for\n" in outcome.out
    assert "gap               0 %: proved that none as fast is cheaper\n" in outcome.out
    resources = json.loads((build / "report/estimate_layer_resources.json").read_text())
    assert resources["shell"] == Plan.load(build).shell.report()


def test_a_plan_can_be_held_to_the_foldings_of_another(build: Path, mixq: Run) -> None:
    assert mixq("plan", build, *DSPS, "--max-dsp", "12").status == 0
    first = Plan.load(build)
    folding = build / "mine.json"
    folding.write_bytes((build / "folding.json").read_bytes())
    assert mixq("plan", build, *DSPS).status == 0
    assert Plan.load(build).cycles < first.cycles
    assert mixq("plan", build, *DSPS, "--folding", folding).status == 0
    assert Plan.load(build).layers == first.layers
    assert (build / "folding.json").read_bytes() == folding.read_bytes()
    document = json.loads(folding.read_text())
    document["conv2"] = {"PE": 5}
    folding.write_text(json.dumps(document))
    outcome = mixq("plan", build, *DSPS, "--folding", folding)
    assert outcome.status == 2
    assert outcome.complaint.startswith(f"mixq: {folding}: conv2: PE must be one of 2, 4, 8, ")


def test_double_pumped_layers_are_said_and_have_a_second_clock(build: Path, mixq: Run) -> None:
    words = ("plan", build, "--board", "ultra96-v2", "--max-dsp", "12", "--packings", "finn", "--clock-mhz", "250")
    assert "second clock" not in mixq(*words).out
    assert Plan.load(build).pumped == ()
    outcome = mixq(*words, "--double-pump")
    assert outcome.status == 0
    plan = Plan.load(build)
    assert plan.pumped
    assert f"second clock      ap_clk2x, 500 MHz, for the DSPs of {', '.join(plan.pumped)}\n" in outcome.out
    assert mixq("generate", build).status == 0
    constraints = (build / "rtl/mixq_top.xdc").read_text()
    assert "create_clock -name ap_clk -period 4.000 " in constraints
    assert mixq("report", build).status == 0
    page = (build / "report/index.html").read_text()
    assert f"a second clock, ap_clk2x, of 500 MHz for DSPs of {', '.join(plan.pumped)}<" in page
    assert page.count(", double-pumped</small>") == len(plan.pumped)
    # Foldings of this plan are refused where there is no second clock, and of one clock that is none.
    (build / "mine.json").write_bytes((build / "folding.json").read_bytes())
    outcome = mixq(*words, "--folding", build / "mine.json")
    assert outcome.status == 2 and "pump must be one of 1, not 2; 2 takes --double-pump" in outcome.complaint
    outcome = mixq("plan", build, "--board", "ultra96-v2", "--double-pump", "--clock-mhz", "400")
    assert outcome.status == 2
    assert outcome.complaint.startswith("mixq: double_pump needs DSPs at 800 MHz, and those of ultra96-v2 are ")


def test_the_frontier_as_table_file_and_picture(build: Path, mixq: Run) -> None:
    outcome = mixq("plan", build, "--board", "ultra96-v2", "--max-dsp", "12", "--frontier")
    assert outcome.status == 0
    points = json.loads((build / "report/frontier.json").read_text())
    plan = Plan.load(build)
    assert points[0] == {"cycles": plan.cycles, "fps": plan.fps, **plan.resources.report()}
    assert [point["cycles"] for point in points] == sorted(point["cycles"] for point in points)
    assert outcome.out.splitlines()[0].split() == ["cycles", "frames/s", "DSP", "LUT", "FF", "BRAM"]
    assert outcome.out.splitlines()[1].split()[0] == f"{plan.cycles:,}"
    picture = (build / "report/frontier.svg").read_text()
    assert picture.count("<circle") == len(points) * sum(
        any(point[key] for point in points) for key in ("LUT", "FF", "DSP", "BRAM_36K")
    )
    # A plan that is not asked for one leaves none of another plan behind.
    assert mixq("plan", build, "--board", "ultra96-v2").status == 0
    assert not list((build / "report").glob("frontier.*"))


def test_a_goal_gives_the_smallest_plan_that_reaches_it(build: Path, mixq: Run) -> None:
    def planned(*words: object) -> Plan:
        assert mixq("plan", build, *DSPS, *words).status == 0
        return Plan.load(build)

    slow = planned("--max-cycles", "2000")
    fast = planned("--fastest")
    assert fast.cycles < slow.cycles <= 2000
    assert slow.resources.dsp < fast.resources.dsp
    rate = planned("--target-fps", "300000")
    assert rate.fps >= 300000 and rate.cycles <= rate.clock_mhz * 1e6 / 300000
    half = planned("--budget", "0.5")
    assert half.limits.dsp == 180 and half.resources.lut <= half.limits.lut == 35280


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (["--board", "ultra97"], 2, "no board is named 'ultra97'; use one of "),
        (["--board", "zcu104", "--fastest", "--max-cycles", "9"], 2, "--max-cycles and --fastest exclude each other; "),
        (["--board", "zcu104", "--clock-mhz", "nan"], 2, "--clock-mhz must be a number, not nan"),
        (["--board", "zcu104", "--clock-mhz", "-1"], 2, "clock_mhz must be positive and finite, not -1.0"),
        (["--board", "zcu104", "--clock-mhz", "3e8"], 2, "--clock-mhz must be at most 10000, in MHz, not 3e+08"),
        (["--board", "zcu104", "--budget", "1.5"], 2, "budget must be above 0 and at most 1, not 1.5"),
        (
            ["--board", "ultra96-v2", "--max-dsp", "0", "--packings", "finn"],
            1,
            "the network does not fit ultra96-v2: DSP ",
        ),
        (["--board", "ultra96-v2", "--packings", "all"], 2, "packings must be one of original, finn, seuer, not 'all'"),
        (["--board", "ultra96-v2", "--folding", "/nowhere.json"], 2, "/nowhere.json: no such file"),
        (["--board", "ultra96-v2", "--max-lut", "50"], 1, "the network does not fit ultra96-v2: LUT "),
        (["--board", "ultra96-v2", "--max-cycles", "2"], 1, "no plan takes at most 2 cycles on ultra96-v2: the "),
        ([], 2, "Missing option '--board'"),
    ],
)
def test_plans_that_cannot_be(words: list[str], status: int, line: str, build: Path, mixq: Run) -> None:
    before = (build / "plan.yaml").read_bytes()
    outcome = mixq("plan", build, *words)
    assert outcome.status == status and outcome.complaint.startswith(f"mixq: {line}"), outcome
    assert (build / "plan.yaml").read_bytes() == before


def test_generate_gives_the_same_bytes_and_keeps_what_was_measured_on_them(build: Path, mixq: Run) -> None:
    before = {path.name: path.read_bytes() for path in (build / "rtl").iterdir()}
    measured = build / "report/synth_resources.json"
    measured.write_text("{}")
    outcome = mixq("generate", build, "--target", "generic")
    assert outcome.status == 0 and "the same bytes" in outcome.out
    assert {path.name: path.read_bytes() for path in (build / "rtl").iterdir()} == before
    assert measured.is_file()
    outcome = mixq("generate", build)
    assert outcome.status == 0 and "changed" in outcome.out
    assert "DSP48E2" in (build / "rtl/mixq_top.v").read_text()
    assert not measured.exists()


def test_generate_mends_files_that_were_changed(build: Path, mixq: Run) -> None:
    top = build / "rtl/mixq_top.v"
    text = top.read_text()
    top.write_text(text + "// mine\n")
    outcome = mixq("generate", build, "--target", "generic")
    assert outcome.status == 0 and "since the last time  changed" in outcome.out
    assert top.read_text() == text


def test_generate_refuses(build: Path, tmp_path: Path, mixq: Run) -> None:
    outcome = mixq("generate", tmp_path)
    assert (outcome.status, outcome.complaint) == (
        2,
        f"mixq: {tmp_path} is no build folder (it has no graph.json); make one with: mixq import",
    )
    assert mixq("generate", build, "--target", "dsp48e1").status == 2
    (build / "plan.yaml").unlink()
    outcome = mixq("generate", build)
    assert outcome.status == 2 and "run `mixq plan" in outcome.complaint


def test_estimate_counts_the_planned_dsps(build: Path, mixq: Run) -> None:
    assert mixq("generate", build).status == 0
    outcome = mixq("estimate", build)
    assert outcome.status == 0
    counted = json.loads((build / "report/synth_resources.json").read_text())
    plan = Plan.load(build)
    assert counted["total"]["DSP"] == plan.resources.dsp
    layers = {layer.name: layer.resources.dsp for layer in plan.layers if layer.resources.dsp}
    assert {name: counted[name]["DSP"] for name in layers} == layers
    assert f"{counted['total']['LUT']:,}" in outcome.out


def test_estimate_refuses_a_build_without_verilog(tmp_path: Path, build: Path, mixq: Run) -> None:
    (build / "rtl/mixq_top.v").unlink()
    outcome = mixq("estimate", build)
    assert (outcome.status, outcome.complaint) == (
        2,
        f"mixq: {build / 'rtl'} holds no Verilog; make it with: mixq generate {build}",
    )


def test_report_writes_a_page_from_what_there_is(build: Path, mixq: Run) -> None:
    outcome = mixq("report", build)
    assert outcome.status == 0
    page = (build / "report/index.html").read_text()
    assert "conv2" in page and Plan.load(build).bottleneck in page
    assert outcome.out.splitlines()[-1].endswith(f"{build}/report/index.html")
    assert len(outcome.out.splitlines()) <= 10
    (build / "plan.yaml").unlink()
    outcome = mixq("report", build)
    assert outcome.status == 2 and "run `mixq plan" in outcome.complaint


def test_the_manifest_notes_sources_and_reports_and_keeps_them_for_the_same_verilog(build: Path, mixq: Run) -> None:
    assert mixq("report", build).status == 0
    noted = (build / "manifest.json").read_bytes()
    stages = json.loads(noted)["stages"]
    assert list(stages) == ["reports", "sources"]
    assert set(stages["sources"]["files"]) == {"checkpoints/model.pt"} and "torch" in stages["sources"]["tools"]
    names = "cycles", "resources"
    assert {f"report/estimate_layer_{name}.json" for name in names} <= set(stages["reports"]["files"])
    assert str(build) not in noted.decode() and "rtlsim" not in noted.decode()
    assert mixq("generate", build, "--target", "generic").status == 0
    assert mixq("report", build).status == 0
    assert (build / "manifest.json").read_bytes() == noted
    (build / "rtl/mixq_top.v").write_text("other")
    assert mixq("generate", build, "--target", "generic").status == 0
    assert list(json.loads((build / "manifest.json").read_text())["stages"]) == ["sources"]


def test_accuracy_of_both_models(tmp_path: Path, mixq: Run) -> None:
    out = tmp_path / "digits"
    assert mixq("import", "random:3", "--network", "digits-cnn", "--out", out).status == 0
    outcome = mixq("test", out)
    assert outcome.status == 0 and "digits, 360 of 360 test images" in outcome.out
    found = json.loads((out / "report/accuracy.json").read_text())
    value, float_value = found.pop("value"), found.pop("float_value")
    assert found == {"split": "test", "samples": 360, "metric": "top1", "converted_value": None}
    # Random weights are right about one time in ten, and both models nearly as often.
    assert 0 < value < 0.4 and abs(value - float_value) < 0.02
    assert float(value * 360).is_integer()
    (out / "checkpoints/model.pt").unlink()
    assert mixq("test", out).status == 0
    assert json.loads((out / "report/accuracy.json").read_text())["float_value"] is None


def test_networks_without_data_are_refused(build: Path, tmp_path: Path, mixq: Run) -> None:
    outcome = mixq("test", build)
    assert outcome.status == 2
    assert outcome.complaint == (
        "mixq: the images of digits have the shape 1,8,8, not 1,4,4; import the network with --input-shape 1,8,8"
    )
    own_graph().save(tmp_path / "own")
    outcome = mixq("test", tmp_path / "own")
    assert outcome.complaint == (
        f"mixq: {tmp_path / 'own'} does not say what data net is for (it has no project.yaml); make it with: mixq train"
    )
    assert outcome.status == 2


def own_graph() -> Graph:
    """Two layers on signed codes, which no training model makes."""
    rng = np.random.default_rng(5)
    chain = Chain((2, 4, 5), IntFormat(4, True))
    chain.conv(rng.integers(-2, 2, (2, 2, 3, 3)), 2, padding=1)
    chain.requantise([3, -2], [1, 5], 3, IntFormat(3, False))
    return chain.dense(rng.integers(-2, 2, (3, 40)), 2).graph()


@pytest.mark.verilator
def test_a_graph_of_ones_own_goes_all_the_way_to_verilog(tmp_path: Path, mixq: Run) -> None:
    graph = own_graph()
    graph.save(tmp_path / "source")
    out = tmp_path / "out"
    for words in (
        ("import", tmp_path / "source", "--out", out),
        ("plan", out, "--board", "ultra96-v2"),
        ("generate", out, "--target", "generic"),
    ):
        assert mixq(*words).status == 0
    codes = np.load(out / "reference/codes.npy")
    format = graph.tensor(graph.input).format
    assert format.contains(codes) and len(np.unique(codes)) > 3
    outcome = mixq("verify", out)
    assert outcome.status == 0 and "reference         the interpreter\n" in outcome.out
