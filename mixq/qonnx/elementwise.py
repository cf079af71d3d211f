"""Arithmetic element by element: with constants, of two activations, and rising functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import onnx

from mixq.graph import Add
from mixq.graph.tensor import MAX_ELEMENTS
from mixq.qonnx.arguments import attribute, constant, inputs
from mixq.qonnx.reader import Reader
from mixq.qonnx.values import Array, Signal, Unmappable, as_floats, as_fractions, by_channel, without_pads
from mixq.qonnx.weighted import biased

MAX_MULTIPLIER_BITS = 40
"""Widest multiplier of an addition; the sums then fit the graph's 62 bits."""

OPERATIONS = {"Mul": np.multiply, "Add": np.add, "Sub": np.subtract, "Div": np.divide, "Pow": np.power}


def batch_norm(reader: Reader, proto: onnx.NodeProto) -> Any:
    """``BatchNormalization`` by constants."""
    source, *given = inputs(reader, proto)
    constants = [as_floats(value) for value in given]
    if not isinstance(source, Signal) or not all(isinstance(value, np.ndarray) for value in constants):
        raise Unmappable("must normalise an activation by constants; export for inference")
    if source.flat and source.shape[1:] != (1, 1):
        raise Unmappable("normalises each feature of a flattened image; move it in front of Flatten")
    if not source.flat and source.axes[1] != 1:
        raise Unmappable("normalises another axis than channels; transpose to (N, C, H, W) in front of it")
    gamma, beta, mean, variance = (value.astype(np.float32)[:, None] for value in constants)
    if any(len(value) != len(source.scale) for value in (gamma, beta, mean, variance)):
        raise Unmappable(f"parameters must have a value for each of {len(source.scale)} channels")
    epsilon = np.float32(attribute(proto, "epsilon", 1e-5))
    if not (variance + epsilon > 0).all():
        raise Unmappable("variance plus epsilon must be positive; train the model anew")
    gain = (gamma / np.sqrt(variance + epsilon)).astype(np.float32)
    offset = (beta - mean * gain).astype(np.float32)
    return source.then(lambda x: x * gain + offset, as_fractions(gain), as_fractions(offset))


def elementwise(kind: str) -> Callable[[Reader, onnx.NodeProto], Any]:
    """``Mul``, ``Add``, ``Sub``, ``Div``, ``Pow``."""
    operate = OPERATIONS[kind]

    def operator(reader: Reader, proto: onnx.NodeProto) -> Any:
        one, other = inputs(reader, proto)
        if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
            if np.broadcast(one, other).size > MAX_ELEMENTS:
                raise Unmappable(f"makes a constant of more than {MAX_ELEMENTS} elements; export the model again")
            with np.errstate(all="ignore"):
                return _finite(np.asarray(operate(one, other)))
        if isinstance(one, Signal) and isinstance(other, Signal) and kind in ("Add", "Sub"):
            return _joined(reader, proto, one, other, 1 if kind == "Add" else -1)
        swap = isinstance(other, Signal) and kind in ("Mul", "Add")
        source, bias = (other, one) if swap else (one, other)
        values = as_floats(bias)
        if not isinstance(source, Signal) or not isinstance(values, np.ndarray) or kind == "Pow":
            raise Unmappable("must be an activation and a constant; of two activations only Add and Sub are read")
        if kind == "Add":
            return biased(source, bias, by_channel(values, source))
        return _with_constant(source, kind, operate, by_channel(values, source))

    return operator


def _with_constant(source: Signal, kind: str, operate: Any, values: Array) -> Signal:
    if kind == "Div" and (values == 0).any():
        raise Unmappable("divides by 0; export the model again")
    exact, ones, zeros = as_fractions(values), [Fraction(1)] * len(values), [Fraction(0)] * len(values)
    gain = {"Mul": exact, "Div": [1 / v for v in exact if v]}.get(kind, ones)
    offset = [-v for v in exact] if kind == "Sub" else zeros
    return source.then(lambda x: operate(x, values), gain, offset)


