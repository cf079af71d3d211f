"""The integer program of a plan: one way for each stage, joined by converters, within limits.

Binary x chooses a way for each stage; y is the flow between the beats that leave a stage and those that the next one
takes, which pays for the converters. With r the resources of ways and converters::

    minimise    w · R / L              the shares of the limits L, weighted by kind
    subject to  R = sum r x + sum r y,  R <= L
                each stage has one way, and flow into y and out of it is that of the ways at its ends

Before the solver sees it, prices for the kinds of resources (multipliers of the rows R <= L) are raised until the
cheapest path at these prices is as dear as it gets: the Lagrangian bound. It proves most infeasible programs
infeasible, and ways that no path within the limits, or below the best known price, can take are left out. Exchanges of
ways (:mod:`mixq.plan.exchange`) look for a path to start from. What is left is solved by HiGHS.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixq.plan.choices import FloatArray
from mixq.plan.exchange import exchanged
from mixq.plan.network import Network, Path
from mixq.plan.solver import Answer, solve_network

WEIGHTS = {"lut": 1.0, "ff": 0.25, "dsp": 1.0, "bram36": 1.0, "uram": 1.0}
"""What a share of each limit weighs in a design's price: flip-flops, of which devices have plenty, a quarter."""

_ROUNDS = 60
"""Price vectors that are tried for a bound; five prices settle in about half of them."""
_HIGHEST_PRICE = 1e3
_STARTS = 8
"""Price vectors whose cheapest paths exchanges start from."""
# Prices are sums of floats: a path must be dearer by more than this to be left out, in shares of the limits.
_MARGIN = 1e-9
# What the solver minimises: shares times this, so that its tolerance of 1e-6 is far below a look-up table's share.
_SCALE = 1e5
# All that equal prices are told apart by, in the same units: the first way of each stage, later stages first.
_TIE = 1e-2


@dataclass
class _Cuts:
    """Paths that have been found, as shares of the limits."""

    paths: list[Path]
    shares: list[FloatArray]

    def add(self, path: Path, shares: FloatArray) -> None:
        self.paths.append(path)
        self.shares.append(shares)

    def best(self, weights: FloatArray) -> tuple[float, Path] | None:
        """The cheapest path within the limits."""
        fitting = [
            (float(shares @ weights), number)
            for number, shares in enumerate(self.shares)
            if (shares <= 1 + 1e-12).all()
        ]
        if not fitting:
            return None
        price, number = min(fitting)
        return price, self.paths[number]


