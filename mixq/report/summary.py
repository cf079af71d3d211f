"""The summary that the command line prints: eleven lines at most, from the same data as the page."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from mixq.report.gather import ReportData, gather
from mixq.report.html import PAGE
from mixq.report.json_files import REPORT_FOLDER
from mixq.report.rows import DASH, bottleneck_sentence, layer_rows, rate, words
from mixq.report.vivado import PART_NAMES

_NAMES = {"DSP": "DSPs", "LUT": "LUTs", "FF": "FFs", "BRAM_36K": "BRAM", "URAM": "URAM"}


def summary(build_dir: str | os.PathLike[str]) -> list[str]:
    """At most eleven lines, ``name  text``; lines about steps that have not been done are left out.

    Raises UserError where the folder holds no graph or a broken file.
    """
    data = gather(build_dir)
    lines = [_network(data)]
    if data.accuracy is not None:
        lines.append(("accuracy", accuracy_words(data.accuracy)))
    if data.conversion is not None:
        different, codes = data.conversion["different"], data.conversion["codes"]
        lines.append(("conversion", f"{different:,} of {codes:,} codes differ from the training model, by rounding"))
    if data.plan is not None:
        plan = data.plan
        speed = f"{rate(plan.fps)} frames/s: {plan.cycles:,} cycles a frame at an assumed {plan.clock_mhz:g} MHz"
        lines.append(("plan", f"{plan.board}, {speed}"))
        lines.append(("bottleneck", bottleneck_sentence(layer_rows(data), plan).partition(";")[0]))
        lines.append(("estimated", _resource_words(plan.resources.report())))
    if data.counted is not None:
        lines.append(("counted", f"{_resource_words(data.counted['total'])} (Yosys)"))
    if data.vivado is not None:
        lines.append(("vivado", _vivado_words(data.vivado)))
    for run in data.simulations[:2]:
        lines.append((f"{run['simulator']}", _simulation(data, run)))
    lines.append(("report", os.path.join(build_dir, REPORT_FOLDER, PAGE)))
    return [f"{name:<12}{text}" for name, text in lines]


def accuracy_words(accuracy: Mapping[str, Any]) -> str:
    """Accuracy of both, e.g. ``97.22 % integer, 97.50 % training model (top1, 360 test images)``."""
    value, real = (
        DASH if accuracy[key] is None else f"{100 * accuracy[key]:.2f} %" for key in ("value", "float_value")
    )
    sample = f"{accuracy['metric']}, {accuracy['samples']:,} {accuracy['split']} images"
    return f"{value} integer, {real} training model ({sample})"


def _network(data: ReportData) -> tuple[str, str]:
    rows = layer_rows(data)
    widths = [f"{row.weight_bits}/{row.act_bits}" for row in rows if row.weight_bits is not None]
    macs = sum(row.macs for row in rows)
    return "network", f"{data.graph.name}, weight/activation bits {' '.join(widths)}, {macs:,} multiplications a frame"


def _resource_words(counts: Mapping[str, float]) -> str:
    return ", ".join(f"{words(counts[key])} {name}" for key, name in _NAMES.items() if counts[key] or key != "URAM")


def _vivado_words(report: Mapping[str, Any]) -> str:
    """Of the accelerator alone, or else of the whole design."""
    part = "alone" if report["alone"] else "design" if report["design"] else "accelerator"
    resources, timing = report[part]["resources"], report[part]["timing"]
    said = [] if resources is None else [_resource_words(resources)]
    if timing is not None:
        slack = "" if timing["wns_ns"] is None else f", slack {timing['wns_ns']:.3f} ns"
        said.append(f"timing {'met' if timing['met'] else 'not met'}{slack}")
    return f"{'; '.join(said)} (Vivado, {PART_NAMES[part]})"


def _simulation(data: ReportData, run: Mapping[str, Any]) -> str:
    text = f"{run['mismatches']} mismatches in {run['frames']} frames"
    measured = run["cycles_per_frame"]
    if measured is None:
        return text
    text += f", {measured:,} cycles a frame"
    if data.plan is not None:
        text += " as planned" if measured == data.plan.cycles else f", not {data.plan.cycles:,} as planned"
    return text
