"""QONNX models for tests, and their comparison with the qonnx package's executor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from mixq.execute import run
from mixq.graph import Graph
from mixq.qonnx import read_qonnx

DOMAIN = "qonnx.custom_op.general"
LAST = "qonnx.custom_op.channels_last"


class Model:
    """Appends nodes to an ONNX graph; methods return the name of what they make."""

    def __init__(self, shape: tuple[int, ...], seed: int = 0, *, opset: int = 13, version: int = 1) -> None:
        self.shape, self.random = shape, np.random.default_rng(seed)
        self.opset, self.version = opset, version
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

    def trunc(self, source: str, scale: Any, in_bits: int, bits: int, *out_scale: Any, **attributes: Any) -> str:
        values = (scale, 0.0, in_bits, *out_scale, bits)
        constants = [self.constant(value) for value in values]
        return self.node("Trunc", source, *constants, domain=DOMAIN, **attributes)

    def weight(self, *shape: int, scale: Any = 0.25, bits: int = 4, narrow: int = 0) -> str:
        return self.quant(self.constant(self.random.normal(size=shape)), scale, bits, 1, narrow)

    def conv(self, source: str, inputs: int, outputs: int, kernel: int = 3, scale: Any = 0.25, **fields: Any) -> str:
        """A convolution that keeps the size unless told otherwise."""
        weight = self.weight(outputs, inputs // fields.get("group", 1), kernel, kernel, scale=scale)
        fields = {"pads": [kernel // 2] * 4, **fields}
        return self.node("Conv", source, weight, kernel_shape=[kernel, kernel], **fields)

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
        opsets = [helper.make_opsetid("", self.opset)]
        opsets += [helper.make_opsetid(DOMAIN, self.version), helper.make_opsetid(LAST, 14)]
        path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())
        return path


def execute(path: Path, frames: Any) -> Any:
    """Return the output of the executor for float32 values of the model's input, one frame after another."""
    from qonnx.core.modelwrapper import ModelWrapper  # type: ignore[import-untyped]
    from qonnx.core.onnx_exec import execute_onnx  # type: ignore[import-untyped]
    from qonnx.transformation.infer_shapes import InferShapes  # type: ignore[import-untyped]

    model = ModelWrapper(str(path)).transform(InferShapes())
    name = model.graph.input[0].name
    results = [execute_onnx(model, {name: frame})[model.graph.output[0].name] for frame in frames]
    return np.stack([np.array(result) for result in results])


def integers(graph: Graph, values: Any, last: bool = False) -> Any:
    """Return the output's integers (frames, C, H, W) of float32 values in the file's shape."""
    shape = graph.tensor(graph.output).shape
    values = values.astype(np.float64).reshape(len(values), *((*shape[1:], shape[0]) if last else shape))
    values = values.transpose(0, 3, 1, 2) if last else values
    scales = np.array(graph.tensor(graph.output).channel_scales)[:, None, None]
    offsets = np.array([float(text) for text in graph.metadata["output_offset"].split(",")])[:, None, None]
    codes = (values - offsets) / scales
    assert np.abs(codes - np.rint(codes)).max() < 1e-3  # they are integers, to float32 rounding
    return np.rint(codes).astype(np.int64)


def check(
    path: Path,
    shape: tuple[int, ...],
    frames: int = 6,
    *,
    last: bool = False,
    last_out: bool = False,
    codes: Any = None,
    least: int = 4,
) -> Graph:
    """Every integer of interpreter and executor is the same; return the graph.

    ``shape``: of the model's input, the first axis left out. ``last``, ``last_out``: input, output are channels-last.
    ``least``: so many different integers must come out.
    """
    graph = read_qonnx(path)
    source = graph.tensor(graph.input)
    if codes is None:
        span = (source.format.low, source.format.high + 1)
        codes = np.random.default_rng(3).integers(*span, (frames, *source.shape))
    scales = source.channel_scales
    assert scales is not None
    values = (codes * np.array(scales)[:, None, None]).astype(np.float32)
    values = values.transpose(0, 2, 3, 1) if last else values
    mine = run(graph, codes)
    theirs = execute(path, [frame.reshape(1, *shape) for frame in values])
    np.testing.assert_array_equal(integers(graph, theirs, last_out), mine)
    assert len(np.unique(mine)) >= least
    return graph
