"""The file form of a graph: ``graph.json`` for people, ``graph.npz`` for the arrays."""

from __future__ import annotations

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

from mixq.errors import UserError
from mixq.files import read_bytes, read_json, write_atomic
from mixq.formats import IntFormat
from mixq.graph.arrays import MAX_FILE_BYTES, array_digest, pack_arrays, unpack_arrays
from mixq.graph.checks import GraphError, IntArray
from mixq.graph.graph import Graph
from mixq.graph.names import check_name
from mixq.graph.node import Node
from mixq.graph.nodes import NODE_TYPES
from mixq.graph.tensor import Tensor
from mixq.graph.weighted import Conv

FORMAT_NAME = "mixq-graph"
FORMAT_VERSION = 2
"""What is written. Files of version 1, whose convolutions knew neither groups nor dilation, are read, too."""
MAX_ARRAY_AXIS = 1 << 28
JSON_NAME = "graph.json"
ARRAYS_NAME = "graph.npz"


def save_graph(graph: Graph, directory: str | os.PathLike[str]) -> None:
    """Write the two files of ``graph`` into ``directory``, made where missing; see :meth:`Graph.save`."""
    folder = Path(directory)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {folder}: {error.strerror or error}") from error
    arrays = {f"{node.name}.{name}": array for node in graph.nodes for name, array in _arrays(node).items()}
    # The arrays first: a save that is cut short leaves a graph.json whose digests do not match, which
    # load_graph refuses, never one that silently mixes two graphs.
    write_atomic(folder / ARRAYS_NAME, pack_arrays(arrays))
    write_atomic(folder / JSON_NAME, graph_text(graph))


def load_graph(directory: str | os.PathLike[str]) -> Graph:
    """Return the graph in ``directory``; UserError, naming the file, when there is no sound one."""
    folder = Path(directory)
    source = folder / JSON_NAME
    document = read_json(source)
    data = read_bytes(folder / ARRAYS_NAME, max_bytes=MAX_FILE_BYTES)
    try:
        return _graph_of(document, data, folder / ARRAYS_NAME)
    except (ValueError, TypeError, OverflowError) as error:
        raise UserError(f"{source}: {error}") from error


def graph_text(graph: Graph) -> str:
    """Return the text of ``graph.json``: a line for each tensor, and for each field of a node."""
    tensors = [_line(_tensor_record(tensor)) for tensor in graph.tensors]
    nodes = []
    for node in graph.nodes:
        lines = [f"      {_line(key)}: {_line(value)}" for key, value in _node_record(node).items()]
        nodes.append("{\n" + ",\n".join(lines) + "\n    }")
    head = {
        "format": FORMAT_NAME,
        "version": FORMAT_VERSION,
        "name": graph.name,
        "input": graph.input,
        "output": graph.output,
        "metadata": dict(sorted(graph.metadata.items())),
    }
    parts = [f"  {_line(key)}: {_line(value)}" for key, value in head.items()]
    for key, entries in (("tensors", tensors), ("nodes", nodes)):
        parts.append(f"  {_line(key)}: [\n    " + ",\n    ".join(entries) + "\n  ]")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _format_record(format: IntFormat) -> dict[str, Any]:
    return {"width": format.width, "signed": format.signed, "low": format.low, "high": format.high}


def _tensor_record(tensor: Tensor) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "format": _format_record(tensor.format),
        "scale": tensor.scale,
    }


def _arrays(node: Node) -> dict[str, IntArray]:
    values = {name: getattr(node, name) for name in node.arrays}
    return {name: array for name, array in values.items() if array is not None}


def _node_record(node: Node) -> dict[str, Any]:
    record: dict[str, Any] = {"name": node.name, "op": node.op}
    arrays = _arrays(node)
    for field in fields(node):
        value = getattr(node, field.name)
        if field.name in arrays:
            record[field.name] = {"shape": list(value.shape), "sha256": array_digest(value)}
        else:
            record[field.name] = _format_record(value) if isinstance(value, IntFormat) else value
    return record


