"""What the integers of a graph mean, node by node. It stands here once.

The converted PyTorch model and the generated hardware are tested equal to it.

* convolution: cross-correlation (no flipped kernel), zero padding, raw accumulators plus bias;
* dense: inputs flattened in the order channel, row, column;
* requantise: ``clamp((x * multiplier + bias + 2^(T-1)) >> T, low, high)``, the shift rounding to minus
  infinity and the added half making that "round half up"; no half for T = 0;
* threshold: ``first + step * (number of thresholds t with x >= t)``;
* max-pooling and sum-pooling: no padding, incomplete windows left out;
* space-to-depth: channel ``(row offset * block + column offset) * C + c``;
* upsampling: nearest neighbour; addition: weighted sums; concatenation: of channels.

Matrix products run in floating point where that is exact: all partial sums of integers that stay within
2^24 are exact in float32, within 2^53 in float64, in whatever order the library adds them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mixq.formats import IntFormat
from mixq.graph import (
    Add,
    Concat,
    Conv,
    Dense,
    MaxPool,
    Node,
    Requantise,
    SpaceToDepth,
    SumPool,
    Threshold,
    Upsample,
)

Codes = npt.NDArray[np.int64]

# Elements of the unfolded windows of a convolution that are there at a time.
_COLUMN_ELEMENTS = 1 << 22


def compute(node: Node, codes: Sequence[Codes], sources: Sequence[IntFormat], target: IntFormat) -> Codes:
    """Return what a node makes of its inputs' codes, int64 (N, C, H, W) each, of these formats.

    Nothing is checked: :mod:`mixq.execute` does. TypeError for a kind of node that is not known.
    """
    match node:
        case Conv():
            return _conv(node, codes[0], sources[0])
        case Dense():
            return _dense(node, codes[0], sources[0])
        case Requantise():
            return _requantise(node, codes[0], sources[0], target)
        case Threshold():
            return _threshold(node, codes[0])
        case MaxPool():
            return _max_pool(node, codes[0])
        case SumPool():
            return _sum_pool(node, codes[0])
        case SpaceToDepth():
            return _space_to_depth(node, codes[0])
        case Upsample():
            return codes[0].repeat(node.factor, axis=2).repeat(node.factor, axis=3)
        case Add():
            return _add(node, codes)
        case Concat():
            return np.concatenate(codes, axis=1)
    raise TypeError(f"node must be of a kind that the interpreter knows, not {node!r}")


def _exact_dtype(weights: Codes, source: IntFormat) -> np.dtype[Any]:
    """Return the quickest type in which no sum of any of the products can be rounded.

    A graph's accumulators have at most 48 bits, so float64 always does.
    """
    largest = max(abs(source.low), abs(source.high))
    bound = int(np.abs(weights).reshape(len(weights), -1).sum(axis=1).max()) * largest
    return np.dtype(np.float32 if bound <= 1 << 24 else np.float64)


def _conv(node: Conv, codes: Codes, source: IntFormat) -> Codes:
    dtype = _exact_dtype(node.weights, source)
    groups, taps = node.groups, node.weights[0].size
    # (groups, taps, C_out / groups): a block of channels is a matrix product of its own.
    matrices = node.weights.reshape(groups, -1, taps).transpose(0, 2, 1).astype(dtype)
    top, left, bottom, right = node.sides
    padded = np.pad(codes.astype(dtype), ((0, 0), (0, 0), (top, bottom), (left, right)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (node.extent, node.extent), axis=(2, 3))
    windows = windows[:, :, :: node.stride, :: node.stride, :: node.dilation, :: node.dilation].transpose(
        0, 2, 3, 1, 4, 5
    )
    frames, height, width = windows.shape[:3]
    result = np.empty((frames, len(node.weights), height, width), dtype=np.int64)
    for part in _parts(frames, height, width * groups * taps):
        sizes = windows[part].shape[:3]
        columns = windows[part].reshape(-1, groups, taps).transpose(1, 0, 2)
        sums = (columns @ matrices).transpose(1, 0, 2).reshape(*sizes, -1)
        result[part[0], :, part[1]] = sums.transpose(0, 3, 1, 2)
    if node.bias is not None:
        result += node.bias[:, None, None]
    return result


def _parts(frames: int, rows: int, row_elements: int) -> Iterator[tuple[slice, slice]]:
    """Cut frames x rows into blocks of bounded memory: several whole frames, or some rows of one."""
    frames_at_once = max(1, _COLUMN_ELEMENTS // (rows * row_elements))
    rows_at_once = max(1, _COLUMN_ELEMENTS // row_elements) if frames_at_once == 1 else rows
    for frame in range(0, frames, frames_at_once):
        for row in range(0, rows, rows_at_once):
            yield slice(frame, frame + frames_at_once), slice(row, row + rows_at_once)


def _dense(node: Dense, codes: Codes, source: IntFormat) -> Codes:
    dtype = _exact_dtype(node.weights, source)
    sums = codes.reshape(len(codes), -1).astype(dtype) @ node.weights.T.astype(dtype)
    result = sums.astype(np.int64)
    if node.bias is not None:
        result += node.bias
    return result[:, :, None, None]


def _requantise(node: Requantise, codes: Codes, source: IntFormat, target: IntFormat) -> Codes:
    half = 1 << (node.shift - 1) if node.shift else 0
    factors = node.multiplier[:, None, None]
    if _fits_int64(node, source, half):
        scaled = codes * factors
        scaled += (node.bias + half)[:, None, None]
        scaled >>= node.shift
        return np.clip(scaled, target.low, target.high, out=scaled)
    # Python's integers have no width; NumPy calls them element by element, slow but exact.
    exact = codes.astype(object) * factors.astype(object) + (node.bias.astype(object) + half)[:, None, None]
    return np.clip(exact >> node.shift, target.low, target.high).astype(np.int64)


def _fits_int64(node: Requantise, source: IntFormat, half: int) -> bool:
    """Whether no intermediate value of any code of the format leaves int64."""
    steps: list[int] = []
    for factor, offset in zip(node.multiplier.tolist(), node.bias.tolist(), strict=True):
        steps.append(offset + half)
        for product in (source.low * factor, source.high * factor):
            steps += (product, product + offset + half)
    limits = np.iinfo(np.int64)
    return limits.min <= min(steps) and max(steps) <= limits.max


def _max_pool(node: MaxPool, codes: Codes) -> Codes:
    height, width = ((axis - node.kernel) // node.stride + 1 for axis in codes.shape[2:])
    views = [
        codes[:, :, row :: node.stride, column :: node.stride][:, :, :height, :width]
        for row in range(node.kernel)
        for column in range(node.kernel)
    ]
    return functools.reduce(np.maximum, views)


def _threshold(node: Threshold, codes: Codes) -> Codes:
    result = np.empty_like(codes)
    for channel, (bounds, first, step) in enumerate(zip(node.thresholds, node.first, node.step, strict=True)):
        reached = np.searchsorted(bounds, codes[:, channel], side="right")
        result[:, channel] = first + step * reached
    return result


def _sum_pool(node: SumPool, codes: Codes) -> Codes:
    rows, columns = node.window
    frames, channels, height, width = codes.shape
    height, width = height // rows, width // columns
    whole = codes[:, :, : height * rows, : width * columns]
    sums: Codes = whole.reshape(frames, channels, height, rows, width, columns).sum(axis=(3, 5))
    return sums


def _space_to_depth(node: SpaceToDepth, codes: Codes) -> Codes:
    block = node.block
    frames, channels, height, width = codes.shape
    split = codes.reshape(frames, channels, height // block, block, width // block, block)
    return split.transpose(0, 3, 5, 1, 2, 4).reshape(frames, -1, height // block, width // block)


def _add(node: Add, codes: Sequence[Codes]) -> Codes:
    # No sum leaves int64, nor any part of it: bounds of parts add up to those of the sum, which has 62 bits at most.
    terms = (values * factors[:, None, None] for values, factors in zip(codes, node.multipliers, strict=True))
    return functools.reduce(np.add, terms)
