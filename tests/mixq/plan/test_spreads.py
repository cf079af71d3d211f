"""Shares of channels: what is offered against a listing of everything, and what is left out."""

from __future__ import annotations

from math import ceil

import numpy as np
import pytest

from mixq.formats import IntFormat
from mixq.packing import SoftMultipliers, solve
from mixq.plan.folding import Folding
from mixq.plan.layer_shape import LayerShape
from mixq.plan.options import offered_packings, options
from mixq.plan.restrictions import RESTRICTIONS
from mixq.plan.spreads import Spread, parts, spreads
from mixq.plan.units import Unit, units
from tests.mixq.graphs import Chain


@pytest.mark.parametrize("number", [1, 2, 3, 7, 10, 36, 64, 97, 512, 1000, 3136])
@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_parts_divide_or_are_the_smallest_of_their_count(number: int, step: int) -> None:
    found = parts(number, step)
    assert found == sorted(set(found))
    assert all(size % step == 0 and size < number + step for size in found)
    assert {size for size in range(step, number + 1, step) if number % size == 0} <= set(found)
    for size in found:
        if number % size and size > step:
            assert ceil(number / (size - step)) > ceil(number / size)
    # What is added does not outgrow the ratio that it spans.
    even = sum(number % size == 0 for size in found)
    assert len(found) - even <= 2 + 2 * number.bit_length()


def test_parts_of_channels_that_are_met() -> None:
    # 36 into 8 leaves 4 channels over in 5 turns, where 6 at a time would take 6 turns and 9 at a time 4.
    assert parts(36) == [1, 2, 3, 4, 5, 6, 8, 9, 12, 18, 36]
    assert parts(3) == [1, 2, 3]
    assert parts(7, 2) == [2, 4, 8]


