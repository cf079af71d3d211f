"""The end of a graph: whole numbers of the output's scale become part of its integers."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from mixq.formats import IntFormat
from mixq.graph import Conv, Dense, Requantise, accumulator_format
from mixq.graph.names import legal_name
from mixq.graph.tensor import Tensor
from mixq.qonnx.values import NO_PADS, Integers, Signal, Unmappable

if TYPE_CHECKING:
    from mixq.qonnx.reader import Reader


def finish(reader: Reader, result: Signal) -> tuple[str, tuple[float, ...]]:
    """Return the tensor whose integers times its scale, plus the offsets returned, are the model's output.

    One offset, or one for each channel. Where all are whole numbers of the scale they go into the integers instead.
    """
    gain, offset = result.affine
    if gain is None or offset is None or min(gain) <= 0 or result.moves or result.pads != NO_PADS:
        raise Unmappable(
            "must be integers times a positive scale, plus a number for each channel; put a Quant in front of it"
        )
    whole = [own / scale for own, scale in zip(offset, gain, strict=True)]
    tensor = result.tensor
    if any(offset) and all(value.denominator == 1 for value in whole):
        tensor = _with_bias(reader, result, np.array([int(value) for value in whole], np.int64))
        offset = (Fraction(0),) * len(offset)
    reader.rescale(tensor, gain)
    offsets = tuple(float(value) for value in offset)
    return tensor, offsets[:1] if len(set(offsets)) == 1 else offsets


def _with_bias(reader: Reader, result: Signal, bias: Integers) -> str:
    """Add integers to the output: in its layer where nothing else reads that, or behind it."""
    readers = [node for node in reader.nodes if result.tensor in node.reads]
    writer = next(node for node in reader.nodes if node.output == result.tensor)
    old = reader.tensors[result.tensor]
    if isinstance(writer, Conv | Dense) and not readers:
        source = reader.tensors[writer.input].format
        format = accumulator_format(writer.weights, source, bias)
        reader.nodes[reader.nodes.index(writer)] = replace(writer, bias=bias)
        reader.tensors[result.tensor] = Tensor(old.name, old.shape, format, old.scale)
        return result.tensor
    low, high = old.format.low + int(bias.min()), old.format.high + int(bias.max())
    output = reader.name(f"{result.tensor}_biased")
    name = legal_name(f"{writer.name}_bias", [node.name for node in reader.nodes])
    node = Requantise(name, result.tensor, output, multiplier=np.ones_like(bias), bias=bias, shift=0)
    reader.nodes.append(node)
    reader.tensors[output] = Tensor(output, old.shape, IntFormat.for_range(low, high, signed=True, min_width=2))
    return output
