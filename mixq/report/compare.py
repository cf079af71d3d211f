"""What changed from one build to another, what matters most first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from mixq.report.gather import ReportData
from mixq.report.rows import LayerRow, layer_rows

_RTL = "rtl/"

Value = str | int | float | None
"""Of one thing in one build; None where that build has none."""


@dataclass(frozen=True)
class Side:
    """A build: what its reports say, and SHA-256 of its files by their path in the folder."""

    data: ReportData
    files: Mapping[str, str]


@dataclass(frozen=True)
class Change:
    """One thing that differs. subject: a layer, a file, a tool, or the design. before, after: not equal."""

    subject: str
    what: str
    before: Value
    after: Value

    @property
    def share(self) -> str:
        """By how much a number changed, in percent of what it was; empty where that says nothing.

        >>> Change("design", "LUT", 200, 150).share, Change("design", "LUT", 0, 5).share
        ('-25.0 %', '')
        """
        if isinstance(self.before, str) or isinstance(self.after, str) or not self.before or self.after is None:
            return ""
        return f"{100 * (self.after - self.before) / self.before:+.1f} %"


@dataclass(frozen=True)
class Comparison:
    """Changes by section, sections without any left out. missing: what one build has and the other lacks."""

    before: str
    after: str
    sections: Mapping[str, tuple[Change, ...]]
    missing: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether nothing differs and nothing is missing on one side alone."""
        return not self.sections and not self.missing

    def document(self) -> dict[str, Any]:
        """As ``report/compare.json`` has it."""
        sections = {name: [asdict(change) for change in changes] for name, changes in self.sections.items()}
        own = {"before": self.before, "after": self.after, "same": self.same}
        return {**own, "sections": sections, "missing": list(self.missing)}


def compare(before: Side, after: Side) -> Comparison:
    """Compare accuracy, speed, resources, layers, files and tools, in this order.

    A whole piece that one build lacks is named once, and what would be in it left out.
    """
    one, two = before.data, after.data
    missing = []
    for name, command, has in _PIECES:
        if has(one) != has(two):
            owner, other = (one, two) if has(one) else (two, one)
            missing.append(f"{name}: only {owner.name} has it; make it with: {command} {other.name}")
    found = {
        "accuracy": [*_differences("network", _accuracy(one), _accuracy(two), both=True)],
        "speed": [*_differences("design", _speed(one), _speed(two), both=True)],
        "resources": [*_differences("design", _resources(one), _resources(two), both=True)],
        "layers": _layers(one, two),
        "files": [
            Change(change.what, "SHA-256", change.before, change.after)
            for change in _differences("", *_files(before, after))
        ],
        "tools": [
            Change(change.what, "version", change.before, change.after)
            for change in _differences("", one.tools, two.tools)
            if one.manifest is not None and two.manifest is not None
        ],
    }
    sections = {name: tuple(changes) for name, changes in found.items() if changes}
    return Comparison(one.name, two.name, sections, tuple(missing))


#: A piece of a build, the command that makes it, and whether a build has it.
_PIECES: tuple[tuple[str, str, Callable[[ReportData], bool]], ...] = (
    ("accuracy", "mixq test", lambda data: data.accuracy is not None),
    ("plan", "mixq plan", lambda data: data.plan is not None),
    ("simulation", "mixq verify", lambda data: bool(data.simulations)),
    ("counted resources", "mixq estimate", lambda data: data.counted is not None),
    ("Verilog and its manifest", "mixq generate", lambda data: data.manifest is not None),
)


def _differences(
    subject: str, before: Mapping[str, Value], after: Mapping[str, Value], *, both: bool = False
) -> Iterator[Change]:
    """What is not equal; both: of what both have alone."""
    for what in dict.fromkeys([*before, *after]):
        if both and (what not in before or what not in after):
            continue
        if before.get(what) != after.get(what):
            yield Change(subject, what, before.get(what), after.get(what))


def _files(before: Side, after: Side) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """The files of both; those in rtl/ where both have some."""
    sides = before.files, after.files
    if all(any(name.startswith(_RTL) for name in files) for files in sides):
        return sides
    one, two = ({name: own for name, own in files.items() if not name.startswith(_RTL)} for files in sides)
    return one, two


def _accuracy(data: ReportData) -> dict[str, Value]:
    names = {
        "value": "integer network",
        "converted_value": "converted model",
        "float_value": "training model",
        "metric": "metric",
        "split": "images of",
        "samples": "images",
    }
    return {name: (data.accuracy or {}).get(key) for key, name in names.items() if data.accuracy is not None}


def _speed(data: ReportData) -> dict[str, Value]:
    found: dict[str, Value] = {}
    if data.plan is not None:
        plan = data.plan
        found = {
            "frames per second": plan.fps,
            "cycles per frame": plan.cycles,
            "bottleneck": plan.bottleneck,
            "clock, MHz": plan.clock_mhz,
            "board": plan.board,
        }
    for run in data.simulations:
        found[f"latency in {run['simulator']}, cycles"] = run["latency_cycles"]
        found[f"mismatches in {run['simulator']}"] = run["mismatches"]
    return found


def _resources(data: ReportData) -> dict[str, Value]:
    found: dict[str, Value] = {}
    if data.plan is not None:
        found |= {f"{key} estimated": value for key, value in data.plan.resources.report().items()}
    if data.counted is not None:
        found |= {f"{key} counted": value for key, value in data.counted["total"].items()}
    return found


def _layers(one: ReportData, two: ReportData) -> list[Change]:
    """The stages of both in order, those of the second build first."""
    if one.plan is None or two.plan is None:
        # A plan builds requantisations into layers: without one on both sides the nodes are compared as they are.
        one, two = (replace(data, plan=None, counted=None) for data in (one, two))
    before = {row.name: row for row in layer_rows(one)}
    after = {row.name: row for row in layer_rows(two)}
    changes: list[Change] = []
    for name in dict.fromkeys([*after, *before]):
        if name not in before:
            changes.append(Change(name, "stage", None, after[name].kind))
        elif name not in after:
            changes.append(Change(name, "stage", before[name].kind, None))
        else:
            changes += _differences(name, _layer(before[name]), _layer(after[name]), both=True)
    return changes


def _layer(row: LayerRow) -> dict[str, Value]:
    shape = row.target
    found: dict[str, Value] = {
        "operation": row.kind,
        "weight bits": row.weight_bits,
        "act bits": row.act_bits,
        "output": f"{'x'.join(map(str, shape.shape))}, {'s' if shape.format.signed else 'u'}{shape.format.width}",
    }
    if row.layer is not None:
        folding = row.layer.folding
        found |= {
            "packing": row.packing_name or None,
            "PE x SIMD x pixels": row.folding_name or None,
            "weight memory": None if folding is None else folding.weight_memory,
            "clocks of DSPs": None if folding is None else folding.pump,
            "requantisation": row.layer.method,
            "FIFOs": ", ".join(map(str, row.layer.fifos)) or None,
            "cycles": row.cycles,
        }
    if row.estimated is not None:
        found |= {f"{key} estimated": value for key, value in row.estimated.report().items()}
    if row.counted is not None:
        found |= {f"{key} counted": value for key, value in row.counted.items()}
    return found
