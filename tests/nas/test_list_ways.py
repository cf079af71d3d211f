"""Ways to build a network that several searches share: the same answers as with ways of their own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from boards import load_board
from mixq.networks import ConvSpec, DenseSpec, NetworkTable, PoolSpec
from nas.config import Hardware, SearchConfig
from nas.planned import limited
from nas.program import WidthProgram
from nas.search import _fitting, list_ways

BOARD = load_board("ultra96-v2")
TABLE = NetworkTable(
    name="two_layers",
    input_shape=(1, 8, 8),
    layers=(ConvSpec(channels=4), PoolSpec(), ConvSpec(channels=4), DenseSpec(units=3)),
    weight_bits=(4, 4),
    act_bits=(4, 4),
)
HARDWARE = Hardware(board=BOARD, limits=limited(BOARD.resources, dsp=12, lut=6000), residue_bits=0)
CONFIG = SearchConfig(weight_widths=(2, 5), act_widths=(2, 5), budgets=(120, 1000))


def test_ways_of_a_wider_range_give_the_same_answers() -> None:
    shared = list_ways(TABLE, CONFIG, HARDWARE)
    assert shared.settings.cycles == (120, 1000)
    random = np.random.default_rng(3)
    shapes = [(2, 2), (2, 2), (1, 1)]
    losses = [-np.sort(-random.random(shape), None).reshape(shape) for shape in shapes]
    for budget in (150, 300):
        own = list_ways(TABLE, replace(CONFIG, budgets=(budget,)), HARDWARE)
        assert sum(stage.stage.size for stage in own.stages) < sum(stage.stage.size for stage in shared.stages)
        narrowed = _fitting(shared, own.settings)
        assert narrowed.settings == own.settings
        wanted, found = (WidthProgram(ways, losses).best(budget) for ways in (own, narrowed))
        assert wanted is not None and found == wanted


def test_ways_of_another_search_are_refused() -> None:
    ways = list_ways(TABLE, CONFIG, HARDWARE)
    for settings in (
        replace(ways.settings, cycles=(119, 1000)),
        replace(ways.settings, cycles=(120, 1001)),
        replace(ways.settings, residue_bits=1),
    ):
        with pytest.raises(ValueError, match=r"^ways must be listed for "):
            _fitting(ways, settings)
