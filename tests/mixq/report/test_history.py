"""Logs of runs and fronts of searches, as the page reads and draws them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mixq.errors import UserError
from mixq.report.charts import Series, chart_svg
from mixq.report.history import front_chart, read_front, read_log, training_charts

EPOCH = {"epoch": 1, "loss": 2.0, "metric": "top1", "train": 0.5, "validation": None}


def test_nothing_is_there(tmp_path: Path) -> None:
    assert (read_log(tmp_path), read_front(tmp_path)) == ((), ())
    assert training_charts((), "a") == [] and front_chart(()) is None


def test_epochs_become_a_chart_of_the_loss_and_one_of_the_metric(tmp_path: Path) -> None:
    lines = [EPOCH, EPOCH | {"epoch": 2, "loss": 1.0, "train": 0.75}, EPOCH | {"epoch": 3, "loss": 0.5, "train": 1.0}]
    (tmp_path / "log.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    loss, metric = training_charts(read_log(tmp_path), "the training")
    assert "<desc>loss: from 2 to 0.5</desc>" in loss
    assert "<desc>train: from 0.5 to 1</desc>" in metric and "validation" not in metric
    places = [tuple(map(float, pair)) for pair in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', loss)]
    assert places[1][0] - places[0][0] == pytest.approx(places[2][0] - places[1][0], abs=0.11)
    assert places[1][1] - places[0][1] == pytest.approx(2 * (places[2][1] - places[1][1]), abs=0.11)


@pytest.mark.parametrize("line", ["{", "[]", '{"epoch": 1}', json.dumps(EPOCH | {"loss": "x"})])
def test_a_broken_log_is_named(line: str, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(f"{json.dumps(EPOCH)}\n{line}\n")
    with pytest.raises(UserError) as caught:
        read_log(tmp_path)
    path = tmp_path / "log.jsonl"
    assert str(caught.value) == f"{path}, line 2: must be an epoch of a run; remove the file and run again"


def test_a_front_is_drawn_over_powers_of_ten(tmp_path: Path) -> None:
    points = [
        {"cycles": 30, "fps": fps, "loss": 0.1, "weight_bits": [4], "act_bits": [3]} for fps in (10.0, 100.0, 1e3)
    ]
    (tmp_path / "front.json").write_text(json.dumps(points))
    found = read_front(tmp_path)
    assert found[0].widths == ((4, 3),)
    chart = front_chart(found)
    assert chart is not None
    across = [float(x) for x in re.findall(r'cx="([\d.]+)"', chart)]
    assert across[1] - across[0] == pytest.approx(across[2] - across[1], abs=0.11) and across[0] < across[1]
    (tmp_path / "front.json").write_text(json.dumps([{"cycles": 1}]))
    with pytest.raises(UserError, match=r"front\.json must be a list of points with cycles, loss and widths"):
        read_front(tmp_path)


def test_a_chart_needs_points() -> None:
    with pytest.raises(ValueError, match="series must have points, not "):
        chart_svg([Series("a", ())], title="t", across="x", up="y")
