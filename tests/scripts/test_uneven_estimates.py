"""Foldings with surplus channels take the DSPs and block RAM that the planner counts, by Yosys."""

from __future__ import annotations

import pytest

from mixq.packing import solve
from mixq.plan import estimate
from mixq.plan.folding import Folding
from mixq.plan.layer_shape import LayerShape
from mixq.plan.stage_features import Constants
from rtl_gen.convolution import Convolution
from scripts.cost_samples import layer_scaling, layer_weights
from sim.stage_costs import StageVerilog, measure

ROW, DENSE = solve(4, 4, pixels=2), solve(4, 4, 1, pixels=1)

# 10 outputs into 4 leave 2 over, 5 inputs into 3 one, 100 into 16 twelve.
FOLDINGS = {
    "conv": Folding(LayerShape(5, 10, 6, 16, 3, 1, 1), ROW, 4, 1, 3, 1, 2, weight_memory="block"),
    "dense": Folding(LayerShape(100, 10, 1, 1), DENSE, 4, 1, 16, 1, 1, weight_memory="block"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLDINGS)
def test_dsps_and_block_ram_are_exact(name: str) -> None:
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
    # 4 output channels at a time, and each of 3 or 16 inputs has weight memories.
    assert counted.dsp == 4 // folding.packing.channels * folding.lanes * folding.packing.dsps
    assert counted.bram36 >= 1
