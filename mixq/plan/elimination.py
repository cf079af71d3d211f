"""Least sums over variables that tables of prices join in pairs: one variable after the other is minimised out.

A design is a choice of the beats that every stage takes and gives; ways and converters have a price for each pair of
beats. Without forks the variables are a row, and this is the shortest path through it. With forks and joins that meet
again, minimising a variable out joins its neighbours in a table of their own, which stays small: two branches between a
fork and a join leave tables of two or three variables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

_BLOCK = 1 << 22
"""Entries of a joined table that are held at a time: those of two branches with many widths are too many together."""


@dataclass(frozen=True)
class Factor:
    """A table with an axis for each of its variables, which rise."""

    variables: tuple[int, ...]
    table: FloatArray


@dataclass(frozen=True)
class Minimum:
    """The least sum, and the value of each variable that gives it; of equal ones the first."""

    value: float
    values: dict[int, int]


def least(factors: Sequence[Factor]) -> Minimum | None:
    """The least sum of all factors; None where it is infinite."""
    left, steps = _eliminated(factors, keep=())
    value = sum(float(factor.table) for factor in left)
    if not np.isfinite(value):
        return None
    values: dict[int, int] = {}
    for variable, own in reversed(steps):
        rows = [
            factor.table[tuple(slice(None) if name == variable else values[name] for name in factor.variables)]
            for factor in own
        ]
        values[variable] = int(reduce(np.add, rows).argmin())
    return Minimum(value, values)


def margin(factors: Sequence[Factor], keep: Sequence[int], sizes: Sequence[int]) -> FloatArray:
    """The least sums for each value of the variables ``keep``, which rise; sizes: how many values these have."""
    left, _ = _eliminated(factors, keep=tuple(keep))
    total = np.zeros(tuple(sizes))
    for factor in left:
        total = total + _spread(factor, tuple(keep))
    return total


def _eliminated(
    factors: Sequence[Factor], keep: tuple[int, ...]
) -> tuple[list[Factor], list[tuple[int, list[Factor]]]]:
    """What is left when all variables but some are minimised out, and the tables whose sum each was minimised in."""
    left = list(factors)
    neighbours: dict[int, set[int]] = {}
    for factor in left:
        for variable in factor.variables:
            neighbours.setdefault(variable, set()).update(factor.variables)
    waiting = set(neighbours) - set(keep)
    steps: list[tuple[int, list[Factor]]] = []
    while waiting:
        # The fewest neighbours first; in a row that is one of its ends, and the first of them.
        variable = min(waiting, key=lambda name: (len(neighbours[name]), name))
        waiting.remove(variable)
        own = [factor for factor in left if variable in factor.variables]
        names = tuple(sorted({name for factor in own for name in factor.variables}))
        steps.append((variable, own))
        rest = tuple(name for name in names if name != variable)
        made = Factor(rest, _least_over(variable, own, names))
        left = [factor for factor in left if variable not in factor.variables] + [made]
        for name in rest:
            neighbours[name] = (neighbours[name] | set(rest)) - {variable}
    return left, steps


def _least_over(variable: int, factors: Sequence[Factor], names: tuple[int, ...]) -> FloatArray:
    """The least sum over one of the variables ``names``, for each value of the others; some of its values at a time."""
    axis, shape = names.index(variable), _shape(factors, names)
    others = shape[:axis] + shape[axis + 1 :]
    step = max(1, _BLOCK // max(prod(others), 1))
    tables = [_spread(factor, names) for factor in factors]
    found = np.full(others, np.inf)
    for start in range(0, shape[axis], step):
        part = (slice(None),) * axis + (slice(start, start + step),)
        np.minimum(found, reduce(np.add, [table[part] for table in tables]).min(axis), out=found)
    return found


def _spread(factor: Factor, names: tuple[int, ...]) -> FloatArray:
    """The table with an axis for each of more variables, of length 1 for those it does not have."""
    shape = [1] * len(names)
    for axis, name in enumerate(factor.variables):
        shape[names.index(name)] = factor.table.shape[axis]
    return factor.table.reshape(shape)


def _shape(factors: Sequence[Factor], names: tuple[int, ...]) -> tuple[int, ...]:
    sizes = {name: size for factor in factors for name, size in zip(factor.variables, factor.table.shape, strict=True)}
    return tuple(sizes[name] for name in names)
