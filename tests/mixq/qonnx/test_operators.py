"""Quantisers of other kinds, activations and changes of shape: equal to the qonnx package's executor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mixq.graph import Conv, Threshold
from tests.mixq.qonnx.models import DOMAIN, LAST, Model, check


def bipolar(model: Model, source: str, scale: Any = 1.0) -> str:
    return model.node("BipolarQuant", source, model.constant(scale), domain=DOMAIN)


def head(model: Model, source: str, features: int) -> str:
    return model.node("MatMul", model.node("Flatten", source, axis=1), model.weight(features, 5))


@pytest.mark.parametrize("one_bit", [False, True])
@pytest.mark.parametrize("scale", [1.0, 0.37])
def test_bipolar_weights_and_activations(scale: float, one_bit: bool, tmp_path: Path) -> None:
    def quantised(source: str) -> str:
        return model.quant(source, scale, 1) if one_bit else bipolar(model, source, scale)

    model = Model((2, 6, 6), seed=1)
    image = model.quant("x", 1 / 16, 6)
    weight = quantised(model.constant(model.random.normal(size=(4, 2, 3, 3))))
    sums = model.node("Conv", image, weight, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    codes = quantised(model.norm(sums, 4))
    narrow = quantised(model.constant(model.random.normal(size=(3, 4, 3, 3))))
    deep = model.node("Conv", codes, narrow, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    last = quantised(model.norm(deep, 3))
    graph = check(model.save(head(model, last, 108), tmp_path / "net.onnx"), (2, 6, 6), 12)
    layers = [node for node in graph.nodes if isinstance(node, Conv)]
    assert all(set(np.unique(layer.weights)) == {-1, 1} for layer in layers)
    steps = [node for node in graph.nodes if isinstance(node, Threshold)]
    assert [node.thresholds.shape for node in steps] == [(4, 1), (3, 1)]
    assert all(set(np.abs(node.step)) == {2} for node in steps)


ACTIVATIONS: dict[str, Any] = {
    "LeakyRelu": lambda model, x: model.node("LeakyRelu", x, alpha=0.1),
    "steep": lambda model, x: model.node("LeakyRelu", x, alpha=3.0),
    "Clip": lambda model, x: model.node("Clip", x, model.constant(-0.6), model.constant(1.3)),
    "Clip below": lambda model, x: model.node("Clip", x, model.constant(-0.6)),
    "Clip above": lambda model, x: model.node("Clip", x, "", model.constant(0.8)),
    "Relu and bias": lambda model, x: model.node("Sub", model.node("Relu", x), model.constant(0.7)),
    "Dropout": lambda model, x: model.node("Dropout", x),
    "Identity": lambda model, x: model.node("Identity", x),
}


@pytest.mark.parametrize("kind", ACTIVATIONS)
@pytest.mark.parametrize("scale", [0.125, 0.19])
def test_activations(kind: str, scale: float, tmp_path: Path) -> None:
    model = Model((2, 4, 4), seed=2)
    sums = model.norm(model.conv(model.quant("x", 1 / 16, 6), 2, 4), 4)
    last = model.quant(ACTIVATIONS[kind](model, sums), scale, 5, 1, 1)
    check(model.save(head(model, last, 64), tmp_path / "net.onnx"), (2, 4, 4), 12)


def test_old_clip(tmp_path: Path) -> None:
    model = Model((4,), opset=6)
    sums = model.node("MatMul", model.quant("x", 0.25, 5), model.weight(4, 6))
    check(
        model.save(model.quant(model.node("Clip", sums, min=-1.0, max=0.5), 0.0625, 6), tmp_path / "n.onnx"), (4,), 20
    )


@pytest.mark.parametrize("between", [False, True])
def test_padding_of_its_own(between: bool, tmp_path: Path) -> None:
    model = Model((2, 5, 4), seed=3)
    pads = model.constant([0, 0, 1, 0, 0, 0, 0, 2], np.int64)
    codes = model.quant(model.norm(model.conv(model.quant("x", 1 / 16, 6), 2, 4), 4), 0.25, 4)
    if between:
        sums = model.norm(model.conv(codes, 4, 4), 4)
        padded = model.quant(model.node("Pad", sums, pads, model.constant(0.0)), 0.25, 4)
    else:
        padded = model.node("Pad", codes, pads)
    sums = model.conv(padded, 4, 3, pads=[0, 1, 2, 0])
    last = model.quant(sums, 0.25, 4)
    graph = check(model.save(head(model, last, 3 * 6 * 5), tmp_path / "net.onnx"), (2, 5, 4), 12)
    assert [node.sides for node in graph.nodes if isinstance(node, Conv)][-1] == (1, 1, 2, 2)


RESIZES: list[tuple[int, dict[str, Any], int]] = [
    (13, {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, 2),
    (13, {"mode": "nearest", "coordinate_transformation_mode": "half_pixel"}, 2),
    (13, {"mode": "nearest", "coordinate_transformation_mode": "pytorch_half_pixel"}, 3),
    (9, {"mode": "nearest"}, 2),
]


@pytest.mark.parametrize(("opset", "fields", "factor"), RESIZES)
@pytest.mark.parametrize("early", [False, True])
def test_resizing(opset: int, fields: dict[str, Any], factor: int, early: bool, tmp_path: Path) -> None:
    model = Model((2, 3, 2), seed=4, opset=opset)
    sums = model.norm(model.conv(model.quant("x", 1 / 16, 6), 2, 2), 2)
    scales = model.constant([1, 1, factor, factor])
    inputs = [scales] if opset == 9 else ["", scales]
    operator = "Upsample" if opset == 9 else "Resize"
    if early:
        codes = model.quant(model.node("Relu", model.node(operator, sums, *inputs, **fields)), 0.25, 4)
    else:
        codes = model.node(operator, model.quant(sums, 0.25, 4), *inputs, **fields)
    last = model.quant(model.conv(codes, 2, 3), 0.25, 4)
    graph = check(model.save(head(model, last, 18 * factor**2), tmp_path / "net.onnx"), (2, 3, 2), 12)
    assert "upsample" in [node.op for node in graph.nodes]


def test_resizing_to_sizes(tmp_path: Path) -> None:
    model = Model((2, 3, 2), seed=4)
    codes = model.quant(model.conv(model.quant("x", 1 / 16, 6), 2, 2), 0.25, 4)
    wide = model.node("Resize", codes, "", "", model.constant([1, 2, 6, 4], np.int64), mode="nearest",
                      coordinate_transformation_mode="asymmetric", nearest_mode="floor")  # fmt: skip
    check(model.save(head(model, wide, 48), tmp_path / "net.onnx"), (2, 3, 2), 12)


@pytest.mark.parametrize("mode", ["per tensor", "per channel"])
def test_space_to_depth(mode: str, tmp_path: Path) -> None:
    model = Model((2, 4, 6), seed=5)
    scale: Any = 0.25 if mode == "per tensor" else np.array([0.25, 0.5, 0.3]).reshape(1, 3, 1, 1)
    codes = model.quant(model.norm(model.conv(model.quant("x", 1 / 16, 6), 2, 3), 3), scale, 4)
    blocks = model.node("SpaceToDepth", codes, blocksize=2)
    last = model.quant(model.conv(blocks, 12, 3), 0.25, 4) if mode == "per tensor" else model.quant(blocks, 0.4, 4)
    check(model.save(head(model, last, 18 if mode == "per tensor" else 72), tmp_path / "net.onnx"), (2, 4, 6), 12)


@pytest.mark.parametrize("falling", [False, True])
def test_maximum_of_sums(falling: bool, tmp_path: Path) -> None:
    """Batch norm may fall in front of the maximum, but not behind it."""
    model = Model((2, 6, 6), seed=6)
    sums = model.conv(model.quant("x", 1 / 16, 6), 2, 4)
    pooled = model.node("MaxPool", model.norm(sums, 4) if falling else sums, kernel_shape=[2, 2], strides=[2, 2])
    last = model.quant(model.node("Relu", model.node("Mul", pooled, model.constant(1.7))), 0.25, 4, 0)
    graph = check(model.save(head(model, last, 36), tmp_path / "net.onnx"), (2, 6, 6), 12)
    kinds = [node.op for node in graph.nodes]
    assert kinds.index("max_pool") > min(kinds.index(kind) for kind in ("threshold", "requantise") if kind in kinds)


TO_LAST, TO_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]


def test_channels_last_input_and_flattening(tmp_path: Path) -> None:
    model = Model((6, 4, 3), seed=7)  # rows, columns, channels
    image = model.node("Transpose", model.quant("x", 1 / 16, 6), perm=TO_FIRST)
    codes = model.quant(model.norm(model.conv(image, 3, 4), 4), 0.25, 4)
    last = model.node("Transpose", codes, perm=TO_LAST)
    scaled = model.quant(model.node("Mul", last, model.constant([0.5, 2.0, 1.0, 0.7])), 0.3, 4)
    graph = check(model.save(head(model, scaled, 96), tmp_path / "net.onnx"), (6, 4, 3), 12, last=True)
    assert graph.tensor(graph.input).shape == (3, 6, 4)


def test_channels_last_output(tmp_path: Path) -> None:
    model = Model((2, 4, 3), seed=8)
    codes = model.quant(model.conv(model.quant("x", 1 / 16, 6), 2, 4), 0.25, 4)
    path = model.save(model.node("Transpose", codes, perm=TO_LAST), tmp_path / "net.onnx")
    check(path, (2, 4, 3), 12, last_out=True)


@pytest.mark.parametrize("input_last", [False, True])
def test_what_qonnx_makes_channels_last(input_last: bool, tmp_path: Path) -> None:
    from qonnx.core.modelwrapper import ModelWrapper  # type: ignore[import-untyped]
    from qonnx.transformation.channels_last import ConvertToChannelsLastAndClean  # type: ignore[import-untyped]
    from qonnx.transformation.infer_shapes import InferShapes  # type: ignore[import-untyped]

    model = Model((3, 6, 4), seed=9)
    sums = model.conv(model.quant("x", 1 / 16, 6), 3, 4, strides=[1, 1], dilations=[1, 1], group=1)
    codes = model.quant(model.node("Relu", model.norm(sums, 4)), 0.25, 4)
    pooled = model.node("MaxPool", codes, kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 0, 0])
    path = model.save(head(model, pooled, 24), tmp_path / "first.onnx")
    wrapped = ModelWrapper(str(path)).transform(InferShapes())
    wrapped = wrapped.transform(ConvertToChannelsLastAndClean(make_input_channels_last=input_last))
    domains = [node.op_type for node in wrapped.graph.node if node.domain == LAST]
    assert domains == ["Conv", "BatchNormalization", "MaxPool"]
    wrapped.save(str(tmp_path / "last.onnx"))
    shape = (6, 4, 3) if input_last else (3, 6, 4)
    check(tmp_path / "last.onnx", shape, 12, last=input_last)


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("scale", [0.25, np.array([0.5, 0.3]).reshape(1, 2, 1, 1)])
def test_the_input_has_the_codes_of_its_quantiser(scale: Any, signed: int, tmp_path: Path) -> None:
    model = Model((2, 4, 4), seed=10)
    codes = model.quant("x", scale, 5, signed, 1)
    again = model.quant("x", scale, 5, signed, 1)
    both = model.quant(model.node("Add", model.node("Mul", codes, model.constant(2.0)), again), 0.7, 5)
    graph = check(model.save(head(model, both, 32), tmp_path / "net.onnx"), (2, 4, 4), 12)
    format = graph.tensor(graph.input).format
    assert (format.low, format.high) == ((-15, 15) if signed else (0, 30))
    assert graph.tensor(graph.input).channel_scales == tuple(np.broadcast_to(np.float32(scale).ravel(), 2).tolist())
