"""Everything that a build folder holds for a report, read and checked once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixq.errors import UserError
from mixq.files import read_json
from mixq.graph import Graph
from mixq.plan import Plan
from mixq.report.boxes import BOXES_FILE, BoxPictures, read_boxes
from mixq.report.json_files import REPORT_FOLDER
from mixq.report.vivado import vivado_report

_RESOURCE_KEYS = ("LUT", "FF", "DSP", "BRAM_36K", "URAM")
_SIMULATION_KEYS = ("simulator", "frames", "cycles_per_frame", "latency_cycles", "mismatches", "sim_seconds")
_BOUND_KEYS = ("lut_levels", "carry_bits", "block_bits", "bits_per_level", "clock_mhz")
_DEPTH_KEYS = ("lut_levels", "carry_chains", "carry_bits", "within", "from", "to")
_PICTURE_LIMIT = 24


@dataclass(frozen=True)
class Sample:
    """An image with what the network made of it.

    pixels: planes of rows of 0 to 255, one for a grey image or three (red, green, blue). logits: the last layer's
    integers.
    """

    pixels: tuple[tuple[tuple[int, ...], ...], ...]
    label: int
    prediction: int
    logits: tuple[int, ...]


@dataclass(frozen=True)
class ReportData:
    """What there is of a build; None or empty where a step has not been done.

    name: the folder's. accuracy, conversion, performance: as in the JSON files of those names. simulations: one for
    each simulator. counted: resources by layer that synthesis counted. depth: of the logic, by layer, with the bound.
    samples: a few images; boxes: the same of a detector. vivado: resources and timing that Vivado reported.
    """

    name: str
    graph: Graph
    plan: Plan | None = None
    performance: Mapping[str, Any] | None = None
    accuracy: Mapping[str, Any] | None = None
    conversion: Mapping[str, Any] | None = None
    simulations: tuple[Mapping[str, Any], ...] = ()
    counted: Mapping[str, Mapping[str, float]] | None = None
    depth: Mapping[str, Any] | None = None
    samples: tuple[Sample, ...] = ()
    boxes: BoxPictures | None = None
    manifest: Mapping[str, Any] | None = None
    vivado: Mapping[str, Any] | None = None


def gather(build_dir: str | os.PathLike[str]) -> ReportData:
    """Read a build folder.

    Raises UserError where it holds no graph, or a file that is not what its name says; it names the file.
    """
    folder = Path(build_dir)
    if not (folder / "graph.json").is_file():
        raise UserError(f"{folder} is no build folder (it has no graph.json); make one with: mixq import")
    reports = folder / REPORT_FOLDER
    simulations = [
        _document(path, _SIMULATION_KEYS) or {} for path in sorted(reports.glob("rtlsim_performance_*.json"))
    ]
    last = _document(reports / "rtlsim_performance.json", _SIMULATION_KEYS)
    if last is not None and last["simulator"] not in [run["simulator"] for run in simulations]:
        simulations.append(last)
    graph = Graph.load(folder)
    return ReportData(
        name=folder.resolve().name,
        graph=graph,
        plan=_plan(folder, graph),
        performance=_document(
            reports / "estimate_network_performance.json", ("max_cycles", "max_cycles_layer", "latency_cycles", "fps")
        ),
        accuracy=_document(reports / "accuracy.json", ("split", "samples", "metric", "value", "float_value")),
        conversion=_document(reports / "conversion.json", ("codes", "different", "samples")),
        simulations=tuple(simulations),
        counted=_resources(reports / "synth_resources.json"),
        depth=_depth(reports / "logic_depth.json"),
        samples=_samples(reports / "samples.json"),
        boxes=read_boxes(reports / BOXES_FILE),
        manifest=_document(folder / "manifest.json", ()),
        vivado=vivado_report(folder),
    )


def _plan(folder: Path, graph: Graph) -> Plan | None:
    """The plan, None where there is none yet."""
    path = folder / "plan.yaml"
    if not path.is_file():
        return None
    plan = Plan.load(folder)
    if [layer.name for layer in plan.layers] != [node.name for node in graph.nodes]:
        raise UserError(
            f"{path} is the plan of another graph; plan again with: mixq plan {folder} --board {plan.board}"
        )
    return plan


def _document(path: Path, keys: tuple[str, ...]) -> dict[str, Any] | None:
    """A JSON object with at least these keys, None where there is no file."""
    if not path.is_file():
        return None
    document = read_json(path)
    missing = [key for key in keys if not isinstance(document, dict) or key not in document]
    if missing or not isinstance(document, dict):
        raise UserError(f"{path} must be an object with the key {(missing or ['...'])[0]!r}; remove it and run again")
    return document


def _resources(path: Path) -> dict[str, dict[str, float]] | None:
    document = _document(path, ("total",))
    for name, counts in (document or {}).items():
        if not isinstance(counts, dict) or any(not isinstance(counts.get(key), int | float) for key in _RESOURCE_KEYS):
            raise UserError(f"{path} must have {', '.join(_RESOURCE_KEYS)} for {name!r}; remove it and run again")
    return document


def _depth(path: Path) -> dict[str, Any] | None:
    document = _document(path, ("bound", "layers"))
    if document is None:
        return None
    entries: list[tuple[str, Any, tuple[str, ...]]] = [("bound", document["bound"], _BOUND_KEYS)]
    if isinstance(document["layers"], dict):
        entries += [(repr(name), entry, _DEPTH_KEYS) for name, entry in document["layers"].items()]
    else:
        entries.append(("layers", None, _DEPTH_KEYS))
    for name, entry, keys in entries:
        if not isinstance(entry, dict) or any(key not in entry for key in keys):
            raise UserError(f"{path} must have {', '.join(keys)} for {name}; remove it and run again")
    return document


def _samples(path: Path) -> tuple[Sample, ...]:
    if not path.is_file():
        return ()
    try:
        return tuple(_sample(entry) for entry in read_json(path)[:_PICTURE_LIMIT])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UserError(
            f"{path} must be a list of pixels, label, prediction and logits; remove it and run again"
        ) from (error)


def _sample(entry: Mapping[str, Any]) -> Sample:
    pixels = entry["pixels"]
    planes = [pixels] if isinstance(pixels[0][0], int) else pixels
    if len(planes) not in (1, 3):
        raise ValueError(f"pixels must have 1 or 3 planes, not {len(planes)!r}")
    height, width = len(planes[0]), len(planes[0][0])
    checked = tuple(tuple(tuple(int(value) for value in row) for row in plane) for plane in planes)
    for plane in checked:
        if len(plane) != height or any(len(row) != width for row in plane):
            raise ValueError(f"pixels must have rows of {width}, not {plane!r}")
        if any(not 0 <= value <= 255 for row in plane for value in row):
            raise ValueError("pixels must be from 0 to 255")
    logits = tuple(int(value) for value in entry["logits"])
    return Sample(checked, int(entry["label"]), int(entry["prediction"]), logits)
