"""Better designs near a known one, by exchanging the ways of one or two stages at a time.

A path that the prices of the Lagrangian bound lead to misses the limits by little, or leaves a little of them. What
exchanges find proves nothing by itself; it saves the solver from looking for what is easily found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations

import numpy as np

from mixq.plan.choices import FloatArray, IntArray
from mixq.plan.network import Network, Path

_STEPS = 40
"""Exchanges in a row; some ten are enough to get into the limits."""

_MOST_PAIRS = 400_000
"""Pairs of ways of two stages that are looked at together; of more, those dearest on their own are left out."""

Score = Callable[[FloatArray], FloatArray]
"""Of totals (..., 5), to be minimised."""


def exchanged(network: Network, path: Path, score: Score, good: float = -np.inf) -> Path:
    """The best path that exchanges lead to from ``path``, or one whose score is at most ``good``.

    score: of resources; a way is exchanged for one that takes and gives the same beats.
    """
    places = [int(np.flatnonzero(c.numbers == n)[0]) for c, n in zip(network.columns, path.numbers, strict=True)]
    total = path.total
    value = float(score(total))
    for _ in range(_STEPS):
        if value <= good:
            break
        found = _best(network, places, total, score, value)
        if found is None:
            break
        value, changed = found
        for stage, place in changed.items():
            costs = network.columns[stage].costs
            total = total + costs[place] - costs[places[stage]]
            places[stage] = place
    numbers = tuple(int(column.numbers[place]) for column, place in zip(network.columns, places, strict=True))
    return Path(numbers, network.total(numbers))


def _best(
    network: Network, places: list[int], total: FloatArray, score: Score, value: float
) -> tuple[float, dict[int, int]] | None:
    """The exchange of one way that lowers the score most; where there is none, of two."""
    alike = [_alike(network, stage, place) for stage, place in enumerate(places)]
    changes = [network.columns[s].costs[own] - network.columns[s].costs[places[s]] for s, own in enumerate(alike)]
    best: tuple[float, dict[int, int]] | None = None
    for stage, change in enumerate(changes):
        scores = score(total + change)
        at = int(scores.argmin())
        if scores[at] < (value if best is None else best[0]) - 1e-12:
            best = float(scores[at]), {stage: int(alike[stage][at])}
    if best is not None:
        return best
    for one, other, left, right in _pairs(changes, total, score):
        scores = score(total + changes[one][left][:, None] + changes[other][right][None, :])
        row, column = divmod(int(scores.argmin()), scores.shape[1])
        if scores[row, column] < (value if best is None else best[0]) - 1e-12:
            pair = {one: int(alike[one][left[row]]), other: int(alike[other][right[column]])}
            best = float(scores[row, column]), pair
    return best


def _alike(network: Network, stage: int, place: int) -> IntArray:
    """Places of the ways of a stage that take and give the same beats."""
    column = network.columns[stage]
    same = (column.entry == column.entry[place]) & (column.exit == column.exit[place])
    found: IntArray = np.flatnonzero(same).astype(np.int64)
    return found


def _pairs(changes: list[FloatArray], total: FloatArray, score: Score) -> Iterator[tuple[int, int, IntArray, IntArray]]:
    """Two stages, and the places among their changes that are looked at together."""
    most = int(_MOST_PAIRS**0.5)
    kept = [
        np.arange(len(change)) if len(change) <= most else np.argsort(score(total + change), kind="stable")[:most]
        for change in changes
    ]
    for one, other in combinations(range(len(changes)), 2):
        yield one, other, kept[one], kept[other]
