"""Makes the training model of a float module: the same layers, its weights, and quantisers where integers are needed.

Where values are quantised is what docs/networks.md says of the tables: every layer with weights has a quantiser in
front, called after it (``conv2_in``); an addition adds the codes that the first layer with weights reads of the same
tensor, if there is one. Means read codes of `JOIN_BITS`; so does whatever cannot read unquantised values behind what it
follows: batch norm behind a rectifier, an addition of rectified values, an output that is not a layer's own.
Quantisers of values that are never negative are unsigned, others signed.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from mixq.errors import UserError
from mixq.float_layers import as_image
from mixq.float_tracing import FloatTrace, trace_float
from mixq.module_placing import placed
from mixq.module_values import PlacedStep, Settings
from mixq.network_table import MAX_BITS, MIN_BITS, LayerCounts, Shape
from mixq.networks import network_names
from mixq.packing import WeightRange
from mixq.quantizers import QuantizerKind, WeightScale, check_quantizer, check_weight_range, check_weight_scale
from mixq.tracing import INPUT

OUTER_BITS, INNER_BITS = 8, 4
"""Default widths: of images, of the first and the last layer's weights and the last one's input; of all others."""

Bits = int | Sequence[int] | Mapping[str, int] | None
"""Widths: one for all layers, one for each, by name for some, or the defaults."""


class QuantisedModule(nn.Module):
    """Training model of a float module; its input is ``pixel / 256``, float, of shape (N, C, H, W).

    Submodules have the paths that they have in the float module, quantisers ``<layer>_in``.

    Attributes:
        table: the float module. weight_bits, act_bits: width of every weighted layer. weight_range, quantizer,
            weight_scale: see `mixq.models.build_model`.
    """

    def __init__(
        self,
        table: FloatNetwork,
        steps: Sequence[PlacedStep],
        output: str,
        *,
        weight_bits: tuple[int, ...],
        act_bits: tuple[int, ...],
        weight_range: WeightRange,
        quantizer: QuantizerKind,
        weight_scale: WeightScale,
    ) -> None:
        super().__init__()
        for step in steps:
            _add(self, step.path, step.module)
        self._steps = tuple((step.path, step.reads) for step in steps)
        self._output = output
        self.table = table
        self.weight_bits, self.act_bits = weight_bits, act_bits
        self.weight_range: WeightRange = weight_range
        self.quantizer: QuantizerKind = quantizer
        self.weight_scale: WeightScale = weight_scale

    @property
    def input_shape(self) -> Shape:
        """Shape (C, H, W) of one image."""
        return self.table.image_shape

    def forward(self, image: Tensor) -> Tensor:
        """The output for images (N, C, H, W)."""
        values: dict[str, Tensor] = {INPUT: image}
        last = {source: place for place, (_, reads) in enumerate(self._steps) for source in reads}
        for place, (path, reads) in enumerate(self._steps):
            values[path] = self.get_submodule(path)(*(values[source] for source in reads))
            for source in set(reads):
                if last[source] == place:
                    del values[source]
        return values[self._output]


@dataclass(frozen=True, eq=False, kw_only=True)
class FloatNetwork:
    """A float module as a network: what `mixq.networks.NetworkTable` is for MixQ's own.

    name: of the network. module: whose weights are taken over. input_shape: (C, H, W) of an image; None takes the
    module's attribute ``input_shape``.
    """

    name: str
    module: nn.Module
    input_shape: Shape | None = None

    @classmethod
    def of(cls, module: nn.Module, input_shape: Shape | None = None) -> FloatNetwork:
        """The network of a module, called after its class, and differently from MixQ's own."""
        name = type(module).__name__
        taken = name.lower() in network_names()
        return cls(name=f"{name}_module" if taken else name, module=module, input_shape=input_shape)

    @cached_property
    def image_shape(self) -> Shape:
        """Shape (C, H, W) of an image. UserError where nobody says it."""
        shape = self.input_shape or getattr(self.module, "input_shape", None)
        if shape is None:
            raise UserError(f"{self.name} does not say what images it takes; set input_shape: [C, H, W]")
        return int(shape[0]), int(shape[1]), int(shape[2])

    @cached_property
    def trace(self) -> FloatTrace:
        """The module's layers. UserError, all in one, where some have no integer form."""
        found = trace_float(self.module, self.image_shape)
        structure = placed(found, self._settings(found, None, None)).problems
        problems = (*found.problems, *structure)
        if problems:
            raise UserError(f"{self.name} cannot be quantised: {'; '.join(dict.fromkeys(problems))}")
        if not any(step.kind == "weighted" for step in found.steps):
            raise UserError(f"{self.name} has no layer with weights; add an nn.Conv2d or nn.Linear")
        return found

    @property
    def weighted_names(self) -> tuple[str, ...]:
        """Paths of the convolutions and dense layers, in the order of the data."""
        return _weighted_names(self.trace)

    def shapes(self) -> tuple[Shape, ...]:
        """Shape (C, H, W) of every layer's output, the network's last."""
        found = [as_image(step.shape) for step in self.trace.steps]
        return (*found, as_image(next(step.shape for step in self.trace.steps if step.path == self.trace.output)))

    def counts(self) -> tuple[LayerCounts, ...]:
        """Multiplications per frame (zero padding included) and weights (no biases) of weighted layers."""
        found = []
        for step in self.trace.steps:
            if step.kind == "weighted":
                weights: Any = step.module.weight
                _, height, width = as_image(step.shape)
                count = int(weights.numel())
                found.append(LayerCounts(name=step.path, macs=count * height * width, weights=count))
        return tuple(found)

    def resolve_weight_bits(self, weight_bits: Bits = None) -> tuple[int, ...]:
        """Weight width of every weighted layer. UserError: another number of widths, or one that is not 2..8."""
        return _resolved(self.name, self.trace, "weight", weight_bits)

    def resolve_act_bits(self, act_bits: Bits = None) -> tuple[int, ...]:
        """Width of every weighted layer's input, likewise."""
        return _resolved(self.name, self.trace, "act", act_bits)

    def quantised(
        self,
        *,
        weight_bits: Bits = None,
        act_bits: Bits = None,
        weight_range: WeightRange = "full",
        quantizer: QuantizerKind = "hwgq",
        weight_scale: WeightScale = "tensor",
    ) -> QuantisedModule:
        """The training model, with copies of the module's weights; see `quantise_module`."""
        check_weight_range("weight_range", weight_range)
        check_quantizer("quantizer", quantizer)
        check_weight_scale("weight_scale", weight_scale, quantizer)
        trace = self.trace
        settings = replace(
            self._settings(trace, weight_bits, act_bits),
            weight_range=weight_range,
            quantizer=quantizer,
            weight_scale=weight_scale,
        )
        found = placed(trace, settings)
        if found.problems:
            raise UserError(f"{self.name} cannot be quantised: {'; '.join(dict.fromkeys(found.problems))}")
        return QuantisedModule(
            self,
            found.steps,
            found.output,
            weight_bits=tuple(settings.weight_bits.values()),
            act_bits=tuple(settings.act_bits.values()),
            weight_range=weight_range,
            quantizer=quantizer,
            weight_scale=weight_scale,
        )

    def holds(self, state: Mapping[str, Any]) -> bool:
        """Whether names and shapes of a state are those of the float module's own ``state_dict``."""
        own = self.module.state_dict()
        needed = {name for name in own if not name.endswith("num_batches_tracked")}
        fits = all(getattr(state[name], "shape", None) == own[name].shape for name in needed & set(state))
        return fits and needed <= set(state) <= set(own)

    def _settings(self, trace: FloatTrace, weights: Bits, acts: Bits) -> Settings:
        names = _weighted_names(trace)
        return Settings(
            image_shape=self.image_shape,
            weight_bits=dict(zip(names, _resolved(self.name, trace, "weight", weights), strict=True)),
            act_bits=dict(zip(names, _resolved(self.name, trace, "act", acts), strict=True)),
            weight_range="full",
            quantizer="hwgq",
            weight_scale="tensor",
        )


