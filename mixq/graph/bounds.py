"""Exact ranges of accumulators, from the weights that are really there."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mixq.formats import IntFormat

MAX_ACCUMULATOR_BITS = 48
"""Width of a DSP48 accumulator."""


def accumulator_bounds(
    weights: npt.ArrayLike, input_format: IntFormat, bias: npt.ArrayLike | None = None
) -> tuple[list[int], list[int]]:
    """Return the least and the greatest accumulator of every output channel, as Python ints.

    ``weights`` has the output channel as its first axis. With p the sum of a channel's positive weights, n
    of its negative ones, and inputs in low..high, the accumulator lies in
    ``p * low + n * high + bias .. p * high + n * low + bias``, and both ends occur for some input. Zero
    counts as an input code, because padding is zero and an accumulator starts there.
    """
    codes = np.asarray(weights)
    if codes.dtype.kind not in "iu":
        raise TypeError(f"weights must hold integers, not {codes.dtype}")
    if codes.ndim < 2 or codes.size == 0:
        raise ValueError(f"weights must have two or more axes, none empty, not the shape {codes.shape!r}")
    low, high = min(input_format.low, 0), max(input_format.high, 0)
    flat = codes.reshape(len(codes), -1)
    largest = max(abs(int(flat.min())), abs(int(flat.max())))
    if largest * flat.shape[1] >= 1 << 62:
        flat = flat.astype(object)
    positive = [int(value) for value in np.maximum(flat, 0).sum(axis=1)]
    negative = [int(value) for value in np.minimum(flat, 0).sum(axis=1)]
    offsets = [0] * len(flat) if bias is None else [int(value) for value in np.asarray(bias)]
    if len(offsets) != len(flat):
        raise ValueError(f"bias must have one value for each of {len(flat)} channels, not {len(offsets)!r}")
    lows = [p * low + n * high + b for p, n, b in zip(positive, negative, offsets, strict=True)]
    highs = [p * high + n * low + b for p, n, b in zip(positive, negative, offsets, strict=True)]
    return lows, highs


def accumulator_format(weights: npt.ArrayLike, input_format: IntFormat, bias: npt.ArrayLike | None = None) -> IntFormat:
    """Return the narrowest signed format (2 bits or more) of all channels' accumulators.

    ``low`` and ``high`` are the least and the greatest of :func:`accumulator_bounds`. A partial sum may
    leave that range when there is a bias; arithmetic modulo 2^width still ends at the exact sum.
    ValueError where 64 bits do not suffice; a graph takes no more than 48.

    >>> accumulator_format([[3, -2], [1, 1]], IntFormat(4, False))
    IntFormat(width=7, signed=True, low=-30, high=45)
    """
    lows, highs = accumulator_bounds(weights, input_format, bias)
    return IntFormat.for_range(min(lows), max(highs), signed=True, min_width=2)
