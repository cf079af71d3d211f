"""Sums that an executor, whose float32 rounds each product and each addition, may round to another code than we do."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from mixq.formats import IntFormat
from mixq.graph import Add
from mixq.qonnx.reader import Reader
from mixq.qonnx.values import Array, Integers, Signal

FLOAT32_BITS = 24
SUM_ERROR = 2.0**-20
"""What a sum of float32 products may be off by, relative to it: each is rounded to 2^-24 of itself."""
PAIR_ERROR = 2.0**-22
"""The same of a sum of two, relative to both."""


def near_ties(reader: Reader, source: Signal, function: Callable[[Array], Integers], thresholds: Integers) -> int:
    """Count the codes of all channels (C, n) that begin as near to a sum as float32 may be off.

    There are none where ``source`` is no sum, nor where float32 holds every sum times the scale: then it makes no
    difference in which order products are added. Of an addition of codes all pairs are looked at, of other sums those
    next to thresholds.
    """
    format = reader.tensors[source.tensor].format
    bits = max(abs(format.low), abs(format.high)).bit_length()
    if source.coded or all(scale.numerator.bit_length() + bits <= FLOAT32_BITS for scale in source.scale):
        return 0
    near: set[tuple[int, int]] = set()
    for sums, slack in _pairs(reader, source) or _beside(thresholds, format):
        below, above = function(sums - slack), function(sums + slack)
        places = np.argwhere(below != above)
        near.update((int(channel), int(max(below[channel, n], above[channel, n]))) for channel, n in places)
    return len(near)


Block = tuple[Array, Array]
"""Sums (C, n) and what float32 may be off by there."""


def _beside(thresholds: Integers, format: IntFormat) -> Iterator[Block]:
    """Sums next to thresholds."""
    both = np.concatenate([thresholds - 1, thresholds], axis=1)
    sums = np.clip(both, format.low, format.high).astype(np.float64)
    yield sums, np.maximum(np.abs(sums), 1) * SUM_ERROR


def _pairs(reader: Reader, source: Signal) -> Iterator[Block] | None:
    """Every sum of two codes; None for sums of others."""
    writer = next((node for node in reader.nodes if node.output == source.tensor), None)
    if not isinstance(writer, Add):
        return None
    formats = [reader.tensors[name].format for name in writer.inputs]
    if len(formats) != 2 or max(format.width for format in formats) > 8:
        return None
    one, other = (np.arange(format.low, format.high + 1, dtype=np.float64) for format in formats)
    return _sums_of_pairs(one, other, writer.multipliers.astype(np.float64))


def _sums_of_pairs(one: Array, other: Array, multipliers: Array) -> Iterator[Block]:
    """Sums of every code in ``one`` with all in ``other``, one code at a time: (C, codes of the other)."""
    for code in one:
        first, second = code * multipliers[0][:, None], other * multipliers[1][:, None]
        rounded = (first != 0) & (second != 0)  # the sum of a value and 0 is the value
        yield first + second, (np.abs(first) + np.abs(second)) * rounded * PAIR_ERROR
