"""Checks of constructor arguments that every component makes in the same words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def checked_int(name: str, value: object, *, low: int, high: int | None = None) -> int:
    """Return ``value`` as an int in ``low``..``high`` (no upper bound when None).

    Raises: TypeError when it is no integer (a bool is none), ValueError when it is out of range; both name
    the parameter.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    if value < low:
        raise ValueError(f"{name} must be at least {low}, not {value!r}")
    if high is not None and value > high:
        raise ValueError(f"{name} must be at most {high}, not {value!r}")
    return int(value)


def checked_choice(name: str, value: object, choices: Sequence[str]) -> str:
    """Return ``value``, one of ``choices``. Raises: TypeError for no string, ValueError for another one."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {value!r}")
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
    return value
