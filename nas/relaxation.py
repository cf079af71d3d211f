"""The integer program over widths, solved by widths first.

Ways to build a layer with given widths are many and hardly differ, and a solver that has to choose one of them in every
layer takes long. So only the choice of widths is made whole at first: the ways of a layer with these widths may be
mixed. That allows more than the hardware can do, so the least loss of this relaxation is a bound. Its widths are then
planned for themselves, without mixing. Where they fit they are the best there are; where not, they are excluded, and
the next best ones are asked for.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mixq.plan.choices import FloatArray, IntArray
from mixq.plan.network import Network, Path
from mixq.plan.program import Program
from mixq.plan.solver import Answer, Matrix

# Objective of the relaxation: losses as shares of the largest times this, so that tolerances are far below them.
_SCALE = 1e5
# All that the shares of resources of one design may add to it: of equal losses the smaller design is asked for first.
_TIE = 1e-3

EQUAL = 2 * _TIE / _SCALE
"""Losses that differ by less than this share of the largest count as equal."""

MOST_ROUNDS = 60
"""Choices of widths that are tried before the best known ones are taken, with the gap that is left."""

Keys = Callable[[int, IntArray], IntArray]
"""Of a stage's number and ways in it: the number of the widths of each, -1 where it has none."""


class WidthsFirst(Program):
    """A program whose last step chooses widths and then ways.

    network: with the loss as its last column of costs. keys: tells which widths a way belongs to.
    """

    def __init__(self, network: Network, time_limit: float, keys: Keys) -> None:
        super().__init__(network, time_limit)
        self._keys = keys

    def _among_the_rest(self, weights: FloatArray, known: tuple[float, Path] | None) -> Answer:
        relaxed = Relaxation(self._network, self._unit, self._keys)
        bound = 0.0
        for _ in range(MOST_ROUNDS):
            try:
                found = relaxed.solve(self._time_limit)
            except TimeoutError:
                break
            if found is None:
                # All that is left was excluded: what is known is the best, or there is nothing.
                return Answer("infeasible") if known is None else Answer("best", known[1], known[0], known[0])
            loss, widths = found
            bound = max(bound, loss)
            if known is not None and bound >= known[0] - EQUAL:
                return Answer("best", known[1], known[0], known[0])
            path = self._planned(widths)
            if path is not None:
                price = float(self._share(path) @ weights)
                if known is None or price < known[0]:
                    known = price, path
                if price <= bound + EQUAL:
                    return Answer("best", path, price, price)
            relaxed.exclude(widths)
        if known is None:
            return Answer("unknown")
        return Answer("unknown", known[1], known[0], bound)

    def _planned(self, widths: dict[int, int]) -> Path | None:
        """A design with these widths, None where there is none."""
        network = self._network.copy()
        places = []
        for stage, column in enumerate(network.columns):
            keys = self._keys(stage, column.numbers)
            places.append(np.flatnonzero((keys < 0) | (keys == widths.get(stage, -1))).astype(np.int64))
        network.only(places)
        answer = Program(network, self._time_limit).feasible()
        return answer.path if answer.status == "best" else None


class Relaxation:
    """The program in which ways of the same widths mix.

    Variables: ways and flows of `mixq.plan.solver.Matrix`, then one for each pair of widths of each layer, binary.
    """

    def __init__(self, network: Network, unit: FloatArray, keys: Keys) -> None:
        self._matrix = Matrix(network)
        self._limits = network.limits
        self._choices: list[tuple[int, int]] = []
        self._groups: list[IntArray] = []
        for stage, column in enumerate(network.columns):
            own = keys(stage, column.numbers)
            for key in np.unique(own[own >= 0]).tolist():
                self._choices.append((stage, key))
                self._groups.append(self._matrix.first_way[stage] + np.flatnonzero(own == key))
        shares = self._matrix.costs * unit
        self._loss = shares[:, -1]
        self._objective = _SCALE * self._loss + _TIE * shares[:, :-1].sum(1) / 4
        self._excluded: list[IntArray] = []

    def exclude(self, widths: dict[int, int]) -> None:
        """Leave out one choice of widths."""
        chosen = [number for number, choice in enumerate(self._choices) if widths.get(choice[0]) == choice[1]]
        # Widths of which some are left out already are none of the program's choices.
        if len(chosen) == len(widths):
            self._excluded.append(np.array(chosen, np.int64))

    def solve(self, time_limit: float, *, whole: bool = False) -> tuple[float, dict[int, int]] | None:
        """A bound of the loss and the widths, by stage, that reach it; None where no widths are left.

        whole: ways of the same widths do not mix. Raises TimeoutError where the time ran out before any were found.
        """
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import csr_array

        matrix = self._matrix
        size = matrix.ways + matrix.flows
        width = size + len(self._choices)
        flow, right = matrix.flow_rows()
        rows = [
            csr_array(
                (np.concatenate(flow.values), (np.concatenate(flow.rows), np.concatenate(flow.columns))),
                shape=(len(right), width),
            )
        ]
        constraints = [LinearConstraint(rows[0], right, right)]
        bounded = np.flatnonzero(np.isfinite(self._limits))
        costs = np.zeros((len(bounded), width))
        costs[:, :size] = matrix.costs[:, bounded].T / np.maximum(self._limits[bounded], 1e-12)[:, None]
        constraints.append(LinearConstraint(csr_array(costs), -np.inf, 1.0))
        members = np.concatenate(self._groups)
        of = np.repeat(np.arange(len(self._groups)), [len(group) for group in self._groups])
        numbers = np.arange(len(self._choices))
        tied = csr_array(
            (
                np.concatenate((np.ones(len(members)), -np.ones(len(numbers)))),
                (np.concatenate((of, numbers)), np.concatenate((members, size + numbers))),
            ),
            shape=(len(numbers), width),
        )
        constraints.append(LinearConstraint(tied, 0.0, 0.0))
        for chosen in self._excluded:
            row = np.zeros((1, width))
            row[0, size + chosen] = 1.0
            constraints.append(LinearConstraint(csr_array(row), -np.inf, len(chosen) - 1.0))
        solved = milp(
            np.concatenate((self._objective, np.zeros(len(numbers)))),
            integrality=np.concatenate(
                (np.full(matrix.ways, float(whole)), np.zeros(matrix.flows), np.ones(len(numbers)))
            ),
            bounds=Bounds(np.zeros(width), np.ones(width)),
            constraints=constraints,
            options={"mip_rel_gap": 0.0, "time_limit": time_limit, "presolve": True},
        )
        if solved.x is None:
            if solved.status == 2:
                return None
            raise TimeoutError
        picked = np.flatnonzero(solved.x[size:] > 0.5)
        widths = dict(self._choices[number] for number in picked.tolist())
        # The least that the loss part can be: the bound less all that the tie may add.
        return max(0.0, (float(solved.mip_dual_bound) - _TIE) / _SCALE), widths
