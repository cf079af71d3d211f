"""What all nodes of the integer graph have in common.

A node is immutable and knows which output it makes of its inputs; the graph holds it to that. Arrays are
copied, int64 and read-only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mixq.graph.checks import GraphError
from mixq.graph.names import check_name
from mixq.graph.tensor import Scale, Tensor

JOINED = (2, 8)
"""Fewest and most tensors that a node joins."""

Shape = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Node:
    """What all nodes have: a legal ``name``, the tensors read, and the tensor written, ``output``.

    A node reads one tensor, its ``input`` (:class:`Unary`), or joins several, its ``inputs`` (:class:`Join`);
    ``reads`` has the names in either case. ``arrays``: the fields that are arrays.
    """

    op: ClassVar[str] = ""
    arrays: ClassVar[tuple[str, ...]] = ()

    name: str

    def __post_init__(self) -> None:
        check_name("name of a node", self.name)
        for source in self.reads:
            check_name(f"input of node {self.name}", source)
        check_name(f"output of node {self.name}", self.output)

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the tensors that are read, in order."""
        raise NotImplementedError

    if TYPE_CHECKING:  # a field of the two subclasses, which stands behind what is read

        @property
        def output(self) -> str:
            """Name of the tensor that is written."""
            raise NotImplementedError

    def shape_from(self, shapes: Sequence[Shape]) -> Shape:
        """Return the output's shape (C, H, W) for inputs of these; GraphError when they do not fit."""
        raise NotImplementedError

    def check_tensors(self, sources: Sequence[Tensor], target: Tensor) -> None:
        """Raise GraphError unless the formats (and scales) of inputs and output go with this node."""
        raise NotImplementedError

    def macs(self, output_shape: Shape) -> int:
        """Return the multiplications by weights in a frame."""
        return 0

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(_same(getattr(self, field.name), getattr(other, field.name)) for field in dataclasses.fields(self))

    def __hash__(self) -> int:
        return hash((self.op, self.name, self.reads, self.output))

    def _label(self, parameter: str) -> str:
        return f"{parameter} of node {self.name}"

    def _set(self, parameter: str, value: object) -> None:
        object.__setattr__(self, parameter, value)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(one, other) if one is not None and other is not None else False
    return bool(one == other)


@dataclass(frozen=True, eq=False)
class Unary(Node):
    """A node that reads one tensor."""

    input: str
    output: str

    @property
    def reads(self) -> tuple[str, ...]:
        """The name of the one input."""
        return (self.input,)

    def output_shape(self, shape: Shape) -> Shape:
        """Return the output's shape (C, H, W) for an input of ``shape``; GraphError when it does not fit."""
        raise NotImplementedError

    def check_formats(self, source: Tensor, target: Tensor) -> None:
        """Raise GraphError unless the formats (and scales) of input and output go with this node."""
        raise NotImplementedError

    def shape_from(self, shapes: Sequence[Shape]) -> Shape:
        """:meth:`output_shape` of the one input."""
        (shape,) = shapes
        return self.output_shape(shape)

    def check_tensors(self, sources: Sequence[Tensor], target: Tensor) -> None:
        """:meth:`check_formats` of the one input."""
        (source,) = sources
        self.check_formats(source, target)


@dataclass(frozen=True, eq=False)
class Join(Node):
    """A node that reads several tensors, 2 to 8. One may occur more than once."""

    inputs: tuple[str, ...]
    output: str

    def __post_init__(self) -> None:
        if not isinstance(self.inputs, (tuple, list)):
            raise TypeError(f"{self._label('inputs')} must be a tuple of names, not {self.inputs!r}")
        self._set("inputs", tuple(self.inputs))
        if not JOINED[0] <= len(self.inputs) <= JOINED[1]:
            raise GraphError(
                f"{self._label('inputs')} must be {JOINED[0]} to {JOINED[1]} names, not {len(self.inputs)!r}"
            )
        super().__post_init__()

    @property
    def reads(self) -> tuple[str, ...]:
        """The names of the inputs, in order."""
        return self.inputs


def check_kept(source: Tensor, target: Tensor, scale: Scale | object = ...) -> None:
    """Raise GraphError unless ``target`` has the format of ``source`` and the scale given, by default its scale."""
    wanted = source.scale if scale is ... else scale
    if target.format != source.format:
        raise GraphError(f"format of tensor {target.name} must equal its input's, not {target.format!r}")
    if target.scale != wanted:
        raise GraphError(f"scale of tensor {target.name} must equal its input's, not {target.scale!r}")
