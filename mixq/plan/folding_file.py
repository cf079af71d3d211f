"""Foldings as a JSON file, in the form of FINN's folding configurations: what layers are held to.

::

    {"Defaults": {}, "conv1": {"PE": 8, "SIMD": 9}, "pool1": {"PE": 4}}

A name is a node of the graph; its keys hold the planner to the ways that they describe, and what is not named is
planned. Of a layer: ``PE``, output channels at a time; ``SIMD``, input terms at a time, which are kernel rows times
input channels: of all kernel rows where the number can be had so, else of one, unless ``rows`` tells. ``pixels``: of a
row at a time. ``density``: multiplications per DSP. ``packing``: its name, as :func:`packing_label` gives it or that up
to its dash. ``in_pixels``, ``out_lanes``: pixels of the beats that come in, output channels of those that leave.
``requantise``: "multiply" or "threshold". ``resType``: of the multipliers, "dsp", "lut" or "auto". ``ram_style``: of
the weight memories, "block", "distributed" or "auto". ``pump``: cycles of a DSP in one of the fabric, 1 or, where
plans may have a second clock, 2. Of other stages: ``PE``, channels at a time, and ``requantise``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mixq.errors import UserError
from mixq.files import read_json, write_json
from mixq.plan.folding import Folding
from mixq.plan.units import Unit

if TYPE_CHECKING:
    from mixq.plan.choices import Stage
    from mixq.plan.options import Options
    from mixq.plan.values import Plan

FOLDING_FILE = "folding.json"

_DEFAULTS = "Defaults"


def packing_label(packing: Any) -> str:
    """Name of a packing among those of one layer: pixels x taps x output channels, and a hash that tells equals apart.

    >>> from mixq.packing import solve
    >>> packing_label(solve(4, 4)).partition("-")[0]
    '5x3x1'
    """
    digest = hashlib.sha256(repr(packing).encode()).hexdigest()
    return f"{packing.pixels}x{packing.taps}x{packing.channels}-{digest[:8]}"


# What tells the bases of a layer apart, in the order in which a file's keys narrow them.
_BASE_KEYS: dict[str, Callable[[Folding], Any]] = {
    "PE": lambda folding: folding.pe,
    "SIMD": lambda folding: folding.simd,
    "rows": lambda folding: folding.rows,
    "resType": lambda folding: "dsp" if folding.dsps else "lut",
    "ram_style": lambda folding: folding.weight_style,
    "pump": lambda folding: folding.pump,
    "pixels": lambda folding: folding.packing.pixels,
    "density": lambda folding: round(folding.packing.density, 3),
    "packing": lambda folding: packing_label(folding.packing),
}
# Place of a key in a way of a layer's options.
_WAY_KEYS = {"in_pixels": 1, "out_lanes": 2, "requantise": 3}
_LAYER_KEYS = (*_BASE_KEYS, *_WAY_KEYS)
_FREE = "auto"
_SIMPLE_KEYS = ("PE", "requantise")


@dataclass(frozen=True)
class Hold:
    """What one node is held to: ``values`` by key, checked where the ways of the node are known. origin: the file."""

    name: str
    values: Mapping[str, Any]
    origin: str = FOLDING_FILE

    def layer(self, found: Options) -> Options:
        """The ways of a layer that agree with the values; UserError names the key and its legal values."""
        self._check_keys(_LAYER_KEYS)
        kept = list(range(len(found.bases)))
        for key, of in _BASE_KEYS.items():
            if key not in self.values or (key in ("resType", "ram_style") and self.values[key] == _FREE):
                continue
            legal = {number: of(found.bases[number]) for number in kept}
            kept = [number for number, value in legal.items() if self._agrees(key, value)]
            if not kept:
                raise self._refusal(key, legal.values())
            if key == "SIMD" and "rows" not in self.values:
                rows = max(found.bases[number].rows for number in kept)
                kept = [number for number in kept if found.bases[number].rows == rows]
        bases = set(kept)
        ways = [number for number, way in enumerate(found.ways) if way[0] in bases]
        for key, place in _WAY_KEYS.items():
            if key in self.values:
                offered = [found.ways[number][place] for number in ways]
                ways = [number for number in ways if self._agrees(key, found.ways[number][place])]
                if not ways:
                    raise self._refusal(key, offered)
        chosen = np.array(ways, np.int64)
        return replace(
            found,
            ways=tuple(found.ways[number] for number in ways),
            cycles=found.cycles[chosen],
            costs=found.costs[chosen],
        )

    def simple(self, stage: Stage) -> Stage:
        """The ways of a stage without weights that agree with the values."""
        self._check_keys(_SIMPLE_KEYS)
        ways = list(range(stage.size))
        for key in _SIMPLE_KEYS:
            if key not in self.values:
                continue
            offered = {
                number: stage.choices[number].lanes if key == "PE" else stage.choices[number].method for number in ways
            }
            ways = [number for number, value in offered.items() if self._agrees(key, value)]
            if not ways:
                raise self._refusal(key, offered.values())
        kept = np.array(ways, np.int64)
        return replace(
            stage,
            entry=stage.entry[kept],
            exit=stage.exit[kept],
            cycles=stage.cycles[kept],
            costs=stage.costs[kept],
            choices=[stage.choices[number] for number in ways],
        )

    def _agrees(self, key: str, value: Any) -> bool:
        wanted = self.values[key]
        if isinstance(wanted, bool):
            return False
        if key == "density" and isinstance(wanted, int | float):
            return bool(round(wanted, 3) == value)
        if key == "packing":
            return bool(wanted in (value, value.partition("-")[0]))
        return bool(type(wanted) is type(value) and wanted == value)

    def _check_keys(self, legal: tuple[str, ...]) -> None:
        for key in self.values:
            if key not in legal:
                raise UserError(f"{self.origin}: {self.name} may have the keys {', '.join(legal)}, not {key!r}")

    def _refusal(self, key: str, legal: Iterable[Any]) -> UserError:
        values = ", ".join(str(value) for value in sorted(set(legal) - {None})) or "left out"
        needs = "; 2 takes --double-pump, an even SIMD and a packing without known bits" if key == "pump" else ""
        return UserError(f"{self.origin}: {self.name}: {key} must be one of {values}, not {self.values[key]!r}{needs}")


def load_foldings(path: Path | str) -> dict[str, Hold]:
    """What a file holds the nodes to, by name. UserError for a file of another form; it names the file."""
    document = read_json(path)
    if not isinstance(document, dict):
        raise UserError(f"{path} must be an object of nodes, not {type(document).__name__}")
    if document.get(_DEFAULTS, {}) != {}:
        raise UserError(f"{path}: {_DEFAULTS} must be empty: name the nodes, not {document[_DEFAULTS]!r}")
    found = {}
    for name, values in document.items():
        if name == _DEFAULTS:
            continue
        if not isinstance(values, dict):
            raise UserError(f"{path}: {name} must be an object of keys, not {values!r}")
        found[name] = Hold(name, values, str(path))
    return found


def check_names(holds: Mapping[str, Hold], units: Iterable[Unit]) -> None:
    """UserError for a hold of a node that no stage is named by; a requantisation in a layer is the layer's."""
    names = [unit.node.name for unit in units]
    for hold in holds.values():
        if hold.name not in names:
            raise UserError(f"{hold.origin}: nodes must be among {', '.join(names)}, not {hold.name!r}")


def folding_document(plan: Plan) -> dict[str, dict[str, Any]]:
    """A plan's foldings as a file that holds another plan to the same."""
    document: dict[str, dict[str, Any]] = {_DEFAULTS: {}}
    methods = {layer.fused: layer.method for layer in plan.layers if layer.fused is not None}
    for layer in plan.layers:
        if layer.fused is not None:
            continue
        folding = layer.folding
        if folding is None:
            values: dict[str, Any] = {"PE": layer.lanes}
            method = layer.method
        else:
            values = {key: of(folding) for key, of in _BASE_KEYS.items()}
            values |= {"in_pixels": folding.in_pixels, "out_lanes": folding.out_lanes}
            method = methods.get(layer.name)
        document[layer.name] = values if method is None else {**values, "requantise": method}
    return document


def save_foldings(plan: Plan, folder: Path | str) -> None:
    """Write ``folding.json`` into a folder that exists."""
    write_json(Path(folder) / FOLDING_FILE, folding_document(plan))
