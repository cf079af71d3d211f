"""Which function reads which operator, by the domain's and the operator's name; and operators on constants alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx

from mixq.graph.tensor import MAX_ELEMENTS
from mixq.qonnx import elementwise, pooling, quantising, shapes, weighted
from mixq.qonnx.arguments import attribute, inputs
from mixq.qonnx.model_file import read_tensor
from mixq.qonnx.multi_threshold import multi_threshold
from mixq.qonnx.reader import Reader
from mixq.qonnx.values import Array, Signal, Unmappable, without_pads

Operator = Callable[[Reader, onnx.NodeProto], Any]

STANDARD = ("", "ai.onnx")
QUANTISED = ("qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas")
CHANNELS_LAST = ("qonnx.custom_op.channels_last",)


def find(domain: str, kind: str) -> Operator:
    """Return what reads an operator; Unmappable for those that are not known, with what would help."""
    table = next((table for names, table in TABLES.items() if domain in names), {})
    if kind not in table:
        raise Unmappable(REWRITES.get(kind, "the operator is not supported; see docs/qonnx.md for those that are"))
    return table[kind]


def _shape(reader: Reader, proto: onnx.NodeProto) -> Any:
    (source,) = inputs(reader, proto)
    if not isinstance(source, Signal) or source.moves:
        raise Unmappable("must read an activation")
    return np.array(without_pads(source).file_shape, np.int64)


def _constant_only(operate: Callable[[list[Array], onnx.NodeProto], Array]) -> Operator:
    def operator(reader: Reader, proto: onnx.NodeProto) -> Any:
        values = inputs(reader, proto)
        if not all(isinstance(value, np.ndarray) for value in values):
            raise Unmappable("is supported on constants only; do without it, or train with MixQ's own networks")
        return operate(values, proto)

    return operator


def _constant(reader: Reader, proto: onnx.NodeProto) -> Any:
    value = attribute(proto, "value", None)
    if value is None:
        raise Unmappable("must hold a tensor in the attribute value")
    return read_tensor(value, reader.path)


def _unsqueeze(values: list[Array], proto: onnx.NodeProto) -> Array:
    axes = values[1].ravel().tolist() if len(values) > 1 else attribute(proto, "axes", [])
    return np.expand_dims(values[0], tuple(axes))


def _cast(reader: Reader, proto: onnx.NodeProto) -> Any:
    (source,) = inputs(reader, proto)
    target = onnx.helper.tensor_dtype_to_np_dtype(attribute(proto, "to", onnx.TensorProto.FLOAT))
    if isinstance(source, np.ndarray):
        return source.astype(target)
    if target not in (np.float32, np.float64):
        raise Unmappable("changes an activation or weights to another type than float32 or float64; do without it")
    if not isinstance(source, Signal):
        return source
    if source.steps or source.moves:
        raise Unmappable("changes the type of what is neither codes nor sums; put it in front of arithmetic")
    return replace(source, wide=bool(target == np.float64))


def _constant_of_shape(values: list[Array], proto: onnx.NodeProto) -> Array:
    shape = tuple(values[0].ravel().tolist())
    if math.prod(shape) > MAX_ELEMENTS:
        raise Unmappable(f"makes a constant of more than {MAX_ELEMENTS} elements; export the model again")
    given = attribute(proto, "value", None)
    fill = np.zeros(1, np.float32) if given is None else onnx.numpy_helper.to_array(given)
    return np.full(shape, fill.ravel()[0], fill.dtype)


def _slice(values: list[Array], proto: onnx.NodeProto) -> Array:
    starts, ends = values[1].ravel().tolist(), values[2].ravel().tolist()
    axes = values[3].ravel().tolist() if len(values) > 3 else list(range(len(starts)))
    steps = values[4].ravel().tolist() if len(values) > 4 else [1] * len(starts)
    cuts = [slice(None)] * values[0].ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        cuts[axis] = slice(start, end, step)
    return values[0][tuple(cuts)]


TABLES: dict[tuple[str, ...], dict[str, Operator]] = {
    STANDARD: {
        "MatMul": weighted.matmul,
        "Gemm": weighted.gemm,
        "Conv": weighted.conv,
        "BatchNormalization": elementwise.batch_norm,
        **{kind: elementwise.elementwise(kind) for kind in elementwise.OPERATIONS},
        "Relu": elementwise.relu,
        "LeakyRelu": elementwise.leaky_relu,
        "Clip": elementwise.clip,
        "MaxPool": pooling.max_pool,
        "AveragePool": pooling.average_pool,
        "GlobalAveragePool": pooling.global_average_pool,
        "ReduceMean": pooling.reduce_mean,
        "Flatten": shapes.flatten,
        "Reshape": shapes.reshape,
        "Squeeze": shapes.squeeze,
        "Identity": shapes.same,
        "Dropout": shapes.same,
        "Transpose": shapes.transpose,
        "Pad": shapes.pad,
        "Concat": shapes.concat,
        "SpaceToDepth": shapes.space_to_depth,
        "Resize": shapes.resize,
        "Upsample": shapes.resize,
        "Shape": _shape,
        "Constant": _constant,
        "Gather": _constant_only(lambda v, p: np.asarray(np.take(v[0], v[1], axis=attribute(p, "axis", 0)))),
        "Unsqueeze": _constant_only(_unsqueeze),
        "Cast": _cast,
        "ConstantOfShape": _constant_only(_constant_of_shape),
        "Slice": _constant_only(_slice),
    },
    QUANTISED: {
        "Quant": quantising.quant,
        "IntQuant": quantising.quant,
        "BipolarQuant": quantising.bipolar_quant,
        "Trunc": quantising.trunc,
        "MultiThreshold": multi_threshold,
    },
    CHANNELS_LAST: {
        "Conv": shapes.channels_last(weighted.conv),
        "MaxPool": shapes.channels_last(pooling.max_pool),
        "BatchNormalization": shapes.channels_last(elementwise.batch_norm),
    },
}

REWRITES = {
    "Softmax": "the operator is not supported; leave it out: it does not change which class is greatest",
    "ArgMax": "the operator is not supported; end the model in front of it",
    "TopK": "the operator is not supported; end the model in front of it",
    "Sigmoid": "the operator is not supported; train with ReLU, or end the model in front of it",
    "Tanh": "the operator is not supported; train with ReLU or a signed Quant",
    "HardSwish": "the operator is not supported; train with ReLU",
    "QuantizeLinear": "the operator is not supported; export with Quant nodes (export_qonnx, not QCDQ)",
    "DequantizeLinear": "the operator is not supported; export with Quant nodes (export_qonnx, not QCDQ)",
    "FloatQuant": "the operator is not supported; train with integers, Quant",
    "ConvTranspose": "the operator is not supported; use Resize by 2 and a Conv",
    "DepthToSpace": "the operator is not supported; use Resize by 2 and a Conv",
    "Im2Col": "the operator is not supported; save the model before convolutions are lowered",
    "Loop": "the operator is not supported; export for a fixed input, unrolled",
    "If": "the operator is not supported; export for inference, without choices",
}
"""What helps with operators that are met often and have no hardware."""
