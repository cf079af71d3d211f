# amaranth: UnusedElaboratable=no
"""Stages without DSPs as Yosys counts them: no DSP, and about what the planner takes them for."""

from __future__ import annotations

from dataclasses import replace
from statistics import median

import numpy as np
import pytest

from mixq.formats import IntFormat
from mixq.packing import SoftMultipliers
from mixq.plan import estimate
from mixq.plan.folding import Folding
from mixq.plan.layer_shape import LayerShape
from mixq.plan.matrix_search import constant_matrix
from mixq.plan.stage_features import Constants
from mixq.plan.sum_widths import exact_sum_format, threshold_format
from mixq.plan.weight_order import layer_matrix
from rtl_gen.convolution import Convolution, Scaling
from sim.stage_costs import StageVerilog, measure

BEHIND = ("serialiser", "requantise", "gatherer", "fifo")


def layer(shape: LayerShape, packing: SoftMultipliers, pe: int, rows: int, lanes: int) -> tuple[Folding, np.ndarray]:
    """A folding and random weights; a constant one with its matrix's sizes."""
    low, high = packing.weight_bounds
    size = (shape.out_channels, shape.in_channels, shape.kernel, shape.kernel)
    weights = np.random.default_rng(0).integers(low, high + 1, size)
    folding = Folding(shape, packing, pe, rows, lanes, out_lanes=pe)
    if packing.constant:
        matrix = constant_matrix(layer_matrix(folding, weights), packing.act_format, interleaved=packing.pixels)
        known = replace(
            packing, adder_bits=matrix.adder_bits, register_bits=matrix.register_bits, cycles=matrix.latency
        )
        folding = replace(folding, packing=known)
    return folding, weights


LAYERS = {
    "4x4": (LayerShape(8, 16, 20, 40, 3, 1, 1), SoftMultipliers(4, 4, 3), 4, 3, 4),
    "4x4, two pixels": (LayerShape(8, 8, 20, 40, 3, 1, 1), SoftMultipliers(4, 4, 3, 2), 2, 3, 4),
    "3x3, four pixels": (LayerShape(8, 8, 20, 40, 3, 1, 1), SoftMultipliers(3, 3, 3, 4), 2, 1, 4),
    "dense 8x8": (LayerShape(64, 10, 1, 1), SoftMultipliers(8, 8, 1), 5, 1, 8),
    "constant 2x4": (LayerShape(8, 8, 20, 40, 3, 1, 1), SoftMultipliers(2, 4, 3, constant=True), 8, 3, 8),
    "constant 5x5": (LayerShape(1, 6, 28, 28, 5, 1, 2), SoftMultipliers(4, 8, 5, constant=True), 6, 5, 1),
    "constant dense": (LayerShape(48, 10, 1, 1), SoftMultipliers(6, 4, 1, constant=True), 10, 1, 48),
    "constant 1x1": (LayerShape(16, 16, 10, 20), SoftMultipliers(4, 4, 1, 2, constant=True), 16, 1, 16),
}


@pytest.mark.slow
def test_estimates_are_near_and_nothing_is_a_dsp() -> None:
    errors: dict[str, list[float]] = {"lut": [], "ff": []}
    for wanted in LAYERS.values():
        folding, weights = layer(*wanted)
        format = exact_sum_format(wanted[1], weights)
        scaling = Scaling.none((0,) * folding.shape.out_channels, format)
        counts = measure(StageVerilog.of(Convolution(folding, weights, scaling, name="layer")))
        assert counts.flat.dsp == counts.total.dsp == 0
        estimated = estimate.convolution(folding, format.width)
        for kind, found in errors.items():
            behind = sum(getattr(counts.components[name], kind) for name in BEHIND if name in counts.components)
            found.append(abs(getattr(estimated, kind) / (getattr(counts.flat, kind) - behind) - 1))
    assert all(median(found) < 0.1 for found in errors.values()), errors


@pytest.mark.slow
@pytest.mark.parametrize("falls", [False, True])
def test_block_ram_of_thresholds_is_exact(falls: bool) -> None:
    """Sums that use less than their width have narrower thresholds: of 15 bits, of which 128 do not fill a block."""
    folding, weights = layer(LayerShape(32, 64, 4, 4, 3, 1, 1), SoftMultipliers(4, 4, 3), 1, 3, 8)
    sums = exact_sum_format(SoftMultipliers(4, 4, 3), weights)
    thresholds = threshold_format(sums, rises=True, falls=falls)
    assert thresholds.width == sums.width == 15
    multiplier = (-1 if falls else 1,) + (1,) * 63
    scaling = Scaling(multiplier, (0,) * 64, 10, IntFormat(4, False), "threshold")
    scale = estimate.Scale.of(
        Constants.of(multiplier, (0,) * 64),
        bits=sums.width,
        shift=10,
        out_bits=4,
        pixels=1,
        lanes=1,
        threshold_bits=thresholds.width,
    )
    planned = estimate.layer(folding, sums.width, scale, "threshold")
    counted = measure(StageVerilog.of(Convolution(folding, weights, scaling, name="layer"))).flat
    assert (planned.dsp, planned.bram36) == (counted.dsp, counted.bram36)
    assert counted.bram36 >= 1
