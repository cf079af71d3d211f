"""Builds the training model, a `torch.nn.Module`, from a network's table."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import overload

from torch import Tensor, nn

from mixq.layers import Add, Concat, QuantConv2d, QuantLinear, SpaceToDepth
from mixq.network_steps import ModuleStep, module_steps
from mixq.network_table import (
    AddSpec,
    ConcatSpec,
    ConvSpec,
    DenseSpec,
    LayerSpec,
    MeanSpec,
    NetworkTable,
    PoolSpec,
    ReorgSpec,
    UpsampleSpec,
)
from mixq.packing import WeightRange
from mixq.quantise_module import FloatNetwork, QuantisedModule
from mixq.quantizers import (
    QuantizerKind,
    WeightScale,
    check_quantizer,
    check_weight_range,
    check_weight_scale,
    layer_weight_range,
    make_activation_quantizer,
    make_image_quantizer,
)


class StepModel(nn.Module):
    """Modules of a table, run in the order of the data.

    Parameters:
        table: the network's table. modules: of every one of its steps, by name; a missing one does nothing.
    """

    def __init__(self, table: NetworkTable, modules: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self.table = table
        self._steps = module_steps(table)
        last = {source: step.name for step in self._steps for source in step.reads}
        self._done = {
            step.name: tuple(source for source in step.reads if last[source] == step.name) for step in self._steps
        }

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of one image."""
        return self.table.input_shape

    def forward(self, image: Tensor) -> Tensor:
        """The last layer's output for images (N, C, H, W)."""
        values: dict[str, Tensor] = {}
        for step in self._steps:
            sources = [values[source] for source in step.reads] or [image]
            values[step.name] = getattr(self, step.name)(*sources)
            for source in self._done[step.name]:
                values.pop(source, None)
        return values[self._steps[-1].name]


class NetworkModel(StepModel):
    """Training model of a table; its input is ``pixel / 256``, float, of shape (N, C, H, W).

    Submodules, in order, are those of `mixq.network_steps`: ``image``, then for each layer ``conv<i>``,
    ``conv<i>_norm``, ``pool<j>``, and ``conv<i>_act``, the quantiser of what the next layer reads; ``flatten`` before
    the first dense layer.

    Attributes:
        table: the network's table. weight_bits, act_bits: width of every weighted layer. weight_range: "full", or
        "narrow" where layers of 4 bits or more do without the most negative weight. quantizer: kind of the quantisers.
        weight_scale: "tensor" where the weights of a layer have one step, "channel" where each output channel has one.
    """

    def __init__(
        self,
        table: NetworkTable,
        *,
        weight_bits: Sequence[int] | None = None,
        act_bits: Sequence[int] | None = None,
        weight_range: WeightRange = "full",
        quantizer: QuantizerKind = "hwgq",
        weight_scale: WeightScale = "tensor",
    ) -> None:
        resolved_weights = table.resolve_weight_bits(weight_bits)
        resolved_acts = table.resolve_act_bits(act_bits)
        check_weight_range("weight_range", weight_range)
        check_quantizer("quantizer", quantizer)
        check_weight_scale("weight_scale", weight_scale, quantizer)
        super().__init__(table, _modules(table, resolved_weights, resolved_acts, weight_range, quantizer, weight_scale))
        self.weight_bits = resolved_weights
        self.act_bits = resolved_acts
        self.weight_range: WeightRange = weight_range
        self.quantizer: QuantizerKind = quantizer
        self.weight_scale: WeightScale = weight_scale


class FloatModel(StepModel):
    """The network of a table without quantisers, rectifiers in their places; its input is ``pixel / 256``.

    Weights, biases and batch norms have the names that they have in `NetworkModel`.
    """

    def __init__(self, table: NetworkTable) -> None:
        super().__init__(table, _float_modules(table))


Network = NetworkTable | FloatNetwork
"""A table, or a float module."""

TrainingModel = NetworkModel | QuantisedModule
"""What they are trained as."""


@overload
def build_model(
    table: NetworkTable,
    *,
    weight_bits: Sequence[int] | None = ...,
    act_bits: Sequence[int] | None = ...,
    weight_range: WeightRange = ...,
    quantizer: QuantizerKind = ...,
    weight_scale: WeightScale = ...,
) -> NetworkModel: ...


@overload
def build_model(
    table: Network,
    *,
    weight_bits: Sequence[int] | None = ...,
    act_bits: Sequence[int] | None = ...,
    weight_range: WeightRange = ...,
    quantizer: QuantizerKind = ...,
    weight_scale: WeightScale = ...,
) -> TrainingModel: ...


def build_model(
    table: Network,
    *,
    weight_bits: Sequence[int] | None = None,
    act_bits: Sequence[int] | None = None,
    weight_range: WeightRange = "full",
    quantizer: QuantizerKind = "hwgq",
    weight_scale: WeightScale = "tensor",
) -> TrainingModel:
    """Build the training model of ``table`` with these widths (None: the table's defaults); a float module keeps its
    weights.

    In the range "narrow" layers of 4 bits or more do without the most negative weight; those of 2 and 3 bits keep it.
    The quantisers are of the kind "hwgq", with fixed steps, "lsq", with learned ones, or "dorefa" or "dorefa-pow2", as
    published checkpoints have them. weight_scale: "channel" for a step of each output channel, of "hwgq" and "lsq".

    Raises:
        UserError: wrong number or values of the widths.
        TypeError, ValueError: ``weight_range`` is neither "full" nor "narrow"; no such quantizer.
    """
    if isinstance(table, FloatNetwork):
        return table.quantised(
            weight_bits=weight_bits,
            act_bits=act_bits,
            weight_range=weight_range,
            quantizer=quantizer,
            weight_scale=weight_scale,
        )
    return NetworkModel(
        table,
        weight_bits=weight_bits,
        act_bits=act_bits,
        weight_range=weight_range,
        quantizer=quantizer,
        weight_scale=weight_scale,
    )