def quantise_module(
    module: nn.Module,
    input_shape: Shape | None = None,
    *,
    weight_bits: Bits = None,
    act_bits: Bits = None,
    weight_range: WeightRange = "full",
    quantizer: QuantizerKind = "lsq",
    weight_scale: WeightScale = "tensor",
) -> QuantisedModule:
    """The training model of a float module, with copies of its weights; `mixq.lowering.lower` takes it.

    Parameters:
        module: any module of the layers in `mixq.float_layers`; it is traced by `torch.fx` and left as it is. It takes
            ``pixel / 256``, of shape (N, C, H, W).
        input_shape: (C, H, W) of an image; None takes the module's attribute ``input_shape``.
        weight_bits, act_bits: 2..8, of each weighted layer's weights and input: one for all, one for each in the order
            of the data, or by path for some. Defaults: 8 for images, for weights of the first, the last and depthwise
            layers and the last one's input, 4 for others.
        weight_range, quantizer, weight_scale: see `mixq.models.build_model`.

    Raises:
        UserError: layers without an integer form, all in one line with what to write instead; wrong widths; no shape.

    >>> import torch
    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    >>> model = quantise_module(net, (1, 8, 8), weight_bits={"0": 6})
    >>> model.weight_bits, model.act_bits, tuple(model(torch.zeros(2, 1, 8, 8)).shape)
    ((6, 8), (8, 8), (2, 10))
    """
    network = FloatNetwork.of(module, input_shape)
    return network.quantised(
        weight_bits=weight_bits,
        act_bits=act_bits,
        weight_range=weight_range,
        quantizer=quantizer,
        weight_scale=weight_scale,
    )


