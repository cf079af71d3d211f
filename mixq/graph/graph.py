"""The integer graph: tensors, and the nodes that make them of each other."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from mixq.graph.checks import GraphError
from mixq.graph.names import check_name
from mixq.graph.node import Node
from mixq.graph.tensor import Tensor

MAX_METADATA = 64 << 10

_Named = TypeVar("_Named", Tensor, Node)


@dataclass(frozen=True)
class Graph:
    """An integer network, checked as a whole when it is built.

    Parameters: ``name``; ``tensors`` in any order; ``nodes`` in topological order; ``input`` and
    ``output``, names of tensors; ``metadata``, text by name (origin, network, recipe).

    Every tensor but the input is written by exactly one node and every tensor but the output is read by at
    least one; several nodes may read the same tensor. Shapes and formats follow from node to node.
    Raises: TypeError for a wrong type, GraphError (a UserError and a ValueError) for a wrong value.
    """

    name: str
    tensors: tuple[Tensor, ...]
    nodes: tuple[Node, ...]
    input: str
    output: str
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False)
    _tensors: dict[str, Tensor] = field(init=False, repr=False, compare=False)
    _nodes: dict[str, Node] = field(init=False, repr=False, compare=False)
    _producers: dict[str, Node] = field(init=False, repr=False, compare=False)
    _consumers: dict[str, tuple[Node, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_name("name of the graph", self.name)
        for parameter, kind in (("tensors", Tensor), ("nodes", Node)):
            values = tuple(getattr(self, parameter))
            for value in values:
                if not isinstance(value, kind):
                    raise TypeError(f"{parameter} must hold {kind.__name__} objects only, not {value!r}")
            object.__setattr__(self, parameter, values)
        if not self.nodes:
            raise GraphError("nodes must not be empty, not ()")
        object.__setattr__(self, "metadata", _checked_metadata(self.metadata))
        object.__setattr__(self, "_tensors", _by_name("tensor", self.tensors))
        object.__setattr__(self, "_nodes", _by_name("node", self.nodes))
        self._check_ends()
        self._link()
        for node in self.nodes:
            self._check_node(node)

    def _check_ends(self) -> None:
        for parameter in ("input", "output"):
            value = getattr(self, parameter)
            if not isinstance(value, str):
                raise TypeError(f"{parameter} must be a str, not {value!r}")
            if value not in self._tensors:
                raise GraphError(f"{parameter} must be the name of a tensor, not {value!r}")

    def _link(self) -> None:
        """Find producers and consumers; refuse loops, double writers and loose ends."""
        producers: dict[str, Node] = {}
        consumers: dict[str, list[Node]] = {name: [] for name in self._tensors}
        for node in self.nodes:
            named = [("input", name) for name in node.reads] + [("output", node.output)]
            for parameter, name in named:
                if name not in self._tensors:
                    raise GraphError(f"{parameter} of node {node.name} must be the name of a tensor, not {name!r}")
            for name in node.reads:
                if name != self.input and name not in producers:
                    raise GraphError(f"input of node {node.name} must come from an earlier node, not {name!r}")
            if node.output == self.input or node.output in producers:
                raise GraphError(f"output of node {node.name} must be written only once, not {node.output!r}")
            producers[node.output] = node
            for name in dict.fromkeys(node.reads):
                consumers[name].append(node)
        for name in self._tensors:
            if name != self.input and name not in producers:
                raise GraphError(f"tensors must each be the output of a node, not {name!r}")
            if name != self.output and not consumers[name]:
                raise GraphError(f"tensors must each be read by a node or be the output, not {name!r}")
        object.__setattr__(self, "_producers", producers)
        object.__setattr__(self, "_consumers", {name: tuple(nodes) for name, nodes in consumers.items()})

    def _check_node(self, node: Node) -> None:
        sources, target = [self._tensors[name] for name in node.reads], self._tensors[node.output]
        shape = node.shape_from([source.shape for source in sources])
        if target.shape != shape:
            raise GraphError(f"shape of tensor {target.name} must be {shape}, not {target.shape!r}")
        node.check_tensors(sources, target)

    def tensor(self, name: str) -> Tensor:
        """Return the tensor of that name; KeyError when there is none."""
        return self._tensors[name]

    def node(self, name: str) -> Node:
        """Return the node of that name; KeyError when there is none."""
        return self._nodes[name]

    def producer(self, tensor: str) -> Node | None:
        """Return the node that writes the tensor of that name, None for the graph's input."""
        self.tensor(tensor)
        return self._producers.get(tensor)

    def consumers(self, tensor: str) -> tuple[Node, ...]:
        """Return the nodes that read the tensor of that name, in order."""
        return self._consumers[tensor]

    def macs(self, name: str) -> int:
        """Return the multiplications by weights of the node of that name in a frame, 0 without weights."""
        node = self.node(name)
        return node.macs(self.tensor(node.output).shape)

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write ``graph.json`` and ``graph.npz`` into ``directory`` (made where missing).

        The bytes depend on the graph alone. UserError when the system refuses.
        """
        # The file form knows the graph's class; importing it here keeps the modules free of a loop.
        from mixq.graph.files import save_graph

        save_graph(self, directory)

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> Graph:
        """Read a graph that :meth:`save` wrote; UserError, naming the file, for anything else."""
        from mixq.graph.files import load_graph

        return load_graph(directory)


def _by_name(kind: str, values: tuple[_Named, ...]) -> dict[str, _Named]:
    result: dict[str, _Named] = {}
    folded: set[str] = set()
    for value in values:
        # Names become file names and VHDL names, where case makes no difference.
        if value.name.lower() in folded:
            raise GraphError(f"name of a {kind} must be unique, in any case, not {value.name!r}")
        folded.add(value.name.lower())
        result[value.name] = value
    return result


def _checked_metadata(metadata: object) -> dict[str, str]:
    if not isinstance(metadata, Mapping):
        raise TypeError(f"metadata must be a dict, not {metadata!r}")
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"metadata must hold text by text, not {key!r}: {value!r}")
        try:
            (key + value).encode("utf-8")
        except UnicodeEncodeError as error:
            raise GraphError(f"metadata must be text that UTF-8 can hold, not {key!r}: {value!r}") from error
    size = sum(len(key) + len(value) for key, value in metadata.items())
    if size > MAX_METADATA:
        raise GraphError(f"metadata must hold at most {MAX_METADATA} characters, not {size!r}")
    return dict(metadata)
