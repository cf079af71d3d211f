"""From a file to a checked ONNX model and its constants; what ONNX's own checker lets pass is checked here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from mixq.errors import UserError

MAX_BYTES = 1 << 30
"""Largest file that is read."""


def load_model(path: str | os.PathLike[str]) -> onnx.ModelProto:
    """Return the model in a file; UserError, naming the file, when it is none, too large or not readable."""
    file = Path(path)
    try:
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise UserError(f"{file} must have at most {MAX_BYTES} bytes, not {size}")
        model = onnx.ModelProto()
        model.ParseFromString(file.read_bytes())
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from error
    except DecodeError as error:
        raise UserError(f"{file} is no ONNX file, or a damaged one; export the model again") from error
    if not model.graph.node:
        raise UserError(f"{file} has no nodes: no ONNX model, or an empty one; export the model again")
    return model


def read_constants(model: onnx.ModelProto, path: object) -> dict[str, np.ndarray[Any, Any]]:
    """Return the initialisers by name; UserError for data in other files, damaged data, NaN or infinity."""
    return {tensor.name: read_tensor(tensor, path) for tensor in model.graph.initializer}


def read_tensor(tensor: onnx.TensorProto, path: object) -> np.ndarray[Any, Any]:
    """Return a constant's values; UserError as :func:`read_constants`."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise UserError(f"{path}: constant {tensor.name!r} lies in another file; save the model as one file")
    try:
        values = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        raise UserError(f"{path}: constant {tensor.name!r} is damaged; export the model again") from error
    if values.dtype.kind not in "fiub":
        raise UserError(f"{path}: constant {tensor.name!r} must hold numbers, not {values.dtype}")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise UserError(f"{path}: constant {tensor.name!r} holds NaN or infinity; export finite values")
    return values


def input_shape(model: onnx.ModelProto, constants: dict[str, Any], path: object) -> tuple[str, tuple[int, ...]]:
    """Return the name and shape of the one input that is no constant, batch axis left out."""
    inputs = [value for value in model.graph.input if value.name not in constants]
    if len(inputs) != 1:
        raise UserError(f"{path} must have one input, not {len(inputs)}; export one branch at a time")
    axes = inputs[0].type.tensor_type.shape.dim
    shape = tuple(axis.dim_value for axis in axes[1:])
    if len(axes) not in (2, 4) or min(shape) < 1:
        raise UserError(
            f"{path}: input {inputs[0].name!r} must have the known shape (N, C, H, W) or (N, features); "
            "export with fixed axes"
        )
    return inputs[0].name, shape


def output_name(model: onnx.ModelProto, name: str, path: object) -> str:
    """Return the name of the one output that depends on the input of that name.

    Others, as the scale and the width that Brevitas exports with a quantised output, are constants.
    """
    reached = {name}
    for node in model.graph.node:
        if node.op_type != "Shape" and reached.intersection(node.input):
            reached.update(node.output)
    outputs = [value.name for value in model.graph.output]
    found = [value for value in outputs if value in reached]
    if len(found) > 1 or not outputs:
        raise UserError(f"{path} must have one output, not {len(found)}; export one branch at a time")
    return found[0] if found else outputs[0]


_QUANTISERS = ("Quant", "IntQuant")
_SAME_AXES = (*_QUANTISERS, "BipolarQuant", "Identity", "Dropout", "Mul", "Add", "Sub", "Div", "Relu", "Clip")
_SAME_VALUES = ("Identity", "Dropout", "Transpose", "Flatten", "Reshape")


def _reached(model: onnx.ModelProto, name: str, through: tuple[str, ...]) -> list[onnx.NodeProto]:
    """Nodes that read an input as their first, directly or behind operators ``through``, which are left out."""
    names, found = {name}, []
    for node in model.graph.node:
        if not names.intersection(node.input):
            continue
        if node.op_type in through and node.input[0] in names:
            names.update(node.output)
        else:
            found.append(node)
    return found


def is_quantised_at_once(model: onnx.ModelProto, name: str) -> bool:
    """Whether nothing but quantisers reads the values of an input, whatever its shape becomes before."""
    found = [node for node in _reached(model, name, _SAME_VALUES) if node.op_type != "Shape"]
    return bool(found) and all(node.op_type in _QUANTISERS for node in found)


def is_channels_last(model: onnx.ModelProto, name: str) -> bool:
    """Whether the first operators that know axes take an input of four as (N, H, W, C)."""
    found = _reached(model, name, _SAME_AXES)
    return bool(found) and all(
        node.domain == "qonnx.custom_op.channels_last"
        or any(entry.name == "perm" and list(entry.ints) == [0, 3, 1, 2] for entry in node.attribute)
        for node in found
    )