def everything(shape: LayerShape, pixels: int) -> list[tuple[int, int, bool]]:
    """Multipliers and steps of each way to spread a layer of one channel a unit, however bad, and if it is even."""
    found = []
    for pe in range(1, shape.out_channels + 1):
        for rows in {1, shape.kernel}:
            for lanes in range(1, shape.in_channels + 1):
                turns = ceil(shape.out_channels / pe) * (shape.kernel // rows) * ceil(shape.in_channels / lanes)
                even = shape.out_channels % pe == 0 and shape.in_channels % lanes == 0
                found.append((pe * rows * lanes, turns, even))
    return found


SHAPE = LayerShape(6, 10, 4, 8, 3, 1, 1)
P44 = solve(4, 4)


def test_steps_are_counted_by_hand() -> None:
    assert P44.passes == P44.channels == 1
    outputs = {(s.pe, s.rows, s.lanes): s for s in spreads(LayerShape(1, 10, 4, 8, 3, 1, 1), P44, 10**6)}
    # 10 outputs 4 at a time: 3 folds of 3 kernel rows.
    assert outputs[4, 1, 1] == Spread(4, 1, 1, 4, 9, False)
    # 4 at a time and all rows would take 1 cycle, 4 channels leave in beats of 2 at most: 2 divides 4 and 10.
    assert (4, 3, 1) not in outputs
    assert outputs[10, 3, 1] == Spread(10, 3, 1, 30, 1, True)
    # 3 at a time take 12 steps where all rows of one output at a time take 10: 3 units both.
    assert (3, 1, 1) not in outputs and outputs[1, 3, 1] == Spread(1, 3, 1, 3, 10, True)
    inputs = {(s.pe, s.rows, s.lanes): s for s in spreads(LayerShape(5, 1, 4, 8, 3, 1, 1), P44, 10**6)}
    # 5 inputs 2 at a time: 3 words of 3 kernel rows. 3 at a time: 2 words.
    assert inputs[1, 1, 2] == Spread(1, 1, 2, 2, 9, False)
    assert inputs[1, 3, 3] == Spread(1, 3, 3, 9, 2, False)
    # 2 at a time and all rows take 6 units for what 5 units do in as many steps.
    assert (1, 3, 2) not in inputs and inputs[1, 1, 5] == Spread(1, 1, 5, 5, 3, True)


def test_uneven_spreads_are_those_that_nothing_else_makes_needless() -> None:
    found = spreads(SHAPE, P44, 10**6)
    all_even = {(m, t) for m, t, even in everything(SHAPE, P44.pixels) if even}
    assert {(s.multipliers, s.turns) for s in found if s.even} == all_even
    uneven = [s for s in found if not s.even]
    assert uneven
    for spread in uneven:
        assert not any(
            other.multipliers <= spread.multipliers and other.turns <= spread.turns for other in found if other.even
        )
        assert not any(other.multipliers <= spread.multipliers and other.turns < spread.turns for other in found)
        assert not any(other.multipliers < spread.multipliers and other.turns <= spread.turns for other in found)


def test_the_most_dsps_are_held() -> None:
    assert max(s.multipliers * P44.dsps for s in spreads(SHAPE, P44, 20)) <= 20
    more = spreads(SHAPE, P44, 40)
    assert [s for s in more if s.multipliers * P44.dsps <= 20] == spreads(SHAPE, P44, 20)


def test_even_alone_where_asked_for_and_without_a_weight_of_0() -> None:
    for found in (spreads(SHAPE, P44, 10**6, even=True), spreads(SHAPE, solve(1, 4), 10**6)):
        assert found and all(10 % s.pe == 0 and 6 % s.lanes == 0 and s.even for s in found)


def unit(in_channels: int, out_channels: int, bits: int = 4) -> Unit:
    rng = np.random.default_rng(in_channels)
    most = (1 << (bits - 1)) - 1
    weights = rng.integers(-most, most + 1, (out_channels, in_channels, 3, 3))
    inputs = Chain((in_channels, 4, 8), IntFormat(bits, False))
    return units(inputs.conv(weights, bits, padding=1).graph())[0]


def is_even(folding: Folding) -> bool:
    return folding.shape.out_channels % folding.pe == 0 and folding.shape.in_channels % folding.lanes == 0


def test_options_list_uneven_foldings_with_cycles_by_hand() -> None:
    layer = unit(6, 10)
    found = options(layer, "dsp48e2", 400, 0)
    seen = 0
    for way, (base, in_pixels, out_lanes, _) in enumerate(found.ways):
        folding = found.bases[base]
        pixels, packing = folding.packing.pixels, folding.packing
        steps = packing.passes * (3 // folding.rows) * ceil(6 / folding.lanes)
        computed = 4 * folding.row_steps * ceil(10 / folding.pe) * steps
        taken = 4 * (ceil(8 / pixels) if in_pixels == pixels else 8) * ceil(6 / folding.lanes)
        given = 4 * ceil(8 / pixels) * (10 // out_lanes)
        assert found.cycles[way] == max(computed, taken, given)
        assert found.folding(way).cycles_per_frame == found.cycles[way]
        seen += not is_even(folding)
    assert seen
    # Of equal packings none of the uneven ones is as slow as an even one of no more DSPs.
    for folding in found.bases:
        if not is_even(folding):
            same = [other for other in found.bases if other.packing == folding.packing and is_even(other)]
            assert not any(o.dsps <= folding.dsps and o.folds * o.steps <= folding.folds * folding.steps for o in same)


def test_packings_may_fill_up_a_quarter_of_the_outputs() -> None:
    layer = unit(6, 10, 2)
    assert {packing.channels for packing in offered_packings(layer, "dsp48e2", 2)} >= {4, 5, 6}
    assert all(10 % packing.channels == 0 for packing in offered_packings(layer, "dsp48e2", 2, even=True))
    # 2 of 10 fill up less than a quarter, 3 more.
    assert all(-10 % p.channels <= 2 for p in offered_packings(layer, "dsp48e2", 2))


@pytest.mark.parametrize("name", RESTRICTIONS)
def test_restrictions_keep_to_even_foldings(name: str) -> None:
    found = options(unit(6, 10), "dsp48e2", 400, 2, RESTRICTIONS[name])
    assert found.bases and all(is_even(folding) for folding in found.bases)


def test_without_dsps_foldings_are_even() -> None:
    found = options(unit(6, 10), "dsp48e2", 400, 2)
    without = [folding for folding in found.bases if not folding.dsps]
    assert without and all(is_even(folding) for folding in without)
    soft = SoftMultipliers(4, 4, 3)
    with pytest.raises(ValueError, match=r"^packing must be of DSPs for channels that do not divide evenly, not Soft"):
        Folding(SHAPE, soft, 4, 1, 1)
    with pytest.raises(ValueError, match=r"^packing must be of DSPs for channels that do not divide evenly, not Soft"):
        Folding(SHAPE, soft, 5, 1, 4)


def test_weights_of_1_bit_divide_evenly() -> None:
    packing = solve(1, 4)
    with pytest.raises(ValueError, match=r"^packing must have weights of 0 for channels that do not divide evenly, "):
        Folding(SHAPE, packing, packing.channels, 1, 4)


DEPTHWISE = LayerShape(10, 10, 4, 8, 3, 1, 1, groups=10)
IN_GROUPS = LayerShape(12, 8, 4, 8, 3, 1, 1, groups=4)


def test_groups_are_spread_as_counted_by_hand() -> None:
    depthwise = {(s.pe, s.rows, s.lanes): s for s in spreads(DEPTHWISE, P44, 10**6)}
    assert depthwise[1, 1, 1] == Spread(1, 1, 1, 1, 30, True)
    assert depthwise[5, 3, 5] == Spread(5, 3, 5, 15, 2, True)
    assert depthwise[10, 1, 10] == Spread(10, 1, 10, 10, 3, True)
    # 4 of 10 side by side take 3 folds of 3 rows: as many multipliers as 2 units more would make 2 folds of.
    assert depthwise[4, 1, 4] == Spread(4, 1, 4, 4, 9, False)
    assert not any(s.multipliers != s.pe * s.rows for s in depthwise.values())
    found = {(s.pe, s.rows, s.lanes): s for s in spreads(IN_GROUPS, P44, 10**6)}
    # A share of one group: each of 8 outputs reads 3 inputs in turn, of 3 rows.
    assert found[1, 1, 1] == Spread(1, 1, 1, 1, 8 * 9, True)
    assert found[2, 1, 3] == Spread(2, 1, 3, 6, 4 * 3, True)
    # Two groups of the four side by side.
    assert found[4, 3, 6] == Spread(4, 3, 6, 4 * 9, 2, True)
    assert found[8, 3, 12] == Spread(8, 3, 12, 8 * 9, 1, True)
    assert all(s.even for s in spreads(DEPTHWISE, P44, 10**6, even=True))


def grouped_unit(shape: LayerShape, bits: int = 4) -> Unit:
    most = (1 << (bits - 1)) - 1
    weights = np.random.default_rng(1).integers(-most, most + 1, shape.weight_shape)
    inputs = Chain((shape.in_channels, shape.height, shape.width), IntFormat(bits, False))
    inputs.conv(weights, bits, stride=shape.stride, padding=shape.sides, groups=shape.groups, dilation=shape.dilation)
    return units(inputs.graph())[0]


@pytest.mark.parametrize(
    "shape",
    [
        DEPTHWISE,
        IN_GROUPS,
        LayerShape(6, 6, 8, 9, 5, 2, (1, 1, 2, 2), groups=6),
        LayerShape(4, 8, 8, 9, 3, 1, 2, groups=4, dilation=2),
        LayerShape(4, 6, 8, 9, 3, 1, 2, dilation=2),
    ],
    ids=str,
)
def test_options_of_groups_and_dilation(shape: LayerShape) -> None:
    layer = grouped_unit(shape)
    assert layer.shape == shape
    found = options(layer, "dsp48e2", 400, 2)
    for way, (base, *_) in enumerate(found.ways):
        folding = found.folding(way)
        assert found.cycles[way] == folding.cycles_per_frame
        # No product is counted that no output has a share of: those of a DSP are pixels times taps of the kernel.
        assert folding.packing.macs <= folding.packing.pixels * shape.kernel * folding.packing.channels
        assert shape.group_outputs % folding.packing.channels == 0
        done = folding.columns * folding.simd * folding.packing.macs * folding.compute_cycles
        assert done >= shape.macs, base
    assert any(folding.dsps for folding in found.bases)
    # Without DSPs there are all but dilated layers.
    assert any(not folding.dsps for folding in found.bases) == (shape.dilation == 1)


@pytest.mark.parametrize("bits", range(2, 9))
def test_depthwise_layers_are_offered_the_densest_packings_of_a_channel(bits: int) -> None:
    layer = grouped_unit(LayerShape(4, 4, 12, 60, 3, 1, 1, groups=4), bits)
    offered = offered_packings(layer, "dsp48e2", 0)
    assert {packing.channels for packing in offered} == {1}
    assert max(packing.density for packing in offered) == solve(bits, bits, channels=1, weight_range="narrow").density
