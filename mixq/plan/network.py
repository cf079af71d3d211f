"""Cheapest choices of the ways of all stages, at prices for each kind of resource."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from mixq.board import REPORT_KEYS
from mixq.plan.choices import FloatArray, IntArray, Link, Stage
from mixq.plan.elimination import Factor, least, margin

KINDS = len(REPORT_KEYS)
"""Kinds of resources. Where widths are open, a network has one more column of costs: the predicted loss."""

_BLOCK = 64
"""Rows that are compared with the known undominated ones together."""


@dataclass(frozen=True)
class Path:
    """A way to build every stage: its number in each, and the resources of all of them with the converters, (5,)
    or more where a network has more columns of costs."""

    numbers: tuple[int, ...]
    total: FloatArray


class Column:
    """The ways of a stage that are left, sorted by the beats that they take and give.

    numbers: (n,) in the stage. entry, exit: (n,). costs: (n, 5).
    """

    def __init__(self, stage: Stage, numbers: IntArray) -> None:
        order = np.lexsort((numbers, stage.exit[numbers], stage.entry[numbers]))
        self.numbers: IntArray = numbers[order]
        self.entry: IntArray = stage.entry[self.numbers]
        self.exit: IntArray = stage.exit[self.numbers]
        self.costs: FloatArray = stage.costs[self.numbers]
        self.shape = len(stage.sources), len(stage.targets)

    @cached_property
    def starts(self) -> IntArray:
        """Where each class of equal beats begins."""
        keys = self.entry * self.shape[1] + self.exit
        return np.flatnonzero(np.diff(keys, prepend=-1))

    def cheapest(self, prices: FloatArray) -> FloatArray:
        """(A, B): the least price of a way that takes and gives such beats, infinite where there is none."""
        table = np.full(self.shape, np.inf)
        first = self.starts
        if len(first):
            table[self.entry[first], self.exit[first]] = np.minimum.reduceat(prices, first)
        return table

    def first_at(self, prices: FloatArray, entry: int, exit_: int) -> int:
        """Place of the first of the cheapest ways that take and give such beats."""
        places = np.flatnonzero((self.entry == entry) & (self.exit == exit_))
        return int(places[np.argmin(prices[places])])


Edge = tuple[int, int]
"""Places of the stage that gives and of that which takes."""


def in_a_row(stages: int) -> tuple[Edge, ...]:
    """The edges of stages each of which takes what the one before it gives."""
    return tuple(pairwise(range(stages)))


class Network:
    """The ways and converters of stages that take no more cycles than allowed and exceed no limit on their own.

    links: converters of each edge. limits: (5,), infinite where there is none. edges: by default those of a row.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        links: Sequence[Link],
        cycles: float,
        limits: FloatArray,
        edges: Sequence[Edge] | None = None,
    ) -> None:
        self.stages = stages
        self.links = links
        self.limits = limits
        self.edges = in_a_row(len(stages)) if edges is None else tuple(edges)
        self.open = [
            np.where(link.open & (link.cycles <= cycles) & (link.costs <= limits).all(2), 0.0, np.inf) for link in links
        ]
        kept = [
            np.flatnonzero((stage.cycles <= cycles) & (stage.costs <= limits).all(1)).astype(np.int64)
            for stage in stages
        ]
        self.columns = [Column(stage, numbers) for stage, numbers in zip(stages, kept, strict=True)]

    @property
    def size(self) -> int:
        """Ways in all."""
        return sum(len(column.numbers) for column in self.columns)

    def has(self, path: Path) -> bool:
        """Whether all ways of a path are left."""
        return all((column.numbers == own).any() for column, own in zip(self.columns, path.numbers, strict=True))

    def only(self, kept: Sequence[IntArray]) -> None:
        """Leave only the ways at these places of each column."""
        self.columns = [
            Column(stage, column.numbers[places])
            for stage, column, places in zip(self.stages, self.columns, kept, strict=True)
        ]

    def blocked(self) -> int | None:
        """The first stage that no path from the input reaches the other side of; None where one reaches the output."""
        nothing = np.zeros(len(self.limits))
        tables = [column.cheapest(column.costs @ nothing) for column in self.columns]
        for index in range(len(tables)):
            factors = [_of_stage(own, table) for own, table in enumerate(tables[: index + 1])]
            factors += [
                _of_edge(edge, mask) for edge, mask in zip(self.edges, self.open, strict=True) if edge[0] <= index
            ]
            if least(factors) is None:
                return index
        return None

    def shortest(self, prices: FloatArray) -> tuple[float, Path] | None:
        """The path of the least price and that price; of equal ones the first. None where there is no path."""
        ways = [column.costs @ prices for column in self.columns]
        tables = [column.cheapest(price) for column, price in zip(self.columns, ways, strict=True)]
        found = least([*map(_of_stage, range(len(tables)), tables), *self._between(prices)])
        if found is None:
            return None
        numbers = []
        for index, column in enumerate(self.columns):
            place = column.first_at(ways[index], found.values[2 * index], found.values[2 * index + 1])
            numbers.append(int(column.numbers[place]))
        return found.value, Path(tuple(numbers), self.total(numbers))

    def through(self, prices: FloatArray) -> list[FloatArray]:
        """For each column (n,): the least price of a path that takes each way; infinite where none does."""
        ways = [column.costs @ prices for column in self.columns]
        tables = [column.cheapest(price) for column, price in zip(self.columns, ways, strict=True)]
        between = self._between(prices)
        own = [_of_stage(index, table) for index, table in enumerate(tables)]
        found = []
        for index, column in enumerate(self.columns):
            others = [*own[:index], *own[index + 1 :], *between]
            rest = margin(others, (2 * index, 2 * index + 1), tables[index].shape)
            found.append(ways[index] + rest[column.entry, column.exit])
        return found

    def _between(self, prices: FloatArray) -> list[Factor]:
        """The converters' prices."""
        return [
            _of_edge(edge, link.costs @ prices + mask)
            for edge, link, mask in zip(self.edges, self.links, self.open, strict=True)
        ]

    def total(self, numbers: Sequence[int]) -> FloatArray:
        """Resources of a path given by the number of the way in each stage."""
        total = np.zeros(len(self.limits))
        for stage, number in zip(self.stages, numbers, strict=True):
            total = total + stage.costs[number]
        for (before, after), link in zip(self.edges, self.links, strict=True):
            exit_ = self.stages[before].exit[numbers[before]]
            total = total + link.costs[exit_, self.stages[after].entry[numbers[after]]]
        return total

    def drop_dominated(self) -> None:
        """Leave out ways that take no less of anything than another of the same beats; of equal ones keep the first."""
        self.only([_undominated(column) for column in self.columns])

    def copy(self) -> Network:
        """The same network, whose ways can be thinned out apart."""
        return copy(self)

    def within(self, kinds: npt.NDArray[np.bool_]) -> Network:
        """The same network with the limits of some kinds of resources alone, and of them the ways that take least."""
        found = self.copy()
        found.limits = np.where(kinds, self.limits, np.inf)
        found.only([_undominated(column, kinds) for column in self.columns])
        return found


