"""The interpreter: runs an integer graph on integer codes, exactly; :mod:`mixq.arithmetic` says what nodes compute."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mixq.arithmetic import Codes, compute
from mixq.errors import UserError
from mixq.formats import IntFormat
from mixq.graph import Graph, Node

# Elements of the largest tensor in a batch of frames.
_BATCH_ELEMENTS = 1 << 23


def run(graph: Graph, codes: npt.ArrayLike, *, progress: Callable[[int], None] | None = None) -> npt.NDArray[np.int64]:
    """Return the graph's output (N, C, H, W), int64, for input ``codes``, integers (N, C, H, W).

    Frames are independent and run in batches of bounded memory; ``progress`` is called after each batch
    with the number of frames done. Dense outputs have the shape (N, C, 1, 1). UserError when the codes are
    no integers, of another shape than the graph's input, or outside its format.
    """
    checked = checked_input(graph, codes)
    result = np.empty((len(checked), *graph.tensor(graph.output).shape), dtype=np.int64)
    needed = _read_later(graph)
    for frames in _batches(graph, len(checked)):
        values = {graph.input: checked[frames].astype(np.int64)}
        for position, node in enumerate(graph.nodes):
            values[node.output] = _apply(graph, node, [values[name] for name in node.reads])
            for name in values.keys() - needed[position]:
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
            tensors[node.output][frames] = _apply(graph, node, [tensors[name][frames] for name in node.reads])
    return tensors


def apply_node(graph: Graph, name: str, *codes: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return what the node of that name makes of ``codes`` (N, C, H, W) of its input tensors, in their order.

    UserError as :func:`run`, KeyError for a name that the graph does not have, ValueError for another number of inputs.
    """
    node = graph.node(name)
    sources = [graph.tensor(source) for source in node.reads]
    checked = [
        _checked_codes(given, source.name, source.shape, source.format).astype(np.int64)
        for given, source in zip(codes, sources, strict=True)
    ]
    return _apply(graph, node, checked)


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


def _read_later(graph: Graph) -> list[set[str]]:
    """For each node the tensors that are needed behind it."""
    needed: list[set[str]] = []
    later = {graph.output}
    for node in reversed(graph.nodes):
        needed.append(set(later))
        later |= set(node.reads)
    return needed[::-1]


def _apply(graph: Graph, node: Node, codes: Sequence[Codes]) -> Codes:
    return compute(node, codes, [graph.tensor(name).format for name in node.reads], graph.tensor(node.output).format)
