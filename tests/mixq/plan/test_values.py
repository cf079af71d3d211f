"""Plans as values and as files: what cannot be a plan is refused by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mixq.board import Board, Resources
from mixq.errors import UserError
from mixq.files import dump_yaml, load_yaml
from mixq.formats import IntFormat
from mixq.plan import LayerPlan, Plan, plan
from tests.mixq.graphs import Chain

BOARD = Board("small", "part", Resources(70560, 141120, 360, 216, 0), 5, 72, 300.0)
LAYER = LayerPlan("conv", "conv", 10, Resources(), 1, 1)

PRODUCT = ("layers", 0, "folding", "packing", "parts", 0, "product")


@pytest.fixture(scope="module")
def planned() -> Plan:
    weights = np.random.default_rng(0).integers(-7, 8, (4, 2, 3, 3))
    graph = Chain((2, 4, 4), IntFormat(4, False)).conv(weights, 4, padding=1).graph()
    return plan(graph, BOARD, packings="original")


@pytest.mark.parametrize(
    "wrong, kind, message",
    [
        ({"name": 1}, TypeError, "name must be a text, not 1"),
        ({"cycles": 0}, ValueError, "cycles must be at least 1, not 0"),
        ({"pixels": 1.5}, TypeError, "pixels must be a whole number, not 1.5"),
        ({"lanes": True}, TypeError, "lanes must be a whole number, not True"),
        ({"resources": {"lut": 1}}, TypeError, "resources must be Resources, not {'lut': 1}"),
        ({"resources": Resources(lut=-1)}, ValueError, "lut of resources must be 0 or more and finite, not -1"),
        ({"folding": "fold"}, TypeError, "folding must be a Folding or None, not 'fold'"),
        ({"method": "guess"}, ValueError, "method must be one of multiply, threshold or None, not 'guess'"),
        ({"fused": 2}, TypeError, "fused must be a text, not 2"),
    ],
)
def test_wrong_layers(wrong: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as failure:
        replace(LAYER, **wrong)
    assert str(failure.value) == message


@pytest.mark.parametrize(
    "wrong, kind, message",
    [
        ({"board": None}, TypeError, "board must be a text, not None"),
        ({"clock_mhz": 0.0}, ValueError, "clock_mhz must be positive and finite, not 0.0"),
        ({"clock_mhz": float("nan")}, ValueError, "clock_mhz must be positive and finite, not nan"),
        ({"layers": ()}, ValueError, "layers must be one or more of different names, not []"),
        ({"layers": (LAYER,) * 2}, ValueError, "layers must be one or more of different names, not ['conv', 'conv']"),
        ({"input_lanes": 0}, ValueError, "input_lanes must be at least 1, not 0"),
        ({"output_bus_bits": "8"}, TypeError, "output_bus_bits must be a whole number, not '8'"),
        ({"limits": 5}, TypeError, "limits must be Resources, not 5"),
        ({"shell": None}, TypeError, "shell must be Resources, not None"),
        ({"shell_cycles": 0}, ValueError, "shell_cycles must be at least 1, not 0"),
        ({"least_cycles": -1}, ValueError, "least_cycles must be from 0 to 16, not -1"),
        ({"least_cycles": 17}, ValueError, "least_cycles must be from 0 to 16, not 17"),
        ({"price_gap": 1.5}, ValueError, "price_gap must be from 0 to 1, not 1.5"),
        ({"limited_by": "DSP"}, TypeError, "limited_by must be a tuple of texts, not 'DSP'"),
    ],
)
def test_wrong_plans(planned: Plan, wrong: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as failure:
        replace(planned, **wrong)
    assert str(failure.value) == message


@pytest.mark.parametrize(
    "place, value, reason",
    [
        (("input_lanes",), 0, "input_lanes must be at least 1, not 0"),
        (("layers",), [], "layers must be one or more of different names, not []"),
        (("limited_by",), "DSP", "limited_by must be a list, not 'DSP'"),
        (("shell", "lut"), "x", "lut must be a whole number, not 'x'"),
        (("layers", 0, "cycles"), "many", "cycles must be a whole number, not 'many'"),
        (("layers", 0, "resources", "lut"), "x", "lut must be a whole number, not 'x'"),
        (("layers", 0, "resources", "bram36"), "x", "bram36 of resources must be a number, not 'x'"),
        (("layers", 0, "folding", "pe"), 1.0, "pe must be a whole number, not 1.0"),
        (("layers", 0, "folding", "shape", "height"), 4.0, "height must be a whole number, not 4.0"),
        ((*PRODUCT, "pixel_stride"), None, "pixel_stride must be a whole number, not None"),
        ((*PRODUCT, "pixels"), 1 << 31, "pixels, taps and channels must be from 1 to 64, not (2147483648, 3, 1)"),
        ((*PRODUCT, "pair"), 1, "pair must be True or False, not 1"),
        (("layers", 0, "folding", "packing", "parts"), {}, "parts must be a list, not {}"),
        (("layers", 0, "folding", "bounds"), [0, 1.5], "bounds must be two whole numbers, not [0, 1.5]"),
    ],
)
def test_wrong_files(planned: Plan, tmp_path: Path, place: tuple[Any, ...], value: Any, reason: str) -> None:
    planned.save(tmp_path)
    assert Plan.load(tmp_path) == planned
    path = tmp_path / "plan.yaml"
    document = load_yaml(path)
    *way, last = place
    inner = document
    for key in way:
        inner = inner[key]
    inner[last] = value
    path.write_text(dump_yaml(document))
    with pytest.raises(UserError) as failure:
        Plan.load(tmp_path)
    assert str(failure.value) == f"{path} is no plan ({reason}): run `mixq plan` again"
