"""The integer program of a network of ways, solved by HiGHS through SciPy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mixq.plan.choices import FloatArray
from mixq.plan.network import Network, Path

Status = Literal["best", "infeasible", "unknown"]


@dataclass(frozen=True)
class Answer:
    """What was found: the best path, or that there is none.

    status: "best" for a path proved to be the cheapest, "infeasible" where proved that there is none, "unknown" where
    the time ran out; path: the best known, which may be none. price, bound: of the path, and the least that any costs.
    """

    status: Status
    path: Path | None = None
    price: float = np.inf
    bound: float = 0.0


class _Rows:
    """The program's matrix, entry by entry."""

    def __init__(self) -> None:
        self.rows: list[FloatArray] = []
        self.columns: list[FloatArray] = []
        self.values: list[FloatArray] = []

    def add(self, rows: object, columns: object, values: object) -> None:
        """Entries whose three arrays go together."""
        row, column, value = np.broadcast_arrays(np.asarray(rows), np.asarray(columns), np.asarray(values))
        self.rows.append(row.ravel())
        self.columns.append(column.ravel())
        self.values.append(value.ravel())


class Matrix:
    """Variables and rows of a network: ways first, then the flows on its edges, then what exceeds the limits."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.first_way = np.cumsum([0, *(len(column.numbers) for column in network.columns)])
        self.pairs = [np.argwhere(np.isfinite(mask)) for mask in network.open]
        self.first_flow = self.first_way[-1] + np.cumsum([0, *(len(pairs) for pairs in self.pairs)])
        self.ways, self.flows = int(self.first_way[-1]), int(self.first_flow[-1] - self.first_way[-1])
        self.costs = np.concatenate(
            [column.costs for column in network.columns]
            + [link.costs[pairs[:, 0], pairs[:, 1]] for link, pairs in zip(network.links, self.pairs, strict=True)]
        )

    def flow_rows(self) -> tuple[_Rows, FloatArray]:
        """Rows that make the ways a path, and their right sides."""
        found = _Rows()
        network, row = self.network, 0
        first = np.arange(self.first_way[0], self.first_way[1])
        found.add(0, first, 1.0)
        row = 1
        for index, (pairs, (giver, taker)) in enumerate(zip(self.pairs, network.edges, strict=True)):
            before, after = network.columns[giver], network.columns[taker]
            flows = self.first_flow[index] + np.arange(len(pairs))
            leaving, taking = before.shape[1], after.shape[0]
            found.add(row + before.exit, self.first_way[giver] + np.arange(len(before.numbers)), 1.0)
            found.add(row + pairs[:, 0], flows, -1.0)
            row += leaving
            found.add(row + after.entry, self.first_way[taker] + np.arange(len(after.numbers)), -1.0)
            found.add(row + pairs[:, 1], flows, 1.0)
            row += taking
        right = np.zeros(row)
        right[0] = 1.0
        return found, right

    def path(self, solution: FloatArray) -> Path:
        """The ways of a solution."""
        numbers = []
        for index, column in enumerate(self.network.columns):
            own = solution[self.first_way[index] : self.first_way[index + 1]]
            numbers.append(int(column.numbers[int(own.argmax())]))
        return Path(tuple(numbers), self.network.total(numbers))


def solve_network(network: Network, prices: FloatArray, *, time_limit: float, tie: float = 0.0) -> Answer:
    """The cheapest path within the network's limits.

    prices: (5,) of a unit of each resource. tie: at most this is added to a path's price so that of equal ones the
    first is taken. A limit that is infinite is no row.
    """
    matrix = Matrix(network)
    return _run(matrix, matrix.costs @ prices + _ties(matrix, tie), network.limits, time_limit=time_limit)


def least_excess(network: Network, limits: FloatArray, *, time_limit: float) -> Answer:
    """The path that exceeds the limits (5,) by the least, in shares of them; the network is one without limits."""
    matrix = Matrix(network)
    units = 1 / np.maximum(limits, 1)
    objective = np.concatenate((matrix.costs @ (units * 1e-3), 1e3 * units))
    return _run(matrix, objective, limits, time_limit=time_limit, elastic=True)


def _ties(matrix: Matrix, tie: float) -> FloatArray:
    """A small price for each way that rises with its place, steeper in later stages so that no two exchanges cancel."""
    found = np.zeros(matrix.ways + matrix.flows)
    stages = len(matrix.network.columns)
    for index in range(stages):
        start, end = int(matrix.first_way[index]), int(matrix.first_way[index + 1])
        found[start:end] = np.arange(end - start) / max(end - start, 1) * tie * (index + 1) / stages**2
    return found


def _run(
    matrix: Matrix, objective: FloatArray, limits: FloatArray, *, time_limit: float, elastic: bool = False
) -> Answer:
    """Build and solve the program; elastic: a variable for each limit is what it is exceeded by."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    size = matrix.ways + matrix.flows
    width = size + (len(limits) if elastic else 0)
    flow, right = matrix.flow_rows()
    conservation = csr_array(
        (np.concatenate(flow.values), (np.concatenate(flow.rows), np.concatenate(flow.columns))),
        shape=(len(right), width),
    )
    constraints = [LinearConstraint(conservation, right, right)]
    bounded = np.flatnonzero(np.isfinite(limits))
    if len(bounded):
        rows = np.zeros((len(bounded), width))
        rows[:, :size] = matrix.costs[:, bounded].T
        if elastic:
            rows[np.arange(len(bounded)), size + bounded] = -1.0
        constraints.append(LinearConstraint(csr_array(rows), -np.inf, limits[bounded]))
    upper = np.concatenate((np.ones(size), np.full(width - size, np.inf)))
    solved = milp(
        objective,
        integrality=np.concatenate((np.ones(matrix.ways), np.zeros(width - matrix.ways))),
        bounds=Bounds(np.zeros(width), upper),
        constraints=constraints,
        options={"mip_rel_gap": 0.0, "time_limit": time_limit, "presolve": True},
    )
    if solved.status == 2:
        return Answer("infeasible")
    if solved.x is None:
        return Answer("unknown")
    path = matrix.path(solved.x)
    return Answer(
        "best" if solved.status == 0 else "unknown", path, float(objective @ solved.x), float(solved.mip_dual_bound)
    )
