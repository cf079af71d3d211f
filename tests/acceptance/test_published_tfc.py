"""A published QONNX network of dense layers: the outputs stored beside it, from its Verilog."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mixq.cli import main
from mixq.graph import Graph


@pytest.mark.slow
@pytest.mark.verilator
def test_stored_outputs(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build = tmp_path / "build"
    assert main(["import", str(shared / "data" / "TFC_2W2A.onnx"), "--out", str(build)]) == 0
    graph = Graph.load(build)
    stored = np.load(shared / "data" / "TFC_2W2A_io.npz")
    images = np.rint(stored["x"].astype(np.float64) * 255).astype(np.int64)
    values = (stored["y"].astype(np.float64) - float(graph.metadata["output_offset"])) / graph.tensor(
        graph.output
    ).scale
    integers = np.rint(values).astype(np.int64)
    assert np.abs(values - integers).max() < 1e-4  # float32 rounds what is stored
    np.save(tmp_path / "images.npy", images.reshape(len(images), *graph.tensor(graph.input).shape))
    np.save(tmp_path / "integers.npy", integers.reshape(len(images), -1, 1, 1))
    assert main(["plan", str(build), "--board", "ultra96-v2", "--max-cycles", "20000"]) == 0
    assert main(["generate", str(build)]) == 0
    words = ["verify", str(build), "--simulator", "verilator", "--frames", str(len(images)), "--stalls", "random"]
    files = ["--inputs", str(tmp_path / "images.npy"), "--expect", str(tmp_path / "integers.npy")]
    assert main([*words, *files]) == 0
    assert f"0 of {integers.size} integers" in capsys.readouterr().out
