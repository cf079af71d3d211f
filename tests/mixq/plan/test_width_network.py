"""The network of all widths: a path for given widths is what the planner finds for them alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from boards import load_board
from mixq.board import Resources
from mixq.networks import NetworkTable, network
from mixq.plan.choices import vector
from mixq.plan.planner import Planner
from mixq.plan.search import PRICE, Search
from mixq.plan.untrained import untrained_graph
from mixq.plan.width_network import WidthSettings, width_network
from tests.nas.branches import BYPASS, RESIDUAL

BOARD = load_board("ultra96-v2")
LIMITS = Resources(lut=9000, ff=30000, dsp=40, bram36=30)


def settings(widths: tuple[int, ...] = (2, 4, 8), cycles: tuple[int, int] = (128, 1024)) -> WidthSettings:
    return WidthSettings(
        table=network("digits_cnn"),
        weight_widths=(widths,) * 4,
        act_widths=(widths,) * 4,
        board=BOARD,
        limits=LIMITS,
        cycles=cycles,
    )


@pytest.mark.parametrize(
    ("weights", "acts"),
    [([4, 4, 4, 4], [4, 4, 4, 4]), ([8, 2, 2, 8], [8, 4, 2, 8]), ([2, 8, 4, 2], [2, 2, 8, 4])],
)
def test_alone_each_choice_of_widths_is_planned_as_by_the_planner(weights: list[int], acts: list[int]) -> None:
    given = replace(
        settings(cycles=(1, 1 << 20)),
        weight_widths=tuple((bits,) for bits in weights),
        act_widths=tuple((bits,) for bits in acts),
    )
    found = width_network(given)
    stages = [own.stage for own in found.stages]
    search = Search(stages, found.links, vector(LIMITS), 20.0, found.edges)
    fastest = search.fastest()
    assert fastest is not None
    graph = untrained_graph(given.table, weight_bits=weights, act_bits=acts)
    plan = Planner(graph, BOARD, limits=LIMITS, constant_weights=False).plan()
    assert search.cycles_of(fastest.path) == plan.cycles
    assert float(fastest.path.total / vector(LIMITS).clip(1) @ PRICE) == pytest.approx(fastest.price, rel=1e-9)
    assert found.widths(fastest.path.numbers) == (tuple(weights), tuple(acts))
    # Ways that only more flip-flops would pay for are left out, so that of equally fast designs one may be dearer.
    assert fastest.price <= 1.02 * _price(plan)


def _price(plan: object) -> float:
    total = plan.resources  # type: ignore[attr-defined]
    return float(vector(total) / vector(LIMITS).clip(1) @ PRICE)


def test_stages_join_only_where_the_widths_agree() -> None:
    found = width_network(settings())
    for (giver, taker), between in zip(found.edges, found.links, strict=True):
        before, after = found.stages[giver].stage, found.stages[taker].stage
        for b, a in np.argwhere(between.open):
            assert before.targets[b].format == after.sources[a].format


def test_processes_give_the_same() -> None:
    alone, several = width_network(settings((2, 4))), width_network(settings((2, 4)), jobs=2)
    for one, other in zip(alone.stages, several.stages, strict=True):
        assert one.stage.sources == other.stage.sources
        assert one.stage.targets == other.stage.targets
        for name in ("entry", "exit", "cycles", "costs"):
            assert np.array_equal(getattr(one.stage, name), getattr(other.stage, name))


def test_losses_are_one_more_column() -> None:
    found = width_network(settings((2, 4)))
    losses = [np.arange(4.0).reshape(2, 2) + 10 * layer for layer in range(4)]
    stages, links = found.priced(losses)
    for own, stage in zip(found.stages, stages, strict=True):
        expected = 0.0
        for way in range(0, stage.size, 97):
            if own.layer is not None:
                place = {2: 0, 4: 1}
                expected = losses[own.layer][place[int(own.weight_bits[way])], place[int(own.act_bits[way])]]
            assert stage.costs[way, -1] == expected
            assert np.array_equal(stage.costs[way, :-1], own.stage.costs[way])
    assert all(not own.costs[:, :, -1].any() for own in links)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight_widths": ((2,),)}, r"weight_widths must have some widths for each of 4 layers, not \(\(2,\),\)"),
        ({"cycles": (5, 2)}, r"cycles must be positive, the least first, not \(5, 2\)"),
        ({"packings": "best"}, "packings must be one of original, finn, seuer, not 'best'"),
    ],
)
def test_wrong_settings_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(settings(), **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("table", "weights", "acts"),
    [
        # Two quantisers of one value have equal widths, then others.
        (RESIDUAL, (2, 4, 3, 4, 4), (8, 4, 3, 3, 4)),
        (RESIDUAL, (4, 2, 4, 3, 4), (4, 3, 2, 5, 4)),
        (BYPASS, (4, 2, 3, 4), (8, 3, 4, 3)),
        (BYPASS, (3, 4, 2, 4), (3, 2, 4, 4)),
    ],
)
def test_with_branches_paths_take_no_more_than_the_planners_design(
    table: NetworkTable, weights: tuple[int, ...], acts: tuple[int, ...]
) -> None:
    limits = Resources(lut=6000, ff=20000, dsp=12, bram36=10)
    graph = untrained_graph(table, weight_bits=weights, act_bits=acts)
    plan = Planner(graph, BOARD, limits=limits, constant_weights=False).plan()
    other = tuple(2 if bits > 2 else 4 for bits in acts)
    given = WidthSettings(
        table=table,
        weight_widths=tuple((bits,) for bits in weights),
        act_widths=tuple(tuple(sorted(pair)) for pair in zip(acts, other, strict=True)),
        board=BOARD,
        limits=limits,
        cycles=(plan.cycles, plan.cycles),
    )
    found = width_network(given)
    assert not found.exact
    alone = found.alone((weights, acts), 60.0)
    assert alone is not None
    fastest = alone.fastest()
    # The stages of these widths alone are the planner's: the same cycles, and what they take.
    assert fastest is not None and fastest.cycles == plan.cycles
    price = float(vector(plan.resources) / vector(limits).clip(1) @ PRICE)
    assert fastest.price == pytest.approx(price, rel=0.02)
    # Among the paths of all widths there is one of these that takes no more.
    stages = [own.stage for own in found.stages]
    kept = [
        replace(stage, costs=stage.costs + 1e9 * (own.act_bits != acts[own.layer])[:, None])
        if own.layer is not None
        else stage
        for own, stage in zip(found.stages, stages, strict=True)
    ]
    least = Search(kept, found.links, vector(limits), 60.0, found.edges).smallest(plan.cycles)
    assert least is not None
    assert found.widths(least.path.numbers) == (weights, acts)
    assert least.price <= fastest.price + 1e-9
    if table is BYPASS:
        # Without additions nothing but the depth of a FIFO may follow from other widths.
        assert least.price > 0.99 * fastest.price
