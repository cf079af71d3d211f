"""Builds the training model, a `torch.nn.Module`, from a network's table."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from mixq.layers import QuantConv2d, QuantLinear
from mixq.networks import ConvSpec, DenseSpec, NetworkTable, PoolSpec
from mixq.packing import WeightRange
from mixq.quantizers import (
    ImageQuantizer,
    QuantizerKind,
    check_quantizer,
    check_weight_range,
    layer_weight_range,
    make_activation_quantizer,
)


class NetworkModel(nn.Sequential):
    """Training model of a table; its input is ``pixel / 256``, float, of shape (N, C, H, W).

    Submodules, in order: ``image``, then for each convolution i ``conv<i>``, ``conv<i>_norm``,
    ``pool<j>`` where the table has one, and ``conv<i>_act``, the quantiser of what the next layer reads;
    ``flatten`` before the first dense layer.

    Attributes:
        table: the network's table. weight_bits, act_bits: width of every weighted layer. weight_range: "full", or
        "narrow" where layers of 4 bits or more do without the most negative weight. quantizer: kind of the quantisers.
    """

    def __init__(
        self,
        table: NetworkTable,
        *,
        weight_bits: Sequence[int] | None = None,
        act_bits: Sequence[int] | None = None,
        weight_range: WeightRange = "full",
        quantizer: QuantizerKind = "hwgq",
    ) -> None:
        resolved_weights = table.resolve_weight_bits(weight_bits)
        resolved_acts = table.resolve_act_bits(act_bits)
        check_weight_range("weight_range", weight_range)
        check_quantizer("quantizer", quantizer)
        super().__init__(_modules(table, resolved_weights, resolved_acts, weight_range, quantizer))
        self.table = table
        self.weight_bits = resolved_weights
        self.act_bits = resolved_acts
        self.weight_range: WeightRange = weight_range
        self.quantizer: QuantizerKind = quantizer

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of one image."""
        return self.table.input_shape


def build_model(
    table: NetworkTable,
    *,
    weight_bits: Sequence[int] | None = None,
    act_bits: Sequence[int] | None = None,
    weight_range: WeightRange = "full",
    quantizer: QuantizerKind = "hwgq",
) -> NetworkModel:
    """Build the training model of ``table`` with these widths (None: the table's defaults).

    In the range "narrow" layers of 4 bits or more do without the most negative weight; those of 2 and 3 bits keep it.
    The quantisers are of the kind "hwgq", with fixed steps, or "lsq", with learned ones.

    Raises:
        UserError: wrong number or values of the widths.
        TypeError, ValueError: ``weight_range`` is neither "full" nor "narrow"; no such quantizer.
    """
    return NetworkModel(
        table, weight_bits=weight_bits, act_bits=act_bits, weight_range=weight_range, quantizer=quantizer
    )


def _modules(
    table: NetworkTable,
    weight_bits: tuple[int, ...],
    act_bits: tuple[int, ...],
    weight_range: WeightRange,
    quantizer: QuantizerKind,
) -> OrderedDict[str, nn.Module]:
    modules: OrderedDict[str, nn.Module] = OrderedDict(image=ImageQuantizer(act_bits[0]))
    channels, height, width = table.input_shape
    weighted = pools = 0
    for spec, shape in zip(table.layers, table.shapes(), strict=True):
        if isinstance(spec, PoolSpec):
            pools += 1
            modules[f"pool{pools}"] = nn.MaxPool2d(spec.kernel, spec.stride)
        else:
            name = table.weighted_names[weighted]
            if weighted > 0:
                before = table.weighted_names[weighted - 1]
                modules[f"{before}_act"] = make_activation_quantizer(quantizer, act_bits[weighted])
            if isinstance(spec, DenseSpec) and "flatten" not in modules:
                modules["flatten"] = nn.Flatten()
            bits = weight_bits[weighted]
            own_range = layer_weight_range(bits, weight_range)
            modules[name] = _weighted(spec, (channels, height, width), bits, own_range, quantizer)
            if spec.batch_norm:
                norm = nn.BatchNorm1d if isinstance(spec, DenseSpec) else nn.BatchNorm2d
                modules[f"{name}_norm"] = norm(shape[0])
            weighted += 1
        channels, height, width = shape
    return modules


def _weighted(
    spec: ConvSpec | DenseSpec,
    shape: tuple[int, int, int],
    weight_bits: int,
    weight_range: WeightRange,
    quantizer: QuantizerKind,
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
        )
    return QuantConv2d(
        channels,
        spec.channels,
        kernel=spec.kernel,
        stride=spec.stride,
        padding=spec.padding,
        weight_bits=weight_bits,
        bias=spec.bias,
        weight_range=weight_range,
        quantizer=quantizer,
    )
