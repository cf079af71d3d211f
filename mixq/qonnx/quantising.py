"""Quantisers of constants and of activations: Quant, IntQuant, BipolarQuant, Trunc."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import onnx

from mixq.formats import IntFormat
from mixq.graph import Requantise, Threshold
from mixq.graph.scaling import MAX_THRESHOLDS
from mixq.qonnx.arguments import attribute, constant, inputs, rounding, whole_number
from mixq.qonnx.exact_layers import is_identity
from mixq.qonnx.quantisers import ROUNDINGS, AnyQuantiser, BipolarQuantiser, Quantiser, Truncation, limits
from mixq.qonnx.reader import Reader
from mixq.qonnx.staircases import requantisation, staircase
from mixq.qonnx.ties import near_ties
from mixq.qonnx.values import NO_PADS, Array, Floats, Integers, Signal, Unmappable, Weight, as_fractions, by_channel

CONSTANT_BITS = 32
"""Most bits of a quantised constant; weights have fewer, biases may have all."""
SIGNAL_BITS = 8


def quant(reader: Reader, proto: onnx.NodeProto) -> Any:
    """``Quant`` and ``IntQuant``."""
    source, scale, zero, bits = inputs(reader, proto)
    checked_scale(scale)
    _check_zero(zero)
    signed = bool(attribute(proto, "signed", 1))
    width, most = whole_number(bits, "bit width"), SIGNAL_BITS if isinstance(source, Signal) else CONSTANT_BITS
    if not 1 <= width <= most:
        raise Unmappable(f"bit width must be one whole number, 1 to {most}, not {width}; choose another")
    mode = rounding(proto, "ROUND", ROUNDINGS)
    if width == 1 and signed:
        return _quantised(reader, proto, source, BipolarQuantiser(scale))
    quantiser = Quantiser(scale, width, signed, bool(attribute(proto, "narrow", 0)), mode)
    return _quantised(reader, proto, source, quantiser)


def bipolar_quant(reader: Reader, proto: onnx.NodeProto) -> Any:
    """``BipolarQuant``."""
    source, scale = inputs(reader, proto)
    return _quantised(reader, proto, source, BipolarQuantiser(checked_scale(scale)))


def trunc(reader: Reader, proto: onnx.NodeProto) -> Any:
    """``Trunc`` in both versions: with a width of the output alone, or with its scale, too."""
    source, scale, zero, in_bits, *rest = inputs(reader, proto)
    if not isinstance(source, Signal) or source.moves:
        raise Unmappable("must truncate sums of an activation")
    _check_zero(zero)
    own, mode = by_channel(checked_scale(scale), source), rounding(proto, "FLOOR", ROUNDINGS)
    bits = whole_number(rest[-1], "output bit width")
    if not 1 <= bits <= SIGNAL_BITS:
        raise Unmappable(f"output bit width must be 1 to {SIGNAL_BITS}, not {bits}; choose another")
    if len(rest) == 2:
        after = by_channel(checked_scale(rest[0]), source)
        divisor = (2 ** np.round(np.log2(after / own))).astype(np.float32)
        signed = bool(attribute(proto, "signed", 1))
        ends = limits(bits, signed, bool(attribute(proto, "narrow", 0)))
        return quantise(reader, proto, source, Truncation(own, divisor, mode, ends, signed, bits), after)
    power = 2.0 ** (whole_number(in_bits, "input bit width") - bits)
    divisor = np.full_like(own, power)
    wide = Truncation(own, divisor, mode, (-(1 << 31), 1 << 31), True, 64)
    before = reader.tensors[source.tensor].format
    reach = wide.codes(source.values(np.array([[before.low, before.high]] * len(own), np.int64)), own)
    signed = bool(reach.min() < 0)
    ends = limits(bits, signed, False)
    if reach.min() < ends[0] or reach.max() > ends[1]:
        raise Unmappable(f"makes codes {reach.min()}..{reach.max()}, not of {bits} bits; put a Quant in its place")
    return quantise(reader, proto, source, Truncation(own, divisor, mode, ends, signed, bits), own)


def checked_scale(scale: Any) -> Array:
    """Return a scale, a positive float32 constant."""
    values: Array = constant(scale, "scale")
    if values.dtype != np.float32 or not (values > 0).all():
        raise Unmappable("scale must be positive float32; train the scale anew")
    return values


def _check_zero(zero: Any) -> None:
    if np.any(constant(zero, "zero point") != 0):
        raise Unmappable("zero point must be 0; quantise symmetrically")


def _quantised(reader: Reader, proto: onnx.NodeProto, source: Any, quantiser: Quantiser | BipolarQuantiser) -> Any:
    if isinstance(source, Signal):
        return quantise(reader, proto, source, quantiser, by_channel(quantiser.scale, source))
    if not isinstance(source, np.ndarray) or source.dtype != np.float32:
        raise Unmappable("quantises a constant that is quantised already, or not float32; quantise once")
    everywhere = np.broadcast_to(quantiser.scale, source.shape)
    unsigned = isinstance(quantiser, Quantiser) and not quantiser.signed
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        codes = quantiser.codes(source, everywhere)
    return Weight(codes, everywhere, quantiser.bits + unsigned)


def quantise(reader: Reader, proto: onnx.NodeProto, source: Signal, quantiser: AnyQuantiser, scale: Floats) -> Signal:
    """Append what makes codes of an activation, of ``scale`` (C, 1): a requantisation where that is exact."""
    if source.pads != NO_PADS and isinstance(quantiser, BipolarQuantiser):
        raise Unmappable("makes 1 of zeros that a Pad added; put the Pad behind it")
    scales = tuple(as_fractions(scale))
    if isinstance(quantiser, Quantiser) and not source.steps:
        known = _known_codes(reader, source, quantiser, scales)
        if known is not None:
            return known
    before = reader.tensors[source.tensor].format
    spacing, lowest = quantiser.spacing, quantiser.format.low

    def positions(codes: Integers) -> Integers:
        return (quantiser.codes(source.values(codes), scale) - lowest) // spacing

    with np.errstate(over="raise", invalid="raise", divide="raise"):
        thresholds, first, step = staircase(positions, len(scales), before.low, before.high, MAX_THRESHOLDS)
    first, step = first * spacing + lowest, step * spacing
    # A stair that no sum reaches must be a code, too.
    step = np.where(first + step * thresholds.shape[1] > quantiser.format.high, -step, step)
    if not source.moves and is_identity(before, thresholds, first, step):
        return replace(source, scale=scales, coded=True, steps=(), gain=None, offset=None, raw=False)
    reader.note_ties(proto, near_ties(reader, source, positions, thresholds))
    return append_stairs(reader, proto, source, Stairs(thresholds, first, step), quantiser.format, scales)


class Stairs(NamedTuple):
    """``first + step * (number of thresholds reached)`` by channel: (C, n), (C,) and (C,)."""

    thresholds: Integers
    first: Integers
    step: Integers


def append_stairs(
    reader: Reader,
    proto: onnx.NodeProto,
    source: Signal,
    stairs: Stairs,
    format: IntFormat,
    scales: tuple[Fraction, ...],
) -> Signal:
    """Append a staircase of a signal's integers, as a requantisation where it is one, and then its moves."""
    before = reader.tensors[source.tensor].format
    fitted = requantisation(*stairs, before, format) if (abs(stairs.step) == 1).all() else None
    if fitted is not None:
        multiplier, bias, shift = fitted
        fields = {"multiplier": multiplier, "bias": bias, "shift": shift}
        output = reader.append(Requantise, proto, source.tensor, format, **fields)
    else:
        output = reader.append(Threshold, proto, source.tensor, format, **stairs._asdict())
    reader.rescale(output, scales)
    for move in source.moves:
        output = reader.append(move.kind, proto, output, format, **dict(move.fields))
    shape = reader.tensors[output].shape
    return Signal(output, shape, scales, True, source.axes, source.flat, source.pads, wide=source.wide)


def _known_codes(reader: Reader, source: Signal, quantiser: Quantiser, scales: tuple[Fraction, ...]) -> Signal | None:
    """The signal itself where it has these codes already: the graph's input becomes them."""
    if source.raw and reader.input_open:
        reader.set_input(quantiser.format, scales)
    if source.raw and reader.input_scale is not None:
        if (reader.tensors[reader.input].format, reader.input_scale) != (quantiser.format, scales):
            raise Unmappable("quantises the model's input in another way than a node before it; quantise it once")
        return replace(source, scale=scales, raw=False)
    same = reader.tensors[source.tensor].format == quantiser.format and source.scale == scales
    return source if same and source.is_codes else None
