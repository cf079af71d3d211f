"""`mixq report --compare`: what it prints and refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.mixq.cli.conftest import Run
from tests.mixq.report.builds import small_graph, small_plan


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A planned network, and stand-ins for what would be generated of it."""
    folder = tmp_path_factory.mktemp("compared") / "small"
    graph = small_graph()
    graph.save(folder)
    small_plan(graph).save(folder)
    (folder / "rtl").mkdir()
    (folder / "rtl/mixq_top.v").write_text("module mixq_top; endmodule")
    (folder / "manifest.json").write_text(json.dumps({"tools": {"mixq": "1"}}))
    return folder


def test_another_build_is_compared(built: Path, tmp_path: Path, mixq: Run) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    for folder in (before, after):
        shutil.copytree(built, folder)
    outcome = mixq("report", after, "--compare", before)
    assert outcome.status == 0, outcome.err
    assert f"compared    from {before} to {after}\nnothing changed\n" in outcome.out
    assert json.loads((after / "report/compare.json").read_text())["same"] is True
    (after / "rtl/mixq_top.v").write_text("other")
    (before / "manifest.json").unlink()
    outcome = mixq("report", after, "--compare", before)
    assert "Verilog and its manifest: only after has it; make it with: mixq generate before" in outcome.out
    assert "rtl/mixq_top.v  SHA-256" in outcome.out and "nothing changed" not in outcome.out
    assert outcome.out.endswith(f"comparison  {after / 'report/compare.html'}\n")


def test_what_is_no_other_build_is_refused_before_anything_is_written(built: Path, tmp_path: Path, mixq: Run) -> None:
    folder = tmp_path / "build"
    shutil.copytree(built, folder, ignore=shutil.ignore_patterns("report"))
    outcome = mixq("report", folder, "--compare", tmp_path)
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.complaint.startswith(f"mixq: {tmp_path} is no build folder")
    outcome = mixq("report", folder, "--compare", folder / ".")
    assert outcome.status == 2
    assert outcome.complaint.startswith(f"mixq: --compare must name another build than {folder}")
    assert not (folder / "report").exists()
