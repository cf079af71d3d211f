"""What quantisation adds to a tensor as noise, by width: variance of the error as a share of the signal's.

Behind batch norm every layer's signal has the same strength, and errors of different tensors are all but independent.
So to first order the loss rises with the sum of these shares, each weighted by how much the tensor matters
(:mod:`nas.sensitivity`). They are those of the tensors that quantisers are made for: Gaussian weights, the positive
part of a Gaussian for activations, evenly spread pixels for images.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from statistics import NormalDist

import numpy as np

from mixq.packing import weight_bounds
from mixq.plan.choices import FloatArray
from mixq.quantizers import ACTIVATION_STEPS, PIXEL_BITS, WEIGHT_STEPS

#: Values that stand for a Gaussian, each as probable as any other.
_QUANTILES = 20_000


def weight_noise(widths: Sequence[int]) -> FloatArray:
    """Shares for weights of these widths, 1..8 bits, (widths,).

    >>> weight_noise((2, 4, 8)).round(3).tolist()
    [0.146, 0.012, 0.0]
    """
    gaussian = _gaussian()
    return np.array([_rounded(gaussian, WEIGHT_STEPS[bits], *weight_bounds(bits, "full")) for bits in widths])


def act_noise(widths: Sequence[int]) -> FloatArray:
    """Shares for activations of these widths, 1..8 bits, (widths,).

    >>> act_noise((2, 4, 8)).round(3).tolist()
    [0.079, 0.005, 0.0]
    """
    positive = np.maximum(_gaussian(), 0.0)
    return np.array([_rounded(positive, ACTIVATION_STEPS[bits], 0, 2**bits - 1) for bits in widths])


def image_noise(widths: Sequence[int]) -> FloatArray:
    """Shares for images of which so many high bits are kept, (widths,).

    >>> image_noise((2, 4, 8)).round(3).tolist()
    [0.062, 0.004, 0.0]
    """
    return 4.0 ** -np.array(widths, np.float64) - 4.0**-PIXEL_BITS


@cache
def _gaussian() -> FloatArray:
    places = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    return np.array([NormalDist().inv_cdf(place) for place in places.tolist()])


def _rounded(values: FloatArray, step: float, low: int, high: int) -> float:
    """Variance of the error against that of the values."""
    error = np.clip(np.round(values / step), low, high) * step - values
    return float(error.var() / values.var())