def float_model(table: NetworkTable) -> FloatModel:
    """Build the network of ``table`` without quantisers."""
    return FloatModel(table)


def quantised_model(
    model: FloatModel,
    *,
    weight_bits: Sequence[int] | None = None,
    act_bits: Sequence[int] | None = None,
    weight_range: WeightRange = "full",
    quantizer: QuantizerKind = "hwgq",
    weight_scale: WeightScale = "tensor",
) -> NetworkModel:
    """The training model with the weights and batch norms of a float one; other arguments as of `build_model`."""
    made = build_model(
        model.table,
        weight_bits=weight_bits,
        act_bits=act_bits,
        weight_range=weight_range,
        quantizer=quantizer,
        weight_scale=weight_scale,
    )
    made.load_state_dict({**made.state_dict(), **model.state_dict()})
    return made


def _modules(
    table: NetworkTable,
    weight_bits: tuple[int, ...],
    act_bits: tuple[int, ...],
    weight_range: WeightRange,
    quantizer: QuantizerKind,
    weight_scale: WeightScale,
) -> OrderedDict[str, nn.Module]:
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    sources = table.input_shapes()
    for step in module_steps(table):
        spec = table.layers[step.layer]
        if step.kind == "image":
            modules[step.name] = make_image_quantizer(quantizer, act_bits[0])
        elif step.kind == "quantizer":
            bits = act_bits[step.reader] if step.reader is not None else _mean_bits(spec)
            modules[step.name] = make_activation_quantizer(quantizer, bits)
        elif isinstance(spec, ConvSpec | DenseSpec) and step.kind in ("conv", "dense"):
            bits = weight_bits[table.weighted_places.index(step.layer)]
            own_range = layer_weight_range(bits, weight_range)
            modules[step.name] = _weighted(spec, sources[step.layer], bits, own_range, quantizer, weight_scale)
        else:
            modules[step.name] = _plain(step, spec)
    return modules


def _mean_bits(spec: LayerSpec) -> int:
    assert isinstance(spec, MeanSpec)
    return spec.bits


def _float_modules(table: NetworkTable) -> OrderedDict[str, nn.Module]:
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    sources = table.input_shapes()
    for step in module_steps(table):
        spec = table.layers[step.layer]
        channels, height, width = sources[step.layer]
        if step.kind == "image":
            modules[step.name] = nn.Identity()
        elif step.kind == "quantizer":
            modules[step.name] = nn.ReLU()
        elif isinstance(spec, ConvSpec) and step.kind == "conv":
            padding = spec.padding if isinstance(spec.padding, int) else 0
            modules[step.name] = nn.Conv2d(
                channels,
                spec.channels,
                spec.kernel,
                stride=spec.stride,
                padding=padding,
                dilation=spec.dilation,
                groups=spec.groups,
                bias=spec.bias,
            )
        elif isinstance(spec, DenseSpec) and step.kind == "dense":
            modules[step.name] = nn.Linear(channels * height * width, spec.units, bias=spec.bias)
        else:
            modules[step.name] = _plain(step, spec)
    return modules


def _plain(step: ModuleStep, spec: LayerSpec) -> nn.Module:
    """The module of a step that quantises nothing."""
    match spec:
        case ConvSpec() if step.kind == "pad":
            top, left, bottom, right = spec.sides
            return nn.ZeroPad2d((left, right, top, bottom))
        case ConvSpec() if step.kind == "norm":
            return nn.BatchNorm2d(spec.channels)
        case DenseSpec() if step.kind == "norm":
            return nn.BatchNorm1d(spec.units)
        case DenseSpec():
            return nn.Flatten()
        case PoolSpec():
            return nn.MaxPool2d(spec.kernel, spec.stride)
        case MeanSpec():
            return nn.AdaptiveAvgPool2d(1)
        case ReorgSpec():
            return SpaceToDepth(spec.block)
        case ConcatSpec():
            return Concat()
        case AddSpec():
            return Add()
        case UpsampleSpec():
            return nn.Upsample(scale_factor=spec.factor)
    raise TypeError(f"spec must be of a layer that is known, not {spec!r}")


def _weighted(
    spec: ConvSpec | DenseSpec,
    shape: tuple[int, int, int],
    weight_bits: int,
    weight_range: WeightRange,
    quantizer: QuantizerKind,
    weight_scale: WeightScale,
) -> nn.Module:
    channels, height, width = shape
    if isinstance(spec, DenseSpec):
        return QuantLinear(
            channels * height * width,
            spec.units,
            weight_bits=weight_bits,
            bias=spec.bias,
            weight_range=weight_range,
            quantizer=quantizer,
            weight_scale=weight_scale,
        )
    return QuantConv2d(
        channels,
        spec.channels,
        kernel=spec.kernel,
        stride=spec.stride,
        padding=spec.padding if isinstance(spec.padding, int) else 0,
        groups=spec.groups,
        dilation=spec.dilation,
        weight_bits=weight_bits,
        bias=spec.bias,
        weight_range=weight_range,
        quantizer=quantizer,
        weight_scale=weight_scale,
    )
