"""Monotone functions of integers as thresholds and, where they are one, as a multiplication and a shift."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from mixq.formats import IntFormat
from mixq.qonnx.values import Integers

MAX_FIT_SHIFT = 31
"""Greatest shift that is tried: longer multipliers cost more than thresholds."""


def staircase(
    function: Callable[[Integers], Integers], channels: int, low: int, high: int, levels: int
) -> tuple[Integers, Integers, Integers]:
    """Return thresholds (C, n), first and step (C,) of a function of codes (C, n) that is monotone in each channel.

    Found by bisection over ``low``..``high``, at most ``levels`` thresholds;
    those that no code reaches are ``high + 1``. ValueError for more.
    """
    ends = function(np.tile(np.array([low, high], np.int64), (channels, 1)))
    step = np.where(ends[:, 1] < ends[:, 0], -1, 1).astype(np.int64)
    # All channels span the codes of all, so that none ends beyond them: thresholds at ``low`` are always reached.
    first = np.where(step > 0, ends.min(), ends.max()).astype(np.int64)
    count = max(1, int(ends.max() - ends.min()))
    if count > levels:
        raise ValueError(f"{count} thresholds, more than {levels}")
    reach = np.arange(1, count + 1)[None, :]
    below = np.full((channels, count), low - 1, np.int64)
    above = np.full((channels, count), high + 1, np.int64)
    while (above - below > 1).any():
        middle = (below + above) // 2
        reached = (function(np.clip(middle, low, high)) - first[:, None]) * step[:, None] >= reach
        above, below = np.where(reached & (above - below > 1), middle, above), np.where(reached, below, middle)
    return above, first, step


def requantisation(
    thresholds: Integers, first: Integers, step: Integers, source: IntFormat, target: IntFormat
) -> tuple[Integers, Integers, int] | None:
    """Return multiplier (C,), bias (C,) and the least shift with which a requantisation equals a staircase.

    Equal for every integer of ``source``, clamped to ``target``; steps of 1. None where there is none with a shift up
    to 31. With B = bias + half a code c is reached from the threshold t on exactly when

        multiplier * t + B >= c * 2^shift   and   multiplier * (t - 1) + B < c * 2^shift

    for all thresholds, of which the first is void for a t that no input reaches, and the second for one that all do. B
    exists where all pairs of them leave room for it; that bounds the multiplier from both sides, and any integer
    between the bounds will do.
    """
    stairs = [
        _rising(bounds, int(start), int(sign), source)
        for bounds, start, sign in zip(thresholds, first, step, strict=True)
    ]
    kept = [[(t, c) for t, c in stair if target.low < c <= target.high] for stair, _, _ in stairs]
    ranges = [_slopes(stair, low, high) for stair, (_, low, high) in zip(kept, stairs, strict=True)]
    if any(low >= high for low, high in ranges):
        return None
    for shift in range(MAX_FIT_SHIFT + 1):
        multipliers = [_between(low * 2.0**shift, high * 2.0**shift) for low, high in ranges]
        if any(value is None for value in multipliers):
            continue
        chosen = [int(value) for value in multipliers if value is not None]
        offsets = [
            _offset(stair, low, high, factor, shift)
            for stair, (_, low, high), factor in zip(kept, stairs, chosen, strict=True)
        ]
        if all(value is not None for value in offsets):
            half = 1 << (shift - 1) if shift else 0
            biases = np.array([int(value) - half for value in offsets if value is not None], np.int64)
            return np.array(chosen, np.int64) * step, biases, shift
    return None


def _rising(bounds: Integers, first: int, step: int, source: IntFormat) -> tuple[list[tuple[int, int]], int, int]:
    """Pairs (threshold, code) of a channel as a function that rises, and the ends of its inputs; x -> -x if it falls.

    One pair more at each end says that no code lies below the first or beyond the last.
    """
    low, high, count = source.low, source.high, len(bounds)
    if step < 0:
        bounds, first, low, high = (1 - bounds)[::-1], first - count, -high, -low
    whole = [low, *(int(bound) for bound in bounds), high + 1]
    return [(bound, first + position) for position, bound in enumerate(whole)], low, high


def _slopes(stair: list[tuple[int, int]], low: int, high: int) -> tuple[float, float]:
    """Between which numbers the multiplier for a shift of 0 lies, neither of them included, to float64 rounding."""
    if not stair:
        return -math.inf, math.inf
    bounds, codes = np.array(stair, np.float64).T
    reached, missed = bounds <= high, bounds > low
    runs = bounds[reached][:, None] - bounds[missed][None, :] + 1
    rises = codes[reached][:, None] - codes[missed][None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = rises / runs
    low_slope = np.max(slopes, where=runs > 0, initial=-math.inf)
    return float(low_slope), float(np.min(slopes, where=runs < 0, initial=math.inf))


def _between(low: float, high: float) -> int | None:
    """An integer between two numbers, if there is one: 0, or that in the middle."""
    if low < 0 < high:
        return 0
    if math.isinf(low) or math.isinf(high):
        return math.floor(low) + 1 if math.isinf(high) else math.ceil(high) - 1
    middle = round((low + high) / 2)
    return next((value for value in (middle, math.floor(low) + 1) if low < value < high), None)


def _offset(stair: list[tuple[int, int]], low: int, high: int, factor: int, shift: int) -> int | None:
    """The B of a channel, checked against all its thresholds in exact arithmetic."""
    least = [(code << shift) - factor * bound for bound, code in stair if bound <= high]
    most = [(code << shift) - factor * (bound - 1) - 1 for bound, code in stair if bound > low]
    if least and most:
        return max(least) if max(least) <= min(most) else None
    return max(least) if least else min(most, default=0)
