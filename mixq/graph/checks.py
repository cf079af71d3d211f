"""Checks shared by tensors, nodes and graphs; every message names the parameter and shows the value."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mixq.errors import UserError

IntArray = npt.NDArray[np.int64]


class GraphError(UserError, ValueError):
    """A value that an integer graph cannot hold: a user's fault, and a ValueError for Python callers."""


def check_int(name: str, value: object, low: int, high: int) -> int:
    """Return ``value`` as an int; TypeError unless it is one, GraphError outside ``low``..``high``."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    if not low <= value <= high:
        raise GraphError(f"{name} must be {low} to {high}, not {value!r}")
    return int(value)


def check_scale(name: str, value: object) -> float | None:
    """Return ``value``, a positive finite float or None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, np.floating)):
        raise TypeError(f"{name} must be a float or None, not {value!r}")
    if not (math.isfinite(value) and value > 0):
        raise GraphError(f"{name} must be positive and finite, not {value!r}")
    return float(value)


def frozen_array(name: str, value: Any, dimensions: int) -> IntArray:
    """Return a read-only int64 copy of an integer array with ``dimensions`` axes, none of them empty.

    TypeError for anything that is not an array of integers (NaN cannot come in), GraphError for a wrong
    number of axes, an empty axis, or a value beyond int64.
    """
    array = np.asarray(value)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers, not {array.dtype}")
    if array.ndim != dimensions:
        raise GraphError(f"{name} must have {dimensions} axes, not the shape {array.shape!r}")
    if array.size == 0:
        raise GraphError(f"{name} must not be empty, not of the shape {array.shape!r}")
    if array.dtype.kind == "u" and int(array.max()) > np.iinfo(np.int64).max:
        raise GraphError(f"{name} must fit in 64 bits with sign, not {int(array.max())!r}")
    copy = np.array(array, dtype=np.int64, order="C", copy=True)
    copy.setflags(write=False)
    return copy
