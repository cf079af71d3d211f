"""The bound on logic depth, and the report of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sim.depth import NO_PATH, Depth, LayerDepth, LogicPath, worst, write_depths


@pytest.mark.parametrize(
    ("depth", "within"),
    [
        (Depth(), True),
        (Depth(4), True),
        (Depth(5), False),
        (Depth(0, 1, 48), True),
        (Depth(1, 1, 48), True),
        (Depth(0, 1, 49), False),
        (Depth(2, 1, 48), False),
        # A chain is a level, and every 22 of its bits beyond four are one more.
        (Depth(2, 1, 26), True),
        (Depth(2, 1, 27), False),
        (Depth(3, 1, 4), True),
        (Depth(3, 1, 5), False),
        (Depth(4, 1, 1), False),
        (Depth(0, 2, 2), False),
    ],
)
def test_bound(depth: Depth, within: bool) -> None:
    assert depth.within is within


def test_worst_is_beyond_the_bound_before_it_is_deep() -> None:
    paths = [LogicPath(Depth(1, 1, 48), "a", "b"), LogicPath(Depth(0, 2, 2), "c", "d"), LogicPath(Depth(4), "e", "f")]
    assert worst(paths) == paths[1]
    assert worst([paths[0], paths[2]]) == paths[0]
    assert worst([]) == NO_PATH


def test_a_path_goes_on() -> None:
    assert Depth(1, 1, 12).then(Depth(2, 1, 7)) == Depth(3, 2, 12)


def test_words() -> None:
    assert str(Depth(3)) == "3 LUT"
    assert str(Depth(1, 1, 6)) == "1 LUT + carry of 6 bits"
    assert str(Depth(0, 2, 6)) == "0 LUT + 2 carries of 6 bits"


def test_two_stages_of_a_layer() -> None:
    deep, flat = LogicPath(Depth(3), "a", "b"), LogicPath(Depth(1), "c", "d")
    assert LayerDepth(deep, flat, NO_PATH, deep) + LayerDepth(flat, deep, flat, NO_PATH) == LayerDepth(
        deep, deep, flat, deep
    )


def test_report(tmp_path: Path) -> None:
    depth = LayerDepth(LogicPath(Depth(2, 1, 29), "a", "b.D"), to_output=LogicPath(Depth(1), "c", "o"))
    path = write_depths(tmp_path, {"conv": depth, "pool": LayerDepth(LogicPath(Depth(4), "x", "y"))})
    assert path == tmp_path / "report" / "logic_depth.json"
    found = json.loads(path.read_text())
    assert list(found) == ["bound", "layers", "worst"]
    assert found["bound"] == {
        "lut_levels": 4,
        "carry_bits": 48,
        "block_bits": 4,
        "bits_per_level": 22,
        "clock_mhz": 300,
    }
    wanted = {"lut_levels": 2, "carry_chains": 1, "carry_bits": 29, "within": False, "from": "a", "to": "b.D"}
    assert found["worst"] == wanted
    assert {key: found["layers"]["conv"][key] for key in wanted} == wanted
    assert found["layers"]["conv"]["to_output"]["lut_levels"] == 1
    assert LayerDepth.of(found["layers"]["conv"]) == depth
