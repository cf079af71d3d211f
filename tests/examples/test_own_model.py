"""The example of one's own model and data: its page's commands work, and its project is the page's."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mixq.execute import run
from mixq.graph import Add, Graph
from tests.mixq.cli.conftest import Run, mixq

__all__ = ["mixq"]

#: Of 1,797; enough of every digit for a network that does better than guessing.
IMAGES = 600


@pytest.fixture
def own(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the example, with images, as the working folder."""
    folder = tmp_path / "own"
    shutil.copytree(root / "examples/own_model", folder)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    for module in ("my_model", "my_data"):  # another copy's, of an earlier test
        sys.modules.pop(module, None)
    subprocess.run([sys.executable, "make_images.py", "images", str(IMAGES)], check=True)
    return folder


def test_the_walk_from_module_and_images_to_verilog(own: Path, mixq: Run) -> None:
    check = mixq("check", "project.yaml")
    assert check.status == 0, check.err
    trained = mixq("train", "project.yaml", "--quick")
    assert trained.status == 0, trained.err
    tested = mixq("test", "build/own")
    assert tested.status == 0, tested.err
    accuracy = json.loads(Path("build/own/report/accuracy.json").read_text())
    assert accuracy["samples"] == IMAGES // 6
    assert accuracy["value"] > 0.5  # guessing is 0.1
    for command in (["plan", "build/own", "--board", "ultra96-v2"], ["generate", "build/own"]):
        outcome = mixq(*command)
        assert outcome.status == 0, outcome.err
    graph = Graph.load(Path("build/own"))
    assert [type(node) for node in graph.nodes].count(Add) == 1
    pixels, expected = np.load("build/own/reference/codes.npy"), np.load("build/own/reference/expected.npy")
    assert np.array_equal(run(graph, pixels), expected)


def test_the_project_on_the_page_is_the_example(root: Path) -> None:
    page = (root / "docs/own-model-and-data.md").read_text()
    [block] = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    lines = (root / "examples/own_model/project.yaml").read_text().splitlines()
    assert block.splitlines() == [line for line in lines if not line.startswith(("#", "train:", "quick:"))]
