"""A project: what is to be built, on which board, from which data, and how it is searched and trained.

`mixq.project_file` reads one from a YAML file. Everything here is a checked, immutable value; neither PyTorch nor the
data are loaded.
"""

from __future__ import annotations

import importlib
import inspect
import math
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mixq.data import Dataset, load_dataset
from mixq.data.registry import Progress
from mixq.errors import UserError
from mixq.networks import MAX_BITS, MIN_BITS, NetworkTable, network
from mixq.packing import RESIDUE_BITS, WeightRange
from mixq.quantizer_kinds import QuantizerKind, WeightScale, check_weight_scale
from mixq.train_config import TrainConfig

if TYPE_CHECKING:
    from mixq.quantise_module import FloatNetwork

Plain = str | int | float | bool | None
Widths = tuple[int, ...]

SIZES = ("train_size", "validation_size", "test_size")
ALL_WIDTHS = tuple(range(MIN_BITS, MAX_BITS + 1))

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, kw_only=True)
class DataChoice:
    """Which data set, and how much of it.

    name: "cifar10", "digits", "dacsdc" or "package.module:factory". root: file or folder. train_size, validation_size,
    test_size: the first so many images of a part alone. options: of the loader.
    """

    name: str
    root: Path | None = None
    train_size: int | None = None
    validation_size: int | None = None
    test_size: int | None = None
    options: dict[str, Plain] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in SIZES:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be positive, not {value!r}")
        for name in self.options:
            if name in SIZES:
                raise ValueError(f"options must leave {name} to the key of that name beside it, not {self.options!r}")


@dataclass(frozen=True, kw_only=True)
class LayerChoice:
    """Widths of one layer's weights and input, 2..8; None leaves the network's own."""

    weight_bits: int | None = None
    act_bits: int | None = None

    def __post_init__(self) -> None:
        for name in ("weight_bits", "act_bits"):
            value = getattr(self, name)
            if value is not None and not MIN_BITS <= value <= MAX_BITS:
                raise ValueError(f"{name} must be from {MIN_BITS} to {MAX_BITS}, not {value!r}")


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What the accelerator may take, and how fast it is to be.

    fps: frames per second, or cycles: of a frame, at most; with neither the search chooses by its tolerance. dsp, lut,
    bram: at most so many DSPs, look-up tables and block RAMs of 36 Kb. share: 0..1, of the board's resources.
    clock_mhz: of the fabric; None takes the board's. residue_bits: low bits of lanes that packings may know from
    look-up tables, 0..2.
    """

    fps: float | None = None
    cycles: int | None = None
    dsp: int | None = None
    lut: int | None = None
    bram: float | None = None
    share: float = 1.0
    clock_mhz: float | None = None
    residue_bits: int = 2

    def __post_init__(self) -> None:
        for name in ("fps", "cycles", "lut", "clock_mhz"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be positive, not {value!r}")
        for name in ("dsp", "bram"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"{name} must not be negative, not {value!r}")
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, not {self.share!r}")
        if self.residue_bits not in RESIDUE_BITS:
            raise ValueError(f"residue_bits must be 0, 1 or 2, not {self.residue_bits!r}")
        if self.fps is not None and self.cycles is not None:
            raise ValueError(f"cycles must be left out where fps is given, not {self.cycles!r}")

    def cycles_at(self, clock_mhz: float) -> int | None:
        """Most cycles of a frame at a clock, None where no speed is asked for.

        >>> Budget(fps=3000).cycles_at(300)
        100000
        """
        return self.cycles if self.fps is None else cycles_of(self.fps, clock_mhz)


def cycles_of(fps: float, clock_mhz: float) -> int:
    """Most cycles that a frame may take for so many frames per second; at least 1."""
    return max(1, math.floor(clock_mhz * 1e6 / fps + 1e-9))


@dataclass(frozen=True, kw_only=True)
class SearchChoice(TrainConfig):
    """How widths are searched, with the recipe of the supernet's training.

    method: "budget" or "edmips", the published one. weight_widths, act_widths: 2..8, ascending. shared: one weight
    tensor for all widths of a layer. tolerance: without a budget, the fastest widths are taken whose predicted loss is
    within so much of the least. samples: validation images that losses are measured on. refinements: how often they are
    measured anew. points: of the front. decay_c, decay_t, density: of "edmips".
    """

    epochs: int = 10
    batch: int = 128
    method: Literal["budget", "edmips"] = "budget"
    weight_widths: Widths = ALL_WIDTHS
    act_widths: Widths = ALL_WIDTHS
    shared: bool = True
    tolerance: float = 0.05
    samples: int = 1000
    refinements: int = 2
    points: int = 8
    decay_c: float = 3e-5
    decay_t: float = 0.0
    density: Literal["original", "mixq"] = "original"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("weight_widths", "act_widths"):
            widths = getattr(self, name)
            ascending = list(widths) == sorted(set(widths))
            if not widths or not ascending or widths[0] < MIN_BITS or widths[-1] > MAX_BITS:
                raise ValueError(f"{name} must be ascending widths from {MIN_BITS} to {MAX_BITS}, not {list(widths)!r}")
        for name, least in (("samples", 2), ("refinements", 0), ("points", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)!r}")
        for name in ("tolerance", "decay_c", "decay_t"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, not {getattr(self, name)!r}")

    @property
    def recipe(self) -> TrainConfig:
        """The supernet's training."""
        return TrainConfig(**{name: getattr(self, name) for name in _RECIPE})

    @property
    def settings(self) -> dict[str, Any]:
        """Everything else, by name."""
        return {own.name: getattr(self, own.name) for own in fields(self) if own.name not in _RECIPE}


