"""The HTML page: one file that needs nothing else, for screen and paper."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mixq import __version__
from mixq.board import REPORT_KEYS, Board, Resources
from mixq.drawing import draw_svg
from mixq.files import write_atomic
from mixq.packing import Packing
from mixq.plan import Plan
from mixq.plan.cost_model import cost_model
from mixq.plan.values import SHELL
from mixq.report.gather import ReportData, gather
from mixq.report.json_files import REPORT_FOLDER
from mixq.report.pictures import bars_svg, pipeline_svg, sample_uri, tensor_words
from mixq.report.rows import (
    LayerRow,
    achieved,
    bottleneck_sentence,
    layer_rows,
    other_counts,
    packing_name,
    percent,
    rate,
    words,
)
from mixq.report.vivado import PART_NAMES

PAGE = "index.html"
_TEMPLATES = Path(__file__).resolve().parent / "templates"


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
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(words=words, rate=rate, tensor=tensor_words)
    return environment.get_template("page.html.j2").render(**_context(data, board))


def _context(data: ReportData, board: Board | None) -> dict[str, Any]:
    """What the templates show. Markup is made here alone, of text that the pictures escaped."""
    rows, plan = layer_rows(data), data.plan
    return {
        "data": data,
        "version": __version__,
        "style": Markup((_TEMPLATES / "style.css").read_text()),
        "plan": plan,
        "rows": rows,
        # The shell stands in the table as soon as it is planned.
        "others": ({} if plan is None else {SHELL: None}) | other_counts(data, rows),
        "macs": sum(row.macs for row in rows),
        "weights": sum(row.weights for row in rows),
        "weight_kib": sum(row.weights * (row.weight_bits or 0) for row in rows) / 8192,
        "achieved": {row.name: achieved(row, plan) for row in rows} if plan is not None else {},
        "network_achieved": _network_achieved(rows, plan),
        "resources": _resource_bars(data, board),
        "board": board,
        "pipeline": Markup(pipeline_svg(rows)),
        "bars": None if plan is None else Markup(bars_svg(rows)),
        "agreement": cost_model().sentence,
        "bottleneck": None if plan is None else bottleneck_sentence(rows, plan),
        "packings": packing_entries(rows),
        "samples": [(sample, sample_uri(sample)) for sample in data.samples],
        "mismatches": [(run["simulator"], run["mismatches"], run["frames"]) for run in data.simulations],
        "outside_bound": _outside_bound(data.conversion),
        "tools": _tools(data.manifest),
        "vivado_parts": PART_NAMES,
    }


def _network_achieved(rows: list[LayerRow], plan: Plan | None) -> float | None:
    if plan is None:
        return None
    dsps = sum(row.layer.folding.dsps for row in rows if row.layer is not None and row.layer.folding is not None)
    return sum(row.macs for row in rows) / (dsps * plan.cycles) if dsps else None


def _resource_bars(data: ReportData, board: Board | None) -> list[dict[str, Any]]:
    """For each kind of resource: estimate, count, what was allowed, what the device has, and shares in percent."""
    if data.plan is None:
        return []
    estimated, allowed = data.plan.resources.report(), data.plan.limits.report()
    device = (Resources() if board is None else board.resources).report()
    counted = None if data.counted is None else data.counted["total"]
    bars = []
    for key in REPORT_KEYS.values():
        whole = device[key] or allowed[key]
        if not whole and not estimated[key]:
            continue
        used = estimated[key] if counted is None else counted[key]
        bars.append(
            {
                "key": key,
                "estimated": estimated[key],
                "counted": None if counted is None else counted[key],
                "allowed": allowed[key],
                "device": device[key] or None,
                "percent": percent(used, whole),
                "length": min(100.0, 100 * used / whole) if whole else 100.0,
                "mark": 100 * allowed[key] / whole if whole and allowed[key] < whole else None,
            }
        )
    return bars


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


def _tools(manifest: Mapping[str, Any] | None) -> dict[str, str]:
    tools = (manifest or {}).get("tools", {})
    return {str(name): str(version) for name, version in tools.items()} if isinstance(tools, Mapping) else {}
