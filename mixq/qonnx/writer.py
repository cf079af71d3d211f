"""From an integer graph to a QONNX file: integers in float32 between a scaled input and a scaled output.

Every value of the file that bears the name of a tensor holds the tensor's integers; the input and the output, whose
real values have those names, come with integers called ``NAME.codes``.
"""

from __future__ import annotations

import os

import numpy as np

from mixq.errors import UserError
from mixq.files import write_atomic
from mixq.graph import Graph
from mixq.graph.tensor import Tensor
from mixq.qonnx.building import Builder, Value
from mixq.qonnx.input_codes import note_input
from mixq.qonnx.node_forms import append_node

#: Integers of the input that survive a division by their scale in float32, and rounding.
MAX_INPUT = 1 << 20


def write_qonnx(graph: Graph, path: str | os.PathLike[str]) -> None:
    """Write ``graph`` to a QONNX file, the same bytes for the same graph.

    The file's input is codes times the scale of the graph's input, float32 (1, C, H, W); its output the integers times
    the scale of the graph's output, (1, C, H, W), or (1, C) behind a dense layer. A tensor without a scale has 1.
    UserError where the system refuses, or names the node whose integers float32 executors would round.
    """
    source, target = graph.tensor(graph.input), graph.tensor(graph.output)
    builder = Builder()
    values = {graph.input: _append_input(builder, source)}
    for node in graph.nodes:
        output = f"{node.output}.codes" if node.output == target.name else node.output
        sources = [graph.tensor(name).format for name in node.reads]
        inputs = [values[name] for name in node.reads]
        tensor = graph.tensor(node.output)
        values[node.output] = append_node(builder, node, inputs, sources, tensor.format, output)
    last = _append_output(builder, values[graph.output], target)
    model = builder.model(graph.name, Value(source.name, (1, *source.shape)), last)
    note_input(model, source)
    write_atomic(path, model.SerializeToString())


def _append_input(builder: Builder, source: Tensor) -> Value:
    """The input's codes: real values divided by their scale, rounded, so that each is an integer again."""
    format, shape = source.format, (1, *source.shape)
    if max(abs(format.low), abs(format.high)) > MAX_INPUT:
        raise UserError(f"tensor {source.name}, the input, has codes beyond 2^20, which float32 does not scale exactly")
    name = source.name
    if source.scale is not None:
        divided = Value(f"{name}.unscaled", shape)
        inverse = builder.constant(f"{name}.inverse_scale", _by_channel(1 / np.array(source.scale), divided))
        builder.node("Mul", f"{name}.unscale", [name, inverse], divided)
        name = divided.name
    return builder.quant(
        f"{source.name}.quantise",
        name,
        Value(f"{source.name}.codes", shape),
        bits=format.width,
        signed=format.signed,
        narrow=False,
    )


def _append_output(builder: Builder, value: Value, target: Tensor) -> Value:
    """The output's real values, in float32."""
    name = target.name
    if value.wide:
        value = builder.cast(f"{name}.narrow", value, f"{name}.narrowed", wide=False)
    factors = _by_channel(np.array(1.0 if target.scale is None else target.scale), value)
    scale = builder.constant(f"{name}.scale", factors)
    return builder.node("Mul", f"{name}.rescale", [value.name, scale], Value(name, value.shape))


def _by_channel(scale: np.ndarray, value: Value) -> np.ndarray:
    return scale.reshape(value.by_channel) if scale.ndim else scale
