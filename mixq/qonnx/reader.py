"""From a QONNX model to an integer graph: a walk over the nodes, constants folded, activations carried as codes.

Every name of the file stands for a value of its own, so that branches part and join anywhere. Scales, biases, batch
normalisation and rectifiers are collected until the next quantiser, which makes a requantisation or thresholds of all
of them: the integers at which the file's own float32 arithmetic, operation by operation, changes its code.
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
from mixq.graph import Concat, Graph, Join, MaxPool, Node, SpaceToDepth, Tensor, Upsample
from mixq.graph.checks import GraphError
from mixq.graph.names import legal_name
from mixq.graph.tensor import Scale
from mixq.qonnx import model_file, outputs
from mixq.qonnx.input_codes import noted_input
from mixq.qonnx.values import CHANNELS_FIRST, CHANNELS_LAST, Signal, Unmappable

Value = Any
"""A constant (NumPy array), a :class:`Weight` or a :class:`Signal`."""


class Reader:
    """The graph under construction: ``values`` by the file's names, ``tensors`` and ``nodes`` of the integer graph.

    The graph's input has the codes that the model notes, or 8-bit ones of a fixed scale, unless quantisers alone read
    it (``input_open``): then it becomes their codes, of the scale ``input_scale``.
    """

    def __init__(self, model: onnx.ModelProto, path: Path, input_scale: Fraction) -> None:
        self.path = path
        self.values: dict[str, Value] = dict(model_file.read_constants(model, path))
        self.tensors: dict[str, Tensor] = {}
        self.nodes: list[Node] = []
        name, shape = model_file.input_shape(model, self.values, path)
        axes = CHANNELS_LAST if len(shape) == 3 and model_file.is_channels_last(model, name) else CHANNELS_FIRST
        sides = dict(zip(axes[1:], shape, strict=False)) if len(shape) == 3 else {1: shape[0]}
        chw = (sides[1], sides.get(2, 1), sides.get(3, 1))
        own = self.name(name or "x")
        noted = noted_input(model, chw[0], path)
        format, scales = noted or (IntFormat(8, False), (input_scale,) * chw[0])
        self.tensors[own] = Tensor(own, chw, format, tuple(float(scale) for scale in scales))
        self.input, self.input_name = own, name
        self.input_open = noted is None and model_file.is_quantised_at_once(model, name)
        self.input_scale: tuple[Fraction, ...] | None = None
        self.ties: list[str] = []
        self.values[name] = Signal(own, chw, scales, True, axes, len(shape) == 1, raw=True)

    def name(self, text: str) -> str:
        """Return a legal name for a tensor that is not taken."""
        return legal_name(text, self.tensors)

    def set_input(self, format: IntFormat, scale: tuple[Fraction, ...]) -> None:
        """Make the graph's input codes of a format."""
        old = self.tensors[self.input]
        self.tensors[self.input] = Tensor(self.input, old.shape, format, tuple(float(value) for value in scale))
        self.input_open, self.input_scale = False, scale

    def append(self, kind: Callable[..., Node], proto: onnx.NodeProto, source: str, format: Any, **fields: Any) -> str:
        """Add a node behind ``source``; return its output's name."""
        return self._add(kind, proto, (source,), format, source, fields)

    def join(self, kind: Callable[..., Join], proto: onnx.NodeProto, sources: tuple[str, ...], **fields: Any) -> str:
        """Add a node behind several tensors; return its output's name."""
        formats = [self.tensors[source].format for source in sources]
        format = formats[0] if kind is Concat else None
        return self._add(kind, proto, sources, format, sources, fields)

    def _add(
        self, kind: Any, proto: onnx.NodeProto, sources: tuple[str, ...], format: Any, reads: Any, fields: Any
    ) -> str:
        if self.input in sources:
            self.input_open = False
        output = self.name(proto.output[0])
        name = legal_name(proto.name or proto.output[0], [node.name for node in self.nodes])
        node = kind(name, reads, output, **fields)
        tensors = [self.tensors[source] for source in sources]
        shape = node.shape_from([tensor.shape for tensor in tensors])
        if format is None:
            format = node.sum_format([tensor.format for tensor in tensors])
        self.tensors[output] = Tensor(output, shape, format, _kept_scale(node, tensors))
        try:
            node.check_tensors(tensors, self.tensors[output])
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

    def note_ties(self, proto: onnx.NodeProto, count: int) -> None:
        """Note for the graph's metadata how many thresholds of a node an executor may take for others."""
        if count:
            self.ties.append(f"{proto.name or proto.output[0]}: {count}")

    def read(self, model: onnx.ModelProto) -> None:
        """Walk over the nodes; UserError with every node that cannot be mapped."""
        from mixq.qonnx import operators

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
                operator = operators.find(proto.domain, proto.op_type)
                if not proto.output or proto.output[0] in self.values:
                    raise Unmappable("must have an output, written once; export the model again")
                self.values[proto.output[0]] = operator(self, proto)
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
        name = model_file.output_name(model, self.input_name, self.path)
        result = self.values.get(name)
        if not isinstance(result, Signal) or result.tensor == self.input:
            raise UserError(f"{self.path}: output {name!r} must come from a quantised layer; export the whole model")
        try:
            output, offsets = outputs.finish(self, result)
        except Unmappable as error:
            raise UserError(f"{self.path}: output {name!r} {error}") from error
        metadata = {"origin": self.path.name, "output_offset": ", ".join(map(repr, offsets))}
        if self.ties:
            metadata["float32_ties"] = ", ".join(self.ties)
        needed = {output}
        for node in reversed(self.nodes):
            if node.output in needed:
                needed.update(node.reads)
        nodes = tuple(node for node in self.nodes if node.output in needed)
        tensors = tuple(tensor for tensor in self.tensors.values() if tensor.name in needed)
        return Graph(legal_name(self.path.stem), tensors, nodes, self.input, output, metadata)


class _Skipped(Exception):
    """A node that reads what a refused node would have written."""


def _kept_scale(node: Node, sources: list[Tensor]) -> Scale:
    """The scale of what a node writes, where it only moves codes."""
    scale = sources[0].scale
    if isinstance(node, Concat):
        return node.scale_from(sources)
    if isinstance(node, SpaceToDepth):
        return scale * node.block**2 if isinstance(scale, tuple) else scale
    return scale if isinstance(node, MaxPool | Upsample) else None


def read_qonnx(path: str | os.PathLike[str], *, input_scale: Fraction = Fraction(1, 255)) -> Graph:
    """Return the integer graph of a QONNX file.

    The graph's input has the codes that MixQ noted in a file that it wrote, or else, where a quantiser alone reads the
    model's input, those of the quantiser, or else 8-bit codes that stand for code times ``input_scale``. The output's
    integers stand for ``code * scale + output_offset``: the tensor's scale, and a number in the graph's metadata, or
    one for each channel with commas between. UserError, in one line, names the file and what is wrong in it: every
    node that cannot be mapped, or what is damaged.
    """
    file = Path(path)
    model = model_file.load_model(file)
    reader = Reader(model, file, input_scale)
    reader.read(model)
    try:
        return reader.graph(model)
    except (GraphError, ArithmeticError) as error:
        raise UserError(f"{file} cannot be mapped: {error}") from error


__all__ = ["Reader", "read_qonnx"]
