"""What each ONNX operator does to constants, quantised weights and activations."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from mixq.formats import IntFormat
from mixq.graph import Conv, Dense, MaxPool, Threshold, accumulator_format
from mixq.graph.scaling import MAX_THRESHOLDS
from mixq.graph.tensor import MAX_ELEMENTS
from mixq.qonnx.model_file import read_tensor
from mixq.qonnx.reader import Reader, Unmappable
from mixq.qonnx.values import ROUNDINGS, Quantiser, Signal, Weight, as_fractions, staircase

Array = npt.NDArray[Any]


def _attribute(proto: onnx.NodeProto, name: str, default: Any) -> Any:
    for attribute in proto.attribute:
        if attribute.name == name:
            return onnx.helper.get_attribute_value(attribute)
    return default


def _inputs(reader: Reader, proto: onnx.NodeProto) -> list[Any]:
    return [reader.values[name] if name else None for name in proto.input]


def _by_channel(constant: Array, signal: Signal) -> npt.NDArray[np.float32]:
    """Return a constant that a signal meets element by element as float32 (C, 1)."""
    channels = len(signal.scale)
    if constant.dtype != np.float32:
        raise Unmappable(f"meets an activation with a constant of {constant.dtype}; export float32")
    if constant.size == 1:
        return np.full((channels, 1), constant.ravel()[0], np.float32)
    axes = (1,) * (signal.rank - constant.ndim) + constant.shape
    if axes != (1, channels, 1, 1)[: signal.rank]:
        raise Unmappable(f"constant must be one number or one for each of {channels} channels, not {constant.shape}")
    return constant.reshape(channels, 1)


def _quant(reader: Reader, proto: onnx.NodeProto) -> Any:
    source, scale, zero, bits = _inputs(reader, proto)
    if not all(isinstance(value, np.ndarray) for value in (scale, zero, bits)):
        raise Unmappable("scale, zero point and bit width must be constants; export without training them")
    if np.any(zero != 0):
        raise Unmappable("zero point must be 0; quantise symmetrically")
    if scale.dtype != np.float32 or not (scale > 0).all():
        raise Unmappable("scale must be positive float32; train the scale anew")
    signed = bool(_attribute(proto, "signed", 1))
    width = float(bits.ravel()[0]) if bits.size == 1 else -1.0
    if width != int(width) or not 1 + signed <= width <= 8:
        raise Unmappable(
            f"bit width must be one whole number, {1 + signed} to 8, not {bits.ravel()[:1]}; choose another"
        )
    rounding = _attribute(proto, "rounding_mode", b"ROUND").decode().upper().replace("HALF_EVEN", "ROUND")
    if rounding not in ROUNDINGS:
        raise Unmappable(f"rounding_mode must be one of {', '.join(ROUNDINGS)}, not {rounding}")
    quantiser = Quantiser(scale, int(width), signed, bool(_attribute(proto, "narrow", 0)), rounding)
    if isinstance(source, Signal):
        return _quantise_signal(reader, proto, source, quantiser)
    if not isinstance(source, np.ndarray) or source.dtype != np.float32:
        raise Unmappable("quantises a constant that is quantised already, or not float32; quantise once")
    everywhere = np.broadcast_to(scale, source.shape)
    return Weight(quantiser.codes(source, everywhere), everywhere, int(width) + (not signed))


def _quantise_signal(reader: Reader, proto: onnx.NodeProto, source: Signal, quantiser: Quantiser) -> Signal:
    scale = _by_channel(quantiser.scale, source)
    before = reader.tensors[source.tensor]
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        thresholds, first, step = staircase(
            lambda codes: quantiser.codes(source.values(codes), scale),
            len(source.scale),
            before.format.low,
            before.format.high,
            MAX_THRESHOLDS,
        )
    signed = quantiser.signed
    format = IntFormat(max(quantiser.bits, 2), signed, quantiser.low, quantiser.high)
    output = reader.append(
        Threshold, proto, source.tensor, format, thresholds=thresholds, first=first, step=step.astype(np.int64)
    )
    scales = tuple(as_fractions(scale))
    reader.rescale(output, scales)
    return Signal(output, scales, source.rank)


def _layer_input(source: Signal, kind: str) -> Fraction:
    if source.steps:
        raise Unmappable(f"{kind} reads an activation that is not quantised; put a Quant in front of it")
    if len(set(source.scale)) > 1:
        raise Unmappable(f"{kind} reads an activation with a scale for each channel; use one scale")
    return source.scale[0]


def _accumulate(reader: Reader, proto: onnx.NodeProto, source: Signal, weight: Weight, **fields: Any) -> Signal:
    """Append a dense layer or convolution, output channel first in ``weight``; return its accumulators."""
    kind = Conv if weight.codes.ndim == 4 else Dense
    scale = _layer_input(source, proto.op_type)
    flat = weight.scale.reshape(len(weight.scale), -1)
    if (flat != flat[:, :1]).any():
        raise Unmappable("weights must have one scale for each output channel; quantise by output channel")
    format = accumulator_format(weight.codes, reader.tensors[source.tensor].format)
    width = IntFormat(max(weight.bits, 2), True)
    output = reader.append(kind, proto, source.tensor, format, weights=weight.codes, weight_format=width, **fields)
    scales = tuple(scale * own for own in as_fractions(flat[:, 0]))
    reader.rescale(output, scales)
    return Signal(output, scales, 4 if kind is Conv else 2)


def _weight(value: Any) -> Weight:
    if not isinstance(value, Weight):
        raise Unmappable("weights must be a constant behind a Quant; quantise them")
    return value


def _matmul(reader: Reader, proto: onnx.NodeProto) -> Any:
    source, weight = _inputs(reader, proto)
    if not isinstance(source, Signal) or source.rank != 2:
        raise Unmappable("must multiply an activation (N, features) by weights; flatten in front of it")
    weight = _weight(weight)
    return _accumulate(reader, proto, source, Weight(weight.codes.T, weight.scale.T, weight.bits))


def _gemm(reader: Reader, proto: onnx.NodeProto) -> Any:
    source, weight, *bias = _inputs(reader, proto)
    plain = [_attribute(proto, "alpha", 1.0), _attribute(proto, "beta", 1.0), _attribute(proto, "transA", 0)]
    if plain != [1.0, 1.0, 0] or not isinstance(source, Signal) or source.rank != 2:
        raise Unmappable("must have alpha = beta = 1, transA = 0 and an activation (N, features) as its first input")
    weight = _weight(weight)
    if not _attribute(proto, "transB", 0):
        weight = Weight(weight.codes.T, weight.scale.T, weight.bits)
    return _with_bias(_accumulate(reader, proto, source, weight), bias)


def _conv(reader: Reader, proto: onnx.NodeProto) -> Any:
    source, weight, *bias = _inputs(reader, proto)
    if not isinstance(source, Signal) or source.rank != 4:
        raise Unmappable("must read an activation (N, C, H, W)")
    if _attribute(proto, "auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise Unmappable("auto_pad must be NOTSET; give pads")
    strides, dilations = _attribute(proto, "strides", [1, 1]), _attribute(proto, "dilations", [1, 1])
    if len(set(strides)) > 1 or len(set(dilations)) > 1:
        raise Unmappable("strides and dilations must be the same in both directions")
    fields = {"stride": strides[0], "dilation": dilations[0], "groups": _attribute(proto, "group", 1)}
    fields["padding"] = tuple(_attribute(proto, "pads", [0, 0, 0, 0]))
    return _with_bias(_accumulate(reader, proto, source, _weight(weight), **fields), bias)


def _with_bias(sums: Signal, bias: list[Any]) -> Signal:
    if not bias or bias[0] is None:
        return sums
    values = bias[0]
    if isinstance(values, Weight):
        values = (values.codes * values.scale).astype(np.float32)
    if not isinstance(values, np.ndarray) or values.shape != (len(sums.scale),):
        raise Unmappable("bias must be a constant with a value for each output channel")
    offset = values.astype(np.float32)[:, None]
    return sums.then(lambda x: x + offset, [Fraction(1)] * len(offset), as_fractions(offset))


def _batch_norm(reader: Reader, proto: onnx.NodeProto) -> Any:
    source, *constants = _inputs(reader, proto)
    if not isinstance(source, Signal) or not all(isinstance(value, np.ndarray) for value in constants):
        raise Unmappable("must normalise an activation by constants; export for inference")
    gamma, beta, mean, variance = (value.astype(np.float32)[:, None] for value in constants)
    if any(len(value) != len(source.scale) for value in (gamma, beta, mean, variance)):
        raise Unmappable(f"parameters must have a value for each of {len(source.scale)} channels")
    epsilon = np.float32(_attribute(proto, "epsilon", 1e-5))
    if not (variance + epsilon > 0).all():
        raise Unmappable("variance plus epsilon must be positive; train the model anew")
    gain = (gamma / np.sqrt(variance + epsilon)).astype(np.float32)
    offset = (beta - mean * gain).astype(np.float32)
    return source.then(lambda x: x * gain + offset, as_fractions(gain), as_fractions(offset))


def _elementwise(kind: str) -> Callable[[Reader, onnx.NodeProto], Any]:
    operate = {"Mul": np.multiply, "Add": np.add, "Sub": np.subtract, "Div": np.divide, "Pow": np.power}[kind]

    def operator(reader: Reader, proto: onnx.NodeProto) -> Any:
        one, other = _inputs(reader, proto)
        if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
            if np.broadcast(one, other).size > MAX_ELEMENTS:
                raise Unmappable(f"makes a constant of more than {MAX_ELEMENTS} elements; export the model again")
            with np.errstate(all="ignore"):
                return _finite(np.asarray(operate(one, other)))
        swap = isinstance(one, np.ndarray) and kind in ("Mul", "Add")
        source, constant = (other, one) if swap else (one, other)
        if not isinstance(source, Signal) or not isinstance(constant, np.ndarray) or kind == "Pow":
            raise Unmappable("must be an activation and a constant; two activations are not supported here")
        values = _by_channel(constant, source)
        if kind == "Div" and (values == 0).any():
            raise Unmappable("divides by 0; export the model again")
        exact, ones, zeros = as_fractions(values), [Fraction(1)] * len(values), [Fraction(0)] * len(values)
        gain = {"Mul": exact, "Div": [1 / v for v in exact if v]}.get(kind, ones)
        offset = {"Add": exact, "Sub": [-v for v in exact]}.get(kind, zeros)
        return source.then(lambda x: operate(x, values), gain, offset)

    return operator


def _finite(values: Array) -> Array:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise Unmappable("makes NaN or infinity of constants; export finite values")
    return values


def _relu(reader: Reader, proto: onnx.NodeProto) -> Any:
    (source,) = _inputs(reader, proto)
    if not isinstance(source, Signal):
        raise Unmappable("must read an activation")
    return source.then(lambda x: np.maximum(x, np.float32(0)), None, None)


def _max_pool(reader: Reader, proto: onnx.NodeProto) -> Any:
    (source,) = _inputs(reader, proto)
    if not isinstance(source, Signal) or source.rank != 4 or source.steps:
        raise Unmappable("must read a quantised activation (N, C, H, W); move it behind the Quant")
    kernel, strides = _attribute(proto, "kernel_shape", []), _attribute(proto, "strides", [1, 1])
    odd = any(_attribute(proto, "pads", [])) or _attribute(proto, "ceil_mode", 0)
    odd = odd or _attribute(proto, "auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID")
    if odd or set(_attribute(proto, "dilations", [1])) != {1} or len(set(kernel)) != 1 or len(set(strides)) != 1:
        raise Unmappable("must have a square kernel, equal strides, no padding, no dilation and ceil_mode 0")
    format = reader.tensors[source.tensor].format
    output = reader.append(MaxPool, proto, source.tensor, format, kernel=kernel[0], stride=strides[0])
    return Signal(output, source.scale, 4)


def _same(reader: Reader, proto: onnx.NodeProto) -> Any:
    return _inputs(reader, proto)[0]


def _flatten(reader: Reader, proto: onnx.NodeProto) -> Any:
    source, *shape = _inputs(reader, proto)
    if not isinstance(source, Signal):
        if isinstance(source, np.ndarray) and shape:
            return source.reshape(shape[0].tolist())
        raise Unmappable("must read an activation, or a constant and a shape")
    tensor = reader.tensors[source.tensor]
    if shape and (not isinstance(shape[0], np.ndarray) or shape[0].tolist() not in _flat_shapes(tensor.elements)):
        raise Unmappable("must flatten to (N, features); other shapes are not supported")
    if not shape and _attribute(proto, "axis", 1) != 1:
        raise Unmappable("axis must be 1")
    if source.steps or (tensor.shape[1:] != (1, 1) and len(set(source.scale)) > 1):
        raise Unmappable("must read a quantised activation of one scale; move it behind the Quant")
    if tensor.shape[0] > 1 and tensor.shape[1:] != (1, 1):
        return _Flat(source.tensor, source.scale, 2)
    return Signal(source.tensor, source.scale, 2)


class _Flat(Signal):
    """A flattened image: nothing by feature may come before the dense layer."""

    def then(self, step: Any, gain: Any, offset: Any) -> Signal:
        """Refuse."""
        raise Unmappable("arithmetic between flattening and the dense layer; move it in front of Flatten")


def _flat_shapes(elements: int) -> list[list[int]]:
    return [[1, -1], [-1, elements], [1, elements], [0, -1], [0, elements]]


def _transpose(reader: Reader, proto: onnx.NodeProto) -> Any:
    (source,) = _inputs(reader, proto)
    if isinstance(source, Signal):
        raise Unmappable("transposes an activation; export channels-first")
    order = _attribute(proto, "perm", None)
    if isinstance(source, Weight):
        return Weight(source.codes.transpose(order), source.scale.transpose(order), source.bits)
    return source.transpose(order)


def _shape(reader: Reader, proto: onnx.NodeProto) -> Any:
    (source,) = _inputs(reader, proto)
    if not isinstance(source, Signal):
        raise Unmappable("must read an activation")
    shape = reader.tensors[source.tensor].shape
    whole = (1, *shape) if source.rank == 4 else (1, shape[0] * shape[1] * shape[2])
    return np.array(whole, np.int64)


def _constant_only(operate: Callable[[list[Array], onnx.NodeProto], Array]) -> Callable[[Reader, onnx.NodeProto], Any]:
    def operator(reader: Reader, proto: onnx.NodeProto) -> Any:
        values = _inputs(reader, proto)
        if not all(isinstance(value, np.ndarray) for value in values):
            raise Unmappable("is supported on constants only; do without it, or train with MixQ's own networks")
        return operate(values, proto)

    return operator


def _constant(reader: Reader, proto: onnx.NodeProto) -> Any:
    value = _attribute(proto, "value", None)
    if value is None:
        raise Unmappable("must hold a tensor in the attribute value")
    return read_tensor(value, reader.path)


def _unsqueeze(values: list[Array], proto: onnx.NodeProto) -> Array:
    axes = values[1].ravel().tolist() if len(values) > 1 else _attribute(proto, "axes", [])
    return np.expand_dims(values[0], tuple(axes))


OPERATORS: dict[str, Callable[[Reader, onnx.NodeProto], Any]] = {
    "Quant": _quant,
    "IntQuant": _quant,
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Conv": _conv,
    "BatchNormalization": _batch_norm,
    **{kind: _elementwise(kind) for kind in ("Mul", "Add", "Sub", "Div", "Pow")},
    "Relu": _relu,
    "MaxPool": _max_pool,
    "Flatten": _flatten,
    "Reshape": _flatten,
    "Identity": _same,
    "Transpose": _transpose,
    "Shape": _shape,
    "Constant": _constant,
    "Gather": _constant_only(lambda v, p: np.asarray(np.take(v[0], v[1], axis=_attribute(p, "axis", 0)))),
    "Concat": _constant_only(lambda v, p: np.concatenate(v, axis=_attribute(p, "axis", 0))),
    "Unsqueeze": _constant_only(_unsqueeze),
}
