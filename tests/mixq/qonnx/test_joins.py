"""Branches that join, and means: equal to the qonnx package's executor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mixq.graph import Add, Threshold
from tests.mixq.qonnx.models import Model, check

CHANNEL = np.array([0.5, 0.25, 0.125, 0.5]).reshape(1, 4, 1, 1)
ODD = np.array([0.31, 0.173, 0.21, 0.4], np.float32).reshape(1, 4, 1, 1)


def head(model: Model, source: str, channels: int, pixels: int = 16) -> str:
    """A dense layer behind codes."""
    return model.node("MatMul", model.node("Flatten", source, axis=1), model.weight(channels * pixels, 5))


@pytest.mark.parametrize(
    ("one", "other", "after"), [(0.5, 0.125, 0.25), (0.31, 0.173, 0.4), (CHANNEL, 0.25, 1.0), (ODD, CHANNEL, 0.7)]
)
@pytest.mark.parametrize("operator", ["Add", "Sub"])
def test_residual_of_codes(operator: str, one: Any, other: Any, after: float, tmp_path: Path) -> None:
    model = Model((2, 4, 4), seed=1)
    start = model.quant(model.norm(model.conv(model.quant("x", 1 / 64, 8), 2, 4), 4), 0.25, 4, 0)
    left = model.quant(model.norm(model.conv(start, 4, 4), 4), one, 4)
    right = model.quant(model.node("Relu", model.norm(model.conv(start, 4, 4), 4)), other, 3, 0)
    total = model.quant(model.node("Relu", model.node(operator, left, right)), after, 4, 0)
    graph = check(model.save(head(model, total, 4), tmp_path / "net.onnx"), (2, 4, 4), 12)
    (add,) = [node for node in graph.nodes if isinstance(node, Add)]
    if after == 0.25:
        assert sorted(set(np.abs(add.multipliers).ravel())) == [1, 4]


def test_residual_of_sums_and_codes(tmp_path: Path) -> None:
    model = Model((2, 4, 4), seed=2)
    start = model.quant("x", 1 / 16, 6)
    sums = model.norm(model.conv(start, 2, 2), 2)
    shifted = model.node("Mul", model.node("Add", model.conv(start, 2, 2), model.constant([0.5])), model.constant(0.5))
    first = model.node("Add", model.conv(start, 2, 2), start)
    second = model.quant(model.node("Add", shifted, first), 0.25, 5)
    third = model.quant(sums, 0.25, 5)
    total = model.node("Add", model.node("Add", second, third), model.constant(np.ones((1, 2, 1, 1))))
    last = model.quant(total, 0.5, 4)
    check(model.save(head(model, last, 2), tmp_path / "net.onnx"), (2, 4, 4), 12)


def test_one_tensor_read_by_three(tmp_path: Path) -> None:
    model = Model((4,), seed=3)
    image = model.quant("x", 0.25, 5)
    sums = model.node("MatMul", image, model.weight(4, 6))
    codes = [model.quant(sums, scale, bits) for scale, bits in ((0.5, 4), (0.25, 3), (0.75, 2))]
    layers = [model.node("MatMul", code, model.weight(6, 5)) for code in codes]
    added = model.node("Add", model.node("Add", layers[0], layers[1]), model.node("Add", layers[1], layers[2]))
    check(model.save(model.quant(added, 0.5, 6), tmp_path / "net.onnx"), (4,), 30)


@pytest.mark.parametrize(("bits", "signed"), [(4, 1), (4, 0), (6, 0)])
def test_concatenation_in_front_of_a_layer(bits: int, signed: int, tmp_path: Path) -> None:
    model = Model((2, 4, 4), seed=4)
    start = model.quant("x", 1 / 16, 6)
    left = model.quant(model.norm(model.conv(start, 2, 3), 3), 0.3, 4)
    right = model.quant(model.conv(start, 2, 2), 0.3, bits, signed)
    both = model.node("Concat", left, right, left, axis=1)
    last = model.quant(model.norm(model.conv(both, 8, 3), 3), 0.4, 3, 0)
    graph = check(model.save(head(model, last, 3), tmp_path / "net.onnx"), (2, 4, 4), 12)
    (joined,) = [node for node in graph.nodes if node.op == "concat"]
    width = {(4, 1): 4, (4, 0): 5, (6, 0): 7}[bits, signed]
    assert graph.tensor(joined.output).format.width == width


def test_concatenation_of_several_scales_behind_a_quantiser(tmp_path: Path) -> None:
    model = Model((6,), seed=5)
    image = model.quant("x", 0.25, 5)
    layers = [model.quant(model.node("MatMul", image, model.weight(6, n)), s, 4) for n, s in ((3, 0.5), (2, 0.3))]
    both = model.quant(model.node("Concat", *layers, axis=1), 0.4, 4)
    check(model.save(model.node("MatMul", both, model.weight(5, 5)), tmp_path / "net.onnx"), (6,), 20)


MEANS: dict[str, tuple[str, dict[str, Any], tuple[int, int]]] = {
    "side by side": ("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2]}, (3, 3)),
    "oblong": ("AveragePool", {"kernel_shape": [3, 2], "strides": [3, 2]}, (2, 3)),
    "overlapping": ("AveragePool", {"kernel_shape": [3, 3], "strides": [2, 2]}, (2, 2)),
    "padded": (
        "AveragePool",
        {"kernel_shape": [3, 3], "strides": [1, 1], "pads": [1, 0, 1, 2], "count_include_pad": 1},
        (6, 6),
    ),
    "global": ("GlobalAveragePool", {}, (1, 1)),
    "reduced": ("ReduceMean", {"axes": [2, 3], "keepdims": 1}, (1, 1)),
    "reduced and flat": ("ReduceMean", {"axes": [-1, -2], "keepdims": 0}, (1, 1)),
}


@pytest.mark.parametrize("kind", MEANS)
@pytest.mark.parametrize(("scale", "after"), [(0.25, 0.125), (0.3, 0.23)])
def test_means(kind: str, scale: float, after: float, tmp_path: Path) -> None:
    operator, fields, (height, width) = MEANS[kind]
    model = Model((2, 6, 6), seed=6)
    codes = model.quant(model.norm(model.conv(model.quant("x", 1 / 16, 6), 2, 4), 4), scale, 4)
    mean = model.node(operator, codes, **fields)
    last = model.quant(mean, after, 5)
    flat = last if kind == "reduced and flat" else model.node("Flatten", last, axis=1)
    dense = model.node("MatMul", flat, model.weight(4 * height * width, 5))
    check(model.save(dense, tmp_path / "net.onnx"), (2, 6, 6), 12)


def test_mean_of_sums_behind_batch_norm(tmp_path: Path) -> None:
    model = Model((2, 4, 4), seed=7)
    sums = model.norm(model.conv(model.quant("x", 1 / 16, 6), 2, 4), 4)
    last = model.quant(model.node("GlobalAveragePool", sums), 1 / 32, 6)
    check(model.save(head(model, last, 4, 1), tmp_path / "net.onnx"), (2, 4, 4), 12)


@pytest.mark.parametrize("mode", ["FLOOR", "ROUND", "CEIL"])
@pytest.mark.parametrize("version", [1, 2])
def test_truncated_means(version: int, mode: str, tmp_path: Path) -> None:
    """The scale of the sums is the mean's, a quarter of the codes'; 0.3 is no power of two."""
    model = Model((2, 4, 4), seed=8, version=version)
    codes = model.quant(model.norm(model.conv(model.quant("x", 1 / 16, 6), 2, 4), 4), 0.3, 4, 0)
    mean = model.node("AveragePool", codes, kernel_shape=[2, 2], strides=[2, 2])
    scale = np.float32(0.3) / 4
    if version == 1:
        last = model.trunc(model.node("Mul", mean, model.constant(4.0)), np.float32(0.3), 6, 4, rounding_mode=mode)
    else:
        last = model.trunc(mean, scale, 6, 3, scale * 8, rounding_mode=mode, signed=0, narrow=1)
    graph = check(model.save(head(model, last, 4, 4), tmp_path / "net.onnx"), (2, 4, 4), 12)
    after = graph.nodes[-2]
    assert graph.tensor(after.output).format.width == (4 if version == 1 else 3)
    assert isinstance(after, Threshold) == (mode == "ROUND")  # halves to even are no line
