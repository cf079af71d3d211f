"""Paths of a build folder, and what goes when another graph comes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mixq.build_folder import BuildFolder, make_folder
from mixq.errors import UserError
from tests.mixq.graphs import random_network

RESULTS = ("plan.yaml", "manifest.json", "steps.json", "rtl/mixq_top.v", "report/accuracy.json", "reference/codes.npy")


@pytest.fixture
def folder(tmp_path: Path) -> BuildFolder:
    """A build with results, files of the user's and compiled simulations."""
    random_network(0).save(tmp_path)
    for name in (*RESULTS, "checkpoints/model.pt", "sim/model", "mine.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    return BuildFolder(tmp_path)


def test_the_same_graph_keeps_everything(folder: BuildFolder) -> None:
    assert not folder.start(random_network(0))
    assert all((folder.path / name).is_file() for name in (*RESULTS, "graph.json", "checkpoints/model.pt"))


def test_another_graph_leaves_what_does_not_follow_from_it(folder: BuildFolder) -> None:
    assert folder.start(random_network(1))
    left = sorted(path.relative_to(folder.path).as_posix() for path in folder.path.rglob("*") if path.is_file())
    assert left == ["mine.txt", "sim/model"]
    with pytest.raises(UserError, match=r"is no build folder \(it has no graph.json\); make one with: mixq import$"):
        folder.load_graph()


class Killed(BaseException):
    """Like the end of the process."""


@pytest.mark.parametrize("last", ["rtl", "model.pt", "steps.json", "plan.yaml", "graph.npz", "graph.json"])
def test_what_a_killed_process_left_goes_with_the_next_start(
    folder: BuildFolder, last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before ``last`` is removed."""
    unlink, rmtree = Path.unlink, shutil.rmtree

    def dying_unlink(path: Path, missing_ok: bool = False) -> None:
        if path.name == last:
            raise Killed
        unlink(path, missing_ok=missing_ok)

    def dying_rmtree(path: Path, ignore_errors: bool) -> None:
        if path.name == last:
            raise Killed
        rmtree(path, ignore_errors=ignore_errors)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", dying_unlink)
        patch.setattr(shutil, "rmtree", dying_rmtree)
        with pytest.raises(Killed):
            folder.start(random_network(1))
    assert folder.start(random_network(1))
    left = sorted(path.relative_to(folder.path).as_posix() for path in folder.path.rglob("*") if path.is_file())
    assert left == ["mine.txt", "sim/model"]


def test_a_damaged_graph_is_another_graph(folder: BuildFolder) -> None:
    (folder.path / "graph.json").write_text("{")
    assert folder.start(random_network(0))


def test_files_of_the_users_stay(folder: BuildFolder) -> None:
    mine = folder.path / "checkpoints/best.pt"
    mine.write_text("mine")
    assert folder.start(random_network(1))
    assert mine.read_text() == "mine" and not folder.checkpoint.exists() and not folder.codes.parent.exists()


@pytest.mark.parametrize("text", ['{"format": "other"}', "[]", '{"nodes": []}'])
def test_a_folder_of_another_program_is_not_cleared(folder: BuildFolder, text: str) -> None:
    (folder.path / "graph.json").write_text(text)
    with pytest.raises(UserError, match=r"graph.json is no graph of MixQ's, so .* is not cleared; choose another"):
        folder.start(random_network(1))
    assert folder.checkpoint.is_file() and folder.rtl.is_dir() and (folder.path / "graph.json").read_text() == text


def test_a_new_folder_is_made(tmp_path: Path) -> None:
    folder = BuildFolder(tmp_path / "a/b")
    assert not folder.start(random_network(0)) and folder.path.is_dir()
    assert folder.report_file("x.json") == folder.path / "report/x.json" and folder.report.is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot make the folder .*file/c: Not a directory$"):
        make_folder(tmp_path / "file/c")


def test_results_of_old_verilog_are_forgotten(folder: BuildFolder) -> None:
    for name in (
        "synth_resources.json",
        "logic_depth.json",
        "rtlsim_performance.json",
        "rtlsim_performance_icarus.json",
        "vivado.json",
    ):
        (folder.report / name).write_text("{}")
    reports = folder.vivado / "reports"
    reports.mkdir(parents=True)
    (reports / "timing.rpt").write_text("of old Verilog")
    (folder.vivado / "project.tcl").write_text("")
    folder.forget_results_of_rtl()
    assert [path.name for path in folder.report.iterdir()] == ["accuracy.json"]
    assert list(reports.iterdir()) == [] and (folder.vivado / "project.tcl").is_file()
    assert folder.start(random_network(1)) and not folder.vivado.exists()