def _of_stage(index: int, table: FloatArray) -> Factor:
    """Prices of the beats that a stage takes and gives, which are variables 2 * index and 2 * index + 1."""
    return Factor((2 * index, 2 * index + 1), table)


def _of_edge(edge: Edge, table: FloatArray) -> Factor:
    """Prices of the beats that the first of an edge's stages gives and the second takes."""
    before, after = 2 * edge[0] + 1, 2 * edge[1]
    return Factor((before, after), table) if before < after else Factor((after, before), table.T)


def _undominated(column: Column, kinds: npt.NDArray[np.bool_] | None = None) -> IntArray:
    """Places of ways that none dominates; kinds: of resources that count, by default all."""
    kept: list[IntArray] = []
    counted = column.costs if kinds is None else column.costs[:, kinds]
    bounds = [*column.starts.tolist(), len(column.numbers)]
    for start, end in pairwise(bounds):
        costs = counted[start:end]
        kept.append(undominated(costs) + start)
    return np.concatenate(kept) if kept else np.empty(0, np.int64)


def undominated(costs: FloatArray) -> IntArray:
    """Places of the rows of (n, k) that no other is at most as large as in every column; of equal ones the first."""
    # Sorted, whatever dominates a row stands before it.
    order = np.lexsort((np.arange(len(costs)), *costs.T[::-1]))
    front = np.empty_like(costs)
    size = 0
    places: list[int] = []
    for start in range(0, len(order), _BLOCK):
        block = order[start : start + _BLOCK]
        rows = costs[block]
        beaten = (front[:size, None, :] <= rows[None, :, :]).all(2).any(0)
        own = size
        for place, row in zip(block[~beaten].tolist(), rows[~beaten], strict=True):
            if not (front[own:size] <= row).all(1).any():
                places.append(place)
                front[size] = row
                size += 1
    return np.array(sorted(places), np.int64)
