"""What cannot be mapped is named, with its reason and what would help, all of it in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from mixq.errors import UserError
from mixq.qonnx import read_qonnx
from tests.mixq.qonnx.models import DOMAIN, LAST, Model


class Parts(Model):
    """A model of images with what most refused nodes read: ``codes``, ``sums`` with batch norm, and ``rectified``."""

    def __init__(self) -> None:
        super().__init__((2, 4, 4))
        self.codes = self.quant("x", 0.25, 4)
        self.sums = self.norm(self.conv(self.codes, 2, 2), 2)
        self.rectified = self.node("Relu", self.sums)

    def averaged(self, source: str, **fields: Any) -> str:
        return self.node("AveragePool", source, **{"kernel_shape": [2, 2], "strides": [2, 2], **fields})

    def padded(self, source: str, sizes: list[int]) -> str:
        return self.node("Pad", source, self.constant(sizes, np.int64))

    def resized(self, scales: list[float], **fields: Any) -> str:
        return self.node("Resize", self.codes, "", self.constant(scales), **fields)

    def per_channel(self) -> str:
        return self.quant(self.sums, np.array([0.5, 0.3]).reshape(1, 2, 1, 1))


HALF = [0, 0, 1, 1, 0, 0, 1, 1]
NEAREST = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric"}
CASES: dict[str, tuple[Callable[[Parts], str], str]] = {
    "product": (lambda m: m.node("Mul", m.codes, m.codes), "of two activations only Add and Sub"),
    "addition of a rectifier": (lambda m: m.node("Add", m.codes, m.rectified), "put a Quant in front of each input"),
    "addition of two shapes": (
        lambda m: m.node("Add", m.codes, m.node("GlobalAveragePool", m.codes)),
        "inputs must be of one shape, not (1, 2, 4, 4) and (1, 2, 1, 1)",
    ),
    "addition without a common scale": (
        lambda m: m.node("Add", m.codes, m.norm(m.conv(m.quant(m.sums, 0.3), 2, 2, scale=0.37), 2)),
        "put Quants of one scale in front of both",
    ),
    "concatenation of sums": (lambda m: m.node("Concat", m.codes, m.sums, axis=1), "put a Quant in front of each"),
    "concatenation of rows": (lambda m: m.node("Concat", m.codes, m.codes, axis=2), "must join channels"),
    "layer behind sums": (lambda m: m.conv(m.sums, 2, 2), "Conv reads an activation that is not quantised"),
    "layer behind several scales": (lambda m: m.conv(m.per_channel(), 2, 2), "use one scale"),
    "weights without a quantiser": (
        lambda m: m.node("Conv", m.codes, m.constant(np.ones((2, 2, 1, 1)))),
        "weights must be a constant behind a Quant; quantise them",
    ),
    "wide weights": (
        lambda m: m.node("Conv", m.codes, m.weight(2, 2, 1, 1, bits=9)),
        "weights must have 2 to 8 bits with sign, not 9; quantise them with fewer",
    ),
    "large kernel": (lambda m: m.conv(m.codes, 2, 2, 7), "must be 1, 3 or 5, not 7"),
    "wide activation": (lambda m: m.quant(m.sums, 0.1, 9), "bit width must be one whole number, 1 to 8, not 9"),
    "padded maximum": (
        lambda m: m.node("MaxPool", m.codes, kernel_shape=[2, 2], strides=[2, 2], pads=[1, 1, 1, 1]),
        "no padding; pad in front of a Conv instead",
    ),
    "mean of a rectifier": (lambda m: m.averaged(m.rectified), "averages what is not quantised; put a Quant"),
    "mean without its padding": (lambda m: m.averaged(m.codes, pads=[1, 1, 1, 1]), "count_include_pad 1"),
    "mean of channels": (lambda m: m.node("ReduceMean", m.codes, axes=[1]), "the mean over rows and columns"),
    "zeros in front of a maximum": (
        lambda m: m.node("MaxPool", m.padded(m.codes, HALF), kernel_shape=[2, 2], strides=[2, 2]),
        "only Conv can, so move the Pad in front of a Conv",
    ),
    "zeros in front of a bias": (
        lambda m: m.node("Add", m.padded(m.codes, HALF), m.constant(1.0)),
        "move the Pad behind it",
    ),
    "zeros in front of signs": (
        lambda m: m.node("BipolarQuant", m.padded(m.codes, HALF), m.constant(1.0), domain=DOMAIN),
        "makes 1 of zeros",
    ),
    "zeros of channels": (lambda m: m.padded(m.codes, [0, 1, 0, 0, 0, 0, 0, 0]), "rows and columns alone"),
    "cut edges": (lambda m: m.padded(m.codes, [0, 0, -1, 0, 0, 0, 0, 0]), "none negative"),
    "negative slope": (lambda m: m.node("LeakyRelu", m.sums, alpha=-0.5), "train another slope"),
    "maximum turned round": (
        lambda m: m.node("Mul", m.node("MaxPool", m.sums, kernel_shape=[2, 2], strides=[2, 2]), m.constant(-1.0)),
        "put a Quant in front of the MaxPool",
    ),
    "linear interpolation": (lambda m: m.resized([1, 1, 2, 2], mode="linear"), "mode must be nearest"),
    "half a pixel": (lambda m: m.resized([1, 1, 1.5, 1.5], **NEAREST), "a whole number of times"),
    "other pixels": (
        lambda m: m.resized([1, 1, 2, 2], **NEAREST, nearest_mode="ceil"),
        "export with coordinate_transformation_mode asymmetric, floor",
    ),
    "blocks of sums": (lambda m: m.node("SpaceToDepth", m.sums, blocksize=2), "put a Quant in front of it"),
    "reordered frames": (lambda m: m.node("Transpose", m.codes, perm=[1, 0, 2, 3]), "the first kept"),
    "layer of channels-last pixels": (
        lambda m: m.conv(m.node("Transpose", m.codes, perm=[0, 2, 3, 1]), 4, 2),
        "transpose to (N, C, H, W) in front of it",
    ),
    "wrapped layer of channels-first pixels": (
        lambda m: m.node("MaxPool", m.codes, domain=LAST, kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 0, 0]),
        "must read an activation (N, H, W, C); transpose in front of it",
    ),
    "other shape": (
        lambda m: m.node("Reshape", m.codes, m.constant([1, 4, 8], np.int64)),
        "must flatten (1, 2, 4, 4) to (N, features), not to [1, 4, 8]",
    ),
    "arithmetic by feature": (
        lambda m: m.node("Add", m.node("Flatten", m.codes), m.constant(np.ones(32))),
        "move it in front of Flatten",
    ),
    "zero point": (
        lambda m: m.node("Quant", m.sums, m.constant(1.0), m.constant(3.0), m.constant(4.0), domain=DOMAIN),
        "zero point must be 0; quantise symmetrically",
    ),
    "second quantiser of the input": (lambda m: m.quant("x", 0.5, 4), "quantise it once"),
    "sums that Trunc leaves wide": (
        lambda m: m.trunc(m.conv(m.codes, 2, 2), np.float32(0.0625), 8, 2, rounding_mode="FLOOR"),
        "not of 2 bits; put a Quant in its place",
    ),
    "unknown operator": (lambda m: m.node("Softmax", m.codes), "leave it out: it does not change which class"),
    "operator of another domain": (lambda m: m.node("Relu", m.codes, domain="my.own"), "see docs/qonnx.md"),
    "quantisers of another form": (lambda m: m.node("QuantizeLinear", m.codes), "export with Quant nodes"),
}


def complaint(model: Model, output: str, tmp_path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_qonnx(model.save(output, tmp_path / "net.onnx"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("case", CASES)
def test_a_refused_node_is_named_with_what_helps(case: str, tmp_path: Path) -> None:
    build, says = CASES[case]
    model = Parts()
    output = build(model)
    message = complaint(model, model.node("Relu", output), tmp_path)  # what reads it is not blamed
    blamed = model.nodes[-2]
    assert message.startswith(f"{tmp_path / 'net.onnx'} cannot be mapped: node '{blamed.name}' ({blamed.op_type}): ")
    assert says in message and message.count("node '") == 1


def test_every_refused_node_is_in_the_list(tmp_path: Path) -> None:
    model = Parts()
    outputs = [build(model) for build, _ in CASES.values()]
    blamed = [node for node in model.nodes if node.output[0] in outputs]
    message = complaint(model, outputs[-1], tmp_path)
    assert message.count("; node '") + 1 == len(blamed) == len(CASES)
    assert all(f"node '{node.name}' ({node.op_type}): " in message for node in blamed)


OUTPUTS: dict[str, tuple[Callable[[Parts], str], str]] = {
    "falling": (lambda m: m.node("Mul", m.codes, m.constant(-1.0)), "must come from a quantised layer"),
    "rectified": (lambda m: m.rectified, "put a Quant in front of it"),
    "negative scale": (lambda m: m.node("Mul", m.conv(m.codes, 2, 2), m.constant(-1.0)), "a positive scale"),
    "enlarged": (lambda m: m.padded(m.quant(m.sums, 0.5), HALF), "put a Quant in front of it"),
    "constant": (lambda m: m.node("Add", m.constant(1.0), m.constant(1.0)), "must come from a quantised layer"),
}


@pytest.mark.parametrize("case", OUTPUTS)
def test_outputs_that_are_no_integers_times_a_scale(case: str, tmp_path: Path) -> None:
    build, says = OUTPUTS[case]
    model = Parts()
    output = build(model)
    message = complaint(model, output, tmp_path)
    assert f"output '{output}'" in message and says in message


def test_a_scale_so_small_that_float32_overflows(tmp_path: Path) -> None:
    model = Parts()
    weight = model.weight(2, 2, 3, 3, scale=1e-45)
    message = complaint(model, model.node("Conv", model.codes, weight, kernel_shape=[3, 3]), tmp_path)
    assert f"node 'n{weight}' (Quant)" in message and "overflow" in message


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    model = Parts()
    path = model.save(model.codes, tmp_path / "net.onnx")
    whole = onnx.load(path)
    whole.graph.output.append(onnx.helper.make_tensor_value_info(model.sums, onnx.TensorProto.FLOAT, None))
    path.write_bytes(whole.SerializeToString())
    with pytest.raises(UserError, match=r"net\.onnx must have one output, not 2; export one branch at a time"):
        read_qonnx(path)
    whole.graph.input.append(onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 4]))
    path.write_bytes(whole.SerializeToString())
    with pytest.raises(UserError, match=r"net\.onnx must have one input, not 2; export one branch at a time"):
        read_qonnx(path)
