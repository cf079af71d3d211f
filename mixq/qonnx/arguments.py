"""Inputs and attributes of a node, and what is common to readers of several operators."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from mixq.qonnx.reader import Reader
from mixq.qonnx.values import Unmappable


def attribute(proto: onnx.NodeProto, name: str, default: Any) -> Any:
    """Return an attribute's value, or ``default``."""
    for entry in proto.attribute:
        if entry.name == name:
            return onnx.helper.get_attribute_value(entry)
    return default


def inputs(reader: Reader, proto: onnx.NodeProto) -> list[Any]:
    """Return what the inputs stand for, None for those left out."""
    return [reader.values[name] if name else None for name in proto.input]


def constant(value: Any, what: str) -> Any:
    """Return ``value``, a NumPy array; Unmappable, naming it, for anything else."""
    if not isinstance(value, np.ndarray):
        raise Unmappable(f"{what} must be a constant; export the model for inference")
    return value


def whole_number(value: Any, what: str) -> int:
    """Return the one whole number that an array holds, once or several times."""
    numbers = np.unique(constant(value, what))
    if numbers.size != 1 or numbers[0] != int(numbers[0]):
        raise Unmappable(f"{what} must be one whole number, not {numbers[:2].tolist()}; choose another")
    return int(numbers[0])


def rounding(proto: onnx.NodeProto, default: str, known: dict[str, Any]) -> str:
    """Return the name of a rounding, one of those known."""
    name: str = attribute(proto, "rounding_mode", default.encode()).decode().upper().replace("HALF_EVEN", "ROUND")
    if name not in known:
        raise Unmappable(f"rounding_mode must be one of {', '.join(known)}, not {name}")
    return name


def window(proto: onnx.NodeProto, sides: int) -> tuple[list[int], list[int], list[int]]:
    """Return kernel, strides and pads of a pooling operator; Unmappable for what has no hardware."""
    kernel = list(attribute(proto, "kernel_shape", []))
    strides = list(attribute(proto, "strides", [1] * sides))
    pads = list(attribute(proto, "pads", [0] * (2 * sides)))
    odd = attribute(proto, "ceil_mode", 0) or set(attribute(proto, "dilations", [1])) != {1}
    odd = odd or attribute(proto, "auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID")
    if odd or len(kernel) != sides or len(strides) != sides or len(pads) != 2 * sides:
        raise Unmappable("must have ceil_mode 0, no dilation, auto_pad NOTSET and a kernel of two sides")
    return kernel, strides, pads