def with_state(network: FloatNetwork, state: Mapping[str, Any]) -> FloatNetwork:
    """The network with other weights: those of a ``state_dict`` of its float module."""
    module = copy.deepcopy(network.module)
    module.load_state_dict({**module.state_dict(), **state})
    return replace(network, module=module)


def _add(root: nn.Module, path: str, module: nn.Module) -> None:
    """Register a module under a path, with what stands above it."""
    *above, name = path.split(".")
    for part in above:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    root.add_module(name, module)


def _weighted_names(trace: FloatTrace) -> tuple[str, ...]:
    return tuple(step.path for step in trace.steps if step.kind == "weighted")


def _resolved(name: str, trace: FloatTrace, kind: str, given: Bits) -> tuple[int, ...]:
    """One width for each weighted layer."""
    layers = [step for step in trace.steps if step.kind == "weighted"]
    names = [step.path for step in layers]
    widths = {}
    for place, step in enumerate(layers):
        outer = place in (0, len(layers) - 1)
        outer = outer or (step.reads == (INPUT,) if kind == "act" else getattr(step.module, "groups", 1) > 1)
        widths[step.path] = OUTER_BITS if outer else INNER_BITS
    if isinstance(given, Mapping):
        unknown = [own for own in given if own not in widths]
        if unknown:
            raise UserError(f"{name} has no layer {unknown[0]!r}; its layers are {', '.join(names)}")
        widths |= given
    elif given is not None:
        bits = [given] if isinstance(given, int) else list(given)
        bits = bits * len(names) if len(bits) == 1 else bits
        if len(bits) != len(names):
            raise UserError(
                f"{name} takes {len(names)} {kind} widths, one for each of {', '.join(names)}, or 1 for all; "
                f"not {len(bits)}"
            )
        widths = dict(zip(names, bits, strict=True))
    for width in widths.values():
        if isinstance(width, bool) or not isinstance(width, int) or not MIN_BITS <= width <= MAX_BITS:
            raise UserError(f"{kind} widths of {name} must be integers from {MIN_BITS} to {MAX_BITS}, not {width!r}")
    return tuple(widths.values())
