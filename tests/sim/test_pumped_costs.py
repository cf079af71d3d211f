# amaranth: UnusedElaboratable=no
"""Layers on double-pumped DSPs as Yosys counts them, beside what plans say of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mixq.plan import estimate, layer_features, pump_features
from mixq.plan.cost_model import cost_model
from mixq.plan.layer_shape import LayerShape
from rtl_gen.pumped_array import PumpedArray
from sim.stage_costs import StageVerilog, measure
from tests.rtl_gen.convolution_cases import CASES, P44, Case, graph_of, stage_of, weights_of

LARGE = Case(LayerShape(16, 16, 16, 16, 3, 1, 1), P44, 4, 1, 8, 1, 1, "multiply", pump=2)
LAYERS = {
    "chain": CASES["pumped_chain"],
    "constant weights": CASES["pumped_odd_chain"],
    "pair": CASES["pumped_pair"],
    "large": LARGE,
}
SLACK = 0.1
"""Share of a count that an estimate may be off by: of what others have, too, the estimate is a fitted one."""


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
def test_multipliers_as_counted(name: str) -> None:
    case = replace(LAYERS[name], target="dsp48e2")
    folding = case.folding
    counted = measure(StageVerilog.of(stage_of(case, graph_of(case)))).components["array"]
    assert counted.dsp == folding.dsps == folding.columns * folding.simd * folding.packing.dsps // 2
    lut, ff = cost_model().cost("array", estimate.layer_components(folding, 16, apart=True)["array"])
    extra = pump_features.array(folding)
    assert abs(lut + extra.lut - counted.lut) <= SLACK * counted.lut
    assert abs(ff + extra.ff - counted.ff) <= SLACK * counted.ff


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("pumped")])
def test_latency_as_built(name: str) -> None:
    case = CASES[name]
    array = PumpedArray(case.folding, weights_of(case), name="layer")
    assert layer_features.array_latency(case.folding) == array.latency


@pytest.mark.parametrize("name", LAYERS)
def test_a_pumped_layer_trades_dsps_for_logic(name: str) -> None:
    pumped = LAYERS[name].folding
    once, twice = (estimate.convolution(folding, 16) for folding in (replace(pumped, pump=1), pumped))
    assert 2 * twice.dsp == once.dsp
    assert twice.ff > once.ff
    # Without weights to choose from, what is saved at half as many DSPs may make up for the multiplexers.
    assert twice.lut > once.lut or (name == "constant weights" and twice.lut == once.lut)
    assert twice.bram36 == once.bram36
