"""Requantisations and thresholds of the integer graph as those of a ``MultiThreshold``: counts of rising thresholds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mixq.errors import UserError
from mixq.formats import IntFormat
from mixq.graph import Requantise, Threshold
from mixq.graph.scaling import MAX_THRESHOLDS


@dataclass(frozen=True)
class Staircase:
    """``y = base + step * (number of thresholds t of channel c with sign[c] * x >= t)``.

    ``base`` and ``step``, 1 or 2, are those of all channels; ``sign`` int64 (C,), -1 where the function falls;
    ``thresholds`` int64 (C, n), n from 1 to 255, rising along n, from the least ``sign * x`` (always reached) to one
    above the greatest (never reached).
    """

    sign: npt.NDArray[np.int64]
    thresholds: npt.NDArray[np.int64]
    base: int
    step: int


def staircase_of(node: Requantise | Threshold, source: IntFormat, target: IntFormat) -> Staircase:
    """Return the staircase that equals the node for every code of ``source``.

    UserError where more than 255 thresholds are needed.
    """
    return _of_requantise(node, source, target) if isinstance(node, Requantise) else _of_threshold(node, source)


def _of_requantise(node: Requantise, source: IntFormat, target: IntFormat) -> Staircase:
    """Code k is reached where ``sign * x >= ceil((k * 2^shift - bias - half) / |multiplier|)``."""
    half = 1 << (node.shift - 1) if node.shift else 0
    channels = list(zip(node.multiplier.tolist(), [bias + half for bias in node.bias.tolist()], strict=True))
    least, most = target.low, target.high
    if most - least > MAX_THRESHOLDS:  # a wide format, of which few codes may occur
        ends = [(x * factor + offset) >> node.shift for factor, offset in channels for x in (source.low, source.high)]
        least, most = (min(max(end, target.low), target.high) for end in (min(ends), max(ends)))
    _check_count(node, most - least)
    rows: list[list[int]] = []
    for factor, offset in channels:
        low, high = _ends(source, -1 if factor < 0 else 1)
        rows.append([])
        for code in range(least + 1, max(most, least + 1) + 1):
            distance = (code << node.shift) - offset
            if code > most:  # a layer of one code: a threshold is there, but never reached
                reached = high + 1
            elif factor:
                reached = -(-distance // abs(factor))
            else:
                reached = low if distance <= 0 else high + 1
            rows[-1].append(min(max(reached, low), high + 1))
    sign = np.where(node.multiplier < 0, -1, 1)
    return Staircase(sign, np.array(rows, np.int64), least, 1)


def _of_threshold(node: Threshold, source: IntFormat) -> Staircase:
    """Falling channels count the thresholds that are not reached: x < t is -x >= 1 - t."""
    bases = np.where(node.step < 0, node.last, node.first)
    base = int(bases.min())
    # Bipolar codes, odd ones alone, are 2 * count - n. Even ones would be read as codes of half the size.
    height = 2 if (abs(node.step) == 2).all() and (bases % 2).all() else 1
    rows: list[list[int]] = []
    for bounds, step, own in zip(node.thresholds.tolist(), node.step.tolist(), bases.tolist(), strict=True):
        low, high = _ends(source, -1 if step < 0 else 1)
        rising = [1 - bound for bound in reversed(bounds)] if step < 0 else bounds
        reached = [min(max(bound, low), high + 1) for bound in rising for _ in range(abs(step) // height)]
        rows.append([low] * ((own - base) // height) + reached)
        _check_count(node, len(rows[-1]))
    count = max(len(row) for row in rows)
    for row, step in zip(rows, node.step.tolist(), strict=True):
        row += [_ends(source, -1 if step < 0 else 1)[1] + 1] * (count - len(row))
    return Staircase(np.where(node.step < 0, -1, 1), np.array(rows, np.int64), base, height)


def _ends(source: IntFormat, sign: int) -> tuple[int, int]:
    return (source.low, source.high) if sign > 0 else (-source.high, -source.low)


def _check_count(node: Requantise | Threshold, count: int) -> None:
    if count > MAX_THRESHOLDS:
        raise UserError(
            f"node {node.name} makes codes of more than {MAX_THRESHOLDS + 1} values, which MultiThreshold nodes "
            "do not hold; requantise to 8 bits or fewer"
        )
