"""A float module of the user's own on the command line: from a factory to a measured network of integers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mixq.execute import run
from mixq.graph import Add, Conv, Graph
from tests.mixq.cli.conftest import Run

MODULE = """
import torch.nn.functional as F
from torch import nn


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.conv = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.down = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.fc = nn.Linear(16 * 4, 10)

    def forward(self, x):
        x = self.stem(x)
        x = F.relu(x + self.norm(self.conv(x)))
        x = F.max_pool2d(F.relu(self.down(x)), 2)
        return self.fc(x.view(x.size(0), -1))


def small():
    return Small()


def unsupported():
    return nn.Sequential(nn.Conv2d(1, 8, 7), nn.SiLU(), nn.Flatten(), nn.Linear(32, 10))


def nothing():
    return "a network"
"""

PROJECT = """\
name: own
model: own_nets:small
input_shape: [1, 8, 8]
data: {name: digits, train_size: 640, validation_size: 64, test_size: 60}
layers:
  conv: {weight_bits: 3}
  down: {weight_bits: 5, act_bits: 6}
weight_scale: channel
train: {epochs: 9, batch: 16}
quick: {train: {epochs: 4}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with the module and the project."""
    (tmp_path / "own_nets.py").write_text(MODULE)
    (tmp_path / "own.yaml").write_text(PROJECT)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_module_is_trained_tested_and_imported(folder: Path, mixq: Run) -> None:
    outcome = mixq("train", "own.yaml", "--quick")
    assert outcome.status == 0, outcome.err
    assert "the project's layers" in outcome.out
    build = folder / "build/own"
    graph = Graph.load(build)
    pixels, expected = np.load(build / "reference/codes.npy"), np.load(build / "reference/expected.npy")
    assert np.array_equal(run(graph, pixels), expected)
    weights = {node.name: node.weight_format.width for node in graph.nodes if isinstance(node, Conv)}
    assert weights == {"stem_0": 8, "conv": 3, "down": 5}
    assert sum(isinstance(node, Add) for node in graph.nodes) == 1
    assert graph.metadata["network"] == "Small" and graph.metadata["weight_scale"] == "channel"
    # The last layer's channels have steps of their own, which classes are compared with.
    scales = graph.tensor(graph.output).channel_scales
    assert scales is not None and len(set(scales)) == 10

    outcome = mixq("test", build)
    assert outcome.status == 0, outcome.err
    accuracy = json.loads((build / "report/accuracy.json").read_text())
    assert accuracy["value"] > 0.6 and accuracy["float_value"] > 0.6  # 0.1 is chance
    from mixq.data.digits import load_digits

    part = load_digits().test.take(slice(0, 60))
    values = run(graph, part.images).reshape(60, 10) * np.array(scales)
    assert accuracy["value"] == (values.argmax(1) == part.labels).mean()

    # The run is done: nothing is trained again. The checkpoint is one to import.
    assert "training Small: done in 0." in mixq("train", "own.yaml", "--quick", "--resume").err
    outcome = mixq("import", build / "checkpoints/model.pt", "--network", "own_nets:small", "--out", "again",
                   "--input-shape", "1,8,8")  # fmt: skip
    assert outcome.status == 0, outcome.err
    assert np.array_equal(run(Graph.load(folder / "again"), pixels), expected)


def test_weights_of_the_float_module_are_imported(folder: Path, mixq: Run) -> None:
    import own_nets  # type: ignore[import-not-found]

    module = own_nets.small()
    torch.save(module.state_dict(), "float.pt")
    words = ("--network", "own_nets:small", "--input-shape", "1,8,8", "--weight-bits", "8")
    assert mixq("import", "float.pt", *words, "--out", "a").status == 0
    found = next(node for node in Graph.load(folder / "a").nodes if isinstance(node, Conv))
    weight = module.stem[0].weight.detach().double()
    codes = torch.clamp(torch.round(weight / (weight.std() * 0.032)), -128, 127)  # hwgq's step of 8 bits
    assert np.array_equal(found.weights, codes.numpy())
    assert mixq("import", "random:1", *words, "--out", "b").status == 0
    assert mixq("import", "random:1", *words, "--weight-scale", "channel", "--out", "b").status == 0
    graph = Graph.load(folder / "b")
    assert isinstance(graph.tensor(graph.output).scale, tuple) and graph.metadata["weight_scale"] == "channel"
    outcome = mixq("import", "random:1", *words, "--weight-scale", "channel", "--quantizer", "dorefa", "--out", "b")
    assert outcome.complaint == (
        "mixq: weight scale must be tensor for dorefa, whose steps the width fixes, not 'channel'"
    )
    broken = {**module.state_dict(), "fc.bias": torch.full((10,), float("nan"))}
    torch.save(broken, "broken.pt")
    outcome = mixq("import", "broken.pt", *words, "--out", "c")
    assert outcome.complaint == "mixq: broken.pt: fc.bias holds NaN or infinity; retrain the network"


@pytest.mark.parametrize(
    ("verb", "old", "new", "line"),
    [
        (
            "train",
            "own_nets:small",
            "own_nets:unsupported",
            "own.yaml, line 2: Sequential cannot be quantised: 0 (Conv2d): its kernel is 7 x 7, use square ones of "
            "1, 3 or 5, such as three 3 x 3 layers; 1 (SiLU): it has no integer form, use nn.ReLU or nn.LeakyReLU",
        ),
        (
            "train",
            "own_nets:small",
            "own_nets:nothing",
            "own.yaml, line 2: model own_nets:nothing: must return a torch.nn.Module or a mixq.networks.NetworkTable, "
            "not str",
        ),
        (
            "train",
            "input_shape: [1, 8, 8]\n",
            "",
            "own.yaml, line 2: Small does not say what images it takes; set input_shape: [C, H, W]",
        ),
        (
            "train",
            "  down:",
            "  downs:",
            "own.yaml, line 5: Small has no layer 'downs'; its layers are stem.0, conv, down, fc",
        ),
        (
            "search",
            "",
            "",
            "Small is a module of your own; the search takes networks of tables, so give its widths in the project "
            "file, as layers, and use mixq train",
        ),
    ],
)
def test_what_is_refused(folder: Path, mixq: Run, verb: str, old: str, new: str, line: str) -> None:
    (folder / "own.yaml").write_text(PROJECT.replace(old, new))
    outcome = mixq(verb, "own.yaml")
    assert (outcome.status, outcome.complaint) == (2, f"mixq: {line}")
