"""``MultiThreshold``, the quantiser of streamlined files, as thresholds of the integer graph."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from mixq.formats import IntFormat
from mixq.graph.scaling import MAX_THRESHOLDS
from mixq.graph.tensor import TENSOR_WIDTHS
from mixq.qonnx.quantising import Stairs, append_stairs
from mixq.qonnx.reader import Reader
from mixq.qonnx.staircases import staircase
from mixq.qonnx.ties import near_ties
from mixq.qonnx.values import NO_PADS, Signal, Unmappable

LAYOUTS = ("", "NCHW", "NC")


def multi_threshold(reader: Reader, proto: onnx.NodeProto) -> Signal:
    """Append ``out_scale * (number of thresholds t with x >= t) + out_bias`` as a threshold node; return its codes."""
    source, thresholds = (reader.values[name] for name in proto.input)
    given = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in proto.attribute}
    if not isinstance(source, Signal) or not isinstance(thresholds, np.ndarray):
        raise Unmappable("must compare an activation with constants; export thresholds as constants")
    _check_thresholds(source, thresholds, given.get("data_layout", b"").decode())
    rising = np.sort(thresholds, axis=1)
    height, unit, base = _levels(given.get("out_scale", 1.0), given.get("out_bias", 0.0))
    before = reader.tensors[source.tensor].format

    def counts(codes: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        return _counts(source.values(codes), rising)

    with np.errstate(over="raise", invalid="raise", divide="raise"):
        bounds, first, step = staircase(counts, len(source.scale), before.low, before.high, MAX_THRESHOLDS)
    if not source.wide:
        reader.note_ties(proto, near_ties(reader, source, counts, bounds))
    first, step = base + height * first, height * step
    ends = np.concatenate([first, first + step * bounds.shape[1]])
    format = _format(given.get("out_dtype", b"").decode(), int(ends.min()), int(ends.max()))
    scales = (unit,) * len(source.scale)
    return append_stairs(reader, proto, source, Stairs(bounds, first, step), format, scales)


def _check_thresholds(source: Signal, thresholds: npt.NDArray[Any], layout: str) -> None:
    channels = len(source.scale)
    flattened = source.flat and source.shape[1:] != (1, 1)
    if thresholds.ndim != 2 or thresholds.shape[0] not in ((1,) if flattened else (1, channels)):
        wanted = "for all features" if flattened else f"for all channels or for each of {channels}"
        raise Unmappable(f"thresholds must have the shape (channels, n), a row {wanted}, not {thresholds.shape}")
    if not 1 <= thresholds.shape[1] <= MAX_THRESHOLDS:
        raise Unmappable(
            f"must have 1 to {MAX_THRESHOLDS} thresholds in each channel, not {thresholds.shape[1]}; choose fewer bits"
        )
    if source.pads != NO_PADS:
        raise Unmappable("compares zeros that a Pad added; put the Pad behind it")
    if layout not in LAYOUTS and len(thresholds) > 1:
        raise Unmappable(f"data_layout must be NCHW or NC, not {layout}; export channels-first")


def _counts(values: npt.NDArray[Any], rising: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """How many thresholds, sorted (C, n) or (1, n), each of the values (C, m) reaches."""
    rows = np.broadcast_to(rising, (len(values), rising.shape[1]))
    return np.stack([np.searchsorted(row, own, side="right") for row, own in zip(rows, values, strict=True)])


def _levels(scale: float, bias: float) -> tuple[int, Fraction, int]:
    """The codes of ``scale * count + bias``: how high a step is, the value of code 1, and the code of count 0.

    The bias must be a multiple of half the scale, as float32 rounds it: of bipolar codes, 2 * count - 1, each second
    integer is none.
    """
    if scale == 0 or not np.isfinite([scale, bias]).all():
        raise Unmappable(f"out_scale must be finite and not 0, out_bias finite, not {scale} and {bias}")
    halves = round(2 * Fraction(bias) / Fraction(abs(scale)))
    if np.float32(abs(scale) * halves / 2) != np.float32(bias):
        raise Unmappable(f"out_bias must be a multiple of out_scale / 2, not {bias} with {scale}; round it")
    height = 2 if halves % 2 else 1
    return height if scale > 0 else -height, Fraction(abs(scale)) / height, halves * height // 2


def _format(dtype: str, low: int, high: int) -> IntFormat:
    """The width that ``out_dtype`` names, if it holds low..high; else the least that does."""
    named = re.fullmatch(r"(U?)INT([0-9]{1,2})", dtype)
    if named is not None:
        width, signed = int(named[2]), not named[1]
        if TENSOR_WIDTHS[0] <= width <= TENSOR_WIDTHS[1] and IntFormat(width, signed).contains(np.array([low, high])):
            return IntFormat(width, signed, low, high)
    return IntFormat.for_range(low, high, min_width=TENSOR_WIDTHS[0])
