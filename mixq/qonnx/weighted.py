"""Layers with weights: MatMul, Gemm, Conv."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import onnx

from mixq.formats import IntFormat
from mixq.graph import Conv, Dense, SumPool, accumulator_format
from mixq.qonnx.arguments import attribute, inputs
from mixq.qonnx.exact_layers import integer_bias, is_window_sum
from mixq.qonnx.reader import Reader
from mixq.qonnx.values import (
    NO_PADS,
    Floats,
    Signal,
    Unmappable,
    Weight,
    as_floats,
    as_fractions,
    require_image,
    without_pads,
)


def matmul(reader: Reader, proto: onnx.NodeProto) -> Any:
    """``MatMul``."""
    source, weight = inputs(reader, proto)
    if not isinstance(source, Signal) or not source.flat:
        raise Unmappable("must multiply an activation (N, features) by weights; flatten in front of it")
    return _dense(reader, proto, source, _weight(weight).transpose((1, 0)), [])


def gemm(reader: Reader, proto: onnx.NodeProto) -> Any:
    """``Gemm``."""
    source, weight, *bias = inputs(reader, proto)
    plain = [attribute(proto, "alpha", 1.0), attribute(proto, "beta", 1.0), attribute(proto, "transA", 0)]
    if plain != [1.0, 1.0, 0] or not isinstance(source, Signal) or not source.flat:
        raise Unmappable("must have alpha = beta = 1, transA = 0 and an activation (N, features) as its first input")
    weight = _weight(weight)
    if not attribute(proto, "transB", 0):
        weight = weight.transpose((1, 0))
    return _dense(reader, proto, source, weight, bias)


def _dense(reader: Reader, proto: onnx.NodeProto, source: Signal, weight: Weight, bias: list[Any]) -> Signal:
    """Append a dense layer; weights (outputs, features) in the file's order of features."""
    places = np.arange(np.prod(source.shape)).reshape(1, *source.shape).transpose(source.axes).ravel()
    if weight.codes.ndim != 2 or weight.codes.shape[1] != len(places):
        raise Unmappable(f"weights must be (features, outputs) with {len(places)} features, not {weight.codes.shape}")
    order = np.argsort(places)
    weight = Weight(weight.codes[:, order], weight.scale[:, order], weight.bits)
    return _accumulate(reader, proto, without_pads(source), weight, bias, Dense)


def conv(reader: Reader, proto: onnx.NodeProto) -> Any:
    """``Conv``; zeros of a Pad in front of it become its own padding."""
    source, weight, *bias = inputs(reader, proto)
    source = require_image(source)
    if attribute(proto, "auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise Unmappable("auto_pad must be NOTSET; give pads")
    strides, dilations = attribute(proto, "strides", [1, 1]), attribute(proto, "dilations", [1, 1])
    if len(set(dilations)) > 1:
        raise Unmappable("dilations must be the same in both directions")
    if _weight(weight).codes.ndim != 4:
        raise Unmappable("weights must be (outputs, inputs, rows, columns)")
    fields = {"stride": strides[0], "dilation": dilations[0], "groups": attribute(proto, "group", 1)}
    pads = attribute(proto, "pads", [0, 0, 0, 0])
    fields["padding"] = tuple(own + added for own, added in zip(pads, source.pads, strict=True))
    source = replace(source, pads=NO_PADS)
    if not bias and is_window_sum(_weight(weight).codes, fields, strides):
        return _window_sum(reader, proto, source, weight)
    if len(set(strides)) > 1:
        raise Unmappable("strides must be the same in both directions")
    return _accumulate(reader, proto, source, _weight(weight), bias, Conv, **fields)


def _window_sum(reader: Reader, proto: onnx.NodeProto, source: Signal, weight: Weight) -> Signal:
    window = weight.codes.shape[2:]
    scales = _sum_scales(source, weight, proto.op_type)
    format = SumPool("sums", "x", "y", kernel=(window[0], window[1])).sum_format(reader.tensors[source.tensor].format)
    output = reader.append(SumPool, proto, source.tensor, format, kernel=window)
    reader.rescale(output, scales)
    return Signal(output, reader.tensors[output].shape, scales, False)


def _weight(value: Any) -> Weight:
    if not isinstance(value, Weight):
        raise Unmappable("weights must be a constant behind a Quant; quantise them")
    return value


def _accumulate(
    reader: Reader,
    proto: onnx.NodeProto,
    source: Signal,
    weight: Weight,
    bias: list[Any],
    kind: Any,
    **fields: Any,
) -> Signal:
    """Append a dense layer or convolution, output channel first in ``weight``; return its accumulators."""
    scales = _sum_scales(source, weight, proto.op_type)
    integers = integer_bias(bias[0], scales) if bias else None
    format = accumulator_format(weight.codes, reader.tensors[source.tensor].format, integers)
    if weight.bits > 8:
        raise Unmappable(f"weights must have 2 to 8 bits with sign, not {weight.bits}; quantise them with fewer")
    width = IntFormat(max(weight.bits, 2), True)
    fields |= {"weights": weight.codes, "weight_format": width, "bias": integers}
    output = reader.append(kind, proto, source.tensor, format, **fields)
    reader.rescale(output, scales)
    shape = reader.tensors[output].shape
    sums = Signal(output, shape, scales, False, flat=kind is Dense, wide=source.wide)
    return sums if integers is not None else _with_bias(sums, bias)


def _sum_scales(source: Signal, weight: Weight, kind: str) -> tuple[Fraction, ...]:
    """The scale of each output channel's sums."""
    scale = layer_scale(source, kind)
    flat = weight.scale.reshape(len(weight.scale), -1)
    if (flat != flat[:, :1]).any():
        raise Unmappable("weights must have one scale for each output channel; quantise by output channel")
    return tuple(scale * own for own in as_fractions(flat[:, 0]))


def layer_scale(source: Signal, kind: str) -> Fraction:
    """Return the one scale of codes that a layer reads."""
    if source.steps or source.moves:
        raise Unmappable(f"{kind} reads an activation that is not quantised; put a Quant in front of it")
    if len(set(source.scale)) > 1:
        raise Unmappable(f"{kind} reads an activation with a scale for each channel; use one scale")
    return source.scale[0]


def _with_bias(sums: Signal, bias: list[Any]) -> Signal:
    if not bias or bias[0] is None:
        return sums
    values, channels = as_floats(bias[0]), len(sums.scale)
    if not isinstance(values, np.ndarray) or values.shape not in ((channels,), (1, channels)):
        raise Unmappable("bias must be a constant with a value for each output channel")
    return biased(sums, bias[0], values.astype(np.float32).reshape(channels, 1))


def biased(sums: Signal, bias: Any, offset: Floats) -> Signal:
    """Return sums plus ``offset`` (C, 1), the float32 values of ``bias``, a constant that may be quantised.

    With the sums' own scale, rounded to float32, a quantised bias is a whole number of them.
    """
    channels, exact = len(sums.scale), as_fractions(offset)
    if isinstance(bias, Weight) and not sums.steps:
        own = np.array([float(scale) for scale in sums.scale]).astype(np.float32)
        if np.array_equal(own, np.broadcast_to(bias.scale.ravel(), channels)):
            codes = np.broadcast_to(bias.codes.ravel(), channels).tolist()
            exact = [code * scale for code, scale in zip(codes, sums.scale, strict=True)]
    return sums.then(lambda x: x + offset, [Fraction(1)] * channels, exact)
