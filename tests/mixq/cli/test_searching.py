"""`mixq search`: one budget, none that can be met, a grid; what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from mixq.bits import BitAllocation
from mixq.board import Board
from mixq.cli import searching
from mixq.cli.projects import load_project_board, project_limits
from mixq.errors import UserError
from mixq.files import load_yaml
from mixq.networks import network
from mixq.plan.planner import Planner
from mixq.plan.untrained import untrained_graph
from mixq.project_file import load_project
from tests.mixq.cli.conftest import Outcome, Run
from tests.mixq.cli.project_files import DIGITS, RESIDUAL, residual, write


def front(folder: Path) -> list[dict[str, Any]]:
    document: list[dict[str, Any]] = json.loads((folder / "front.json").read_text())
    return document


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A project, its build after a search, and what the search wrote on standard output."""
    import contextlib
    import io

    from mixq.cli import main

    folder = tmp_path_factory.mktemp("search")
    config, build, out = write(folder), folder / "b", io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(["search", str(config), "--out", str(build), "--quick"]) == 0
    return config, build, out.getvalue()


def test_a_search_writes_widths_and_front(searched: tuple[Path, Path, str]) -> None:
    config, build, out = searched
    found = BitAllocation.load(build)
    found.check(network("digits_cnn"))
    assert set(found.weight_bits) | set(found.act_bits) <= {2, 4}
    assert (found.quantizer, found.weight_range, found.found_by["quick"]) == ("lsq", "narrow", True)
    assert found.predicted["budget"] == 400
    cycles = found.predicted["cycles"]
    assert isinstance(cycles, int) and cycles <= 400
    points = front(build / "search")
    assert all(points[at]["cycles"] < points[at + 1]["cycles"] for at in range(len(points) - 1))
    assert all(points[at]["loss"] > points[at + 1]["loss"] for at in range(len(points) - 1))
    # The board's 300 MHz.
    assert all(point["fps"] == pytest.approx(3e8 / point["cycles"]) for point in points)
    for name, weight, act in zip(found.layers, found.weight_bits, found.act_bits, strict=True):
        assert re.search(rf"^{name} +{weight} +{act}$", out, re.MULTILINE)
    speed = re.escape(f"{cycles} cycles a frame, {3e8 / cycles:,.1f} frames per second at 300 MHz")
    assert re.search(rf"^predicted +{speed}", out, re.MULTILINE)
    assert re.fullmatch(rf"next +{re.escape(f'mixq train {config} --quick')}", out.splitlines()[-1])


def test_a_search_that_is_done_says_it_again(searched: tuple[Path, Path, str], mixq: Run) -> None:
    config, build, out = searched
    before = (build / "bits.yaml").read_bytes(), (build / "search/log.jsonl").read_bytes()
    again = mixq("search", config, "--out", build, "--quick", "--resume")
    assert (again.status, again.out) == (0, out)
    assert ((build / "bits.yaml").read_bytes(), (build / "search/log.jsonl").read_bytes()) == before
    other = mixq("search", config, "--out", build, "--quick", "--seeds", "5")
    assert other.complaint == (
        f"mixq: {build}/search holds another run: seed is 0 there and 5 here; "
        "give another folder, or --fresh to start over"
    )


def test_a_budget_that_cannot_be_met_says_the_nearest(tmp_path: Path, mixq: Run) -> None:
    config, build = write(tmp_path), tmp_path / "b"
    outcome = mixq("search", config, "--out", build, "--budgets", "3")
    assert outcome.status == 1 and not (build / "bits.yaml").exists()
    nearest = re.search(r"no widths of digits_cnn fit in 3 cycles a frame: the smallest take (\d+) ", outcome.complaint)
    assert nearest is not None, outcome.complaint
    assert mixq("search", config, "--out", tmp_path / "c", "--budgets", nearest[1]).status == 0
    assert BitAllocation.load(tmp_path / "c").predicted["cycles"] == int(nearest[1])
    below = mixq("search", config, "--out", tmp_path / "d", "--budgets", str(int(nearest[1]) - 1))
    assert below.status == 1


def test_a_network_with_branches_is_searched_within_its_budget(tmp_path: Path, mixq: Run) -> None:
    config, build = write(tmp_path, RESIDUAL), tmp_path / "b"
    outcome = mixq("search", config, "--out", build)
    assert outcome.status == 0, outcome.err
    found = BitAllocation.load(build)
    found.check(residual())
    assert found.found_by["method"] == "budget"
    project = load_project(config)
    limits = project_limits(project, load_project_board(project))
    graph = untrained_graph(residual(), weight_bits=found.weight_bits, act_bits=found.act_bits)
    plan = Planner(graph, load_project_board(project), limits=limits, constant_weights=False).plan(max_cycles=128)
    assert found.predicted["cycles"] == plan.cycles <= 128


def test_the_published_method_needs_no_budget(tmp_path: Path, mixq: Run) -> None:
    config = write(tmp_path, DIGITS.replace("search:", "search:\n  method: edmips"))
    outcome = mixq("search", config, "--out", tmp_path / "b")
    assert outcome.status == 0, outcome.err
    assert BitAllocation.load(tmp_path / "b").found_by["method"] == "edmips" and front(tmp_path / "b/search") == []
    refused = mixq("search", config, "--out", tmp_path / "b", "--budgets", "300")
    assert refused.complaint == (
        "mixq: --budgets is for the method budget; edmips takes none, but decay_c and decay_t in the file"
    )


