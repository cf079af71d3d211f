"""Plans held to the packings of published systems."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mixq.board import Board, Resources
from mixq.errors import UserError
from mixq.formats import IntFormat
from mixq.graph import Graph
from mixq.packing import Packing
from mixq.plan import plan
from mixq.plan.options import offered_packings, options
from mixq.plan.restrictions import RESTRICTIONS, finn_density, original_density
from mixq.plan.units import Unit, units
from tests.mixq.graphs import Chain

BOARD = Board("small", "part", Resources(70560, 141120, 360, 216, 0), 5, 72, 300.0)


def unit(weight_bits: int, act_bits: int, kernel: int) -> Unit:
    """One convolution, or a dense layer for kernel 0."""
    rng = np.random.default_rng(weight_bits)
    most = (1 << (weight_bits - 1)) - 1
    inputs = Chain((4, 8, 12), IntFormat(act_bits, False))
    if not kernel:
        return units(inputs.dense(rng.integers(-most, most + 1, (12, 4 * 96)), weight_bits).graph())[0]
    weights = rng.integers(-most, most + 1, (12, 4, kernel, kernel))
    return units(inputs.conv(weights, weight_bits, padding=kernel // 2).graph())[0]


@pytest.mark.parametrize("kernel", [0, 1, 3, 5])
@pytest.mark.parametrize("widths", [(2, 2), (4, 4), (3, 6), (8, 2), (8, 8), (5, 3)])
def test_original_is_one_packing_no_denser_than_published(kernel: int, widths: tuple[int, int]) -> None:
    layer = unit(*widths, kernel)
    offered = offered_packings(layer, "dsp48e2", 2)
    (kept,) = RESTRICTIONS["original"].keep(offered)
    most = original_density(max(kernel, 1), *widths)
    assert kept.density <= most
    assert not any(kept.density < packing.density <= most for packing in offered)


@pytest.mark.parametrize("kernel", [0, 1, 3, 5])
@pytest.mark.parametrize("widths", [(2, 2), (4, 4), (3, 6), (8, 2), (8, 8), (5, 3)])
def test_finn_shares_one_activation_between_channels(kernel: int, widths: tuple[int, int]) -> None:
    layer = unit(*widths, kernel)
    kept = RESTRICTIONS["finn"].keep(offered_packings(layer, "dsp48e2", 2))
    assert kept
    lanes = finn_density(*widths, full=layer.weight_range == "full")
    for packing in kept:
        assert (packing.pixels, packing.taps, packing.passes) == (1, 1, max(kernel, 1))
        assert packing.density <= lanes


def test_the_published_tables_at_some_places() -> None:
    assert [original_density(3, 4, act) for act in range(2, 9)] == [12, 7.5, 6, 6, 6, 6, 3]
    assert [original_density(1, weight, 8) for weight in range(2, 9)] == [4, 4, 3, 2, 2, 2, 2]
    assert original_density(5, 2, 2) == 20
    assert [finn_density(weight, 2, full=False) for weight in range(2, 9)] == [9, 7, 5, 4, 4, 3, 3]
    assert [finn_density(7, act, full=True) for act in range(2, 9)] == [3, 3, 2, 2, 2, 2, 2]


def test_other_kinds_of_multipliers_are_not_kept() -> None:
    (packing,) = RESTRICTIONS["original"].keep(offered_packings(unit(4, 4, 3), "dsp48e2", 2))
    assert isinstance(packing, Packing)
    for restriction in RESTRICTIONS.values():
        assert restriction.keep([object()]) == []


def network(channels: int, bits: int) -> Graph:
    rng = np.random.default_rng(channels)
    high = 1 << (bits - 1)
    made = Chain((3, 8, 8), IntFormat(8, False), 1 / 256)
    made.conv(rng.integers(1 - high, high, (channels, 3, 3, 3)), bits, padding=1)
    made.requantise([100] * channels, [0] * channels, 14, IntFormat(bits, False)).pool(2, 2)
    made.conv(rng.integers(1 - high, high, (channels, channels, 3, 3)), bits, padding=1)
    made.requantise([100] * channels, [0] * channels, 12, IntFormat(bits, False))
    return made.dense(rng.integers(1 - high, high, (10, channels * 16)), bits).graph()


@pytest.mark.parametrize("name", list(RESTRICTIONS))
@pytest.mark.parametrize("channels, bits, dsps", [(8, 4, 12), (8, 4, 100), (12, 2, 30), (6, 8, 40)])
def test_all_choices_are_never_worse_than_some(name: str, channels: int, bits: int, dsps: int) -> None:
    graph, limits = network(channels, bits), replace(BOARD.resources, dsp=dsps)
    held, free = plan(graph, BOARD, limits=limits, packings=name), plan(graph, BOARD, limits=limits)
    assert free.cycles <= held.cycles
    same = plan(graph, BOARD, limits=limits, max_cycles=held.cycles)

    def price(resources: Resources) -> float:
        return resources.lut / 70560 + resources.ff / 141120 / 4 + resources.dsp / dsps + resources.bram36 / 216

    assert price(same.resources) <= price(held.resources) + 1e-9


def test_every_restricted_way_is_among_all_ways() -> None:
    layer = unit(4, 4, 3)
    everything = set(options(layer, "dsp48e2", 40, 2).bases)
    for restriction in RESTRICTIONS.values():
        some = options(layer, "dsp48e2", 40, 2, restriction)
        assert some.bases and set(some.bases) <= everything


def test_only_the_image_may_go_without_dsps_where_the_published_design_has_it_so() -> None:
    layer = unit(4, 4, 3)
    first = options(layer, "dsp48e2", 40, 2, RESTRICTIONS["seuer"]).bases
    assert any(not folding.dsps for folding in first)
    second = options(replace(layer, reads=(0,)), "dsp48e2", 40, 2, RESTRICTIONS["seuer"]).bases
    assert second == options(layer, "dsp48e2", 40, 2, RESTRICTIONS["original"]).bases
    assert all(folding.dsps for folding in second)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UserError) as failure:
        plan(network(6, 8), BOARD, packings="all")
    assert str(failure.value) == "packings must be one of original, finn, seuer, not 'all'"
