"""Codes that float32's errors decide are counted, and those alone; ends of ranges and of models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mixq.cli import main
from mixq.qonnx import read_qonnx
from tests.mixq.qonnx.models import DOMAIN, Model, check


def layer(scale: float, after: float) -> Model:
    """Sums of four 5-bit codes times weights of 0.25, quantised to 3 bits: the last node."""
    model = Model((4,))
    sums = model.node("MatMul", model.quant("x", scale, 5), model.weight(4, 3))
    model.quant(sums, after, 3)
    return model


@pytest.mark.parametrize(
    ("scale", "after", "ties"),
    [(0.2, 0.4, 3 * 7), (0.25, 0.5, 0), (0.2, 0.397, 0)],  # 7 stairs in each of three channels
)
def test_ties_of_a_layer(scale: float, after: float, ties: int, tmp_path: Path) -> None:
    model = layer(scale, after)
    metadata = read_qonnx(model.save(model.nodes[-1].output[0], tmp_path / "net.onnx")).metadata
    assert metadata.get("float32_ties") == (f"{model.nodes[-1].name}: {ties}" if ties else None)


@pytest.mark.parametrize(("one", "other", "after", "ties"), [(0.3, 0.3, 0.6, 7), (0.3, 0.171, 0.6, 0)])
def test_ties_of_an_addition(one: float, other: float, after: float, ties: int, tmp_path: Path) -> None:
    """Two codes of one scale meet halves of twice the scale; two of different scales only by chance."""
    model = Model((1, 2, 2))
    image = model.quant("x", 0.3, 6)
    total = model.node("Add", model.quant(image, one, 4), model.quant(image, other, 4))
    output = model.quant(total, after, 3)
    metadata = read_qonnx(model.save(output, tmp_path / "net.onnx")).metadata
    assert metadata.get("float32_ties") == (f"n{output}: {ties}" if ties else None)


def test_the_command_line_names_ties(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = layer(0.2, 0.4)
    path = model.save(model.nodes[-1].output[0], tmp_path / "net.onnx")
    assert main(["import", str(path), "--out", str(tmp_path / "build")]) == 0
    assert f"ties in float32  {model.nodes[-1].name}: 21 codes" in capsys.readouterr().out


@pytest.mark.parametrize("bias", [50.0, -50.0])
@pytest.mark.parametrize("kind", ["bipolar", "quant"])
def test_a_quantiser_that_gives_one_code(kind: str, bias: float, tmp_path: Path) -> None:
    model = Model((4,))
    sums = model.node("MatMul", model.quant("x", 0.25, 5), model.weight(4, 3))
    moved = model.node("Add", sums, model.constant(bias))
    codes = (
        model.quant(moved, 0.5, 3)
        if kind == "quant"
        else model.node("BipolarQuant", moved, model.constant(0.5), domain=DOMAIN)
    )
    output = model.node("MatMul", codes, model.weight(3, 4))
    check(model.save(output, tmp_path / "net.onnx"), (4,), 10, least=1)


@pytest.mark.parametrize("operator", ["Add", "Sub"])
def test_whole_offsets_behind_an_addition_are_part_of_the_integers(operator: str, tmp_path: Path) -> None:
    model = Model((4,))
    image = model.quant("x", 0.25, 5)
    layers = []
    for _ in range(2):
        bias = model.quant(model.constant(model.random.normal(size=5) * 3), 0.25 * 0.25, 16)
        layers.append(model.node("Gemm", image, model.weight(4, 5), bias))
    graph = check(model.save(model.node(operator, *layers), tmp_path / "net.onnx"), (4,), 30)
    assert graph.metadata["output_offset"] == "0.0"
    assert [node.op for node in graph.nodes] == ["dense", "dense", "add", "requantise"]


def test_float_biases_of_the_last_layer_are_offsets_of_its_channels(tmp_path: Path) -> None:
    model = Model((4,))
    bias = np.array([0.1, -0.2, 0.30001], np.float32)
    output = model.node("Gemm", model.quant("x", 0.25, 5), model.weight(4, 3), model.constant(bias))
    graph = check(model.save(output, tmp_path / "net.onnx"), (4,), 30)
    assert [float(text) for text in graph.metadata["output_offset"].split(", ")] == bias.tolist()


def test_the_sign_of_zero_is_positive(tmp_path: Path) -> None:
    model = Model((1, 4, 4))
    weight = model.quant(model.constant(np.ones((1, 1, 1, 1))), 1.0, 3)
    sums = model.node("Conv", model.quant("x", 1.0, 4), weight, kernel_shape=[1, 1])
    output = model.node("BipolarQuant", sums, model.constant(0.5), domain=DOMAIN)
    codes = np.arange(-8, 8).reshape(1, 1, 4, 4)
    check(model.save(output, tmp_path / "net.onnx"), (1, 4, 4), codes=codes, least=2)
