"""Every network of the tables as Verilog: a whole frame at random mixed widths in Verilator against the interpreter.

Small designs, a multiplier for very many products: they compile in seconds, and a frame passes through every layer's
channels, kernels and folds, every fork and join all the same. How wide designs of the same parts compute is held
elsewhere, layer by layer, and for UltraNet as a whole.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from boards import load_board
from boards.emit import generate
from mixq.checkpoints import random_model
from mixq.cli import main
from mixq.execute import run
from mixq.lowering import lower
from mixq.networks import network, network_names
from mixq.plan import plan
from tests.mixq.test_network_forms import mixed

SMALL = (3, 32, 48)
SEED = 3

# Name, image where it is not the table's own, most cycles a frame, arguments of the planner.
CASES: list[tuple[str, tuple[int, int, int] | None, int, dict[str, Any]]] = [
    ("ds_cnn", None, 20_000, {}),
    ("resnet8", None, 100_000, {"packings": "original"}),
    ("resnet20", None, 200_000, {"constant_weights": False}),
    ("mobilenetv1_025", None, 150_000, {"constant_weights": False}),
    ("skynet", SMALL, 60_000, {"constant_weights": False}),
    ("skynetk5", SMALL, 60_000, {"packings": "original"}),
    ("ultranet", SMALL, 60_000, {"packings": "finn"}),
    ("ultranet_ismart", SMALL, 60_000, {"constant_weights": False}),
    ("ultranet_bypass", SMALL, 60_000, {"constant_weights": False}),
    ("vgg_tiny", None, 600_000, {"packings": "original"}),
    ("vgg_small", None, 1_200_000, {"packings": "original"}),
]
FULL_SIZE = [(name, None, 2_000_000, {"constant_weights": False}) for name in ("skynet", "skynetk5")]


def test_no_network_is_left_out() -> None:
    # The digits' network is simulated by the quickstart, with trained weights; a quarter of VGG-tiny is VGG-tiny's.
    elsewhere = {"digits_cnn", "vgg_tiny_quarter"}
    assert {case[0] for case in CASES} == set(network_names()) - elsewhere


@pytest.mark.slow
@pytest.mark.verilator
@pytest.mark.parametrize(("name", "image", "cycles", "options"), [*CASES, *FULL_SIZE])
def test_a_frame(
    name: str, image: tuple[int, int, int] | None, cycles: int, options: dict[str, Any], tmp_path: Path
) -> None:
    table = network(name)
    table = replace(table, input_shape=image or table.input_shape)
    weights, acts = mixed(table, SEED)
    graph = lower(random_model(table, SEED, weight_bits=weights, act_bits=acts))
    board = load_board("zcu104")
    room = replace(board, resources=replace(board.resources, bram36=2_000))  # vgg_small takes more than any board has
    made = plan(graph, room, max_cycles=cycles, **options)
    assert made.cycles <= cycles
    graph.save(tmp_path)
    made.save(tmp_path)
    generate(tmp_path)
    pixels = np.random.default_rng(5).integers(0, 256, (1, *table.input_shape), dtype=np.uint8)
    (tmp_path / "reference").mkdir()
    np.save(tmp_path / "reference" / "codes.npy", pixels)
    np.save(tmp_path / "reference" / "expected.npy", run(graph, pixels))
    assert main(["verify", str(tmp_path), "--simulator", "verilator", "--frames", "1", "--stalls", "random"]) == 0
    seen = json.loads((tmp_path / "report/rtlsim_performance.json").read_text())
    assert (seen["frames"], seen["mismatches"]) == (1, 0)
