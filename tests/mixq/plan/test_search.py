"""The integer program against all plans there are: random chains of ways, and small networks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest

from mixq.board import Board, Resources
from mixq.formats import IntFormat
from mixq.graph import Graph
from mixq.plan.choices import Choice, Link, Stage, vector
from mixq.plan.network import Network
from mixq.plan.planner import Planner
from mixq.plan.program import Program
from mixq.plan.search import PRICE, Search
from mixq.plan.solver import Answer
from mixq.streams import StreamShape
from tests.mixq.graphs import Chain

BOARD = Board("small", "part", Resources(70560, 141120, 360, 216, 0), 5, 72, 300.0)
U2, U4 = IntFormat(2, False), IntFormat(4, False)
SHAPE = StreamShape(1, 1, 1, U4)


def all_plans(
    stages: Sequence[Stage], links: Sequence[Link]
) -> Iterator[tuple[tuple[int, ...], int, np.ndarray[Any, Any]]]:
    """Every plan: the number of the way in each stage, cycles, and resources."""
    for numbers in product(*(range(stage.size) for stage in stages)):
        cycles = max(int(stage.cycles[number]) for stage, number in zip(stages, numbers, strict=True))
        total = sum(stage.costs[number] for stage, number in zip(stages, numbers, strict=True))
        possible = True
        for index, link in enumerate(links):
            pair = stages[index].exit[numbers[index]], stages[index + 1].entry[numbers[index + 1]]
            possible = possible and bool(link.open[pair])
            cycles = max(cycles, int(link.cycles[pair]))
            total = total + link.costs[pair]
        if possible:
            yield numbers, cycles, np.asarray(total)


def price_of(total: np.ndarray[Any, Any], limits: np.ndarray[Any, Any]) -> float:
    """Weighted shares of the limits: flip-flops count a quarter."""
    return sum(
        weight * amount / limit
        for weight, amount, limit in zip((1, 0.25, 1, 1, 1), total, limits, strict=True)
        if limit
    )


def random_chain(rng: np.random.Generator) -> tuple[list[Stage], list[Link]]:
    """Four stages of up to seven ways each, with up to three shapes of beats between them."""
    shapes = rng.integers(1, 4, 5)
    stages, links = [], []
    for index in range(4):
        size = int(rng.integers(3, 8))
        cycles = rng.integers(1, 12, size)
        # Faster ways take more, as they do in hardware, else the search would have nothing to weigh.
        costs = np.ceil(rng.integers(1, 40, (size, 5)) * (12 / cycles[:, None]))
        costs[:, 4] = 0
        stages.append(
            Stage(
                f"stage{index}",
                (SHAPE,) * shapes[index],
                (SHAPE,) * shapes[index + 1],
                rng.integers(0, shapes[index], size),
                rng.integers(0, shapes[index + 1], size),
                cycles,
                costs,
                [Choice(1)] * size,
            )
        )
    for index in range(1, 4):
        size = int(shapes[index])
        costs = rng.integers(0, 12, (size, size, 5)).astype(float)
        costs[:, :, 4] = 0
        links.append(Link(rng.integers(0, 9, (size, size)), costs, rng.random((size, size)) < 0.9))
    return stages, links


@pytest.mark.parametrize("seed", range(60))
def test_random_chains(seed: int) -> None:
    rng = np.random.default_rng(seed)
    stages, links = random_chain(rng)
    plans = list(all_plans(stages, links))
    if not plans:
        assert Search(stages, links, np.full(5, np.inf), 60.0).fastest() is None
        return
    totals = np.array([total for _, _, total in plans])
    if seed % 3:
        # Just what one plan takes, so that few fit and those barely.
        limits = totals[rng.integers(len(totals))]
    else:
        shares = 0.2 + 0.5 * rng.random(5)
        limits = np.array([np.quantile(totals[:, kind], shares[kind], method="lower") for kind in range(5)])
    fitting = [(cycles, price_of(total, limits)) for _, cycles, total in plans if (total <= limits).all()]
    search = Search(stages, links, limits, 60.0)
    found = search.fastest()
    if not fitting:
        assert found is None
        return
    least = min(cycles for cycles, _ in fitting)
    assert found is not None
    assert (found.cycles, found.bound) == (least, least)
    assert search.cycles_of(found.path) == least
    assert (found.path.total <= limits).all()
    assert found.price == pytest.approx(min(price for cycles, price in fitting if cycles == least), abs=1e-6)
    for bound in sorted({cycles for cycles, _ in fitting}):
        cheapest = search.smallest(bound)
        assert cheapest is not None
        assert cheapest.price == pytest.approx(min(price for cycles, price in fitting if cycles <= bound), abs=1e-6)
        assert cheapest.price_gap == 0
    assert search.smallest(least - 1) is None


@pytest.mark.parametrize("seed", range(0, 60, 4))
def test_the_solver_alone_agrees_with_the_bounds(seed: int) -> None:
    """Without limits that bind, or with none but its own, the program never needs the solver: here it is asked."""
    rng = np.random.default_rng(seed)
    stages, links = random_chain(rng)
    plans = list(all_plans(stages, links))
    limits = np.quantile(np.array([total for _, _, total in plans]), 0.4, axis=0, method="lower")
    prices = [price_of(total, limits) for _, _, total in plans if (total <= limits).all()]
    program = Program(Network(stages, links, np.inf, limits), 60.0)
    answer = program._solve(PRICE)
    assert answer.status == ("best" if prices else "infeasible")
    if prices:
        assert answer.price == pytest.approx(min(prices), abs=1e-6)


def test_where_the_solver_runs_out_of_time_the_gap_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both fast plans exceed another limit, and half of each would fit: prices cannot tell, only the solver."""
    costs = np.array([[5.0, 0, 1, 0, 0], [1.0, 0, 5, 0, 0], [1.0, 0, 1, 0, 0]])
    beats = np.array([0, 1, 0])
    stage = Stage("one", (SHAPE,) * 2, (SHAPE,) * 2, beats, beats, np.array([4, 4, 7]), costs, [Choice(1)] * 3)
    same = Link(np.zeros((2, 2), np.int64), np.zeros((2, 2, 5)), np.eye(2, dtype=np.bool_))
    search = Search([stage, stage], [same], np.array([7.0, 7, 7, 7, 7]), 60.0)
    proved = search.fastest()
    assert proved is not None and (proved.cycles, proved.bound) == (7, 7)
    monkeypatch.setattr("mixq.plan.program.solve_network", lambda *_, **__: Answer("unknown"))
    found = search.fastest()
    assert found is not None and (found.cycles, found.bound) == (7, 4)


