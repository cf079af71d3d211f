"""The HTML page: one file that needs nothing else, for screen and paper."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mixq import __version__
from mixq.board import Board
from mixq.drawing import draw_svg
from mixq.files import write_atomic
from mixq.packing import Packing
from mixq.plan import Plan
from mixq.plan.cost_model import cost_model
from mixq.plan.values import SHELL
from mixq.report.activity import Activity, StageActivity, lane_svg
from mixq.report.charts import Series, chart_svg
from mixq.report.edges import stage_edges
from mixq.report.gather import ReportData, gather
from mixq.report.history import front_chart, training_charts
from mixq.report.json_files import REPORT_FOLDER
from mixq.report.pictures import sample_uri, tensor_words
from mixq.report.pipeline import pipeline_svg
from mixq.report.rows import (
    LayerRow,
    achieved,
    bottleneck_sentence,
    layer_rows,
    other_counts,
    packing_name,
)
from mixq.report.shares import layer_shares, totals
from mixq.report.vivado import PART_NAMES
from mixq.report.words import rate, words

PAGE = "index.html"
_TEMPLATES = Path(__file__).resolve().parent / "templates"

#: Forms of a network whose accuracy is measured: key in accuracy.json, name, and what it is.
_FORMS = (
    ("value", "integer network", "as the hardware computes it"),
    ("converted_value", "converted model", "the same integers in PyTorch"),
    ("float_value", "training model", "fake-quantised: rounded values in floating point"),
)


def write_html(build_dir: str | os.PathLike[str], *, board: Board | None = None) -> Path:
    """Write ``report/index.html`` from what the build folder holds, and return its path.

    What is missing is left out, with the command that makes it. ``board``: to compare with the whole device too.
    Raises UserError where the folder holds no graph or a broken file.
    """
    path = Path(build_dir) / REPORT_FOLDER / PAGE
    page = render(gather(build_dir), board=board)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, page)
    return path


def render(data: ReportData, *, board: Board | None = None) -> str:
    """The page as text; the same for the same data."""
    return environment().get_template("page.html.j2").render(**_context(data, board))


def environment() -> Environment:
    """What reads the templates, with the filters that they use."""
    made = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(words=words, rate=rate, tensor=tensor_words)
    return made


def style() -> str:
    """The style sheet of all pages."""
    return (_TEMPLATES / "style.css").read_text()


def _context(data: ReportData, board: Board | None) -> dict[str, Any]:
    """What the templates show. Markup is made here alone, of text that the pictures escaped."""
    rows, plan = layer_rows(data), data.plan
    # The shell stands in the table as soon as it is planned.
    others = ({} if plan is None else {SHELL: None}) | other_counts(data, rows)
    resources = totals(data, board)
    edges = stage_edges(rows, data.graph, plan)
    return {
        "data": data,
        "version": __version__,
        "style": Markup(style()),
        "plan": plan,
        "rows": rows,
        "others": others,
        "macs": sum(row.macs for row in rows),
        "weights": sum(row.weights for row in rows),
        "weight_kib": sum(row.weights * (row.weight_bits or 0) for row in rows) / 8192,
        "achieved": {row.name: achieved(row, plan) for row in rows} if plan is not None else {},
        "network_achieved": _network_achieved(rows, plan),
        "resources": resources,
        "shares": layer_shares(rows, others, resources, None if plan is None else plan.shell),
        "board": board,
        "pipeline": Markup(pipeline_svg(rows, edges, plan)),
        "activity": _lanes(data.activity),
        "agreement": cost_model().sentence,
        "bottleneck": None if plan is None else bottleneck_sentence(rows, plan),
        "packings": packing_entries(rows),
        "forms": _forms(data.accuracy),
        "charts": {name: [Markup(chart) for chart in found] for name, found in _charts(data).items()},
        "samples": [(sample, sample_uri(sample)) for sample in data.samples],
        "mismatches": [(run["simulator"], run["mismatches"], run["frames"]) for run in data.simulations],
        "outside_bound": _outside_bound(data.conversion),
        "tools": data.tools,
        "vivado_parts": PART_NAMES,
    }


def _network_achieved(rows: list[LayerRow], plan: Plan | None) -> float | None:
    if plan is None:
        return None
    dsps = sum(row.layer.folding.dsps for row in rows if row.layer is not None and row.layer.folding is not None)
    return sum(row.macs for row in rows) / (dsps * plan.cycles) if dsps else None


def _lanes(activity: Activity | None) -> list[tuple[StageActivity, Markup]]:
    """Every stage with its picture."""
    if activity is None:
        return []
    return [(stage, Markup(lane_svg(stage, activity.start, activity.end))) for stage in activity.stages]


def _forms(accuracy: Mapping[str, Any] | None) -> list[tuple[str, str, float]]:
    """The forms of the network that were measured: a name, what it is, and the metric."""
    found = []
    for key, name, what in _FORMS:
        value = (accuracy or {}).get(key)
        if isinstance(value, int | float):
            found.append((name, what, float(value)))
    return found


def _charts(data: ReportData) -> dict[str, list[str]]:
    """Pictures of the training and of the search, and of the planner's smallest designs."""
    front = front_chart(data.front)
    found = {
        "training": training_charts(data.training, "the training"),
        "search": ([] if front is None else [front]) + training_charts(data.search, "the search's supernet"),
        "frontier": [],
    }
    if data.frontier and data.plan is not None:
        limits = data.plan.limits.report()
        series = [
            Series(key, tuple((point["fps"], point[key] / limits[key]) for point in data.frontier))
            for key in limits
            if limits[key] and any(point[key] for point in data.frontier)
        ]
        if series:
            title = "Resources of the smallest design for each frame rate"
            up = "share of the limit"
            found["frontier"] = [
                chart_svg(series, title=title, across="frames per second", up=up, decades=True, percent=True)
            ]
    return found


def packing_entries(rows: list[LayerRow]) -> list[dict[str, Any]]:
    """Each packing of DSPs once, with the layers that use it, in the order of the layers: what its template shows."""
    users: dict[Any, list[str]] = {}
    for row in rows:
        if isinstance(row.packing, Packing):
            users.setdefault(row.packing, []).append(row.name)
    return [
        {
            "name": packing_name(packing),
            "layers": names,
            "dsps": packing.dsps,
            "density": packing.density,
            "svg": Markup(draw_svg(packing)),
        }
        for packing, names in users.items()
    ]


def _outside_bound(conversion: Mapping[str, Any] | None) -> int | None:
    """Codes whose difference rounding does not explain; None where the file does not tell."""
    layers = (conversion or {}).get("layers")
    if not isinstance(layers, Mapping):
        return None
    return sum(int(layer.get("outside_bound", 0)) for layer in layers.values() if isinstance(layer, Mapping))
