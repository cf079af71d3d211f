"""QONNX files become graphs that are equal, in every integer, to the qonnx package's executor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from mixq.errors import UserError
from mixq.execute import run
from mixq.qonnx import read_qonnx

DATA = Path(__file__).parents[3] / ".." / "shared" / "data"
DOMAIN = "qonnx.custom_op.general"


class Model:
    """Appends nodes to an ONNX graph; methods return the name of what they make."""

    def __init__(self, shape: tuple[int, ...], seed: int = 0) -> None:
        self.shape, self.random = shape, np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def node(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        output = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], name=f"n{output}", domain=domain, **attributes))
        return output

    def quant(
        self, source: str, scale: Any, bits: Any = 4, signed: int = 1, narrow: int = 0, mode: str = "ROUND"
    ) -> str:
        constants = [self.constant(value) for value in (scale, 0.0, bits)]
        return self.node("Quant", source, *constants, domain=DOMAIN, signed=signed, narrow=narrow, rounding_mode=mode)

    def weight(self, *shape: int, scale: Any = 0.25) -> str:
        return self.quant(self.constant(self.random.normal(size=shape)), scale)

    def norm(self, source: str, channels: int) -> str:
        draws = [self.random.normal(size=channels) for _ in range(3)]
        draws[0][0] = -abs(draws[0][0])  # one channel falls
        return self.node(
            "BatchNormalization",
            source,
            *(self.constant(draw) for draw in draws),
            self.constant(self.random.uniform(0.5, 4, channels)),
            epsilon=1e-5,
        )

    def save(self, output: str, path: Path) -> Path:
        ends = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in (("x", (1, *self.shape)), (output, None))
        ]
        graph = helper.make_graph(self.nodes, "net", ends[:1], ends[1:], self.constants)
        opsets = [helper.make_opsetid("", 13), helper.make_opsetid(DOMAIN, 1)]
        path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())
        return path


def check(path: Path, shape: tuple[int, ...], frames: int = 6) -> None:
    """Every value of interpreter and executor is the same float32."""
    from qonnx.core.modelwrapper import ModelWrapper  # type: ignore[import-untyped]
    from qonnx.core.onnx_exec import execute_onnx  # type: ignore[import-untyped]
    from qonnx.transformation.infer_shapes import InferShapes  # type: ignore[import-untyped]

    graph = read_qonnx(path)
    codes = np.random.default_rng(3).integers(0, 256, (frames, *graph.tensor("x").shape))
    mine = run(graph, codes)
    model = ModelWrapper(str(path)).transform(InferShapes())
    scales = np.array(graph.tensor(graph.output).channel_scales)[:, None, None]
    offset = float(graph.metadata["output_offset"])
    for frame, result in zip(codes, mine, strict=True):
        given = (frame / 255).astype(np.float32).reshape(1, *shape)
        theirs = execute_onnx(model, {"x": given})[model.graph.output[0].name]
        integers = (theirs.reshape(result.shape).astype(np.float64) - offset) / scales
        assert np.abs(integers - np.rint(integers)).max() < 1e-3  # they are integers, to float32 rounding
        np.testing.assert_array_equal(np.rint(integers).astype(np.int64), result)
    assert len(np.unique(mine)) > 3


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
