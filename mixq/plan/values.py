"""The plan: for every layer how it is built, what it takes and how long it works."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from functools import cached_property, reduce
from math import inf
from operator import add
from pathlib import Path
from typing import Any, Literal, TypeVar

from mixq.board import REPORT_KEYS, Resources
from mixq.errors import UserError
from mixq.files import dump_yaml, load_yaml, write_atomic
from mixq.packing import Packing, Part, Product, SoftMultipliers
from mixq.plan.folding import Folding
from mixq.plan.layer_shape import LayerShape

PLAN_FILE = "plan.yaml"
SHELL = "shell"
"""Name of the AXI streams at both ends among the layers of reports."""

WISH = "wish"
"""What limits a plan that is as fast as was asked for."""

METHODS = ("multiply", "threshold")
"""Implementations of requantisation, which give the same codes."""

_VERSION = 3

_Value = TypeVar("_Value", Resources, LayerShape, Product, Part, Packing, SoftMultipliers, Folding)


@dataclass(frozen=True)
class LayerPlan:
    """How one node of the graph is built.

    name, op: of the node. cycles: for a frame in steady state, converters before it included. resources: estimated,
    likewise. folding: of a convolution or dense layer. method: of a requantisation, "multiply" or "threshold". pixels,
    lanes: of the beats it gives out. fused: the layer or addition that a requantisation is part of. fifos: beats of the
    FIFO at each input, 0 for none; () where no input has one.

    Raises TypeError, ValueError for values that no layer can have.
    """

    name: str
    op: str
    cycles: int
    resources: Resources
    pixels: int
    lanes: int
    folding: Folding | None = None
    method: str | None = None
    fused: str | None = None
    fifos: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _check_text("name", self.name)
        _check_text("op", self.op)
        for name in ("cycles", "pixels", "lanes"):
            _check_count(name, getattr(self, name))
        _check_resources("resources", self.resources)
        if self.folding is not None and not isinstance(self.folding, Folding):
            raise TypeError(f"folding must be a Folding or None, not {self.folding!r}")
        if self.method is not None and self.method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)} or None, not {self.method!r}")
        if self.fused is not None:
            _check_text("fused", self.fused)
        if not isinstance(self.fifos, tuple) or any(type(depth) is not int or depth < 0 for depth in self.fifos):
            raise TypeError(f"fifos must be a tuple of whole numbers of beats, not {self.fifos!r}")


@dataclass(frozen=True)
class Plan:
    """How a graph is built for a board.

    board: its name. clock_mhz: fabric clock, an assumption until a vendor tool confirms it. layers: one for each node,
    in the graph's order. input_bus_bits, output_bus_bits: of the AXI streams. limits: what was allowed. input_lanes:
    channels in a beat at the accelerator's input, which carries one pixel. shell, shell_cycles: what the AXI streams at
    both ends take, and the cycles of a frame on the slower one. least_cycles: it is proved that no design takes fewer;
    0 where that is not known. price_gap: by which share of its price a design as fast might be smaller for all that is
    proved. limited_by: what keeps the plan from being faster: kinds of resources, each of which alone does, or the name
    of a stage; "wish" where no more speed was asked for.

    Raises TypeError, ValueError for values that no plan can have.
    """

    board: str
    clock_mhz: float
    layers: tuple[LayerPlan, ...]
    input_bus_bits: int
    output_bus_bits: int
    limits: Resources
    input_lanes: int = 1
    shell: Resources = field(default_factory=Resources)
    shell_cycles: int = 1
    least_cycles: int = 0
    price_gap: float = 0.0
    limited_by: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_text("board", self.board)
        if not 0 < self.clock_mhz < inf:
            raise ValueError(f"clock_mhz must be positive and finite, not {self.clock_mhz!r}")
        if not self.layers or len({layer.name for layer in self.layers}) != len(self.layers):
            raise ValueError(f"layers must be one or more of different names, not {[x.name for x in self.layers]!r}")
        for name in ("input_bus_bits", "output_bus_bits", "input_lanes", "shell_cycles"):
            _check_count(name, getattr(self, name))
        for name in ("limits", "shell"):
            _check_resources(name, getattr(self, name))
        if type(self.least_cycles) is not int or not 0 <= self.least_cycles <= self.cycles:
            raise ValueError(f"least_cycles must be from 0 to {self.cycles}, not {self.least_cycles!r}")
        if not 0 <= self.price_gap <= 1:
            raise ValueError(f"price_gap must be from 0 to 1, not {self.price_gap!r}")
        if not isinstance(self.limited_by, tuple) or not all(isinstance(name, str) for name in self.limited_by):
            raise TypeError(f"limited_by must be a tuple of texts, not {self.limited_by!r}")

    def layer(self, name: str) -> LayerPlan:
        """The plan of a node. Raises KeyError for an unknown name."""
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, LayerPlan]:
        return {layer.name: layer for layer in self.layers}

    @property
    def device(self) -> Literal["dsp48e2", "dsp48e1"]:
        """Name of the DSP that the layers are packed for; "dsp48e2" where none multiplies."""
        seventh = any(layer.folding.packing.device == "dsp48e1" for layer in self.layers if layer.folding)
        return "dsp48e1" if seventh else "dsp48e2"

    @property
    def pumped(self) -> tuple[str, ...]:
        """Names of the layers whose DSPs run at twice the clock: where there are any, there is a second clock."""
        return tuple(layer.name for layer in self.layers if layer.folding is not None and layer.folding.pump > 1)

    @property
    def bottleneck(self) -> str:
        """Name of the slowest layer, the first of several; "shell" where the AXI streams are slower still."""
        slowest = max(self.layers, key=lambda layer: layer.cycles)
        return slowest.name if slowest.cycles >= self.shell_cycles else SHELL

    @property
    def cycles(self) -> int:
        """Cycles between frames: those of the slowest layer, or of the AXI streams."""
        return max(self.shell_cycles, *(layer.cycles for layer in self.layers))

    @property
    def gap(self) -> float:
        """By which share a design might take fewer cycles for all that is proved; 0 where the plan is proved best."""
        return (self.cycles - self.least_cycles) / self.cycles

    @property
    def fps(self) -> float:
        """Frames per second at the planned clock."""
        return self.clock_mhz * 1e6 / self.cycles

    @property
    def resources(self) -> Resources:
        """Estimated total, the shell included."""
        return reduce(add, (layer.resources for layer in self.layers), self.shell)

    def save(self, folder: Path | str) -> None:
        """Write ``plan.yaml`` into a folder that exists."""
        document = {
            "version": _VERSION,
            "board": self.board,
            "clock_mhz": self.clock_mhz,
            "cycles_per_frame": self.cycles,
            "bottleneck": self.bottleneck,
            "input_lanes": self.input_lanes,
            "input_bus_bits": self.input_bus_bits,
            "output_bus_bits": self.output_bus_bits,
            "limits": asdict(self.limits),
            "shell": asdict(self.shell),
            "shell_cycles": self.shell_cycles,
            "least_cycles": self.least_cycles,
            "price_gap": self.price_gap,
            "limited_by": list(self.limited_by),
            "layers": [_layer_document(layer) for layer in self.layers],
        }
        write_atomic(Path(folder) / PLAN_FILE, dump_yaml(document))

    @classmethod
    def load(cls, folder: Path | str) -> Plan:
        """Read ``plan.yaml``. Raises UserError where it is missing or not a plan."""
        path = Path(folder) / PLAN_FILE
        if not path.is_file():
            raise UserError(f"{path} is missing: run `mixq plan {folder} --board BOARD` first")
        document = load_yaml(path)
        try:
            if document["version"] != _VERSION:
                raise ValueError(f"version must be {_VERSION}, not {document['version']!r}")
            return cls(
                board=document["board"],
                clock_mhz=float(document["clock_mhz"]),
                layers=tuple(_layer(layer) for layer in document["layers"]),
                input_bus_bits=document["input_bus_bits"],
                output_bus_bits=document["output_bus_bits"],
                limits=_value(Resources, document["limits"]),
                input_lanes=document["input_lanes"],
                shell=_value(Resources, document["shell"]),
                shell_cycles=document["shell_cycles"],
                least_cycles=document["least_cycles"],
                price_gap=document["price_gap"],
                limited_by=_texts(document["limited_by"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{path} is no plan ({error}): run `mixq plan` again") from error


def _layer_document(layer: LayerPlan) -> dict[str, Any]:
    document = {key: value for key, value in asdict(layer).items() if value is not None}
    document["fifos"] = list(layer.fifos)
    if not layer.fifos:
        del document["fifos"]
    folding = layer.folding
    if folding is not None:
        derived = {"dsps": folding.dsps, "density": folding.density, "compute_cycles": folding.compute_cycles}
        document["folding"] = {**document["folding"], "derived": derived}
    return document


def _layer(document: dict[str, Any]) -> LayerPlan:
    values = dict(document)
    values["resources"] = _value(Resources, values["resources"])
    if values.get("folding") is not None:
        folding = dict(values["folding"])
        folding.pop("derived", None)
        values["folding"] = folding_of(folding)
    fifos = values.get("fifos", [])
    if not isinstance(fifos, list):
        raise TypeError(f"fifos must be a list, not {fifos!r}")
    values["fifos"] = tuple(fifos)
    return LayerPlan(**values)


def folding_of(document: dict[str, Any]) -> Folding:
    """A folding from its fields as plain values, which :func:`dataclasses.asdict` makes of one.

    Raises KeyError, TypeError, ValueError where they are not those of a folding.
    """
    values = dict(document)
    values["shape"] = _value(LayerShape, values["shape"])
    values["packing"] = _packing(values["packing"])
    if values.get("bounds") is not None:
        values["bounds"] = _pair(values["bounds"])
    return _value(Folding, values)


def _packing(document: dict[str, Any]) -> Packing | SoftMultipliers:
    """A packing of DSPs, which has parts, or multipliers without DSPs."""
    if "parts" not in document:
        return _value(SoftMultipliers, document)
    parts = document["parts"]
    if not isinstance(parts, list):
        raise TypeError(f"parts must be a list, not {parts!r}")
    made = tuple(_value(Part, {**part, "product": _value(Product, part["product"])}) for part in parts)
    return _value(Packing, {**document, "parts": made})


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError(f"limited_by must be a list, not {value!r}")
    return tuple(value)


def _pair(value: Any) -> tuple[int, int]:
    if not isinstance(value, list) or [type(bound) for bound in value] != [int, int]:
        raise TypeError(f"bounds must be two whole numbers, not {value!r}")
    return value[0], value[1]


def _value(kind: type[_Value], document: dict[str, Any]) -> _Value:
    """A value of a file, whose whole numbers are held to be such: the classes compute with what they are given."""
    for one in fields(kind):
        value = document.get(one.name)
        if one.type == "int" and one.name in document and (isinstance(value, bool) or not isinstance(value, int)):
            raise TypeError(f"{one.name} must be a whole number, not {value!r}")
    return kind(**document)


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a text, not {value!r}")


def _check_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, not {value!r}")


def _check_resources(name: str, value: object) -> None:
    if not isinstance(value, Resources):
        raise TypeError(f"{name} must be Resources, not {value!r}")
    for key in REPORT_KEYS:
        amount = getattr(value, key)
        if isinstance(amount, bool) or not isinstance(amount, int | float):
            raise TypeError(f"{key} of {name} must be a number, not {amount!r}")
        if not 0 <= amount < inf:
            raise ValueError(f"{key} of {name} must be 0 or more and finite, not {amount!r}")
