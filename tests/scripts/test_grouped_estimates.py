"""Estimates of layers in groups, depthwise, dilated and padded unevenly, which the model was not fitted to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mixq.packing import SoftMultipliers, candidates, solve
from mixq.plan import estimate
from mixq.plan.folding import Folding
from mixq.plan.layer_shape import LayerShape
from mixq.plan.stage_features import Constants
from rtl_gen.convolution import Convolution
from scripts.cost_samples import layer_scaling, layer_weights
from sim.stage_costs import StageVerilog, measure

P44, P88, TRACKED = solve(4, 4, accumulate=9), solve(8, 8), solve(4, 4, residue_bits=2)
P55 = solve(4, 4, 5, channels=1)
TAPS = replace(next(p for p in candidates(4, 4, 1) if (p.pixels, p.channels) == (2, 2)), kernel=3)

WORST = 0.16
"""Share that estimates are off by at most."""

FOLDINGS = {
    "depthwise": Folding(LayerShape(32, 32, 28, 28, 3, 1, 1, 32), P44, 1, 3, 1, 1, 1),
    "depthwise side by side": Folding(LayerShape(32, 32, 28, 28, 3, 1, 1, 32), P44, 8, 1, 8, 2, 4),
    "depthwise, stride 2": Folding(LayerShape(64, 64, 28, 28, 3, 2, (0, 0, 1, 1), 64), P44, 4, 1, 4, 1, 2),
    "depthwise 5x5": Folding(LayerShape(96, 96, 14, 14, 5, 1, 2, 96), P55, 3, 1, 3, 1, 1),
    "depthwise, 8 bits": Folding(LayerShape(32, 32, 28, 28, 3, 1, 1, 32), P88, 4, 1, 4, 1, 2),
    "depthwise, tracked": Folding(LayerShape(32, 32, 28, 28, 3, 1, 1, 32), TRACKED, 4, 1, 4, 4, 2),
    "depthwise, uneven": Folding(LayerShape(30, 30, 28, 28, 3, 1, 1, 30), P44, 4, 1, 4, 2, 2),
    "depthwise without DSPs": Folding(LayerShape(32, 32, 28, 28, 3, 1, 1, 32), SoftMultipliers(4, 4, 3), 4, 1, 4, 1, 2),
    "depthwise of tables": Folding(LayerShape(16, 16, 28, 28, 3, 1, 1, 16), SoftMultipliers(3, 3, 3, 2), 4, 3, 4, 2, 4),
    "shares of groups": Folding(LayerShape(64, 64, 14, 14, 3, 1, 1, 4), P44, 4, 1, 8, 2, 2),
    "groups side by side": Folding(LayerShape(16, 32, 14, 14, 3, 1, 1, 4), P44, 16, 1, 8, 2, 8),
    "padding": Folding(LayerShape(16, 16, 28, 28, 3, 2, (0, 0, 1, 1)), P44, 4, 1, 8, 2, 2),
    "dilated": Folding(LayerShape(16, 16, 28, 28, 3, 1, 2, dilation=2), TAPS, 4, 3, 4, 2, 4),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLDINGS)
def test_estimates_are_near_and_dsps_and_block_ram_exact(name: str) -> None:
    folding = FOLDINGS[name]
    scaling = layer_scaling(folding, 1, 4, "multiply")
    stage = Convolution(folding, layer_weights(folding, 1), scaling, name="layer")
    scale = estimate.Scale.of(
        Constants.of(scaling.multiplier, scaling.bias),
        bits=estimate.sum_bits(folding),
        shift=scaling.shift,
        out_bits=4,
        pixels=folding.out_pixels // folding.turns,
        lanes=folding.out_lanes,
    )
    planned = estimate.layer(folding, estimate.sum_bits(folding), scale, "multiply")
    counted = measure(StageVerilog.of(stage)).flat
    assert (planned.dsp, planned.bram36) == (counted.dsp, counted.bram36)
    assert abs(planned.lut / counted.lut - 1) < WORST
    assert abs(planned.ff / counted.ff - 1) < WORST
