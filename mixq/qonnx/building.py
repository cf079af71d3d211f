"""An ONNX graph while it grows: nodes, constants, and how the integers of a tensor stand in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

QONNX_DOMAIN = "qonnx.custom_op.general"
OPSET, IR_VERSION = 13, 8


@dataclass(frozen=True)
class Value:
    """Integers of a tensor in the file: ``name``; ``shape`` with the batch axis of 1, four axes or (1, features).

    ``wide``: held in float64, because float32 would round some of them.
    """

    name: str
    shape: tuple[int, ...]
    wide: bool = False

    @property
    def by_channel(self) -> tuple[int, ...]:
        """The shape of a constant with a value for each channel."""
        return (1, self.shape[1], 1, 1)[: len(self.shape)]

    @property
    def dtype(self) -> Any:
        """NumPy's type of the values."""
        return np.float64 if self.wide else np.float32


class Builder:
    """Appends nodes in order. Values that stand for no tensor of the graph have names with a dot."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.inner: dict[str, onnx.ValueInfoProto] = {}

    def constant(self, name: str, values: npt.ArrayLike, dtype: Any = np.float32) -> str:
        """Add a constant unless it is there; return its name."""
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.asarray(values, dtype), name)
        return name

    def node(
        self, op: str, name: str, inputs: Sequence[str], output: Value, *, domain: str = "", **attributes: Any
    ) -> Value:
        """Append a node, with its attributes, that writes ``output``; return it."""
        self.nodes.append(helper.make_node(op, inputs, [output.name], name=name, domain=domain, **attributes))
        self.inner[output.name] = value_info(output)
        return output

    def quant(self, name: str, source: str, output: Value, *, bits: int, signed: bool, narrow: bool) -> Value:
        """Append a quantiser of scale 1, which integers of the width pass unchanged."""
        settings = [
            self.constant("quant.one", 1.0),
            self.constant("quant.zero", 0.0),
            self.constant(f"quant.bits{bits}", float(bits)),
        ]
        attributes = {"signed": int(signed), "narrow": int(narrow), "rounding_mode": "ROUND"}
        return self.node("Quant", name, [source, *settings], output, domain=QONNX_DOMAIN, **attributes)

    def cast(self, name: str, source: Value, output: str, *, wide: bool) -> Value:
        """Append a change between float32 and float64."""
        to = TensorProto.DOUBLE if wide else TensorProto.FLOAT
        return self.node("Cast", name, [source.name], Value(output, source.shape, wide), to=to)

    def model(self, name: str, source: Value, target: Value) -> onnx.ModelProto:
        """Return the whole model, from an input to an output of the graph."""
        from mixq import __version__

        inner = [info for key, info in self.inner.items() if key != target.name]
        graph = helper.make_graph(
            self.nodes,
            name,
            [value_info(source)],
            [value_info(target)],
            list(self.constants.values()),
            value_info=inner,
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(QONNX_DOMAIN, 1)]
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="mixq", producer_version=__version__
        )


def value_info(value: Value) -> onnx.ValueInfoProto:
    """Return ONNX's description of a value."""
    return helper.make_tensor_value_info(
        value.name, TensorProto.DOUBLE if value.wide else TensorProto.FLOAT, value.shape
    )
