"""Foldings without DSPs: where they are offered, where not, and what they are estimated at."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest

from mixq.board import Board, Resources
from mixq.formats import IntFormat
from mixq.graph import Graph
from mixq.packing import SoftMultipliers, solve
from mixq.plan import estimate, plan
from mixq.plan.folding import Folding
from mixq.plan.layer_shape import LayerShape
from mixq.plan.matrix_search import MOST_PAIRS, constant_matrix, digit_pairs
from mixq.plan.options import options
from mixq.plan.restrictions import RESTRICTIONS
from mixq.plan.soft_options import MOST_PRODUCTS, PIXELS, soft_foldings
from mixq.plan.units import Unit, units
from mixq.plan.values import Plan, folding_of
from mixq.plan.weight_order import layer_matrix
from tests.mixq.graphs import Chain

BOARD = Board("small", "part", Resources(70560, 141120, 360, 216, 0), 5, 72, 300.0)


def graph_of(outputs: int, inputs: int, kernel: int = 3, width: int = 9, bits: int = 4) -> Graph:
    high = (1 << (bits - 1)) - 1
    weights = np.random.default_rng(2).integers(-high, high + 1, (outputs, inputs, kernel, kernel))
    return Chain((inputs, 8, width), IntFormat(8, False)).conv(weights, bits, padding=kernel // 2).graph()


def unit_of(*sizes: int, **others: int) -> Unit:
    unit = units(graph_of(*sizes, **others))[0]
    assert isinstance(unit, Unit)
    return unit


def soft(folding: Folding) -> SoftMultipliers:
    assert isinstance(folding.packing, SoftMultipliers)
    return folding.packing


def test_small_layers_are_offered_both_kinds() -> None:
    found = soft_foldings(unit_of(4, 3))
    constants = [folding for folding in found if soft(folding).constant]
    assert [folding.packing.pixels for folding in constants] == list(PIXELS)
    assert all(folding.weight_depth == 1 and folding.dsps == 0 for folding in constants)
    tables = [folding for folding in found if not soft(folding).constant]
    assert {folding.packing.pixels for folding in tables} == set(PIXELS)
    assert all(folding.pe * folding.simd * folding.packing.macs <= MOST_PRODUCTS for folding in tables)
    assert all(folding.weight_depth > 1 for folding in tables)
    assert {(folding.pe, folding.rows, folding.lanes) for folding in tables if folding.packing.pixels == 1} == {
        (pe, rows, lanes) for pe in (1, 2, 4) for rows in (1, 3) for lanes in (1, 3) if (pe, rows, lanes) != (4, 3, 3)
    }


def test_no_more_pixels_than_a_row_has() -> None:
    assert {folding.packing.pixels for folding in soft_foldings(unit_of(4, 3, width=3))} == {1, 2}


def test_large_layers_are_offered_no_matrix() -> None:
    unit = unit_of(64, 48)
    found = soft_foldings(unit)
    assert found and not any(soft(folding).constant for folding in found)
    # Fewer weights, but more pairs of digits than are searched.
    dense = unit_of(16, 512, kernel=1, bits=8)
    packing = SoftMultipliers(8, 8, 1, weight_range=dense.weight_range, constant=True)
    whole = Folding(dense.shape, packing, 16, 1, 512, out_lanes=16)
    assert digit_pairs(layer_matrix(whole, np.asarray(dense.stream_weights, np.int64))) > MOST_PAIRS
    assert not any(soft(folding).constant for folding in soft_foldings(dense))


def test_a_matrix_takes_what_its_adders_take() -> None:
    unit = unit_of(4, 3)
    for folding in soft_foldings(unit):
        packing = soft(folding)
        if packing.constant:
            elements = layer_matrix(folding, np.asarray(unit.stream_weights, np.int64))
            matrix = constant_matrix(elements, packing.act_format, interleaved=packing.pixels)
            assert (packing.adder_bits, packing.register_bits) == (matrix.adder_bits, matrix.register_bits)
            assert packing.cycles == matrix.latency
            bare = replace(folding, packing=replace(packing, adder_bits=0, register_bits=0))
            more, less = estimate.convolution(folding, 14), estimate.convolution(bare, 14)
            assert (more.lut - less.lut, more.ff - less.ff) == (matrix.adder_bits, matrix.register_bits)


@pytest.mark.parametrize("name", [None, *RESTRICTIONS])
def test_restrictions_offer_none(name: str | None) -> None:
    # Of a layer that does not take the image.
    layer = replace(unit_of(4, 3), reads=(0,))
    offered = options(layer, "dsp48e2", 40, 2, RESTRICTIONS[name] if name else None)
    kinds = {isinstance(base.packing, SoftMultipliers) for base in offered.bases}
    assert kinds == ({False} if name else {False, True})


def test_foldings_refuse_what_they_cannot_be() -> None:
    shape = LayerShape(4, 4, 6, 6, 3, 1, 1)
    constant = SoftMultipliers(4, 4, 3, constant=True)
    with pytest.raises(ValueError, match="packing must not be constant where 2 weights take turns, not SoftMult"):
        Folding(shape, constant, 2, 3, 4, out_lanes=2)
    with pytest.raises(ValueError, match="packing must hold 1 or an even number of pixels for stride 2, not 3"):
        Folding(replace(shape, stride=2), SoftMultipliers(4, 4, 3, 3), 2, 3, 4, out_lanes=2)
    with pytest.raises(TypeError, match="packing must be one of DSPs, not SoftMultipliers"):
        _ = Folding(shape, constant, 4, 3, 4, out_lanes=4).dsp_packing
    assert Folding(shape, solve(4, 4), 2, 3, 4, out_lanes=2).dsp_packing == solve(4, 4)


def test_plans_without_dsps_are_written_and_read(tmp_path) -> None:  # type: ignore[no-untyped-def]
    found = plan(graph_of(4, 3), BOARD, limits=Resources(70560, 141120, 0, 216, 0))
    (folding,) = [layer.folding for layer in found.layers if layer.folding]
    assert isinstance(folding.packing, SoftMultipliers) and found.resources.dsp == 0
    found.save(tmp_path)
    assert Plan.load(tmp_path) == found


def test_wrong_multipliers_in_a_file_are_refused() -> None:
    document = asdict(Folding(LayerShape(4, 4, 6, 6, 3, 1, 1), SoftMultipliers(4, 4, 3), 2, 3, 4, out_lanes=2))
    assert folding_of(document).packing == SoftMultipliers(4, 4, 3)
    document["packing"] = {**document["packing"], "weight_bits": 4.0}
    with pytest.raises(TypeError, match=r"weight_bits must be a whole number, not 4\.0"):
        folding_of(document)
