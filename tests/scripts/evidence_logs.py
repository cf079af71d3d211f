"""Made-up logs of the comparison of searches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mixq.plan.width_network import WidthNetwork
from scripts.evidence_protocol import SCALES, Record, Scale, Unit
from scripts.evidence_units import Place

SCALE = replace(SCALES["quarter"], uniform=(2, 4))

#: By how much a training of each of MixQ's widths is better, in points, over quantisers, seeds and decays in turn.
POINTS = tuple(number / 10 for number in range(-4, 14))


def made_up(scale: Scale, unit: Unit, place: Place, ways: WidthNetwork | None = None) -> Record:
    """The line of a unit, without doing it; widths differ by arm, and tell the accuracy."""
    content = unit.content
    line: Record = {"key": unit.key, "kind": unit.kind, **content, "wall_seconds": 1.0, "resumed": False}
    if unit.kind == "plan":
        return {**line, "device": "cpu", "cycles": 1000 * content["bits"], "torch": "2.0"}
    line |= {"device": "cpu", "torch": "2.0", "validation": [0.5] * 3}
    if unit.kind == "training":
        return {**line, "seconds": 100.0, "top1": _top1(scale, unit)}
    if unit.is_ours:
        found = [
            {"budget": budget, "cycles": budget - 1, **_widths(scale, index, 5)}
            for index, budget in enumerate(content["budgets"])
        ]
        return {**line, "seconds": 60.0, "found": found}
    index = scale.decays.index(content["decay"])
    cycles = 9000 - 2000 * index + content["seed"]
    return {
        **line,
        "seconds": 30.0,
        "found": [{"decay": content["decay"], "cycles": cycles, **_widths(scale, index, 3)}],
    }


def _widths(scale: Scale, index: int, first: int) -> Record:
    return {"weight_bits": [first, 2 + index, 4, 4, 4, 4, 8], "act_bits": [8, 4, 4, 4, 4, 4, 8]}


def _top1(scale: Scale, unit: Unit) -> float:
    """60 % with EdMIPS's widths, and more or less with MixQ's."""
    weights = unit.content["weight_bits"]
    if weights[0] != 5:
        return 0.6
    place = scale.quantizers.index(unit.content["quantizer"]) * 9 + unit.content["seed"] * 3 + weights[1] - 2
    return round(0.6 + POINTS[place] / 100, 6)


def place_of(folder: Path) -> Place:
    return Place(data=folder, folder=folder / "work")
