"""Pooling: maxima, and means as sums with a smaller scale."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import onnx

from mixq.formats import IntFormat
from mixq.graph import Conv, MaxPool, SumPool, accumulator_format
from mixq.qonnx.arguments import attribute, inputs, window
from mixq.qonnx.reader import Reader
from mixq.qonnx.values import Move, Signal, Unmappable, require_image, without_pads


def max_pool(reader: Reader, proto: onnx.NodeProto) -> Any:
    """``MaxPool``; of what is not quantised, behind the next quantiser."""
    source = without_pads(require_image(inputs(reader, proto)[0]))
    kernel, strides, pads = window(proto, 2)
    if any(pads) or len(set(kernel)) != 1 or len(set(strides)) != 1:
        raise Unmappable("must have a square kernel, equal strides and no padding; pad in front of a Conv instead")
    return moved(reader, proto, source, MaxPool, kernel=kernel[0], stride=strides[0])


def moved(reader: Reader, proto: onnx.NodeProto, source: Signal, kind: Any, **fields: Any) -> Signal:
    """Append a node that keeps format and scale, or, of what is no code yet, leave it to the next quantiser."""
    if not source.is_codes:
        return replace(source, moves=(*source.moves, Move(kind, tuple(fields.items()))))
    output = reader.append(kind, proto, source.tensor, reader.tensors[source.tensor].format, **fields)
    return replace(source, tensor=output, shape=reader.tensors[output].shape)


def average_pool(reader: Reader, proto: onnx.NodeProto) -> Any:
    """``AveragePool``: windows side by side are sums, others a depthwise convolution with weights of 1."""
    source = require_image(inputs(reader, proto)[0])
    kernel, strides, pads = window(proto, 2)
    if any(pads) and not attribute(proto, "count_include_pad", 0):
        raise Unmappable("must count the padding (count_include_pad 1), or have none; divide by the whole window")
    sides = tuple(own + added for own, added in zip(pads, source.pads, strict=True))
    if kernel == strides and not any(sides):
        return _mean(reader, proto, source, (kernel[0], kernel[1]))
    if len(set(kernel)) != 1 or len(set(strides)) != 1:
        raise Unmappable("windows that overlap must be square with equal strides; use windows side by side")
    if source.affine[1] is None or any(source.affine[1]) or source.moves:
        raise Unmappable("averages windows that overlap of what is not quantised; put a Quant in front of it")
    channels = source.shape[0]
    weights = np.ones((channels, 1, kernel[0], kernel[0]), np.int64)
    format = accumulator_format(weights, reader.tensors[source.tensor].format)
    fields = {"weights": weights, "weight_format": IntFormat(2, True), "groups": channels}
    output = reader.append(Conv, proto, source.tensor, format, stride=strides[0], padding=sides, **fields)
    return _divided(reader, source, output, kernel[0] ** 2)


def global_average_pool(reader: Reader, proto: onnx.NodeProto) -> Any:
    """``GlobalAveragePool``."""
    source = require_image(inputs(reader, proto)[0])
    return _mean(reader, proto, source, source.shape[1:])


def reduce_mean(reader: Reader, proto: onnx.NodeProto) -> Any:
    """``ReduceMean`` over rows and columns."""
    source, *given = inputs(reader, proto)
    axes = attribute(proto, "axes", given[0].ravel().tolist() if given and isinstance(given[0], np.ndarray) else [])
    if not isinstance(source, Signal) or source.flat or {source.axes[axis] for axis in axes} != {2, 3}:
        raise Unmappable("must be the mean over rows and columns of an activation (N, C, H, W)")
    result = _mean(reader, proto, source, source.shape[1:])
    return result if attribute(proto, "keepdims", 1) else replace(result, flat=True)


def _mean(reader: Reader, proto: onnx.NodeProto, source: Signal, kernel: tuple[int, int]) -> Signal:
    without_pads(source)
    if source.affine[0] is None or source.moves:
        raise Unmappable("averages what is not quantised; put a Quant in front of it")
    node = SumPool("pool", source.tensor, "sums", kernel=kernel)
    format = node.sum_format(reader.tensors[source.tensor].format)
    output = reader.append(SumPool, proto, source.tensor, format, kernel=kernel)
    return _divided(reader, source, output, kernel[0] * kernel[1])


def _divided(reader: Reader, source: Signal, sums: str, count: int) -> Signal:
    """The mean of what is an affine function of codes: the same function of the codes' mean."""
    gain, offset = source.affine
    assert gain is not None and offset is not None
    scales = tuple(value / count for value in gain)
    result = Signal(sums, reader.tensors[sums].shape, scales, False, source.axes)
    reader.rescale(sums, scales)
    if not any(offset):
        return result
    added = np.array([float(value) for value in offset]).astype(np.float32)[:, None]
    return result.then(lambda x: x + added, [Fraction(1)] * len(offset), list(offset))
