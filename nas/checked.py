"""The integer program over widths where paths are no designs, but take no more than those of the same widths.

Joins make what a stage takes depend on the widths of several layers, and the network of ways has the least of it
(:mod:`mixq.plan.width_network`). So the least loss of its paths is a bound; whether widths fit is asked of the stages
of these widths alone. Widths that do not are excluded, and the next best ones asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

import numpy as np

from mixq.plan.choices import FloatArray
from mixq.plan.network import Network, Path
from mixq.plan.program import Program
from mixq.plan.solver import Status
from mixq.plan.width_network import WidthNetwork
from nas.relaxation import EQUAL, Relaxation

MOST_ROUNDS = 200
"""Choices of widths that are tried before the best known ones are taken, with the gap that is left."""

MIXED_ROUNDS = 4
"""Rounds in which ways of the same widths may mix; behind them each stage has one way, which takes longer to solve."""

Widths = tuple[tuple[int, ...], tuple[int, ...]]
"""Of weights and of inputs, for every weighted layer."""


@dataclass(frozen=True)
class Found:
    """The best widths that fit, None for none, and what no others are below, as a share.

    status: "best" where they are proved to be the best, "infeasible" where it is proved that none fit.
    """

    status: Status
    widths: Widths | None
    bound: float


class Checked(Program):
    """A program about ways whose answers are checked.

    network: of so many cycles, with the loss as its last column of costs. ways: of all widths. share_of: the loss of
    widths, as a share of its limit.
    """

    def __init__(
        self,
        network: Network,
        cycles: int,
        ways: WidthNetwork,
        share_of: Callable[[Widths], float],
        time_limit: float,
    ) -> None:
        super().__init__(network, time_limit)
        self._cycles, self._ways, self._share_of = cycles, ways, share_of
        self._fitting: dict[Widths, bool] = {}
        self._best: tuple[float, Widths] | None = None

    def least(self, tried: Sequence[Widths]) -> Found:
        """The widths of the least loss; tried: some that may fit."""
        verdict = self._bound_of_feasibility() or self._found_by_exchanges()
        if verdict is not None and verdict.status == "infeasible":
            return Found("infeasible", None, 0.0)
        for widths in tried:
            self._fits(widths)
        prices = np.zeros(self._kinds)
        prices[-1] = 1.0
        multipliers, bound = self._price_bound(prices)
        self._improve(prices)
        for path in self._likely(prices):
            if self._fits(self._ways.widths(path.numbers)):
                break
        if self._best is not None:
            limit = self._best[0] + float(multipliers.sum()) + 1e-7
            through = self._network.through((prices + multipliers) * self._unit)
            self._network.only([np.flatnonzero(price <= limit).astype(np.int64) for price in through])
        self._network.drop_dominated()
        return self._closed(max(bound, 0.0))

    def _likely(self, prices: FloatArray) -> list[Path]:
        """Paths that the bound was found with and that are within the limits, the least loss first."""
        entries = zip(self._cuts.paths, self._cuts.shares, strict=True)
        fitting = [
            (float(shares @ prices), number) for number, (_, shares) in enumerate(entries) if (shares <= 1).all()
        ]
        return [self._cuts.paths[number] for _, number in sorted(fitting)]

    def _closed(self, bound: float) -> Found:
        """Widths one after the other, until the best that fit are proved to be the best, or time or rounds are over."""
        relaxed = Relaxation(self._network, self._unit, self._ways.widths_of)
        for widths in self._fitting:
            relaxed.exclude(self._by_stage(widths))
        end = monotonic() + self._time_limit
        for number in range(MOST_ROUNDS):
            if self._best is not None and bound >= self._best[0] - EQUAL:
                return Found("best", self._best[1], self._best[0])
            left = end - monotonic()
            if left <= 0:
                break
            try:
                found = relaxed.solve(left, whole=number >= MIXED_ROUNDS)
            except TimeoutError:
                break
            if found is None:
                return self._proved()
            loss, by_stage = found
            bound = max(bound, loss)
            self._fits(self._of_stages(by_stage))
            relaxed.exclude(by_stage)
        return Found("unknown", None if self._best is None else self._best[1], bound)

    def _proved(self) -> Found:
        """What is known when no other widths are left."""
        return Found("infeasible", None, 0.0) if self._best is None else Found("best", self._best[1], self._best[0])

    def _fits(self, widths: Widths) -> bool:
        """Whether widths fit, asked of their stages alone; the best that do are kept."""
        if widths not in self._fitting:
            search = self._ways.alone(widths, self._time_limit)
            fits = search is not None and search.fits(self._cycles).status == "best"
            self._fitting[widths] = fits
            share = self._share_of(widths)
            if fits and (self._best is None or share < self._best[0]):
                self._best = share, widths
        return self._fitting[widths]

    def _by_stage(self, widths: Widths) -> dict[int, int]:
        layers = [(stage, own.layer) for stage, own in enumerate(self._ways.stages) if own.layer is not None]
        return {stage: widths[0][layer] * 16 + widths[1][layer] for stage, layer in layers}

    def _of_stages(self, by_stage: dict[int, int]) -> Widths:
        layers = {own.layer: by_stage[stage] for stage, own in enumerate(self._ways.stages) if own.layer is not None}
        keys = [layers[number] for number in range(len(layers))]
        return tuple(key // 16 for key in keys), tuple(key % 16 for key in keys)
