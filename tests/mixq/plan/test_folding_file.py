"""Foldings as files: the round trip, what the keys mean, and refusals that name file, node, key and legal values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mixq.board import Board, Resources
from mixq.errors import UserError
from mixq.formats import IntFormat
from mixq.graph import Graph
from mixq.plan import Plan, plan
from mixq.plan.folding_file import FOLDING_FILE, folding_document, load_foldings, packing_label, save_foldings
from tests.mixq.graphs import Chain, random_network

BOARD = Board("small", "part", Resources(70560, 141120, 360, 216, 0), 5, 72, 300.0)
U4 = IntFormat(4, False)


def network() -> Graph:
    rng = np.random.default_rng(4)
    chain = Chain((6, 6, 8), U4).conv(rng.integers(-7, 8, (8, 6, 3, 3)), 4, padding=1)
    chain.requantise([100] * 8, [0] * 8, 12, U4).pool(2, 2)
    return chain.dense(rng.integers(-7, 8, (4, 8 * 12)), 4).graph()


def held(tmp_path: Path, document: Any, **wishes: Any) -> Plan:
    path = tmp_path / FOLDING_FILE
    path.write_text(json.dumps(document))
    return plan(network(), BOARD, foldings=load_foldings(path), **wishes)


@pytest.mark.parametrize("graph", [network(), random_network()], ids=["small", "all kinds"])
@pytest.mark.parametrize(
    "wishes",
    [{}, {"max_cycles": 5000}, {"real_weights": True, "limits": BOARD.resources}, {"double_pump": True}],
)
def test_what_was_written_holds_another_plan_to_the_same(graph: Graph, wishes: dict[str, Any], tmp_path: Path) -> None:
    made = plan(graph, BOARD, **wishes)
    save_foldings(made, tmp_path)
    # Without the wishes: what the file holds is all that decides.
    wishes.pop("max_cycles", None)
    again = plan(graph, BOARD, foldings=load_foldings(tmp_path / FOLDING_FILE), **wishes)
    assert again.layers == made.layers
    save_foldings(again, tmp_path / ".")
    assert json.loads((tmp_path / FOLDING_FILE).read_text()) == folding_document(made)


def grouped_network() -> Graph:
    rng = np.random.default_rng(5)
    chain = Chain((6, 6, 8), U4).conv(rng.integers(-7, 8, (6, 1, 3, 3)), 4, padding=(0, 0, 1, 1), stride=2, groups=6)
    chain.requantise([100] * 6, [0] * 6, 12, U4)
    return chain.conv(rng.integers(-7, 8, (4, 3, 3, 3)), 4, padding=1, groups=2).graph()


@pytest.mark.parametrize(
    "values, expected",
    [
        # Groups side by side: output channels of all of them, input terms of each.
        (({"PE": 2, "SIMD": 3}, {"PE": 4, "SIMD": 9}), ((2, 3, 2), (4, 3, 6))),
        (({"PE": 3, "SIMD": 1}, {"PE": 1, "SIMD": 1}), ((3, 1, 3), (1, 1, 1))),
        # A depthwise layer alone, 6 at a time; one group after the other, its outputs one by one.
        (({"PE": 6, "rows": 1}, {"PE": 2, "SIMD": 3, "rows": 1}), ((6, 1, 6), (2, 1, 3))),
    ],
)
def test_layers_in_groups_are_held_by_their_channels(
    values: tuple[dict[str, int], ...], expected: tuple[tuple[int, int, int], ...], tmp_path: Path
) -> None:
    graph = grouped_network()
    path = tmp_path / FOLDING_FILE
    path.write_text(json.dumps({"conv0": values[0], "conv2": values[1]}))
    made = plan(graph, BOARD, foldings=load_foldings(path))
    foldings = [layer.folding for layer in made.layers if layer.folding is not None]
    assert tuple((folding.pe, folding.rows, folding.lanes) for folding in foldings) == expected
    path.write_text(json.dumps({"conv0": {"PE": 7}}))
    # 4 or 5 groups at a time take two turns, as 3 do.
    with pytest.raises(UserError, match=r"conv0: PE must be one of 1, 2, 3, 6, not 7$"):
        plan(graph, BOARD, foldings=load_foldings(path))


def test_layers_that_are_not_named_are_planned(tmp_path: Path) -> None:
    made = held(tmp_path, {"Defaults": {}, "conv0": {"PE": 2, "SIMD": 6}})
    folding = made.layer("conv0").folding
    assert folding is not None and (folding.pe, folding.rows, folding.lanes) == (2, 3, 2)
    free = plan(network(), BOARD)
    assert made.cycles > free.cycles
    assert held(tmp_path, {}) == free


@pytest.mark.parametrize(
    "simd, rows, expected",
    [
        # Of all three kernel rows where 3 divides it and the rest divides the 6 channels, else of one row.
        (3, None, (3, 1)),
        (6, None, (3, 2)),
        (2, None, (1, 2)),
        (1, None, (1, 1)),
        (18, None, (3, 6)),
        (3, 1, (1, 3)),
        (6, 1, (1, 6)),
        (6, 3, (3, 2)),
    ],
)
def test_simd_is_kernel_rows_times_channels(
    simd: int, rows: int | None, expected: tuple[int, int], tmp_path: Path
) -> None:
    values = {"SIMD": simd} if rows is None else {"SIMD": simd, "rows": rows}
    folding = held(tmp_path, {"conv0": values}).layer("conv0").folding
    assert folding is not None and (folding.rows, folding.lanes) == expected


def test_layers_are_held_to_double_pumped_dsps(tmp_path: Path) -> None:
    made = held(tmp_path, {"conv0": {"pump": 2, "SIMD": 6}, "dense3": {"pump": 1}}, double_pump=True)
    assert made.pumped == ("conv0",)
    with pytest.raises(UserError, match=r"conv0: pump must be one of 1, not 2; 2 takes "):
        held(tmp_path, {"conv0": {"pump": 2, "SIMD": 9}}, double_pump=True)


def test_packings_are_chosen_by_pixels_density_and_name(tmp_path: Path) -> None:
    def packing(values: dict[str, Any]) -> Any:
        folding = held(tmp_path, {"conv0": values}).layer("conv0").folding
        assert folding is not None
        return folding.packing

    assert packing({"pixels": 2}).pixels == 2
    assert packing({"density": 6}).density == 6
    assert packing({"density": 6.0, "resType": "dsp"}).density == 6
    name = packing_label(packing({"pixels": 4}))
    assert packing_label(packing({"packing": name})) == name
    short = name.partition("-")[0]
    assert packing_label(packing({"packing": short})).partition("-")[0] == short


def test_other_keys_and_stages(tmp_path: Path) -> None:
    document = {
        "conv0": {"ram_style": "block", "resType": "auto", "requantise": "multiply", "in_pixels": 1, "out_lanes": 2},
        "pool2": {"PE": 4},
        "dense3": {"ram_style": "auto"},
    }
    made = held(tmp_path, document)
    folding = made.layer("conv0").folding
    assert folding is not None
    assert (folding.weight_style, folding.in_pixels, folding.out_lanes) == ("block", 1, 2)
    assert made.layer("requantise1").method == "multiply"
    assert made.layer("pool2").lanes == 4


@pytest.mark.parametrize(
    "document, message",
    [
        ([], " must be an object of nodes, not list"),
        ({"conv0": 3}, ": conv0 must be an object of keys, not 3"),
        ({"Defaults": {"PE": [1, ["conv"]]}}, ": Defaults must be empty: name the nodes, not {'PE': [1, ['conv']]}"),
        ({"conv9": {}}, ": nodes must be among conv0, pool2, dense3, not 'conv9'"),
        ({"requantise1": {}}, ": nodes must be among conv0, pool2, dense3, not 'requantise1'"),
        # Beside what divides 8, packings of 3 and 5 output channels fill it up to 9 and 10.
        ({"conv0": {"PE": 7}}, ": conv0: PE must be one of 1, 2, 3, 4, 5, 8, 9, 10, not 7"),
        ({"conv0": {"PE": True}}, ": conv0: PE must be one of 1, 2, 3, 4, 5, 8, 9, 10, not True"),
        ({"conv0": {"PE": "8"}}, ": conv0: PE must be one of 1, 2, 3, 4, 5, 8, 9, 10, not '8'"),
        ({"conv0": {"PE": 5, "resType": "lut"}}, ": conv0: resType must be one of dsp, not 'lut'"),
        ({"conv0": {"SIMD": 4}}, ": conv0: SIMD must be one of 1, 2, 3, 6, 9, 18, not 4"),
        ({"conv0": {"SIMD": 9, "rows": 1}}, ": conv0: rows must be one of 3, not 1"),
        (
            {"conv0": {"pump": 2}},
            ": conv0: pump must be one of 1, not 2; 2 takes --double-pump, an even SIMD and a packing without known "
            "bits",
        ),
        ({"conv0": {"ram_style": "ultra"}}, ": conv0: ram_style must be one of block, distributed, not 'ultra'"),
        ({"conv0": {"requantise": "guess"}}, ": conv0: requantise must be one of multiply, threshold, not 'guess'"),
        ({"dense3": {"pixels": 2}}, ": dense3: pixels must be one of 1, not 2"),
        ({"dense3": {"requantise": "threshold"}}, ": dense3: requantise must be one of multiply, not 'threshold'"),
        ({"pool2": {"PE": 3}}, ": pool2: PE must be one of 1, 2, 4, 8, not 3"),
        ({"pool2": {"SIMD": 3}}, ": pool2 may have the keys PE, requantise, not 'SIMD'"),
        ({"pool2": {"requantise": "multiply"}}, ": pool2: requantise must be one of left out, not 'multiply'"),
    ],
)
def test_refusals(document: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as failure:
        held(tmp_path, document)
    assert str(failure.value) == f"{tmp_path / FOLDING_FILE}{message}"


def test_an_unknown_key_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UserError) as failure:
        held(tmp_path, {"conv0": {"PE": 2, "mem_mode": "const"}})
    keys = "PE, SIMD, rows, resType, ram_style, pump, pixels, density, packing, in_pixels, out_lanes, requantise"
    assert str(failure.value) == f"{tmp_path / FOLDING_FILE}: conv0 may have the keys {keys}, not 'mem_mode'"


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load_foldings(tmp_path / FOLDING_FILE)
