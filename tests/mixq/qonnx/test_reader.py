"""QONNX files become graphs that are equal, in every integer, to the qonnx package's executor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from mixq.errors import UserError
from mixq.execute import run
from mixq.qonnx import read_qonnx
from tests.mixq.qonnx.models import Model, check

DATA = Path(__file__).parents[3] / ".." / "shared" / "data"

MODES = ["ROUND", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN"]


@pytest.mark.parametrize("mode", MODES)
def test_convolutions_with_every_rounding(mode: str, tmp_path: Path) -> None:
    model = Model((3, 8, 8), seed=MODES.index(mode))
    image = model.quant("x", 1 / 128, 8, 0, mode=mode)
    sums = model.node("Conv", image, model.weight(4, 3, 3, 3), model.constant(model.random.normal(size=4)),
                      kernel_shape=[3, 3], pads=[1, 1, 1, 1])  # fmt: skip
    first = model.quant(model.node("Relu", model.norm(sums, 4)), 0.25, 4, 0, narrow=1, mode=mode)
    pooled = model.node("MaxPool", first, kernel_shape=[2, 2], strides=[2, 2])
    scales = np.array([0.5, 0.25, 0.125, 0.5, 0.25, 1.0]).reshape(6, 1, 1, 1)
    deep = model.node("Conv", pooled, model.weight(6, 2, 3, 3, scale=scales), kernel_shape=[3, 3], group=2,
                      dilations=[2, 2], pads=[2, 2, 2, 2], strides=[2, 2])  # fmt: skip
    second = model.quant(model.norm(deep, 6), 0.5, 3, 1, narrow=1, mode=mode)
    flat = model.node("Flatten", second, axis=1)
    dense = model.node("Gemm", flat, model.weight(10, 24), transB=1)
    check(model.save(dense, tmp_path / "net.onnx"), (3, 8, 8))


# The executor cannot infer the shape behind a computed Reshape, and says so.
@pytest.mark.filterwarnings("ignore::UserWarning:qonnx")
def test_dense_layers_and_folded_shapes(tmp_path: Path) -> None:
    model = Model((1, 4, 4))
    size = model.node("Gather", model.node("Shape", "x"), model.constant(0, np.int64), axis=0)
    ones = model.node("Unsqueeze", size, model.constant([0], np.int64))
    shape = model.node("Concat", ones, model.constant([-1], np.int64), axis=0)
    flat = model.node("Reshape", "x", shape)
    moved = model.node("Sub", model.node("Mul", flat, model.constant(2.0)), model.constant([1.0]))
    image = model.quant(moved, 0.5, 3)
    hidden = model.node("MatMul", image, model.node("Transpose", model.weight(8, 16), perm=[1, 0]))
    codes = model.quant(model.norm(hidden, 8), 0.25, 4)
    last = model.node("MatMul", codes, model.weight(8, 5))
    output = model.node("Add", model.node("Div", last, model.constant(3.0)), model.constant([-0.7]))
    check(model.save(output, tmp_path / "net.onnx"), (1, 4, 4), 20)


@pytest.mark.parametrize("axes", [(5,), (1, 5)])
def test_quantised_biases_and_batch_norms_as_nodes_of_their_own(axes: tuple[int, ...], tmp_path: Path) -> None:
    """As QKeras' networks are written: a bias that is quantised is added behind MatMul."""
    model = Model((8,), seed=4)
    sums = model.node("MatMul", model.quant("x", 1 / 8, 6), model.weight(8, 6))
    parameters = [model.random.uniform(0.5, 2, 6) for _ in range(4)]
    scales = [model.quant(model.constant(draw), 1 / 16, 8) for draw in parameters]
    codes = model.quant(model.node("BatchNormalization", sums, *scales), 0.25, 4)
    bias = model.quant(model.constant(model.random.normal(size=axes) * 4), 0.125, 12)
    scaled = model.node("Mul", model.quant(model.constant(2.0), 0.5, 4), codes)
    last = model.node("MatMul", model.quant(scaled, 0.5, 4), model.weight(6, 5))
    wide = model.quant(model.constant(model.random.normal(size=axes)), 0.125, 20)
    output = model.node("Add", wide, model.node("Add", last, bias))
    graph = check(model.save(output, tmp_path / "net.onnx"), (8,), 20)
    assert graph.metadata["output_offset"] == "0.0" and graph.nodes[-1].op == "dense"


def test_published_network() -> None:
    if not DATA.is_dir():
        pytest.skip("../shared/data is not there")
    graph = read_qonnx(DATA / "TFC_2W2A.onnx")
    stored = np.load(DATA / "TFC_2W2A_io.npz")
    codes = np.rint(stored["x"].astype(np.float64) * 255).astype(np.int64)
    values = (stored["y"].astype(np.float64) - float(graph.metadata["output_offset"])) / graph.tensor(
        graph.output
    ).scale
    assert np.abs(values - np.rint(values)).max() < 1e-4
    np.testing.assert_array_equal(run(graph, codes)[:, :, 0, 0], np.rint(values).astype(np.int64))


def refused(model: Model, output: str, tmp_path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_qonnx(model.save(output, tmp_path / "net.onnx"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_all_refused_nodes_are_listed(tmp_path: Path) -> None:
    model = Model((16,))
    wrong = model.node("Softmax", model.quant("x", 0.5))
    zero = model.quant("x", 0.0)
    message = refused(model, model.node("Add", wrong, zero), tmp_path)
    assert "'nv1' (Softmax)" in message and "'nv2' (Quant): scale must be positive" in message
    assert "nv3" not in message


@pytest.mark.parametrize(("bits", "says"), [(-3.0, "bit width"), (2.5, "bit width"), (99.0, "bit width")])
def test_bit_widths_out_of_range(bits: float, says: str, tmp_path: Path) -> None:
    model = Model((16,))
    assert says in refused(model, model.quant("x", 0.5, bits), tmp_path)


def test_not_a_number_in_weights(tmp_path: Path) -> None:
    model = Model((2,))
    weights = model.quant(model.constant([[1.0, np.nan]]), 0.5)
    assert "NaN" in refused(model, model.node("MatMul", "x", weights), tmp_path)


def test_loops(tmp_path: Path) -> None:
    model = Model((2,))
    model.node("Relu", "v1")
    assert "no earlier node writes" in refused(model, model.node("Relu", "v0"), tmp_path)


def test_data_in_another_file(tmp_path: Path) -> None:
    model = Model((2,))
    model.constant([1.0])
    model.constants[0].data_location = TensorProto.EXTERNAL
    model.constants[0].external_data.add(key="location", value="../../etc/passwd")
    assert "another file" in refused(model, model.node("Mul", "x", "c0"), tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a model", bytes(range(256))])
def test_files_that_are_no_model(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "bad.onnx"
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"bad\.onnx"):
        read_qonnx(file)


def test_command_line(tmp_path: Path) -> None:
    from mixq.cli import main

    model = Model((16,))
    dense = model.node("MatMul", model.quant("x", 1 / 8), model.weight(16, 5))
    path = model.save(dense, tmp_path / "net.onnx")
    assert main(["import", str(path), "--out", str(tmp_path / "build")]) == 0
    assert (tmp_path / "build" / "graph.json").is_file()
    path.write_bytes(path.read_bytes()[:100])
    assert main(["import", str(path), "--out", str(tmp_path / "other")]) == 2
