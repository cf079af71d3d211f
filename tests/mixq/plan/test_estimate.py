"""Estimates: exact where they can be, additive, and in step with what changes a stage."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mixq.board import Resources
from mixq.formats import IntFormat
from mixq.packing import solve
from mixq.plan import estimate
from mixq.plan.cost_model import TERMS, CostModel, cost_model
from mixq.plan.folding import Folding
from mixq.plan.layer_shape import LayerShape
from mixq.plan.stage_features import Constants, Scale
from mixq.plan.sum_widths import exact_sum_bits, reach
from mixq.streams import StreamShape

SHAPE = LayerShape(16, 32, 20, 20, 3, 1, 1)
FOLDING = Folding(SHAPE, solve(4, 4), pe=4, rows=3, lanes=4, out_lanes=1)
SCALE = Scale(bits=16, multiplier_bits=18, bias_bits=34, out_bits=4, channels=32, pixels=5, lanes=1, shift=20)


def test_the_width_of_sums_is_that_of_the_largest() -> None:
    rng = np.random.default_rng(5)
    low, high = FOLDING.packing.weight_bounds
    weights = rng.integers(low, high + 1, (32, 16, 3, 3))
    # Recentred activations of 4 bits are -8 to 7: the largest sum of a channel, by choosing every one of them.
    largest = max(sum(max(-8 * int(w), 7 * int(w)) for w in channel.flat) for channel in weights)
    assert reach(FOLDING.packing, weights) == largest
    bits = exact_sum_bits(FOLDING, largest)
    assert 1 << (bits - 1) <= largest + 3 * FOLDING.lift < 1 << bits


def test_dsps_are_those_of_the_folding() -> None:
    assert estimate.convolution(FOLDING, 16).dsp == FOLDING.dsps == 4 * 12 * FOLDING.packing.dsps


def test_parts_that_change_alone_add_up() -> None:
    wide = replace(FOLDING, in_pixels=FOLDING.packing.pixels)
    block = replace(FOLDING, weight_memory="block")
    both = replace(wide, weight_memory="block")
    costs = [estimate.convolution(folding, 16) for folding in (FOLDING, wide, block, both)]
    for name in ("lut", "ff", "dsp", "bram36"):
        base, one, other, together = (getattr(cost, name) for cost in costs)
        assert together - one == other - base


def test_weights_in_block_ram_take_fewer_look_up_tables() -> None:
    logic, block = (estimate.convolution(replace(FOLDING, weight_memory=kind), 16) for kind in ("distributed", "block"))
    assert block.lut < logic.lut
    assert logic.bram36 < block.bram36


def test_wider_sums_cost_more() -> None:
    narrow, wide = (estimate.convolution(FOLDING, bits) for bits in (14, 18))
    assert narrow.lut < wide.lut and narrow.ff < wide.ff


def test_a_layer_is_the_sum_of_its_parts() -> None:
    beats = estimate.output_beats(FOLDING, estimate.unit_latency(SCALE, "multiply"))
    parts = [
        estimate.convolution(FOLDING, 16),
        estimate.serialiser(FOLDING, 16),
        estimate.requantisation(SCALE, "multiply"),
        estimate.gatherer(FOLDING, 4),
        estimate.fifo(4 * FOLDING.out_pixels, beats),
    ]
    assert estimate.layer(FOLDING, 16, SCALE, "multiply") == sum(parts, Resources())


@pytest.mark.parametrize("method", ["multiply", "threshold"])
def test_more_sums_at_a_time_cost_more(method: str) -> None:
    one, two = (estimate.requantisation(replace(SCALE, pixels=pixels), method) for pixels in (1, 2))
    assert one.lut < two.lut < 2 * one.lut + 1
    assert one.ff < two.ff


def test_products_that_are_too_wide_are_compared() -> None:
    assert estimate.requantise_methods(SCALE) == ["threshold", "multiply"]
    assert estimate.requantise_methods(replace(SCALE, bits=43)) == ["threshold"]


def test_scale_of_constants() -> None:
    # 7 is 8 - 1 and 5 is 4 + 1: two digits each in canonical signed form.
    scale = Scale.of(Constants.of([7, -5], [100, -3]), bits=10, shift=4, out_bits=3, pixels=1, lanes=2)
    assert (scale.multiplier_bits, scale.bias_bits, scale.digits, scale.falls) == (4, 13, 4, True)
    assert scale.groups == 1 and scale.count == 2


def test_converters_between_equal_beats_are_none() -> None:
    assert estimate.converters([]) == Resources()


def test_other_stages_take_something() -> None:
    beats = StreamShape(8, 6, 6, IntFormat(4, False), pixels=1, lanes=2)
    for found in (
        estimate.max_pool(beats, 2),
        estimate.converters([(beats, beats.with_beat(pixels=2, lanes=2))]),
        estimate.converters([(beats, beats.with_beat(pixels=1, lanes=8))]),
        estimate.requantise_alone(replace(SCALE, pixels=1, lanes=2), "multiply"),
    ):
        assert found.lut > 0 and found.ff > 0 and found.dsp == 0


def test_every_term_has_a_coefficient() -> None:
    model = cost_model()
    assert set(model.coefficients) == set(TERMS)
    assert all(value >= 0 for found in model.coefficients.values() for kind in found for value in kind)


def test_a_model_is_written_and_read_whole() -> None:
    model = cost_model()
    assert CostModel.of(model.document()) == model


def test_a_missing_coefficient_is_an_error() -> None:
    document = cost_model().document()
    del document["coefficients"]["fifo"]["lut"]["memory"]
    with pytest.raises(KeyError, match="memory"):
        CostModel.of(document)