def two_of(stage: Stage) -> tuple[list[Stage], list[Link]]:
    """The stage twice, joined without converters."""
    return [stage, stage], [Link(np.zeros((1, 1), np.int64), np.zeros((1, 1, 5)), np.ones((1, 1), np.bool_))]


def test_what_limits_the_speed() -> None:
    costs = np.array([[9.0, 0, 1, 0, 0], [3.0, 0, 1, 0, 0]])
    zeros = np.zeros(2, np.int64)
    stage = Stage("one", (SHAPE,), (SHAPE,), zeros, zeros, np.array([4, 7]), costs, [Choice(1)] * 2)
    joined = two_of(stage)
    assert Search(*joined, np.array([8.0, 1, 5, 1, 1]), 60.0).limited_by(7) == ("LUT",)
    assert Search(*joined, np.array([8.0, 1, 1, 1, 1]), 60.0).limited_by(7) == ("LUT and DSP",)
    assert Search(*joined, np.array([20.0, 1, 5, 1, 1]), 60.0).limited_by(4) == ("one",)


def test_the_least_excess() -> None:
    costs = np.array([[9.0, 0, 1, 0, 0], [3.0, 0, 4, 0, 0]])
    zeros = np.zeros(2, np.int64)
    stage = Stage("one", (SHAPE,), (SHAPE,), zeros, zeros, np.array([4, 7]), costs, [Choice(1)] * 2)
    joined = two_of(stage)
    # 18 of 10 and 2 of 2, 12 of 10 and 5 of 2, or 6 of 10 and 8 of 2: by shares the first exceeds the least.
    path = Search(*joined, np.array([10.0, 1, 2, 1, 1]), 60.0).least_excess()
    assert path is not None and path.numbers == (0, 0)
    path = Search(*joined, np.array([4.0, 1, 7, 1, 1]), 60.0).least_excess()
    assert path is not None and path.numbers == (1, 1)


def two_layers() -> Graph:
    rng = np.random.default_rng(1)
    chain = Chain((2, 4, 4), U4).conv(rng.integers(-7, 8, (2, 2, 1, 1)), 4)
    chain.requantise([90, 70], [5, -5], 9, U4)
    return chain.dense(rng.integers(-7, 8, (2, 2 * 16)), 4).graph()


def three_stages() -> Graph:
    rng = np.random.default_rng(2)
    chain = Chain((1, 4, 4), U4).conv(rng.integers(-7, 8, (2, 1, 3, 3)), 4, padding=1)
    return chain.requantise([90, 70], [5, -5], 11, U2).pool(2, 2).conv(rng.integers(-1, 2, (2, 2, 1, 1)), 2).graph()


@pytest.mark.parametrize("network", [two_layers, three_stages])
@pytest.mark.parametrize("dsps, luts", [(360, 70560), (6, 70560), (4, 900), (20, 1200), (1, 70560)])
def test_small_networks(network: Any, dsps: int, luts: int) -> None:
    graph = network()
    limits = Resources(luts, 141120, dsps, 216, 0)
    planner = Planner(graph, BOARD, limits=limits, packings="original", residue_bits=0)
    bounds = vector(limits)
    plans = [
        (cycles, price_of(total, bounds))
        for _, cycles, total in all_plans(planner._stages, planner._links)
        if (total <= bounds).all()
    ]
    found = planner._search.fastest()
    if not plans:
        assert found is None
        return
    assert found is not None
    assert found.cycles == min(cycles for cycles, _ in plans)
    assert found.price == pytest.approx(min(price for cycles, price in plans if cycles == found.cycles), abs=1e-6)
