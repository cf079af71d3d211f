"""What changes the shape of an activation: flattening, transposing, padding, joining channels, other resolutions."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import onnx

from mixq.formats import IntFormat
from mixq.graph import Concat, Requantise, SpaceToDepth, Upsample
from mixq.graph.tensor import MAX_ELEMENTS
from mixq.qonnx.arguments import attribute, constant, inputs
from mixq.qonnx.pooling import moved
from mixq.qonnx.reader import Reader
from mixq.qonnx.values import (
    CHANNELS_FIRST,
    CHANNELS_LAST,
    Signal,
    Unmappable,
    Weight,
    require_image,
    without_pads,
)


def same(reader: Reader, proto: onnx.NodeProto) -> Any:
    """``Identity``, and ``Dropout`` of a model that is no longer trained."""
    return inputs(reader, proto)[0]


def flatten(reader: Reader, proto: onnx.NodeProto) -> Any:
    """``Flatten``."""
    (source,) = inputs(reader, proto)
    if isinstance(source, np.ndarray):
        axis = attribute(proto, "axis", 1)
        return source.reshape(math.prod(source.shape[:axis]), -1)
    if not isinstance(source, Signal) or attribute(proto, "axis", 1) != 1:
        raise Unmappable("must read an activation, with axis 1")
    return _flat(source)


def reshape(reader: Reader, proto: onnx.NodeProto) -> Any:
    """``Reshape``: to (N, features), to what it was, or of constants."""
    source, target = inputs(reader, proto)
    sizes = constant(target, "shape").ravel().tolist()
    if isinstance(source, np.ndarray):
        return source.reshape(sizes)
    if not isinstance(source, Signal):
        raise Unmappable("reshapes a quantised constant; reshape it in front of its Quant")
    before, after = source.file_shape, _resolved(sizes, source.file_shape)
    if after == before:
        return source
    if after == (1, math.prod(before)):
        return _flat(source)
    if source.flat and (1, *source.shape) == after and source.axes == CHANNELS_FIRST:
        return replace(source, flat=False)
    raise Unmappable(f"must flatten {before} to (N, features), not to {sizes}; do without other shapes")


def _resolved(sizes: list[int], before: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that a Reshape means, of one frame."""
    whole = [before[place] if size == 0 else size for place, size in enumerate(sizes)]
    # The first axis counts frames, here one: -1 for it says nothing of the others.
    rest = math.prod(size for size in whole if size != -1)
    return tuple(math.prod(before) // rest if size == -1 and rest else size for size in whole)


def squeeze(reader: Reader, proto: onnx.NodeProto) -> Any:
    """``Squeeze`` of the rows and columns of an image of one pixel, or of constants."""
    source, *given = inputs(reader, proto)
    axes = tuple(constant(given[0], "axes").ravel().tolist() if given else attribute(proto, "axes", []))
    if isinstance(source, np.ndarray):
        return source.squeeze(axes or None)
    if not isinstance(source, Signal) or source.flat or source.shape[1:] != (1, 1):
        raise Unmappable("must read an activation (N, C, 1, 1); flatten instead")
    if {source.axes[axis] for axis in axes} != {2, 3}:
        raise Unmappable("must leave out rows and columns alone")
    return _flat(source)


def _flat(source: Signal) -> Signal:
    if source.moves:
        raise Unmappable("flattens an activation that is not quantised; put a Quant in front of it")
    return replace(without_pads(source), flat=True)


def transpose(reader: Reader, proto: onnx.NodeProto) -> Any:
    """``Transpose``: of activations it only tells which axis is which."""
    (source,) = inputs(reader, proto)
    order = attribute(proto, "perm", None)
    if not isinstance(source, Signal):
        return source.transpose(order)
    if source.flat or order is None or sorted(order) != [0, 1, 2, 3] or order[0] != 0:
        raise Unmappable("must reorder the axes of an activation (N, C, H, W), the first kept")
    return replace(source, axes=tuple(source.axes[axis] for axis in order))


def channels_last(operator: Any) -> Any:
    """Return an operator on channels-last pixels, of qonnx's domain for them, that another does channels-first."""

    def wrapped(reader: Reader, proto: onnx.NodeProto) -> Any:
        source, *others = proto.input
        value = reader.values[source]
        if not isinstance(value, Signal) or value.flat or value.axes != CHANNELS_LAST:
            raise Unmappable("must read an activation (N, H, W, C); transpose in front of it")
        given: dict[str, Any] = {source: replace(value, axes=CHANNELS_FIRST)}
        if proto.op_type == "Conv":
            weight = reader.values[others[0]]
            if not isinstance(weight, Weight) or weight.codes.ndim != 4:
                raise Unmappable("weights must be a constant behind a Quant; quantise them")
            given[others[0]] = weight.transpose((0, 3, 1, 2))
        kept = {name: reader.values[name] for name in given}
        reader.values.update(given)
        try:
            result = operator(reader, proto)
        finally:
            reader.values.update(kept)
        return replace(result, axes=CHANNELS_LAST)

    return wrapped


def pad(reader: Reader, proto: onnx.NodeProto) -> Any:
    """``Pad`` with zeros around the image, which the Conv behind it takes as its padding."""
    source, *given = inputs(reader, proto)
    if not isinstance(source, Signal) or source.flat:
        raise Unmappable("must pad an activation (N, C, H, W)")
    if attribute(proto, "mode", b"constant") != b"constant":
        raise Unmappable("mode must be constant; pad with zeros")
    value = given[1] if len(given) > 1 and given[1] is not None else np.float32(attribute(proto, "value", 0.0))
    if np.any(np.asarray(value) != 0):
        raise Unmappable("must pad with zeros")
    sizes = constant(given[0], "pads").ravel().tolist() if given else list(attribute(proto, "pads", []))
    axes = constant(given[2], "axes").ravel().tolist() if len(given) > 2 else [0, 1, 2, 3]
    if len(sizes) != 2 * len(axes) or min(sizes) < 0:
        raise Unmappable("must have two pads for each axis, none negative")
    begins = {source.axes[axis]: size for axis, size in zip(axes, sizes[: len(axes)], strict=True)}
    ends = {source.axes[axis]: size for axis, size in zip(axes, sizes[len(axes) :], strict=True)}
    if any(begins.get(axis, 0) or ends.get(axis, 0) for axis in (0, 1)):
        raise Unmappable("must pad rows and columns alone, not channels")
    if source.moves:
        raise Unmappable("pads what is not quantised; put a Quant in front of it")
    added = (begins.get(2, 0), begins.get(3, 0), ends.get(2, 0), ends.get(3, 0))
    top, left, bottom, right = (own + more for own, more in zip(source.pads, added, strict=True))
    return replace(source, pads=(top, left, bottom, right))


def concat(reader: Reader, proto: onnx.NodeProto) -> Any:
    """``Concat`` of the channels of quantised activations, or of constants."""
    values = inputs(reader, proto)
    axis = attribute(proto, "axis", 0)
    if all(isinstance(value, np.ndarray) for value in values):
        if sum(value.size for value in values) > MAX_ELEMENTS:
            raise Unmappable(f"makes a constant of more than {MAX_ELEMENTS} elements; export the model again")
        return np.concatenate(values, axis=axis)
    if not all(isinstance(value, Signal) for value in values):
        raise Unmappable("must join activations alone, or constants alone")
    signals = [without_pads(value) for value in values]
    if any(not signal.is_codes for signal in signals):
        raise Unmappable("joins an activation that is not quantised; put a Quant in front of each input")
    first = signals[0]
    if any((signal.axes, signal.flat) != (first.axes, first.flat) for signal in signals):
        raise Unmappable("inputs must have their axes in one order")
    if (1 if first.flat else first.axes[axis]) != 1 or (first.flat and axis not in (1, -1)):
        raise Unmappable("must join channels; other axes are not supported")
    if first.flat and any(signal.shape[1:] != (1, 1) for signal in signals):
        raise Unmappable("joins flattened images; join them in front of Flatten")
    if len(signals) == 1:
        return first
    formats = [reader.tensors[signal.tensor].format for signal in signals]
    low, high = min(format.low for format in formats), max(format.high for format in formats)
    common = formats[0] if len(set(formats)) == 1 else IntFormat.for_range(low, high, min_width=2)
    tensors = tuple(_widened(reader, proto, signal, common) for signal in signals)
    output = reader.join(Concat, proto, tensors)
    scales = tuple(scale for signal in signals for scale in signal.scale)
    return replace(first, tensor=output, shape=reader.tensors[output].shape, scale=scales)


def _widened(reader: Reader, proto: onnx.NodeProto, signal: Signal, format: IntFormat) -> str:
    """The tensor of a signal in another format, which holds all of its codes."""
    if reader.tensors[signal.tensor].format == format:
        return signal.tensor
    channels = signal.shape[0]
    ones, zeros = np.ones(channels, np.int64), np.zeros(channels, np.int64)
    output = reader.append(Requantise, proto, signal.tensor, format, multiplier=ones, bias=zeros, shift=0)
    reader.rescale(output, signal.scale)
    return output


def space_to_depth(reader: Reader, proto: onnx.NodeProto) -> Any:
    """``SpaceToDepth``; the graph's node has the same order of channels."""
    source = without_pads(require_image(inputs(reader, proto)[0]))
    if not source.is_codes:
        raise Unmappable("reads an activation that is not quantised; put a Quant in front of it")
    block = attribute(proto, "blocksize", 0)
    format = reader.tensors[source.tensor].format
    output = reader.append(SpaceToDepth, proto, source.tensor, format, block=block)
    scales = source.scale * block**2
    return replace(source, tensor=output, shape=reader.tensors[output].shape, scale=scales)


def resize(reader: Reader, proto: onnx.NodeProto) -> Any:
    """``Resize`` and ``Upsample``: each pixel several times."""
    source, *given = inputs(reader, proto)
    if not isinstance(source, Signal) or source.flat:
        raise Unmappable("must read an activation (N, C, H, W)")
    without_pads(source)
    before = source.file_shape
    if source.moves:
        raise Unmappable("reads an activation that is not quantised; put a Quant in front of it")
    if attribute(proto, "mode", b"nearest") != b"nearest":
        raise Unmappable("mode must be nearest; other interpolation is not supported")
    if len(given) > 2 and given[2] is not None and np.size(given[2]):
        sizes = constant(given[2], "sizes").ravel().tolist()
        scales = [size / own for size, own in zip([1, *sizes[1:]], before, strict=True)]
    else:
        scales = constant(given[1] if len(given) > 1 else given[0], "scales").ravel().tolist()
    by_axis = dict(zip(source.axes, scales, strict=True))
    factor = by_axis[2]
    if [by_axis[axis] for axis in CHANNELS_FIRST] != [1, 1, factor, factor] or factor != int(factor):
        raise Unmappable(f"must repeat rows and columns a whole number of times, not {scales}")
    if proto.op_type == "Resize" and not _repeats(proto, int(factor)):
        raise Unmappable(
            "must pick pixel i / factor, rounded down; export with coordinate_transformation_mode asymmetric, floor"
        )
    return source if factor == 1 else moved(reader, proto, source, Upsample, factor=int(factor))


_COORDINATES = {
    b"asymmetric": lambda place, factor: place / factor,
    b"half_pixel": lambda place, factor: (place + 0.5) / factor - 0.5,
    b"pytorch_half_pixel": lambda place, factor: (place + 0.5) / factor - 0.5,
}
_NEAREST = {
    b"floor": math.floor,
    b"ceil": math.ceil,
    b"round_prefer_floor": lambda place: math.ceil(place - 0.5),
    b"round_prefer_ceil": lambda place: math.floor(place + 0.5),
}


def _repeats(proto: onnx.NodeProto, factor: int) -> bool:
    """Whether the nearest pixel of place i is i / factor, rounded down, in every image."""
    coordinate = _COORDINATES.get(attribute(proto, "coordinate_transformation_mode", b"half_pixel"))
    nearest = _NEAREST.get(attribute(proto, "nearest_mode", b"round_prefer_floor"))
    if coordinate is None or nearest is None:
        return False
    return all(min(max(nearest(coordinate(i, factor)), 0), 2) == i // factor for i in range(3 * factor))
