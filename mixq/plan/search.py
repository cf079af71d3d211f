"""The search for the fewest cycles: programs for a rising and falling bound, and what they prove."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from mixq.board import REPORT_KEYS
from mixq.errors import CheckFailed
from mixq.plan.choices import FloatArray, IntArray, Link, Stage
from mixq.plan.network import KINDS, Edge, Network, Path, in_a_row
from mixq.plan.program import WEIGHTS, Program
from mixq.plan.solver import Answer, least_excess

PRICE = np.array([WEIGHTS[name] for name in REPORT_KEYS])

_KEYS = tuple(REPORT_KEYS.values())
_PROVED = 1e-6


@dataclass(frozen=True)
class Found:
    """The smallest design within some cycles.

    path: its ways. price: weighted shares of the limits. cycles: asked for. bound: no design of fewer cycles than these
    was left unrefuted. price_bound: no design within the cycles is cheaper.
    """

    path: Path
    price: float
    cycles: int
    bound: int
    price_bound: float

    @property
    def price_gap(self) -> float:
        """By which share of the price a design might be cheaper; what floats leave of a proof counts as none."""
        gap = (self.price - self.price_bound) / self.price if self.price else 0.0
        return gap if gap > _PROVED else 0.0


class Search:
    """Programs about one network of stages.

    edges: which stage takes what which gives, by default one after the other. limits: (5,) in the order of
    REPORT_KEYS. time_limit: seconds for each run of the solver. cycle counts come from a finite set, that of all ways
    and converters, so that a search over it is a search over all designs.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        links: Sequence[Link],
        limits: FloatArray,
        time_limit: float,
        edges: Sequence[Edge] | None = None,
    ) -> None:
        self._stages, self._links = stages, links
        self._edges = in_a_row(len(stages)) if edges is None else tuple(edges)
        self._limits = limits
        self._time_limit = time_limit
        counts = [stage.cycles for stage in stages] + [link.cycles.ravel() for link in links]
        self.targets: IntArray = np.unique(np.concatenate(counts))
        self.targets = self.targets[self.targets > 0]

    def network(self, cycles: float, limits: FloatArray | None = None) -> Network:
        """The ways within some cycles, and within the limits on their own."""
        return Network(self._stages, self._links, cycles, self._limits if limits is None else limits, self._edges)

    def fits(self, cycles: float, limits: FloatArray | None = None) -> Answer:
        """Whether any design takes at most so many cycles."""
        return Program(self.network(cycles, limits), self._time_limit).feasible()

    def smallest(self, cycles: int, bound: int | None = None) -> Found | None:
        """The cheapest design of at most so many cycles, None where there is none.

        Raises CheckFailed where the solver's time ran out before it knew.
        """
        answer = Program(self.network(cycles), self._time_limit).cheapest(PRICE)
        if answer.path is None:
            if answer.status == "unknown":
                raise CheckFailed(f"no design of at most {cycles} cycles was found in the time that the solver has")
            return None
        least = min(answer.bound, answer.price)
        return Found(answer.path, answer.price, cycles, cycles if bound is None else bound, least)

    def fastest(self) -> Found | None:
        """The cheapest of the fastest designs; None where no design fits at all."""
        low, high, refuted = 0, len(self.targets), -1
        while low < high:
            middle = (low + high) // 2
            status = self.fits(int(self.targets[middle])).status
            if status == "best":
                high = middle
            else:
                low = middle + 1
                if status == "infeasible":
                    refuted = max(refuted, middle)
        if high == len(self.targets):
            return None
        return self.smallest(int(self.targets[high]), int(self.targets[min(refuted + 1, high)]))

    def limited_by(self, cycles: int) -> tuple[str, ...]:
        """What keeps designs from fewer cycles than these, which are the fewest possible.

        Kinds of resources: each alone, were there no limit of it, would let in the next smaller number of cycles; where
        none does, the first two that do together, as "LUT and DSP". "input stream" or the name of a stage where none
        of its ways is faster, whatever the limits.
        """
        smaller = self.targets[self.targets < cycles]
        next_ = int(smaller[-1]) if len(smaller) else cycles - 1
        unlimited = np.full(KINDS, np.inf)
        blocked = self.network(next_, unlimited).blocked()
        if blocked is not None:
            return (self._stages[blocked].name,)
        for size in range(1, KINDS + 1):
            found = []
            for kinds in combinations(range(KINDS), size):
                limits = self._limits.copy()
                limits[list(kinds)] = np.inf
                if self.fits(next_, limits).status == "best":
                    found.append(" and ".join(_KEYS[kind] for kind in kinds))
                    if size > 1:
                        break
            if found:
                return tuple(found)
        return ()

    def least_excess(self) -> Path | None:
        """The design that exceeds the limits by the least, however slow; None where the solver found none."""
        unlimited = np.full(KINDS, np.inf)
        network = self.network(np.inf, unlimited)
        network.drop_dominated()
        return least_excess(network, self._limits, time_limit=self._time_limit).path

    def frontier(self, points: int) -> list[Found]:
        """The smallest designs for rising numbers of cycles.

        From the fastest to the number beyond which more cycles save nothing, the numbers between spaced evenly by
        ratio; designs that are no smaller than a faster one are left out.
        """
        first, last = self.fastest(), self.smallest(int(self.targets[-1]))
        if first is None or last is None:
            return []
        slowest = self.cycles_of(last.path)
        steps = np.geomspace(first.cycles, max(slowest, first.cycles), points)
        found = [first]
        for cycles in np.unique(np.floor(steps + 1e-6).astype(np.int64))[1:]:
            nearest = int(self.targets[np.searchsorted(self.targets, cycles, side="right") - 1])
            design = self.smallest(nearest)
            if design is not None and design.price < found[-1].price:
                found.append(design)
        return found

    def cycles_of(self, path: Path) -> int:
        """Cycles that a design takes."""
        counts = [int(stage.cycles[number]) for stage, number in zip(self._stages, path.numbers, strict=True)]
        for (before, after), between in zip(self._edges, self._links, strict=True):
            exit_ = self._stages[before].exit[path.numbers[before]]
            entry = self._stages[after].entry[path.numbers[after]]
            counts.append(int(between.cycles[exit_, entry]))
        return max(counts)
