"""Flipped weight bits in the generated files: the check fails exactly where the flipped network computes otherwise."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from amaranth.back import verilog

from boards import load_board
from boards.emit import generate
from mixq.board import Resources
from mixq.checkpoints import random_model
from mixq.cli import main
from mixq.execute import run
from mixq.graph import Graph
from mixq.lowering import lower
from mixq.plan import Plan, plan
from rtl_gen import build
from rtl_gen.accelerator import Accelerator
from tests.acceptance.flips import in_graph_order, stored_weights, weights_of, with_weights
from tests.mixq.plan.holds import on_dsps

FRAMES = 12


@pytest.fixture(scope="module")
def build_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flips") / "digits"
    folder.mkdir()
    graph = lower(random_model("digits_cnn", 5))
    graph.save(folder)
    limits = Resources(10000, 30000, 40, 60, 0)
    plan(graph, load_board("ultra96-v2"), limits=limits, foldings=on_dsps(graph)).save(folder)
    generate(folder)
    pixels = np.random.default_rng(3).integers(0, 256, (FRAMES, *graph.tensor(graph.input).shape))
    (folder / "reference").mkdir()
    np.save(folder / "reference" / "codes.npy", pixels.astype(np.uint8))
    np.save(folder / "reference" / "expected.npy", run(graph, pixels))
    return folder


def test_memories_hold_the_weights(build_folder: Path) -> None:
    graph, chosen = Graph.load(build_folder), Plan.load(build_folder)
    for layer in chosen.layers:
        if layer.folding is not None:
            stored = in_graph_order(graph, layer.name, stored_weights(build_folder / "rtl", layer.name, layer.folding))
            assert np.array_equal(stored, weights_of(graph, layer.name))


@pytest.mark.slow
@pytest.mark.verilator
def test_a_hundred_flips(build_folder: Path, tmp_path: Path) -> None:
    """One bit of one weight is flipped in the memory images, with the constants that follow from the weights.

    Flips that leave the range of weights that the packing was chosen for are passed over.
    """
    graph, chosen = Graph.load(build_folder), Plan.load(build_folder)
    packings = {layer.name: layer.folding.packing for layer in chosen.layers if layer.folding is not None}
    pixels = np.load(build_folder / "reference" / "codes.npy")
    right = np.load(build_folder / "reference" / "expected.npy")
    work, got = tmp_path / "digits", tmp_path / "got.npy"
    shutil.copytree(build_folder, work)
    images = build(graph, chosen).memory_images
    text = as_verilog(build(graph, chosen))
    command = ["verify", str(work), "--simulator", "verilator", "--frames", str(FRAMES), "--stalls", "random"]
    dice = random.Random(100)
    differing = flips = 0
    while flips < 100:
        name = dice.choice(sorted(packings))
        weights = weights_of(graph, name)
        place, bit = dice.randrange(weights.size), dice.randrange(packings[name].weight_bits)
        weights.flat[place] = flipped_code(int(weights.flat[place]), bit, packings[name].weight_bits)
        low, high = packings[name].weight_bounds
        if not low <= weights.flat[place] <= high:
            continue
        flips += 1
        flipped = with_weights(graph, name, weights)
        changed = {file: image for file, image in build(flipped, chosen).memory_images.items() if image != images[file]}
        assert [file for file in changed if "_weights_" in file]
        if flips % 25 == 0:  # the Verilog itself knows no weight
            assert as_verilog(build(flipped, chosen)) == text
        for file, image in changed.items():
            (work / "rtl" / file).write_text(image)
        outputs = run(flipped, pixels)
        differs = not np.array_equal(outputs, right)
        differing += differs
        assert main([*command, "--outputs", str(got)]) == int(differs)
        assert np.array_equal(np.load(got), outputs)
        for file in changed:
            (work / "rtl" / file).write_text(images[file])
    assert differing >= 50


def as_verilog(accelerator: Accelerator) -> str:
    return str(verilog.convert(accelerator, name="accelerator", strip_internal_attrs=True))


def flipped_code(code: int, bit: int, width: int) -> int:
    """A two's-complement code of ``width`` bits with one bit turned over."""
    word = (code ^ (1 << bit)) & ((1 << width) - 1)
    return word - (word >> (width - 1) << width)
