"""The widths of a network's layers, with what found them: ``bits.yaml``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from mixq.errors import UserError
from mixq.files import dump_yaml, load_yaml, write_atomic
from mixq.networks import MAX_BITS, MIN_BITS, NetworkTable
from mixq.packing import WeightRange
from mixq.quantizer_kinds import QuantizerKind, check_quantizer

BITS_FILE = "bits.yaml"

_VERSION = 1
_KEYS = ("mixq_bits", "network", "quantizer", "weight_range", "layers", "predicted", "found_by")

if TYPE_CHECKING:
    from mixq.quantise_module import FloatNetwork

Plain = str | int | float | bool | None


@dataclass(frozen=True, kw_only=True)
class BitAllocation:
    """Weight and activation width of every weighted layer of a network.

    network: its name. layers: names of its weighted layers, in order. weight_bits, act_bits: 2..8, of each of them.
    quantizer, weight_range: that the network is to be trained with. predicted: what was foretold of it, by name, such
    as cycles of a frame and loss. found_by: the search's settings, by name.

    Raises TypeError, ValueError for wrong values.
    """

    network: str
    layers: tuple[str, ...]
    weight_bits: tuple[int, ...]
    act_bits: tuple[int, ...]
    quantizer: QuantizerKind = "hwgq"
    weight_range: WeightRange = "narrow"
    predicted: Mapping[str, Plain] = field(default_factory=dict)
    found_by: Mapping[str, Plain] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.layers or len(set(self.layers)) != len(self.layers):
            raise ValueError(f"layers must be different names, not {self.layers!r}")
        for name in ("weight_bits", "act_bits"):
            widths = getattr(self, name)
            if len(widths) != len(self.layers):
                raise ValueError(f"{name} must have one width for each of {len(self.layers)} layers, not {widths!r}")
            for bits in widths:
                if isinstance(bits, bool) or not isinstance(bits, int):
                    raise TypeError(f"{name} must be integers, not {bits!r}")
                if not MIN_BITS <= bits <= MAX_BITS:
                    raise ValueError(f"{name} must be from {MIN_BITS} to {MAX_BITS}, not {bits!r}")
        check_quantizer("quantizer", self.quantizer)
        if self.weight_range not in get_args(WeightRange):
            raise ValueError(f"weight_range must be full or narrow, not {self.weight_range!r}")
        for name in ("predicted", "found_by"):
            _check_plain(name, getattr(self, name))

    def check(self, table: NetworkTable | FloatNetwork) -> None:
        """UserError where these are no widths of the network."""
        if self.layers != table.weighted_names:
            raise UserError(
                f"the widths are those of {self.network}, with the layers {', '.join(self.layers)}; "
                f"{table.name} has {', '.join(table.weighted_names)}"
            )

    def document(self) -> dict[str, Any]:
        """As the file has it, one entry for each layer."""
        layers = zip(self.layers, self.weight_bits, self.act_bits, strict=True)
        return {
            "mixq_bits": _VERSION,
            "network": self.network,
            "quantizer": self.quantizer,
            "weight_range": self.weight_range,
            "layers": {name: {"weight_bits": weight, "act_bits": act} for name, weight, act in layers},
            "predicted": dict(self.predicted),
            "found_by": dict(self.found_by),
        }

    def save(self, folder: Path) -> Path:
        """Write ``bits.yaml`` in a folder, whole or not at all, and return its path."""
        path = folder / BITS_FILE
        write_atomic(path, dump_yaml(self.document()))
        return path

    @classmethod
    def load(cls, path: Path) -> BitAllocation:
        """Read a file, or ``bits.yaml`` of a folder. UserError, with the fix, for anything but a sound one."""
        source = path / BITS_FILE if path.is_dir() else path
        document = load_yaml(source)
        if not isinstance(document, dict) or document.get("mixq_bits") != _VERSION:
            raise UserError(
                f"{source} is no file of widths (it lacks mixq_bits: {_VERSION}); make one with: mixq search"
            )
        unknown = [str(key) for key in document if key not in _KEYS]
        if unknown:
            raise UserError(f"{source}: unknown key {unknown[0]!r}; known are {', '.join(_KEYS)}")
        name = document.get("network")
        if not isinstance(name, str):
            raise UserError(f"{source}: network must be a name, not {name!r}")
        names, weights, acts = _layers(source, document.get("layers"))
        try:
            return cls(
                network=name,
                layers=names,
                weight_bits=weights,
                act_bits=acts,
                quantizer=document.get("quantizer", "hwgq"),
                weight_range=document.get("weight_range", "narrow"),
                predicted=document.get("predicted") or {},
                found_by=document.get("found_by") or {},
            )
        except (AttributeError, TypeError, ValueError) as error:
            raise UserError(f"{source}: {error}") from error


def _check_plain(name: str, values: Mapping[str, Plain]) -> None:
    for key, value in values.items():
        if not isinstance(key, str) or not isinstance(value, str | int | float | bool | None):
            raise TypeError(f"{name} must hold plain values by name, not {key!r}: {value!r}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name} must hold finite numbers, not {key!r}: {value!r}")


def _layers(source: Path, layers: object) -> tuple[tuple[str, ...], tuple[Any, ...], tuple[Any, ...]]:
    """Names and widths of a file's layers, in its order."""
    if not isinstance(layers, dict) or not all(isinstance(name, str) for name in layers):
        raise UserError(f"{source}: layers must be names, each with weight_bits and act_bits, not {layers!r}")
    for layer, widths in layers.items():
        if not isinstance(widths, dict) or set(widths) != {"weight_bits", "act_bits"}:
            raise UserError(f"{source}: layer {layer} must have weight_bits and act_bits, not {widths!r}")
    found = layers.values()
    return tuple(layers), tuple(own["weight_bits"] for own in found), tuple(own["act_bits"] for own in found)
