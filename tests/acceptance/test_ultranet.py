"""UltraNet, whole frames of 160x320 pixels at a pixel in each cycle, from random weights to simulated Verilog."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from boards import load_board
from boards.emit import generate
from mixq.checkpoints import random_model
from mixq.cli import main
from mixq.execute import run
from mixq.lowering import lower
from mixq.plan import plan

FRAMES = 10


@pytest.mark.slow
@pytest.mark.verilator
def test_ten_frames_back_to_back(tmp_path: Path) -> None:
    board = load_board("ultra96-v2")
    graph = lower(random_model("ultranet", 1, weight_range="narrow"))
    # Room for what the estimate of look-up tables is off by: 85 % is what the counted ones must stay below.
    limits = replace(board.resources, dsp=300, lut=int(0.75 * board.resources.lut))
    made = plan(graph, board, limits=limits, max_cycles=51_200)
    assert made.cycles == 160 * 320
    assert not made.resources.excess(limits)
    graph.save(tmp_path)
    made.save(tmp_path)
    generate(tmp_path)
    pixels = np.random.default_rng(5).integers(0, 256, (FRAMES, 3, 160, 320), dtype=np.uint8)
    (tmp_path / "reference").mkdir()
    np.save(tmp_path / "reference" / "codes.npy", pixels)
    np.save(tmp_path / "reference" / "expected.npy", run(graph, pixels))
    words = ["verify", str(tmp_path), "--simulator", "verilator", "--frames", str(FRAMES), "--stalls", "none"]
    assert main(words) == 0
    seen = json.loads((tmp_path / "report/rtlsim_performance.json").read_text())
    assert (seen["frames"], seen["mismatches"], seen["cycles_per_frame"]) == (FRAMES, 0, 51_200)