def _graph_of(document: Any, data: bytes, arrays_path: Path) -> Graph:
    keys = {"format", "version", "name", "input", "output", "metadata", "tensors", "nodes"}
    record = _record("the file", document, keys)
    version = record["version"]
    if record["format"] != FORMAT_NAME or type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        raise GraphError(
            f"format and version must be {FORMAT_NAME} 1 to {FORMAT_VERSION}, not {record['format']!r} {version!r}"
        )
    tensors = tuple(_tensor_of(entry) for entry in _list("tensors", record["tensors"]))
    entries = [_node_entry(entry, version) for entry in _list("nodes", record["nodes"])]
    summaries = {
        f"{entry['name']}.{name}": _summary(f"{name} of node {entry['name']}", entry[name])
        for kind, entry in entries
        for name in kind.arrays
        if entry[name] is not None
    }
    try:
        arrays = unpack_arrays(data, {key: shape for key, (shape, _) in summaries.items()})
    except GraphError as error:
        raise GraphError(f"{arrays_path.name}: {error}") from error
    for key, (_, digest) in summaries.items():
        if array_digest(arrays[key]) != digest:
            raise GraphError(
                f"{arrays_path.name} must belong to this file; the values of {key} differ, write both again"
            )
    nodes = tuple(_node_of(kind, entry, arrays) for kind, entry in entries)
    return Graph(
        name=record["name"],
        tensors=tensors,
        nodes=nodes,
        input=record["input"],
        output=record["output"],
        metadata=record["metadata"],
    )


def _record(label: str, value: Any, keys: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise GraphError(f"{label} must be an object, not {type(value).__name__!r}")
    for key in sorted(keys - set(value)):
        raise GraphError(f"{label} must have the key {key!r}, not only {sorted(value)!r}")
    for key in sorted(set(value) - keys):
        raise GraphError(f"{label} must have the keys {sorted(keys)} only, not {key!r}")
    return value


def _list(label: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise GraphError(f"{label} must be a list, not {type(value).__name__!r}")
    return value


def _format_of(label: str, value: Any) -> IntFormat:
    return IntFormat(**_record(label, value, {"width", "signed", "low", "high"}))


def _tensor_of(value: Any) -> Tensor:
    record = _record("a tensor", value, {"name", "shape", "format", "scale"})
    check_name("name of a tensor", record["name"])
    shape = tuple(_list("shape", record["shape"]))
    if len(shape) != 3:
        raise GraphError(f"shape of a tensor must be [C, H, W], not {record['shape']!r}")
    format = _format_of(f"format of tensor {record['name']}", record["format"])
    return Tensor(record["name"], shape, format, record["scale"])


def _node_entry(value: Any, version: int) -> tuple[type[Node], dict[str, Any]]:
    op = value.get("op") if isinstance(value, dict) else None
    kind = NODE_TYPES.get(op) if isinstance(op, str) else None
    if kind is None:
        raise GraphError(f"op of a node must be one of {', '.join(NODE_TYPES)}, not {op!r}")
    if version == 1 and kind is Conv:
        value = {**value, "groups": 1, "dilation": 1}
    record = _record(f"a {op} node", value, {"op", *(field.name for field in fields(kind))})
    check_name("name of a node", record["name"])  # before it stands in any other message
    return kind, record


def _summary(label: str, value: Any) -> tuple[tuple[int, ...], str]:
    record = _record(label, value, {"shape", "sha256"})
    shape = tuple(_list(f"shape of {label}", record["shape"]))
    if len(shape) > 4 or not all(type(axis) is int and 0 < axis <= MAX_ARRAY_AXIS for axis in shape):
        raise GraphError(f"shape of {label} must be up to 4 positive integers, not {record['shape']!r}")
    return shape, str(record["sha256"])


def _node_of(kind: type[Node], record: dict[str, Any], arrays: dict[str, IntArray]) -> Node:
    values = {key: value for key, value in record.items() if key != "op"}
    for name in kind.arrays:
        if values[name] is not None:
            values[name] = arrays[f"{values['name']}.{name}"]
    if "weight_format" in values:
        values["weight_format"] = _format_of(f"weight_format of node {values['name']}", values["weight_format"])
    return kind(**values)