_RECIPE = tuple(own.name for own in fields(TrainConfig))


@dataclass(frozen=True, kw_only=True)
class Project:
    """One network on its way to one board.

    Parameters:
        name: of the project, and of its folder in ``build/``.
        network: name of a network; or model: "package.module:factory", a function that returns a float
            `torch.nn.Module` or a `NetworkTable`.
        input_shape: (C, H, W) of an image; the network's own by default.
        layers: widths of some layers, by name.
        data, board, budget: see the classes; the board is a name or the path of a board file.
        quantizer, weight_range, weight_scale: of the network, see `mixq.models.build_model`.
        seed: of the search and of the training.
        search, train: how widths are searched and how the network is trained.
    """

    name: str
    network: str | None = None
    model: str | None = None
    input_shape: tuple[int, int, int] | None = None
    layers: dict[str, LayerChoice] = field(default_factory=dict)
    data: DataChoice
    board: str = "ultra96-v2"
    budget: Budget = field(default_factory=Budget)
    quantizer: QuantizerKind = "lsq"
    weight_range: WeightRange = "narrow"
    weight_scale: WeightScale = "tensor"
    seed: int = 0
    search: SearchChoice = field(default_factory=SearchChoice)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            form = "up to 100 letters, digits, '.', '_' and '-', a letter or digit first"
            raise ValueError(f"name must be {form}, not {self.name!r}")
        if self.network is None and self.model is None:
            raise ValueError("network must be given, or model: package.module:factory; not None")
        if self.network is not None and self.model is not None:
            raise ValueError(f"model must be left out where network is given, not {self.model!r}")
        if self.model is not None and not re.fullmatch(r"[\w.]+:\w+", self.model):
            raise ValueError(f"model must be package.module:factory, not {self.model!r}")
        if self.input_shape is not None and min(self.input_shape) < 1:
            raise ValueError(f"input_shape must be three positive numbers, not {list(self.input_shape)!r}")
        check_weight_scale("weight_scale", self.weight_scale, self.quantizer)
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, not {self.seed!r}")
        for name in ("search", "train"):
            object.__setattr__(self, name, replace(getattr(self, name), seed=self.seed))

    @property
    def folder(self) -> Path:
        """The build folder, below the folder that the command runs in."""
        return Path("build") / self.name

    def table(self) -> NetworkTable | FloatNetwork:
        """The network's table, or what stands for it of a float module, for images of the project's shape.

        Raises:
            UserError: there is no such network or function, or its layers do not fit the images.
        """
        found: NetworkTable | FloatNetwork
        if self.network is not None:
            found = network(self.network)
        else:
            found = own_network(str(self.model), seed=self.seed)
        if self.input_shape is not None:
            found = replace(found, input_shape=self.input_shape)
        if any(min(shape) < 1 for shape in found.shapes()):
            shape = ",".join(map(str, found.image_shape))
            raise UserError(f"images of the shape {shape} are too small for {found.name}; give a larger input_shape")
        return found

    def with_first(self, count: int) -> Project:
        """The project with the first ``count`` test images at most, and no others than its loader must read."""
        data = self.data
        if "test_size" not in loader_options(data.name):
            return self
        fewer = replace(data, train_size=1, validation_size=1, test_size=min(count, data.test_size or count))
        return replace(self, data=fewer)

    def check_layers(self) -> None:
        """UserError where widths are given for layers that the network lacks."""
        table = self.table()
        unknown = [name for name in self.layers if name not in table.weighted_names]
        if unknown:
            known = ", ".join(table.weighted_names)
            raise UserError(f"{table.name} has no layer {unknown[0]!r}; its layers are {known}")

    def load_data(self, progress: Progress | None = None) -> Dataset[Any]:
        """The data set, of the sizes that are asked for.

        Raises:
            UserError: what `load_dataset` refuses, a part that has fewer images, or images of another shape than the
                network takes.
        """
        data, table = self.data, self.table()
        if data.root is not None and ":" not in data.name and not data.root.exists():
            raise UserError(
                f"there are no data at {data.root}; docs/data.md says where to get {data.name}, or set data.root"
            )
        sizes = {name: value for name in SIZES if (value := getattr(data, name)) is not None}
        # Loaders that know sizes read no more than that; the parts of others are cut.
        taken = {name: value for name, value in sizes.items() if name in loader_options(data.name)}
        loaded = load_dataset(data.name, root=data.root, options={**data.options, **taken}, progress=progress)
        for name, value in sizes.items():
            part = name.removesuffix("_size")
            samples = getattr(loaded, part)
            if len(samples) < value:
                raise UserError(f"data set {data.name} has {len(samples)} {part} images, not {value}; lower {name}")
            loaded = replace(loaded, **{part: samples.take(slice(0, value))})
        shape = tuple(loaded.train.images.shape[1:])
        if shape != table.image_shape:
            own, wanted = (",".join(map(str, numbers)) for numbers in (shape, table.image_shape))
            raise UserError(
                f"the images of {data.name} have the shape {own}, not {wanted} as {table.name} takes them; "
                f"set input_shape: [{own.replace(',', ', ')}] or take other data"
            )
        return loaded

    def document(self) -> dict[str, Any]:
        """As a project file has it, with everything that was left out, and absolute paths."""
        found = {name: value for name, value in asdict(self).items() if value is not None}
        for name in ("search", "train"):
            del found[name]["seed"]
        for name in ("data", "budget"):
            found[name] = {key: value for key, value in found[name].items() if value is not None}
        found["layers"] = {
            name: {key: value for key, value in own.items() if value is not None}
            for name, own in found["layers"].items()
        }
        if not self.layers:
            del found["layers"]
        if self.data.root is not None:
            found["data"]["root"] = str(self.data.root)
        if self.input_shape is not None:
            found["input_shape"] = list(self.input_shape)
        for name in ("weight_widths", "act_widths"):
            found["search"][name] = list(found["search"][name])
        return found