def _finite(values: Array) -> Array:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise Unmappable("makes NaN or infinity of constants; export finite values")
    return values


def _joined(reader: Reader, proto: onnx.NodeProto, one: Signal, other: Signal, sign: int) -> Signal:
    """Append an addition of two activations with the integers that bring them to one scale, by channel."""
    pair = (without_pads(one), without_pads(other))
    if one.wide != other.wide:
        raise Unmappable("adds float32 and float64; export both inputs with one type")
    if one.moves or other.moves or any(signal.affine[0] is None for signal in pair):
        raise Unmappable("adds an activation that is not quantised; put a Quant in front of each input")
    if one.file_shape != other.file_shape or one.shape != other.shape or one.axes != other.axes:
        raise Unmappable(f"inputs must be of one shape, not {one.file_shape} and {other.file_shape}")
    gains = [[factor * gain for gain in signal.affine[0] or ()] for signal, factor in zip(pair, (1, sign), strict=True)]
    offsets = [signal.affine[1] or () for signal in pair]
    scales = tuple(_common(first, second) for first, second in zip(*gains, strict=True))
    factors = [[int(gain / scale) for gain, scale in zip(row, scales, strict=True)] for row in gains]
    if max(abs(factor) for row in factors for factor in row) >= 1 << MAX_MULTIPLIER_BITS:
        raise Unmappable("the inputs' scales have no common divisor; put Quants of one scale in front of both")
    output = reader.join(Add, proto, (one.tensor, other.tensor), multipliers=np.array(factors, np.int64))
    reader.rescale(output, scales)
    result = Signal(output, one.shape, scales, False, one.axes, one.flat, wide=one.wide)
    exact = [first + sign * second for first, second in zip(*offsets, strict=True)]
    if not any(exact):
        return result
    added = np.array([float(value) for value in exact]).astype(result.dtype)[:, None]
    return result.then(lambda x: x + added, [Fraction(1)] * len(exact), exact)


def _common(one: Fraction, other: Fraction) -> Fraction:
    """The greatest number of which both are whole multiples; 1 for whole numbers, so that all channels have one."""
    if one.denominator == other.denominator == 1:
        return Fraction(1)
    bottom = math.lcm(one.denominator, other.denominator)
    return Fraction(math.gcd(int(one * bottom), int(other * bottom)), bottom) or Fraction(1)


def relu(reader: Reader, proto: onnx.NodeProto) -> Any:
    """``Relu``."""
    return _rising(_activation(reader, proto), lambda x: np.maximum(x, np.float32(0)))


def leaky_relu(reader: Reader, proto: onnx.NodeProto) -> Any:
    """``LeakyRelu``."""
    slope = np.float32(attribute(proto, "alpha", 0.01))
    if slope < 0:
        raise Unmappable(f"alpha must not be negative, not {slope}; train another slope")
    return _rising(_activation(reader, proto), lambda x: np.where(x >= 0, x, slope * x))


def clip(reader: Reader, proto: onnx.NodeProto) -> Any:
    """``Clip``, with its limits as inputs or, in old files, attributes."""
    source, *ends = inputs(reader, proto)
    if not isinstance(source, Signal):
        raise Unmappable("must read an activation")
    given = [constant(end, "limit").ravel()[0] if end is not None else None for end in ends]
    low, high = (*given, None, None)[:2]
    low = attribute(proto, "min", -np.inf) if low is None else low
    high = attribute(proto, "max", np.inf) if high is None else high
    return _rising(source, lambda x: np.minimum(np.maximum(x, np.float32(low)), np.float32(high)))


def _activation(reader: Reader, proto: onnx.NodeProto) -> Signal:
    source = inputs(reader, proto)[0]
    if not isinstance(source, Signal):
        raise Unmappable("must read an activation")
    return source


def _rising(source: Signal, step: Any) -> Signal:
    return replace(source.then(step, None, None), gain=None, offset=None)
