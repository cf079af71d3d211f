"""Activity of stages: what is read, what is refused, and what is drawn."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from mixq.errors import UserError
from mixq.report.activity import Activity, StageActivity, lane_svg, read_activity
from tests.mixq.report.builds import write


def document(**changes: Any) -> dict[str, Any]:
    """Two stages over 100 cycles: a layer, and a converter that follows it."""
    layer = {
        "name": "conv1",
        "node": "conv1",
        "intervals": [[40, 60, "waits"], [60, 130, "works"], [130, 140, "blocked"]],
    }
    other = {"name": "conv2_converter_0", "node": None, "intervals": [[40, 140, "waits"]]}
    return {"simulator": "verilator", "frames": 5, "start": 40, "end": 140, "stages": [layer, other]} | changes


def test_it_is_read(tmp_path: Path) -> None:
    assert read_activity(tmp_path / "report/activity.json") is None
    found = read_activity(write(tmp_path, "activity.json", document()))
    assert isinstance(found, Activity)
    assert (found.simulator, found.start, found.end) == ("verilator", 40, 140)
    assert [stage.node for stage in found.stages] == ["conv1", None]
    assert found.stages[0].shares == {"works": 0.7, "waits": 0.2, "blocked": 0.1}


@pytest.mark.parametrize(
    ("intervals", "message"),
    [
        ([[40, 60, "works"]], "intervals of a must end at 140, not 60"),
        (
            [[40, 60, "works"], [61, 140, "waits"]],
            "intervals of a must follow each other, not [61, 140, 'waits'] at 60",
        ),
        ([[40, 140, "sleeps"]], "intervals of a must follow each other, not [40, 140, 'sleeps'] at 40"),
        ([[40, "140", "works"]], "a cycle must be a whole number, not '140'"),
    ],
)
def test_what_is_none_is_refused(intervals: list[Any], message: str, tmp_path: Path) -> None:
    stages = [{"name": "a", "node": None, "intervals": intervals}]
    path = write(tmp_path, "activity.json", document(stages=stages))
    with pytest.raises(UserError) as caught:
        read_activity(path)
    assert str(caught.value) == f"{path} must hold what every stage did ({message}); remove it and simulate again"


def rects(text: str) -> list[tuple[str, float, float, float, float]]:
    """Class, x, y, width and height of every rectangle."""
    found = re.findall(r'<rect class="(\w+)" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"/>', text)
    return [(kind, float(x), float(y), float(width), float(height)) for kind, x, y, width, height in found]


def test_a_lane_shows_each_state_where_it_was() -> None:
    stage = StageActivity("conv1", "conv1", ((40, 60, "waits"), (60, 130, "works"), (130, 140, "blocked")))
    text = lane_svg(stage, 40, 140)
    assert rects(text) == [
        ("waits", 0, 0, 200, 20),
        ("works", 200, 0, 700, 20),
        ("blocked", 900, 0, 100, 20),
    ]
    assert "<title>conv1: works 70 % of the time, waits 20 % of the time, blocked 10 % of the time</title>" in text


def test_states_that_change_faster_than_can_be_drawn_are_as_high_as_their_share() -> None:
    turns = tuple((place, place + 1, "works" if place % 4 else "blocked") for place in range(8000))
    assert rects(lane_svg(StageActivity("a", None, turns), 0, 8000)) == [
        ("works", 0, 5, 1000, 15),
        ("blocked", 0, 0, 1000, 5),
    ]
