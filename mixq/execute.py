"""The interpreter: runs an integer graph on integer codes, exactly.

Here stands, once, what the integers of a graph mean; the converted PyTorch model and the generated hardware
are tested equal to it.

* convolution: cross-correlation (no flipped kernel), zero padding, raw accumulators plus bias;
* dense: inputs flattened in the order channel, row, column;
* requantise: ``clamp((x * multiplier + bias + 2^(T-1)) >> T, low, high)``, the shift rounding to minus
  infinity and the added half making that "round half up"; no half for T = 0;
* max-pooling: no padding, incomplete windows left out.

Matrix products run in floating point where that is exact: all partial sums of integers that stay within
2^24 are exact in float32, within 2^53 in float64, in whatever order the library adds them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from mixq.errors import UserError
from mixq.formats import IntFormat
from mixq.graph import Conv, Dense, Graph, MaxPool, Node, Requantise

Codes = npt.NDArray[np.int64]

# Elements of the largest tensor in a batch of frames, and of the unfolded windows of a convolution.
_BATCH_ELEMENTS = 1 << 23
_COLUMN_ELEMENTS = 1 << 22


def run(graph: Graph, codes: npt.ArrayLike, *, progress: Callable[[int], None] | None = None) -> npt.NDArray[np.int64]:
    """Return the graph's output (N, C, H, W), int64, for input ``codes``, integers (N, C, H, W).

    Frames are independent and run in batches of bounded memory; ``progress`` is called after each batch
    with the number of frames done. Dense outputs have the shape (N, C, 1, 1). UserError when the codes are
    no integers, of another shape than the graph's input, or outside its format.
    """
    checked = checked_input(graph, codes)
    result = np.empty((len(checked), *graph.tensor(graph.output).shape), dtype=np.int64)
    for frames in _batches(graph, len(checked)):
        values = {graph.input: checked[frames].astype(np.int64)}
        for position, node in enumerate(graph.nodes):
            values[node.output] = _apply(graph, node, values[node.input])
            read_later = {later.input for later in graph.nodes[position + 1 :]} | {graph.output}
            for name in values.keys() - read_later:
                del values[name]
        result[frames] = values[graph.output]
        if progress is not None:
            progress(frames.stop)
    return result


def run_all(graph: Graph, codes: npt.ArrayLike) -> dict[str, npt.NDArray[np.int64]]:
    """Return every tensor (N, C, H, W), int64, by name, the input's codes included; else as :func:`run`.

    All of them are held in memory: about 8 bytes for each element of each frame.
    """
    checked = checked_input(graph, codes)
    tensors = {tensor.name: np.empty((len(checked), *tensor.shape), dtype=np.int64) for tensor in graph.tensors}
    tensors[graph.input][:] = checked
    for frames in _batches(graph, len(checked)):
        for node in graph.nodes:
            tensors[node.output][frames] = _apply(graph, node, tensors[node.input][frames])
    return tensors


def apply_node(graph: Graph, name: str, codes: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return what the node of that name makes of ``codes`` (N, C, H, W) of its input tensor.

    UserError as :func:`run`, KeyError for a name that the graph does not have.
    """
    node = graph.node(name)
    source = graph.tensor(node.input)
    checked = _checked_codes(codes, source.name, source.shape, source.format)
    return _apply(graph, node, checked.astype(np.int64))


def checked_input(graph: Graph, codes: npt.ArrayLike) -> npt.NDArray[Any]:
    """Return ``codes`` as an integer array (N, C, H, W) that the graph's input takes; UserError otherwise."""
    source = graph.tensor(graph.input)
    return _checked_codes(codes, source.name, source.shape, source.format)


def _checked_codes(codes: npt.ArrayLike, name: str, shape: tuple[int, int, int], format: IntFormat) -> npt.NDArray[Any]:
    array = np.asarray(codes)
    if array.dtype.kind not in "iu":
        raise UserError(f"codes of {name} must be integers (convert the array to an integer type), not {array.dtype}")
    if array.ndim != 4 or array.shape[1:] != shape:
        expected = f"(N, {', '.join(map(str, shape))})"
        raise UserError(f"codes of {name} must have the shape {expected} = (N, C, H, W), not {array.shape!r}")
    if not format.contains(array):
        span = f"{int(array.min())}..{int(array.max())}"
        raise UserError(f"codes of {name} must lie in {format.low}..{format.high}, not {span}")
    return array


def _batches(graph: Graph, frames: int) -> Iterator[slice]:
    size = max(1, _BATCH_ELEMENTS // max(tensor.elements for tensor in graph.tensors))
    for start in range(0, frames, size):
        yield slice(start, min(start + size, frames))


def _apply(graph: Graph, node: Node, codes: Codes) -> Codes:
    source, target = graph.tensor(node.input).format, graph.tensor(node.output).format
    match node:
        case Conv():
            return _conv(node, codes, source)
        case Dense():
            return _dense(node, codes, source)
        case Requantise():
            return _requantise(node, codes, source, target)
        case MaxPool():
            return _max_pool(node, codes)
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
    matrix = node.weights.reshape(len(node.weights), -1).T.astype(dtype)
    pad = (node.padding, node.padding)
    padded = np.pad(codes.astype(dtype), ((0, 0), (0, 0), pad, pad))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (node.kernel, node.kernel), axis=(2, 3))
    windows = windows[:, :, :: node.stride, :: node.stride].transpose(0, 2, 3, 1, 4, 5)
    frames, height, width = windows.shape[:3]
    result = np.empty((frames, len(node.weights), height, width), dtype=np.int64)
    for part in _parts(frames, height, width * len(matrix)):
        columns = windows[part].reshape(-1, len(matrix))
        sums = (columns @ matrix).reshape(*windows[part].shape[:3], -1)
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
