"""From a QONNX model to an integer graph: a walk over the nodes, constants folded, activations carried as codes.

Scales, biases, batch normalisation and rectifiers are collected until the next quantiser, which makes thresholds
of all of them: the integers at which the file's own float32 arithmetic, operation by operation, changes its code.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import onnx

from mixq.errors import UserError
from mixq.formats import IntFormat
from mixq.graph import Graph, Node, Tensor
from mixq.graph.checks import GraphError
from mixq.graph.names import legal_name
from mixq.qonnx import model_file
from mixq.qonnx.values import Signal

Value = Any
"""A constant (NumPy array), a :class:`Weight` or a :class:`Signal`."""

DOMAINS = ("", "ai.onnx", "qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas")


class Unmappable(Exception):
    """Why a node cannot be mapped, and what to do about it."""


class Reader:
    """The graph under construction: ``values`` by the file's names, ``tensors`` and ``nodes`` of the integer graph."""

    def __init__(self, model: onnx.ModelProto, path: Path, input_scale: Fraction) -> None:
        self.path = path
        self.values: dict[str, Value] = dict(model_file.read_constants(model, path))
        self.tensors: dict[str, Tensor] = {}
        self.nodes: list[Node] = []
        name, shape = model_file.input_shape(model, self.values, path)
        chw = (shape[0], 1, 1) if len(shape) == 1 else (shape[0], shape[1], shape[2])
        own = self.name(name or "x")
        self.tensors[own] = Tensor(own, chw, IntFormat(8, False), float(input_scale))
        self.input = own
        self.values[name] = Signal(own, (input_scale,) * chw[0], len(shape) + 1)

    def name(self, text: str) -> str:
        """Return a legal name for a tensor that is not taken."""
        return legal_name(text, self.tensors)

    def append(self, kind: Callable[..., Node], proto: onnx.NodeProto, source: str, format: Any, **fields: Any) -> str:
        """Add a node behind ``source``; return its output's name."""
        output = self.name(proto.output[0])
        name = legal_name(proto.name or proto.output[0], [node.name for node in self.nodes])
        node = kind(name, source, output, **fields)
        shape = node.shape_from([self.tensors[source].shape])
        scale = self.tensors[source].scale if node.op == "max_pool" else None
        self.tensors[output] = Tensor(output, shape, format, scale)
        try:
            node.check_tensors([self.tensors[source]], self.tensors[output])
        except GraphError:
            del self.tensors[output]
            raise
        self.nodes.append(node)
        return output

    def rescale(self, tensor: str, scale: tuple[Fraction, ...]) -> None:
        """Note the scale of a tensor, where all its values are positive."""
        old = self.tensors[tensor]
        floats = tuple(float(value) for value in scale)
        if all(value > 0 for value in floats):
            self.tensors[tensor] = Tensor(tensor, old.shape, old.format, floats)

    def read(self, model: onnx.ModelProto) -> None:
        """Walk over the nodes; UserError with every node that cannot be mapped."""
        from mixq.qonnx.operators import OPERATORS

        problems: list[str] = []
        lost: set[str] = set()
        for proto in model.graph.node:
            label = f"node {proto.name or proto.output[0]!r} ({proto.op_type})" if proto.output else proto.op_type
            missing = [name for name in proto.input if name and name not in self.values]
            try:
                if any(name in lost for name in missing):
                    raise _Skipped
                if missing:
                    raise Unmappable(
                        f"reads {missing[0]!r}, which no earlier node writes; sort the nodes, without loops"
                    )
                if proto.domain not in DOMAINS or proto.op_type not in OPERATORS:
                    raise Unmappable("the operator is not supported; see docs/qonnx.md for those that are")
                if len(proto.output) != 1 or proto.output[0] in self.values:
                    raise Unmappable("must have one output, written once; export the model again")
                self.values[proto.output[0]] = OPERATORS[proto.op_type](self, proto)
            except _Skipped:
                lost.update(proto.output)
            except (Unmappable, GraphError) as error:
                problems.append(f"{label}: {error}")
                lost.update(proto.output)
            except (ValueError, TypeError, IndexError, KeyError, AttributeError, ArithmeticError) as error:
                problems.append(f"{label}: attributes or shapes do not fit ({error}); export the model again")
                lost.update(proto.output)
        if problems:
            listed = " ".join("; ".join(problems).split())  # one line, whatever stands in names
            raise UserError(f"{self.path} cannot be mapped: {listed}")

    def graph(self, model: onnx.ModelProto) -> Graph:
        """Return the graph that ends with the model's output."""
        name = model.graph.output[0].name
        result = self.values.get(name)
        if not isinstance(result, Signal) or result.tensor == self.input:
            raise UserError(f"{self.path}: output {name!r} must come from a quantised layer; export the whole model")
        gain, offset = result.affine
        if gain is None or offset is None or min(gain) <= 0 or len(set(offset)) > 1:
            raise UserError(
                f"{self.path}: output {name!r} must be integers times a positive scale, plus one number for all "
                "channels; put a Quant in front of it"
            )
        self.rescale(result.tensor, gain)
        metadata = {"origin": self.path.name, "output_offset": repr(float(offset[0]))}
        needed = {result.tensor}
        for node in reversed(self.nodes):
            if node.output in needed:
                needed.update(node.reads)
        nodes = tuple(node for node in self.nodes if node.output in needed)
        tensors = tuple(tensor for tensor in self.tensors.values() if tensor.name in needed)
        return Graph(legal_name(self.path.stem), tensors, nodes, self.input, result.tensor, metadata)


class _Skipped(Exception):
    """A node that reads what a refused node would have written."""


def read_qonnx(path: str | os.PathLike[str], *, input_scale: Fraction = Fraction(1, 255)) -> Graph:
    """Return the integer graph of a QONNX file whose input is 8-bit codes times ``input_scale``.

    The output's integers stand for ``code * scale + output_offset``: the tensor's scale, and a number in the
    graph's metadata. UserError, in one line, names the file and what is wrong in it: every node that cannot be
    mapped, or what is damaged.
    """
    file = Path(path)
    model = model_file.load_model(file)
    reader = Reader(model, file, input_scale)
    reader.read(model)
    try:
        return reader.graph(model)
    except (GraphError, ArithmeticError) as error:
        raise UserError(f"{file} cannot be mapped: {error}") from error


__all__ = ["Reader", "Unmappable", "read_qonnx"]
