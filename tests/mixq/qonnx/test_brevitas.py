"""Networks that Brevitas writes: equal to the qonnx package's executor, and to their own Verilog."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mixq.cli import main
from mixq.graph import Graph
from tests.mixq.qonnx.brevitas_models import Residual, binary, cnn, export, mlp, resized
from tests.mixq.qonnx.models import check


def kinds(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


@pytest.mark.parametrize("bias", ["Int16Bias", "Int32Bias", "Int8BiasPerTensorFixedPointInternalScaling"])
def test_cnn(bias: str, tmp_path: Path) -> None:
    graph = check(export(cnn(3, bias), (2, 4, 4), tmp_path / "cnn.onnx", dynamo=False), (2, 4, 4), 40)
    source = graph.tensor(graph.input).format
    assert (source.width, source.low, source.high) == (8, -128, 127)
    assert kinds(graph)[:3] == ["conv", "requantise", "max_pool"] and kinds(graph)[-2:] == ["requantise", "dense"]
    offsets = graph.metadata["output_offset"].split(",")
    assert len(offsets) == 5 if bias.startswith("Int8") else float(offsets[0]) == 0


@pytest.mark.parametrize("dynamo", [True, False])  # PyTorch has two exporters
def test_mlp(dynamo: bool, tmp_path: Path) -> None:
    graph = check(export(mlp(1), (12,), tmp_path / "mlp.onnx", dynamo=dynamo), (12,), 40)
    assert graph.tensor(graph.input).format.width == 6


def test_binary(tmp_path: Path) -> None:
    graph = check(export(binary(2), (2, 4, 4), tmp_path / "binary.onnx", dynamo=False), (2, 4, 4), 40)
    assert kinds(graph) == ["conv", "threshold", "dense"]


# The executor cannot infer the shape behind a computed Pad, and says so.
@pytest.mark.filterwarnings("ignore::UserWarning:qonnx")
def test_resized(tmp_path: Path) -> None:
    path = export(resized(3), (2, 4, 4), tmp_path / "resized.onnx", dynamo=False)
    graph = check(path, (2, 4, 4), 40)
    assert kinds(graph) == ["conv", "threshold", "upsample", "conv", "requantise"]


def test_residual(tmp_path: Path) -> None:
    graph = check(export(Residual(5), (2, 4, 4), tmp_path / "residual.onnx", dynamo=False), (2, 4, 4), 40)
    assert {"add", "concat", "sum_pool"} <= set(kinds(graph))


@pytest.mark.icarus
@pytest.mark.parametrize(("model", "shape"), [(cnn, (2, 4, 4)), (mlp, (12,))])
def test_verilog(model: Any, shape: tuple[int, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, build = str(export(model(7), shape, tmp_path / "net.onnx", dynamo=False)), str(tmp_path / "build")
    assert main(["import", file, "--out", build]) == 0
    assert main(["plan", build, "--board", "ultra96-v2"]) == 0
    assert main(["generate", build]) == 0
    assert main(["verify", build, "--simulator", "icarus", "--frames", "4", "--stalls", "random"]) == 0
    assert "mismatches        0 of 20 integers" in capsys.readouterr().out
