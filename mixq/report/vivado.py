"""What Vivado reported of a build: resources and timing, read from the text tables of its reports."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mixq.build_folder import make_folder
from mixq.errors import UserError
from mixq.files import read_text, write_json
from mixq.report.json_files import REPORT_FOLDER

VIVADO_FILE = "vivado.json"
#: Folder of Vivado's reports in a build folder.
_REPORTS = Path("vivado") / "reports"
#: Part of the report -> files with its resources and its timing, in the order in which they are shown.
_PARTS = {
    "alone": ("ooc_utilization.rpt", "ooc_timing.rpt"),
    "accelerator": ("accelerator_utilization.rpt", None),
    "design": ("utilization.rpt", "timing.rpt"),
}
PART_NAMES = {
    "alone": "accelerator, out of context",
    "accelerator": "accelerator in the design",
    "design": "whole design",
}
"""Part of the report -> its name for people."""

#: Key of a resource -> names of its row, in UltraScale and UltraScale+ and in 7-series; the last is 0 where missing.
_ROWS = {
    "LUT": ("CLB LUTs", "Slice LUTs"),
    "FF": ("CLB Registers", "Slice Registers"),
    "DSP": ("DSPs",),
    "BRAM_36K": ("Block RAM Tile",),
    "URAM": ("URAM",),
}
_TIMING = {
    "WNS(ns)": "wns_ns",
    "TNS(ns)": "tns_ns",
    "TNS Failing Endpoints": "failing_endpoints",
    "WHS(ns)": "whs_ns",
    "THS(ns)": "ths_ns",
}


def vivado_report(build_dir: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return what the reports in ``vivado/reports/`` say, None where there is none.

    Keys: ``alone`` (the accelerator out of context), ``accelerator`` (the same in the block design) and ``design`` (all
    of it), each None where it was not reported, or ``resources`` and ``timing`` as :func:`parse_utilization` and
    :func:`parse_timing` return them, None where that part was not reported.

    Raises: UserError, naming the file, for one that is no such report of Vivado's.
    """
    folder = Path(build_dir) / _REPORTS
    found: dict[str, Any] = {}
    for part, (utilization, timing) in _PARTS.items():
        resources = _read(folder / utilization, parse_utilization)
        slack = None if timing is None else _read(folder / timing, parse_timing)
        found[part] = None if resources is None and slack is None else {"resources": resources, "timing": slack}
    return found if any(found.values()) else None


def write_vivado_report(build_dir: str | os.PathLike[str]) -> None:
    """Write ``report/vivado.json``, or remove it where Vivado has reported nothing."""
    path = Path(build_dir) / REPORT_FOLDER / VIVADO_FILE
    found = vivado_report(build_dir)
    if found is None:
        path.unlink(missing_ok=True)
    else:
        make_folder(path.parent)
        write_json(path, found)


def parse_utilization(text: str) -> dict[str, float]:
    """Return the counts in a text of ``report_utilization``, by the keys of other resource reports.

    LUT, FF, DSP, BRAM_36K (halves for 18 Kb) and URAM, which is 0 for a device without any. ValueError for a text
    without the rows of the others.
    """
    used: dict[str, str] = {}
    column = None
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if "Site Type" in cells and "Used" in cells:
            column = cells.index("Used")
        elif column is not None and line.strip().startswith("|") and len(cells) > column:
            # A count before implementation has an asterisk, which points at a note.
            used.setdefault(cells[0].rstrip("*"), cells[column])
    counts = {}
    for key, names in _ROWS.items():
        value = next((used[name] for name in names if name in used), "0" if key == "URAM" else None)
        if value is None or not re.fullmatch(r"\d+(\.\d+)?", value):
            raise ValueError(f"it has no row {' or '.join(names)} with a count")
        counts[key] = float(value) if key == "BRAM_36K" else int(value)
    return counts


def parse_timing(text: str) -> dict[str, Any]:
    """Return the design's timing in a text of ``report_timing_summary``.

    ``wns_ns``, ``tns_ns``, ``whs_ns``, ``ths_ns``: worst and total negative slack of setup and hold, in nanoseconds,
    None where nothing is constrained; ``failing_endpoints`` of setup; ``met``: whether no slack is negative. ValueError
    for a text without the summary's table.
    """
    lines = text.splitlines()
    at = next((number for number, line in enumerate(lines) if line.split()[:1] == ["WNS(ns)"]), None)
    if at is None or at + 2 >= len(lines):
        raise ValueError("it has no table that begins with WNS(ns)")
    names, values = re.split(r"\s{2,}", lines[at].strip()), lines[at + 2].split()
    if len(values) != len(names) or not set(_TIMING) <= set(names):
        raise ValueError("its table of WNS(ns) has other columns")
    row = dict(zip(names, values, strict=True))
    found: dict[str, Any] = {}
    for name, key in _TIMING.items():
        if row[name] != "NA" and not re.fullmatch(r"-?\d+(\.\d+)?", row[name]):
            raise ValueError(f"{name} is no number")
        number = int if key == "failing_endpoints" else float
        found[key] = None if row[name] == "NA" else number(row[name])
    found["met"] = all(found[key] is None or found[key] >= 0 for key in ("wns_ns", "whs_ns"))
    return found


def _read(path: Path, parse: Any) -> Any:
    if not path.is_file():
        return None
    try:
        return parse(read_text(path))
    except ValueError as error:
        raise UserError(f"{path} is no report of Vivado's: {error}; remove it, or make it again") from None