def loader_options(name: str) -> tuple[str, ...]:
    """Sizes that the loader of one of MixQ's own data sets takes."""
    if name not in ("cifar10", "dacsdc"):
        return ()
    loader: Callable[..., Any] = getattr(importlib.import_module(f"mixq.data.{name}"), f"load_{name}")
    return tuple(option for option in inspect.signature(loader).parameters if option in SIZES)


def own_network(reference: str, *, seed: int = 0) -> NetworkTable | FloatNetwork:
    """The network that a user's function returns; what is wrong in it ends in one line.

    seed: of PyTorch's random numbers while the function runs, where PyTorch is there.
    """
    module_name, _, function = reference.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # somebody else's code runs here
        raise UserError(
            f"model {reference}: cannot import {module_name} ({_reason(error)}); install it, "
            "or put its folder on PYTHONPATH"
        ) from error
    factory = getattr(module, function, None)
    if not callable(factory):
        raise UserError(f"model {reference}: {module_name} has no function {function!r}; check the name")
    try:
        made = _called(factory, seed)
    except UserError:
        raise
    except Exception as error:  # somebody else's code, too
        raise UserError(f"model {reference}: the function fails ({_reason(error)}); mend it") from error
    if isinstance(made, NetworkTable):
        return made
    if "torch" in sys.modules:
        from torch import nn

        from mixq.quantise_module import FloatNetwork

        if isinstance(made, nn.Module):
            return FloatNetwork.of(made)
    raise UserError(
        f"model {reference}: must return a torch.nn.Module or a mixq.networks.NetworkTable, not {type(made).__name__}"
    )


def _called(factory: Callable[[], Any], seed: int) -> Any:
    """What a function returns, with the same random numbers whenever it is called."""
    if "torch" not in sys.modules:
        return factory()
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return factory()


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def merged(document: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``document`` with the values of ``changes`` in place of its own, section by section.

    >>> merged({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}})
    {'a': {'b': 3, 'c': 2}}
    """
    result = dict(document)
    for key, value in changes.items():
        own = result.get(key)
        result[key] = merged(own, value) if isinstance(own, Mapping) and isinstance(value, Mapping) else value
    return result
