"""The ONNX form of each node of the integer graph; all of them exact in the executor's floating point."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mixq.errors import UserError
from mixq.formats import IntFormat
from mixq.graph import (
    Add,
    Concat,
    Conv,
    Dense,
    MaxPool,
    Node,
    Requantise,
    SpaceToDepth,
    SumPool,
    Threshold,
    Upsample,
)
from mixq.graph.bounds import accumulator_bounds
from mixq.qonnx.building import QONNX_DOMAIN, Builder, Value
from mixq.qonnx.threshold_counts import staircase_of

EXACT, EXACT_WIDE = 1 << 24, 1 << 53
"""All integers up to these are exact in float32 and in float64."""


def append_node(
    builder: Builder,
    node: Node,
    inputs: Sequence[Value],
    sources: Sequence[IntFormat],
    target: IntFormat,
    output: str,
) -> Value:
    """Append what computes ``node``, as the value ``output``; return that.

    ``sources`` and ``target``: formats of the integers that the node reads and writes. UserError where the file
    cannot hold the node's integers.
    """
    match node:
        case Conv() | Dense():
            return _weighted(builder, node, inputs[0], sources[0], output)
        case Requantise() | Threshold():
            return _stairs(builder, node, inputs[0], sources[0], target, output)
        case Add():
            return _add(builder, node, inputs, sources, output)
    narrow = [_narrow(node, value) for value in inputs]
    match node:
        case Concat():
            images = [_image(builder, node, value) for value in narrow]
            shape = (1, sum(value.shape[1] for value in images), *images[0].shape[2:])
            return builder.node("Concat", node.name, [value.name for value in images], Value(output, shape), axis=1)
        case SumPool():
            return _sum_pool(builder, node, narrow[0], target, output)
    image = _image(builder, node, narrow[0])
    channels, height, width = node.shape_from([(image.shape[1], image.shape[2], image.shape[3])])
    result = Value(output, (1, channels, height, width))
    match node:
        case MaxPool():
            kernel, strides = [node.kernel] * 2, [node.stride] * 2
            return builder.node("MaxPool", node.name, [image.name], result, kernel_shape=kernel, strides=strides)
        case SpaceToDepth():
            return builder.node("SpaceToDepth", node.name, [image.name], result, blocksize=node.block)
        case Upsample():
            scales = builder.constant(f"{node.name}.scales", [1, 1, node.factor, node.factor])
            modes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
            return builder.node("Resize", node.name, [image.name, "", scales], result, **modes)
    raise TypeError(f"node must be of a kind that the writer knows, not {node!r}")


def _refuse(node: Node, bits: int) -> UserError:
    return UserError(
        f"node {node.name} makes sums beyond 2^{bits}, which executors of QONNX files round; "
        "quantise its weights or its input to fewer bits"
    )


def _narrow(node: Node, value: Value) -> Value:
    if value.wide:
        raise UserError(
            f"node {node.name} reads sums beyond 2^24, which executors of QONNX files round; requantise in front of it"
        )
    return value


def _image(builder: Builder, node: Node, value: Value) -> Value:
    """The value with four axes."""
    if len(value.shape) == 4:
        return value
    shape = (*value.shape, 1, 1)
    sizes = builder.constant("image.sizes", [0, -1, 1, 1], np.int64)
    image = Value(f"{node.name}.{value.name}.image", shape, value.wide)
    if image.name in builder.inner:  # a node may read a tensor twice
        return image
    return builder.node("Reshape", image.name, [value.name, sizes], image)


def _weighted(builder: Builder, node: Conv | Dense, value: Value, source: IntFormat, output: str) -> Value:
    lows, highs = accumulator_bounds(node.weights, source)
    offsets = [0] * len(lows) if node.bias is None else node.bias.tolist()
    # The order of a sum is the executor's own: any part of it, with the bias or without, must be exact.
    parts = [abs(end + b) for ends in (lows, highs) for end, own in zip(ends, offsets, strict=True) for b in (0, own)]
    largest = max(*parts, *(abs(own) for own in offsets))
    value = _narrow(node, value)
    weights = _weights(builder, node.name, node.weights, node.weight_format)
    if isinstance(node, Dense):
        return _dense(builder, node, value, weights, largest, output)
    if largest > EXACT:  # executors have no convolution in float64
        raise _refuse(node, 24)
    bias = [] if node.bias is None else [builder.constant(f"{node.name}.bias", node.bias)]
    image = _image(builder, node, value)
    shape = node.output_shape((image.shape[1], image.shape[2], image.shape[3]))
    return builder.node(
        "Conv",
        node.name,
        [image.name, weights.name, *bias],
        Value(output, (1, *shape)),
        kernel_shape=[node.kernel] * 2,
        strides=[node.stride] * 2,
        pads=list(node.sides),
        group=node.groups,
        dilations=[node.dilation] * 2,
    )


def _dense(builder: Builder, node: Dense, value: Value, weights: Value, largest: int, output: str) -> Value:
    """A matrix product, in float64 where float32 would round sums; ``largest``: of any part of them."""
    if largest > EXACT_WIDE:
        raise _refuse(node, 53)
    if len(value.shape) == 4:
        flat = Value(f"{node.name}.flat", (1, int(node.weights.shape[1])))
        value = builder.node("Flatten", f"{node.name}.flatten", [value.name], flat, axis=1)
    if wide := largest > EXACT:
        value = builder.cast(f"{node.name}.widen", value, f"{node.name}.wide", wide=True)
        weights = builder.cast(f"{node.name}.widen_weights", weights, f"{node.name}.wide_weights", wide=True)
    bias = [] if node.bias is None else [builder.constant(f"{node.name}.bias", node.bias, value.dtype)]
    result = Value(output, (1, len(node.weights)), wide)
    return builder.node("Gemm", node.name, [value.name, weights.name, *bias], result, transB=1)


def _weights(builder: Builder, name: str, weights: npt.NDArray[np.int64], format: IntFormat) -> Value:
    """Integer weights behind a quantiser that tells their width."""
    integers = builder.constant(f"{name}.integers", weights)
    result = Value(f"{name}.weights", weights.shape)
    narrow = format.low > -(1 << (format.width - 1))
    return builder.quant(f"{name}.quantise", integers, result, bits=format.width, signed=True, narrow=narrow)


def _stairs(
    builder: Builder, node: Requantise | Threshold, value: Value, source: IntFormat, target: IntFormat, output: str
) -> Value:
    if max(abs(source.low), abs(source.high)) >= EXACT_WIDE:
        raise _refuse(node, 53)
    stairs = staircase_of(node, source, target)
    if (stairs.sign < 0).any():
        signs = builder.constant(f"{node.name}.sign", stairs.sign.reshape(value.by_channel), value.dtype)
        turned = Value(f"{node.name}.turned", value.shape, value.wide)
        value = builder.node("Mul", f"{node.name}.turn", [value.name, signs], turned)
    thresholds = builder.constant(f"{node.name}.thresholds", stairs.thresholds, value.dtype)
    codes = Value(f"{node.name}.wide" if value.wide else output, value.shape, value.wide)
    builder.node(
        "MultiThreshold",
        node.name,
        [value.name, thresholds],
        codes,
        domain=QONNX_DOMAIN,
        out_dtype=f"{'INT' if target.signed else 'UINT'}{target.width}",
        out_scale=float(stairs.step),
        out_bias=float(stairs.base),
        data_layout="NCHW" if len(value.shape) == 4 else "NC",
    )
    return builder.cast(f"{node.name}.narrow", codes, output, wide=False) if codes.wide else codes


def _add(builder: Builder, node: Add, inputs: Sequence[Value], sources: Sequence[IntFormat], output: str) -> Value:
    """Products with the multipliers, added one after another; in float64 where float32 would round a part of them."""
    largest = np.array([max(abs(source.low), abs(source.high)) for source in sources], dtype=object)
    sums = (np.abs(node.multipliers.astype(object)) * largest[:, None]).sum(axis=0)
    bound = max(int(sums.max()), int(np.abs(node.multipliers).max()))
    if bound > EXACT_WIDE:
        raise _refuse(node, 53)
    wide = bound > EXACT or any(value.wide for value in inputs)
    if len({value.shape for value in inputs}) > 1:
        inputs = [_image(builder, node, value) for value in inputs]
    terms = []
    for index, (value, factors) in enumerate(zip(inputs, node.multipliers, strict=True)):
        name = f"{node.name}.{index}"
        if wide and not value.wide:
            value = builder.cast(f"{name}.widen", value, f"{name}.wide", wide=True)
        if (factors != 1).any():
            multiplier = builder.constant(f"{name}.multiplier", factors.reshape(value.by_channel), value.dtype)
            product = Value(f"{name}.product", value.shape, wide)
            value = builder.node("Mul", f"{name}.multiply", [value.name, multiplier], product)
        terms.append(value)
    total = terms[0]
    for index, term in enumerate(terms[1:], 1):
        last = index == len(terms) - 1
        result = Value(output if last else f"{node.name}.sum{index}", total.shape, wide)
        total = builder.node("Add", node.name if last else result.name, [total.name, term.name], result)
    return total


def _sum_pool(builder: Builder, node: SumPool, value: Value, target: IntFormat, output: str) -> Value:
    """A depthwise convolution by ones: an average times its window would be rounded twice."""
    if max(abs(target.low), abs(target.high)) > EXACT:
        raise _refuse(node, 24)
    image = _image(builder, node, value)
    channels = image.shape[1]
    shape = node.output_shape((channels, image.shape[2], image.shape[3]))
    window = list(node.window)
    ones = _weights(builder, node.name, np.ones((channels, 1, *window), np.int64), IntFormat(2, True))
    result = Value(output, (1, *shape))
    inputs = [image.name, ones.name]
    return builder.node("Conv", node.name, inputs, result, kernel_shape=window, strides=window, group=channels)
