"""Layers of a QONNX file that are, exactly, simpler nodes of the integer graph."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from mixq.formats import IntFormat

MAX_BIAS = {np.dtype(np.float32): 1 << 24, np.dtype(np.float64): 1 << 53}
"""Integers up to these are exact."""


def integer_bias(values: Any, scales: Sequence[Fraction]) -> npt.NDArray[np.int64] | None:
    """Return a bias (C,) in units of the sums' scales, int64; None where it may be rounded when it is added to them.

    It is not where the scales are powers of two and the bias, float32 or float64, is a multiple of them.
    """
    if not isinstance(values, np.ndarray) or values.dtype not in MAX_BIAS or values.shape != (len(scales),):
        return None
    quotients = [Fraction(float(value)) / scale for value, scale in zip(values, scales, strict=True)]
    powers = all((part & (part - 1)) == 0 for scale in scales for part in (scale.numerator, scale.denominator))
    if not powers or any(value.denominator != 1 or abs(value) > MAX_BIAS[values.dtype] for value in quotients):
        return None
    return np.array([int(value) for value in quotients], np.int64)


def is_window_sum(weights: npt.NDArray[np.int64], fields: dict[str, Any], strides: Sequence[int]) -> bool:
    """Whether a convolution adds up windows that lie side by side, each channel for itself.

    ``weights``: its codes (C_out, C_in / groups, rows, columns); ``fields``: groups, dilation and padding.
    """
    window = weights.shape[2:]
    beside = tuple(strides) == window != (1, 1) and fields["dilation"] == 1 and not any(fields["padding"])
    alone = weights.shape[1] == 1 and fields["groups"] == len(weights)
    return beside and alone and bool((weights == 1).all())


def is_identity(
    format: IntFormat,
    thresholds: npt.NDArray[np.int64],
    first: npt.NDArray[np.int64],
    step: npt.NDArray[np.int64],
) -> bool:
    """Whether a staircase (thresholds (C, n), first and step (C,)) gives back each code of ``format``."""
    codes = np.arange(format.low + 1, format.high + 1)
    rising = (first == format.low).all() and (step == 1).all()
    return bool(rising and thresholds.shape[1] == len(codes) and (thresholds == codes).all())