def test_several_budgets_are_a_grid(tmp_path: Path, mixq: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweep is a stand-in that runs the tasks one after the other in this process."""
    import nas.sweep

    seen: dict[str, Any] = {}

    def sweep(tasks: list[Any], *, folder: Path, progress: Any, **options: Any) -> dict[str, Any]:
        seen.update(options, names=[task.name for task in tasks])
        results = {}
        for number, task in enumerate(tasks, 1):
            assert task.function == "mixq.cli.searching:search_task"
            own = folder / task.name
            own.mkdir(parents=True)
            # As they come from a file of JSON.
            arguments = json.loads(json.dumps(dict(task.arguments)))
            results[task.name] = json.loads(json.dumps(searching.search_task(folder=own, **arguments)))
            progress(number, len(tasks))
        return results

    monkeypatch.setattr(nas.sweep, "sweep", sweep)
    build = tmp_path / "b"
    words = ("--budgets", "750000fps,300,400", "--seeds", "1", "--jobs", "2", "--ray", "auto")
    outcome = mixq("search", write(tmp_path), "--out", build, "--fresh", *words)
    assert outcome.status == 0, outcome.err
    # 300 MHz / 750,000 frames per second are 400 cycles, which are asked for twice.
    names = ["budget-400-seed-1", "budget-300-seed-1"]
    assert seen == {"names": names, "jobs": 2, "ray": "auto", "fresh": True}
    assert not (build / "bits.yaml").exists()
    for name in names:
        found = BitAllocation.load(build / "search" / name)
        _, budget, _, seed = name.split("-")
        assert (found.predicted["budget"], found.found_by["seed"]) == (int(budget), int(seed))
        widths = " ".join(f"{w}/{a}" for w, a in zip(found.weight_bits, found.act_bits, strict=True))
        assert re.search(rf"^{name} +{found.predicted['cycles']} .*{widths}$", outcome.out, re.MULTILINE)
    assert f"--bits {build}/search/{names[0]}/bits.yaml --out {build}-{names[0]}" in outcome.out.splitlines()[-1]


@pytest.mark.slow
def test_a_grid_in_processes(tmp_path: Path, mixq: Run) -> None:
    config, build = write(tmp_path), tmp_path / "b"
    outcome = mixq("search", config, "--out", build, "--seeds", "0,1", "--jobs", "2")
    assert outcome.status == 0, outcome.err
    alone = mixq("search", config, "--out", tmp_path / "alone", "--seeds", "1")
    assert alone.status == 0
    documents = [load_yaml(path / "bits.yaml") for path in (build / "search/budget-400-seed-1", tmp_path / "alone")]
    assert documents[0] == documents[1]
    again = mixq("search", config, "--out", build, "--seeds", "0,1", "--jobs", "2", "--resume")
    assert (again.status, again.out) == (0, outcome.out)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["--budgets", "fast"],
            "--budgets must be cycles of a frame or frames per second, such as 100000,3000fps, not 'fast'",
        ),
        (
            ["--budgets", "100,,200"],
            "--budgets must be cycles of a frame or frames per second, such as 100000,3000fps, not '100,,200'",
        ),
        (
            ["--budgets", "0fps"],
            "--budgets must be cycles of a frame or frames per second, such as 100000,3000fps, not '0fps'",
        ),
        (["--seeds", "a"], "--seeds must be whole numbers separated by commas, such as 8,2,2, not 'a'"),
        (["--seeds", "-1"], "--seeds must not be negative, not '-1'"),
        (["--ray", "auto"], "--ray is for several searches; give several --budgets or --seeds, or leave it out"),
        (["--resume"], "build/tiny/search holds no run that could go on; leave --resume out"),
        (["--resume", "--seeds", "1,2"], "build/tiny holds no run that could go on; leave --resume out"),
        (["--resume", "--fresh"], "--resume and --fresh exclude each other; give one of them"),
    ],
)
def test_what_search_refuses(
    words: list[str], line: str, tmp_path: Path, mixq: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome: Outcome = mixq("search", write(tmp_path), *words)
    assert (outcome.status, outcome.complaint) == (2, f"mixq: {line}")
    assert not Path("build").exists()


def test_budgets_are_cycles_or_frames_per_second() -> None:
    assert searching.read_budgets(None, 300.0) == []
    assert searching.read_budgets("5, 7 ,5", 300.0) == [5, 7]
    # 250 MHz / 3,000 frames per second = 83,333.3 cycles, of which the third is no whole one.
    assert searching.read_budgets("3000fps,2.5fps", 250.0) == [83_333, 100_000_000]
    with pytest.raises(UserError, match=r"such as 100000,3000fps, not '-3'$"):
        searching.read_budgets("-3", 300.0)


def test_limits_are_the_least_of_share_and_counts(tmp_path: Path) -> None:
    text = DIGITS.replace("{cycles: 400, dsp: 40, lut: 20000}", "{share: 0.5, dsp: 40, bram: 500, clock_mhz: 250}")
    project = load_project(write(tmp_path, text))
    board: Board = load_project_board(project)
    # A ZU3EG has 70,560 LUTs, 141,120 FFs, 360 DSPs and 216 block RAMs.
    limits = project_limits(project, board)
    assert (limits.lut, limits.ff, limits.dsp, limits.bram36, limits.uram) == (35_280, 70_560, 40, 108, 0)
    assert board.clock_mhz == 250
