"""Flipped weight bits in the generated files: the check fails exactly where the flipped network computes otherwise."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from boards import load_board
from boards.emit import generate
from mixq.board import Resources
from mixq.checkpoints import random_model
from mixq.cli import app
from mixq.execute import run
from mixq.lowering import lower
from mixq.plan import plan
from tests.acceptance.flips import in_graph_order, read_words, stored_weights, with_weights

FRAMES = 12


@pytest.fixture(scope="module")
def build_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flips") / "digits"
    folder.mkdir()
    graph = lower(random_model("digits_cnn", 5))
    graph.save(folder)
    plan(graph, load_board("ultra96-v2"), limits=Resources(10000, 30000, 40, 60, 0)).save(folder)
    generate(folder)
    pixels = np.random.default_rng(3).integers(0, 256, (FRAMES, *graph.tensor(graph.input).shape))
    (folder / "reference").mkdir()
    np.save(folder / "reference" / "codes.npy", pixels.astype(np.uint8))
    np.save(folder / "reference" / "expected.npy", run(graph, pixels))
    return folder


def test_memories_hold_the_weights(build_folder: Path) -> None:
    from mixq.graph import Graph
    from mixq.plan import Plan

    graph, chosen = Graph.load(build_folder), Plan.load(build_folder)
    for layer in chosen.layers:
        if layer.folding is not None:
            stored = in_graph_order(graph, layer.name, stored_weights(build_folder / "rtl", layer.name, layer.folding))
            assert np.array_equal(stored, graph.node(layer.name).weights)


@pytest.mark.slow
@pytest.mark.verilator
def test_a_hundred_flips(build_folder: Path, tmp_path: Path) -> None:
    """Flips that leave the range of weights that the packing was chosen for are passed over."""
    from mixq.graph import Graph
    from mixq.plan import Plan

    graph, chosen = Graph.load(build_folder), Plan.load(build_folder)
    layers = {layer.name: layer.folding for layer in chosen.layers if layer.folding is not None}
    pixels = np.load(build_folder / "reference" / "codes.npy")
    right = np.load(build_folder / "reference" / "expected.npy")
    work = tmp_path / "digits"
    shutil.copytree(build_folder, work)
    dice, runner = random.Random(100), CliRunner()
    differing = flips = 0
    while flips < 100:
        name = dice.choice(sorted(layers))
        folding = layers[name]
        position = dice.randrange(folding.cascade)
        file = work / "rtl" / f"{name}_weights_{position}.mem"
        text, words = file.read_text(), read_words(work / "rtl", name, position)
        width = folding.columns * folding.chains * folding.packing.stored_bits
        address, bit = dice.randrange(len(words)), dice.randrange(width)
        lines = text.splitlines(keepends=True)
        lines[address] = f"{words[address] ^ (1 << bit):0{len(lines[address]) - 1}x}\n"
        file.write_text("".join(lines))
        try:
            weights = in_graph_order(graph, name, stored_weights(work / "rtl", name, folding))
            low, high = folding.packing.weight_bounds
            if np.array_equal(weights, graph.node(name).weights) or weights.min() < low or weights.max() > high:
                continue  # a tap beyond the kernel, or a code that no weight of this packing has
            flips += 1
            flipped = run(with_weights(graph, name, weights), pixels)
            got = tmp_path / "got.npy"
            command = ["verify", str(work), "--simulator", "verilator", "--frames", str(FRAMES), "--stalls", "random"]
            result = runner.invoke(app, [*command, "--outputs", str(got)])
            differs = not np.array_equal(flipped, right)
            differing += differs
            assert result.exit_code == int(differs), result.output
            assert np.array_equal(np.load(got), flipped)
        finally:
            file.write_text(text)
    assert differing >= 50