class Program:
    """One question about the ways of a network: does any path fit, and which is the cheapest?

    network: the ways within some cycles; it is thinned out on the way. time_limit: seconds for each run of the solver.
    """

    def __init__(self, network: Network, time_limit: float) -> None:
        self._network = network
        self._time_limit = time_limit
        limits = network.limits
        self._kinds = len(limits)
        # A limit of nothing is kept by leaving out what takes some: the network has done so.
        self._bounded = np.isfinite(limits) & (limits > 0)
        self._unit = np.where(self._bounded, 1 / np.where(limits > 0, limits, 1), 0.0)
        self._cuts = _Cuts([], [])
        # Prices that the bound of feasibility was taken at, with the bound.
        self._asked: list[tuple[float, FloatArray]] = []

    def feasible(self) -> Answer:
        """Any path within the limits, or the proof that there is none."""
        verdict = self._bound_of_feasibility() or self._found_by_exchanges() or self._within_what_binds()
        return self._solve(np.zeros(self._kinds)) if verdict is None else verdict

    def cheapest(self, weights: FloatArray) -> Answer:
        """The path of the least price ``weights`` (5,) times the shares of the limits."""
        verdict = self._bound_of_feasibility() or self._found_by_exchanges()
        if verdict is not None and verdict.status == "infeasible":
            return verdict
        multipliers, bound = self._price_bound(weights)
        self._improve(weights)
        known = self._cuts.best(weights)
        if known is not None:
            if known[0] <= bound + _MARGIN:
                return Answer("best", known[1], known[0], bound)
            limit = known[0] + float(multipliers.sum()) + 1e-7
            through = self._network.through((weights + multipliers) * self._unit)
            self._network.only([np.flatnonzero(price <= limit).astype(np.int64) for price in through])
        self._network.drop_dominated()
        return self._among_the_rest(weights, known)

    def _among_the_rest(self, weights: FloatArray, known: tuple[float, Path] | None) -> Answer:
        """The cheapest path of the ways that are left; known: the best one so far, one of them, with its price."""
        return self._solve(weights, known)

    def _share(self, path: Path) -> FloatArray:
        shares: FloatArray = path.total * self._unit
        return shares

    def _bound_of_feasibility(self) -> Answer | None:
        """A path that fits or the proof that none does, by prices that sum to 1 alone; None where these cannot tell."""
        from scipy.optimize import linprog

        active = np.flatnonzero(self._bounded)
        if not len(active):
            found = self._network.shortest(np.zeros(self._kinds))
            return Answer("infeasible") if found is None else Answer("best", found[1], 0.0)
        prices = np.where(self._bounded, 1 / len(active), 0.0)
        for _ in range(_ROUNDS):
            found = self._network.shortest(prices * self._unit)
            if found is None:
                return Answer("infeasible")
            value, path = found
            self._asked.append((value, prices))
            shares = self._share(path)
            self._cuts.add(path, shares)
            if value > 1 + _MARGIN:
                return Answer("infeasible")
            if (shares[active] <= 1).all():
                return Answer("best", path, 0.0)
            # Prices that make the cheapest of the known paths as dear as possible.
            rows = np.array([[*(-known[active]), 1.0] for known in self._cuts.shares])
            solved = linprog(
                [*np.zeros(len(active)), -1.0],
                A_ub=rows,
                b_ub=np.zeros(len(rows)),
                A_eq=[[*np.ones(len(active)), 0.0]],
                b_eq=[1.0],
                bounds=[(0, 1)] * len(active) + [(None, None)],
                method="highs",
            )
            if -solved.fun <= value + _MARGIN:
                return None
            prices = np.zeros(self._kinds)
            prices[active] = solved.x[:-1]
        return None

    def _found_by_exchanges(self) -> Answer | None:
        """A path within the limits that exchanges lead to, None where none does.

        Ways that no path within the limits takes are left out before: those through which every path is dearer than 1
        at prices that sum to 1.
        """
        asked = [prices * self._unit for _, prices in sorted(self._asked, key=lambda entry: -entry[0])[:_STARTS]]
        for prices in asked:
            kept = [np.flatnonzero(price <= 1 + _MARGIN).astype(np.int64) for price in self._network.through(prices)]
            self._network.only(kept)
        self._network.drop_dominated()

        def most(totals: FloatArray) -> FloatArray:
            shares: FloatArray = (totals * self._unit).max(-1)
            return shares

        for prices in asked:
            found = self._network.shortest(prices)
            if found is None:
                return Answer("infeasible")
            path = exchanged(self._network, found[1], most, 1.0)
            self._cuts.add(path, self._share(path))
            if most(path.total) <= 1:
                return Answer("best", path, 0.0)
        return None

    def _within_what_binds(self) -> Answer | None:
        """A path by the limits that have a price alone, if the others hold for it; or that not even these can be kept.

        None where that tells nothing: mostly flip-flops are left out, of which there are enough, and many ways with
        them that would differ in nothing else.
        """
        prices = max(self._asked, key=lambda entry: entry[0])[1]
        answer = solve_network(self._network.within(prices > 0), np.zeros(self._kinds), time_limit=self._time_limit)
        if answer.path is None:
            return answer
        return Answer("best", answer.path, 0.0) if (self._share(answer.path) <= 1).all() else None

    def _improve(self, weights: FloatArray) -> None:
        """Look for cheaper paths within the limits around the best known one."""
        known = self._cuts.best(weights)
        if known is None or not self._network.has(known[1]):
            return

        def price(totals: FloatArray) -> FloatArray:
            shares = totals * self._unit
            prices: FloatArray = np.where((shares <= 1).all(-1), shares @ weights, np.inf)
            return prices

        path = exchanged(self._network, known[1], price)
        self._cuts.add(path, self._share(path))

    def _price_bound(self, weights: FloatArray) -> tuple[FloatArray, float]:
        """Multipliers of the limits (5,), and what no path within the limits can be cheaper than."""
        from scipy.optimize import linprog

        active = np.flatnonzero(self._bounded)
        best, best_value = np.zeros(self._kinds), -np.inf
        multipliers = np.zeros(self._kinds)
        for _ in range(_ROUNDS):
            found = self._network.shortest((weights + multipliers) * self._unit)
            if found is None:
                break
            value = found[0] - float(multipliers.sum())
            if value > best_value:
                best, best_value = multipliers, value
            self._cuts.add(found[1], self._share(found[1]))
            rows = np.array([[*(1 - shares[active]), 1.0] for shares in self._cuts.shares])
            solved = linprog(
                [*np.zeros(len(active)), -1.0],
                A_ub=rows,
                b_ub=np.array([float(shares @ weights) for shares in self._cuts.shares]),
                bounds=[(0, _HIGHEST_PRICE)] * len(active) + [(None, None)],
                method="highs",
            )
            if -solved.fun <= best_value + 1e-8:
                break
            multipliers = np.zeros(self._kinds)
            multipliers[active] = solved.x[:-1]
        return best, best_value

    def _solve(self, weights: FloatArray, known: tuple[float, Path] | None = None) -> Answer:
        answer = solve_network(self._network, weights * self._unit * _SCALE, time_limit=self._time_limit, tie=_TIE)
        if answer.path is None:
            # The best known path is among what was left: that nothing was found only says that the time was short.
            if known is not None:
                return Answer("unknown", known[1], known[0])
            return answer
        return Answer(answer.status, answer.path, float(self._share(answer.path) @ weights), answer.bound / _SCALE)
