"""Sweeps on Ray: what is refused, and two nodes of which one dies."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import nas.sweep_ray
from mixq.errors import UserError
from nas.sweep import Task, sweep
from tests.nas.sweep_ray_cluster import TASKS


def test_without_ray_the_remedy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError) as caught:
        sweep([Task(name="a", function="m:f", arguments={})], folder=tmp_path, ray="auto")
    line = "sweeps over machines need Ray; install it with: python -m pip install 'mixq[ray]'"
    assert str(caught.value) == line


def test_loading_the_sweep_does_not_load_ray() -> None:
    code = "import sys, nas.sweep; assert not {'ray', 'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(nas.sweep_ray.__file__).parent.parent)


@pytest.mark.slow
def test_a_node_that_dies_half_way_changes_no_result(root: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.nas.sweep_ray_cluster", str(tmp_path / "ray")],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1, "Ray printed something"
    found = json.loads(done.stdout)
    assert found["worker_claimed"] and found["worker_dead"]
    assert found["results"] == sweep(TASKS, folder=tmp_path / "local", jobs=2)
    assert list(found["results"]) == [task.name for task in TASKS]
    runs = [(tmp_path / "ray" / task.name / "runs.txt").read_text().split()[::2] for task in TASKS]
    assert {word for words in runs for word in words} == {"run"}, "run again after its result was written"
    assert sum(map(len, runs)) > len(TASKS), "the node ran nothing when it died"
    assert "no Ray cluster at 127.0.0.1:1 (" in found["refusal"]
