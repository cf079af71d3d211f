"""The integer program over widths of networks with branches: against all choices, each planned for itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mixq.board import Resources
from mixq.networks import NetworkTable
from mixq.plan.width_network import width_network
from nas.program import WidthProgram
from tests.nas.branches import BYPASS, RESIDUAL, Alone, by_loss, settings, some_losses

# Machines that do many things at once are slow, and a proof that ran out of time is none.
SECONDS = 600.0

RESIDUAL_LIMITS = Resources(lut=3600, ff=8850, dsp=4, bram36=8)
BYPASS_LIMITS = Resources(lut=2600, ff=6450, dsp=3, bram36=8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "widths", "limits", "cycles"),
    [
        (RESIDUAL, (2, 4), RESIDUAL_LIMITS, 216),
        # Without block RAM paths fit whose widths do not.
        (RESIDUAL, (2, 4), Resources(lut=4800, ff=12450, dsp=8), 108),
        (BYPASS, (2, 3, 6), BYPASS_LIMITS, 264),
    ],
    ids=["residual", "no block RAM", "bypass"],
)
def test_the_answer_is_that_of_all_choices(
    table: NetworkTable, widths: tuple[int, ...], limits: Resources, cycles: int
) -> None:
    given = settings(table, widths, (cycles, cycles), limits)
    losses = some_losses(given, 15)
    best = WidthProgram(width_network(given), losses, time_limit=SECONDS).best(cycles)
    alone = Alone(given)
    ordered = enumerate(by_loss(given, losses))
    tried, (total, weights, acts) = next(entry for entry in ordered if alone.fits(*entry[1][1:], cycles))
    assert tried > 0, "the budget must leave something out"
    assert best is not None
    assert (best.weight_bits, best.act_bits) == (weights, acts)
    assert best.loss == pytest.approx(total, rel=1e-12)
    assert best.gap == 0


@pytest.mark.slow
@pytest.mark.parametrize(("table", "limits"), [(RESIDUAL, RESIDUAL_LIMITS), (BYPASS, BYPASS_LIMITS)])
def test_never_worse_than_the_most_probable_widths_at_their_cycles(table: NetworkTable, limits: Resources) -> None:
    # A supernet may end with any widths: some are drawn.
    random = np.random.default_rng(5)
    given = settings(table, (2, 4), (1, 1 << 20), limits)
    alone = Alone(given)
    fastest = None
    while fastest is None:
        weights, acts = (
            tuple(int(random.choice(own)) for own in part) for part in (given.weight_widths, given.act_widths)
        )
        fastest = alone.search(weights, acts).fastest()
    budget = fastest.cycles
    losses = some_losses(given, 5)
    layers = zip(losses, given.weight_widths, given.act_widths, weights, acts, strict=True)
    theirs = sum(float(loss[widths.index(w), others.index(a)]) for loss, widths, others, w, a in layers)
    ways = width_network(replace(given, cycles=(budget, budget)))
    best = WidthProgram(ways, losses, time_limit=SECONDS).best(budget)
    assert best is not None
    assert best.loss < theirs, "what was drawn is not the best there is"
    assert alone.fits(best.weight_bits, best.act_bits, budget)


def test_nothing_fits_and_the_fewest_cycles() -> None:
    given = settings(BYPASS, (2, 3), (1, 400), BYPASS_LIMITS)
    program = WidthProgram(width_network(given), some_losses(given, 1), time_limit=SECONDS)
    alone = Alone(given)
    fewest = min(
        found.cycles for found in (alone.search((w,) * 4, (a,) * 4).fastest() for w in (2, 3) for a in (2, 3)) if found
    )
    fastest = program.fastest()
    assert fastest is not None and fastest <= fewest
    assert program.best(fastest) is not None
    assert program.best(fastest - 1) is None
