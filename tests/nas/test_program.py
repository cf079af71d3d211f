"""The integer program over widths: against all choices of widths, each planned for itself."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest

from boards import load_board
from mixq.board import Resources
from mixq.networks import ConvSpec, DenseSpec, NetworkTable, PoolSpec
from mixq.plan.choices import (
    FloatArray,
    Stage,
    input_stage,
    joint,
    layer_stage,
    link,
    output_stage,
    simple_stage,
    vector,
)
from mixq.plan.options import most_dsps, options
from mixq.plan.search import Search
from mixq.plan.units import units
from mixq.plan.untrained import untrained_graph
from mixq.plan.width_network import WidthSettings, width_network
from nas.config import Hardware
from nas.planned import planned
from nas.program import WidthProgram

BOARD = load_board("ultra96-v2")
LIMITS = Resources(lut=3100, ff=6500, dsp=8, bram36=6)
WIDTHS = (2, 3, 5, 8)
TABLE = NetworkTable(
    name="three_layers",
    input_shape=(2, 6, 6),
    layers=(
        ConvSpec(channels=4),
        PoolSpec(),
        ConvSpec(channels=6),
        DenseSpec(units=3, weight_bits=None, act_bits=None),
    ),
    weight_bits=(4, 4, 4),
    act_bits=(4, 4, 4),
)


def settings(cycles: tuple[int, int], *, widths: tuple[int, ...] = WIDTHS) -> WidthSettings:
    each = (widths,) * 3
    return WidthSettings(table=TABLE, weight_widths=each, act_widths=each, board=BOARD, limits=LIMITS, cycles=cycles)


def some_losses(seed: int, widths: tuple[int, ...] = WIDTHS) -> list[FloatArray]:
    """Losses that mostly fall with the widths, by amounts of their own in every layer, and not always."""
    random = np.random.default_rng(seed)
    size = len(widths)
    falling = 2.0 ** -np.array(widths, float)
    return [
        random.uniform(0.5, 1) * falling[:, None]
        + random.uniform(0.5, 1) * falling[None, :]
        + random.uniform(0, 0.02, (size, size))
        for _ in range(3)
    ]


@dataclass
class Planned:
    """Whether widths fit, by planning them alone: the stages of a chain, without any other widths beside them."""

    stages: dict[tuple[object, ...], Stage] = field(default_factory=dict)

    def fits(self, weights: tuple[int, ...], acts: tuple[int, ...], cycles: int) -> bool:
        graph = untrained_graph(TABLE, weight_bits=weights, act_bits=acts)
        stages = [input_stage(graph.tensor(graph.input))]
        for unit in units(graph):
            key = (unit.node.name, unit.source.format, unit.target.format, unit.is_layer and unit.weight_bits)
            if key not in self.stages:
                most = most_dsps(LIMITS.dsp)
                made = (
                    layer_stage(unit, options(unit, BOARD.device, most, 2, constant_weights=False))
                    if unit.is_layer
                    else simple_stage(unit)
                )
                self.stages[key] = made
            stages.append(self.stages[key])
        stages.append(output_stage(graph.tensor(graph.output), stages[-1].targets))
        cache: dict[object, object] = {}
        links = [link(one, other, cache) for one, other in itertools.pairwise(stages[:-1])]  # type: ignore[arg-type]
        links.append(joint(*stages[-2:]))
        return Search(stages, links, vector(LIMITS), 20.0).fits(cycles).status == "best"


def by_loss(losses: list[FloatArray]) -> Iterator[tuple[float, tuple[int, ...], tuple[int, ...]]]:
    """All choices of widths, the least loss first."""
    places = itertools.product(range(len(WIDTHS)), repeat=6)
    totals = sorted((float(sum(losses[k][p[2 * k], p[2 * k + 1]] for k in range(3))), p) for p in places)
    for total, p in totals:
        yield total, tuple(WIDTHS[i] for i in p[::2]), tuple(WIDTHS[i] for i in p[1::2])


@pytest.mark.slow
@pytest.mark.parametrize("cycles", [36, 72, 108])
def test_the_answer_is_that_of_all_choices(cycles: int) -> None:
    planned = Planned()
    program = WidthProgram(width_network(settings((cycles, cycles))), losses := some_losses(cycles))
    best = program.best(cycles)
    ordered = enumerate(by_loss(losses))
    tried, (total, weights, acts) = next(entry for entry in ordered if planned.fits(*entry[1][1:], cycles))
    assert tried > 0, "the budget must leave something out"
    assert best is not None
    assert (best.weight_bits, best.act_bits) == (weights, acts)
    assert best.loss == pytest.approx(total, rel=1e-12)
    assert best.gap == 0


@pytest.mark.slow
def test_never_worse_than_the_most_probable_widths_at_their_cycles() -> None:
    # A supernet may end with any widths: some are drawn, two are lopsided.
    random = np.random.default_rng(12)
    drawn = random.choice(WIDTHS, (6, 2, 3)).tolist()
    likeliest: list[tuple[tuple[int, ...], tuple[int, ...]]] = [(tuple(w), tuple(a)) for w, a in drawn]
    likeliest += [((2, 3, 5), (8, 8, 8)), ((2, 2, 2), (5, 8, 8))]
    hardware = Hardware(board=BOARD, limits=LIMITS)
    cycles = [planned(TABLE, weights, acts, hardware, "narrow").cycles for weights, acts in likeliest]
    ways = width_network(settings((min(cycles), max(cycles))))
    better = 0
    for seed, ((weights, acts), budget) in enumerate(zip(likeliest, cycles, strict=True)):
        losses = some_losses(seed)
        places = [(WIDTHS.index(w), WIDTHS.index(a)) for w, a in zip(weights, acts, strict=True)]
        theirs = sum(float(loss[place]) for loss, place in zip(losses, places, strict=True))
        best = WidthProgram(ways, losses).best(budget)
        assert best is not None
        assert best.loss <= theirs + 1e-12
        assert planned(TABLE, best.weight_bits, best.act_bits, hardware, "narrow", max_cycles=budget).cycles <= budget
        better += best.loss < theirs
    assert better > 0, "where all are the best there are, nothing was compared"
