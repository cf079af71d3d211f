"""What a training and a search left behind: ``train/log.jsonl``, ``search/log.jsonl`` and ``search/front.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from mixq.errors import UserError
from mixq.files import read_json, read_text
from mixq.report.charts import Series, chart_svg

LOG_FILE, FRONT_FILE = "log.jsonl", "front.json"


@dataclass(frozen=True)
class Epoch:
    """One epoch of a log. train, validation: the metric, 0..1, None where it was not measured."""

    epoch: int
    loss: float
    metric: str
    train: float | None
    validation: float | None


@dataclass(frozen=True)
class FrontPoint:
    """An allocation of widths: cycles of a frame, frames per second, the predicted rise of the loss, and the widths."""

    cycles: int
    fps: float
    loss: float
    widths: tuple[tuple[int, int], ...]


def read_log(folder: Path) -> tuple[Epoch, ...]:
    """The epochs of a run's folder; none where it has no log. UserError, with the line, for what is none."""
    path = folder / LOG_FILE
    if not path.is_file():
        return ()
    epochs = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        try:
            epochs.append(_epoch(json.loads(line)))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{path}, line {number}: must be an epoch of a run; remove the file and run again"
            ) from error
    return tuple(epochs)


def _epoch(entry: Mapping[str, Any]) -> Epoch:
    values = {name: None if entry[name] is None else float(entry[name]) for name in ("train", "validation")}
    loss = float(entry["loss"])
    if not all(isfinite(value) for value in (loss, *values.values()) if value is not None):
        raise ValueError(f"loss must be finite, not {loss!r}")
    return Epoch(int(entry["epoch"]), loss, str(entry["metric"]), values["train"], values["validation"])


def read_front(folder: Path) -> tuple[FrontPoint, ...]:
    """The front of a search's folder, the fastest first; empty where it has none. UserError for what is none."""
    path = folder / FRONT_FILE
    if not path.is_file():
        return ()
    try:
        points = [_point(entry) for entry in read_json(path)]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} must be a list of points with cycles, loss and widths; search again") from error
    return tuple(sorted(points, key=lambda point: point.cycles))


def _point(entry: Mapping[str, Any]) -> FrontPoint:
    widths = tuple((int(w), int(a)) for w, a in zip(entry["weight_bits"], entry["act_bits"], strict=True))
    point = FrontPoint(int(entry["cycles"]), float(entry["fps"]), float(entry["loss"]), widths)
    if not (isfinite(point.loss) and 0 < point.fps and isfinite(point.fps)):
        raise ValueError(f"fps must be positive and loss finite, not {point!r}")
    return point


def training_charts(epochs: tuple[Epoch, ...], what: str) -> list[str]:
    """The loss and the metric of a run over its epochs. what: the run, for the titles."""
    if not epochs:
        return []
    loss = Series("loss", tuple((one.epoch, one.loss) for one in epochs))
    charts = [chart_svg([loss], title=f"Loss of {what}", across="epoch", up="loss")]
    metrics = [
        Series(name, tuple((one.epoch, value) for one in epochs if (value := getattr(one, name)) is not None))
        for name in ("train", "validation")
    ]
    known = [one for one in metrics if one.points]
    if known:
        metric = epochs[-1].metric
        charts.append(chart_svg(known, title=f"{metric} of {what}", across="epoch", up=metric, percent=True))
    return charts


def front_chart(points: tuple[FrontPoint, ...]) -> str | None:
    """Predicted rise of the loss against frames per second; None without a point."""
    if not points:
        return None
    series = Series("front", tuple((point.fps, point.loss) for point in points))
    title = "Front of the search: what more speed costs"
    return chart_svg([series], title=title, across="frames per second", up="rise of the loss", decades=True)
