"""Means, spreads, and the interval of a mean difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

from scipy.special import stdtrit


@dataclass(frozen=True)
class Interval:
    """Mean of paired differences, with the interval that holds the true one with a confidence of 95 %.

    ``mean +- t * s / sqrt(n)``, s the standard deviation of the n differences and t the 0.975 quantile of Student's
    distribution with n - 1 degrees of freedom.
    """

    mean: float
    low: float
    high: float
    deviation: float
    count: int


def quantile(freedom: int) -> float:
    """The 0.975 quantile of Student's t distribution with so many degrees of freedom, 1 or more."""
    return float(stdtrit(freedom, 0.975))


def interval(differences: Sequence[float]) -> Interval:
    """The interval of two or more differences."""
    if len(differences) < 2:
        raise ValueError(f"differences must be two or more, not {differences!r}")
    mean, deviation = fmean(differences), stdev(differences)
    half = quantile(len(differences) - 1) * deviation / sqrt(len(differences))
    return Interval(mean, mean - half, mean + half, deviation, len(differences))


def spread(values: Sequence[float]) -> float | None:
    """Standard deviation of a sample, None of a single value."""
    return stdev(values) if len(values) > 1 else None
