"""Small training models that the tests of tracing, lowering and conversion share."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from mixq.layers import QuantConv2d, QuantLinear
from mixq.models import NetworkModel, build_model
from mixq.networks import ConvSpec, DenseSpec, LayerSpec, NetworkTable, PoolSpec
from mixq.quantizers import ActivationQuantizer, ImageQuantizer


def conv(channels_in: int, channels_out: int, bits: int = 4, **options: int | bool) -> QuantConv2d:
    """A 3x3 convolution with padding 1, unless the options say otherwise."""
    return QuantConv2d(
        channels_in,
        channels_out,
        **{"kernel": 3, "padding": 1, "weight_bits": bits, **options},  # type: ignore[arg-type]
    )


def scramble(model: nn.Module, seed: int) -> nn.Module:
    """Give every parameter and statistic random values; scales of batch norm of both signs, some zero."""
    random = np.random.default_rng(seed)

    def fill(parameter: Tensor | None, values: np.ndarray) -> None:
        assert parameter is not None
        parameter.data.copy_(torch.from_numpy(values))

    for module in model.modules():
        if isinstance(module, QuantConv2d | QuantLinear):
            fill(module.weight, random.standard_normal(module.weight.shape) * 0.2)
            if module.bias is not None:
                fill(module.bias, random.standard_normal(module.bias.shape))
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            size = module.num_features
            if module.affine:
                scales = random.standard_normal(size) * 2
                scales[:: max(4, size // 2)] = 0.0
                fill(module.weight, scales)
                fill(module.bias, random.standard_normal(size))
            fill(module.running_mean, random.standard_normal(size))
            fill(module.running_var, random.uniform(0.05, 2, size))
    return model.eval()


def pixels(seed: int, *shape: int) -> np.ndarray:
    """Random pixels, int64 of this shape."""
    return np.random.default_rng(seed).integers(0, 256, shape)


def random_table(seed: int) -> tuple[NetworkTable, list[int], list[int]]:
    """A random small network with its widths: kernels, strides, paddings, pools and norms of all kinds."""
    random = np.random.default_rng(seed)
    height, width = (int(n) for n in random.integers(9, 17, 2))
    table_input = (int(random.integers(1, 4)), height, width)
    layers: list[LayerSpec] = []
    for _ in range(int(random.integers(1, 4))):
        kernel = int(random.choice([1, 3, 5]))
        layers.append(
            ConvSpec(
                channels=int(random.integers(2, 9)),
                kernel=kernel,
                stride=int(random.integers(1, 3)),
                padding=int(random.integers(0, min(kernel, 3))),
                bias=bool(random.integers(2)),
                batch_norm=bool(random.integers(4)),
            )
        )
        if min(_table(table_input, layers).shapes()[-1][1:]) >= 3 and random.integers(2):
            kernel = int(random.integers(2, 4))
            layers.append(PoolSpec(kernel=kernel, stride=int(random.integers(1, kernel + 1))))
        # Stop before an image gets too small for the largest kernel without padding.
        if min(_table(table_input, layers).shapes()[-1][1:]) < 5:
            break
    if random.integers(2):
        layers.append(DenseSpec(units=int(random.integers(2, 6)), weight_bits=None, act_bits=None))
    else:
        layers.append(ConvSpec(channels=3, kernel=1, padding=0, bias=bool(random.integers(2)), batch_norm=False))
    count = sum(not isinstance(layer, PoolSpec) for layer in layers)
    weight_bits = [int(bits) for bits in random.integers(2, 9, count)]
    act_bits = [int(bits) for bits in random.integers(2, 9, count)]
    return _table(table_input, layers), weight_bits, act_bits


def _table(input_shape: tuple[int, int, int], layers: list[LayerSpec]) -> NetworkTable:
    return NetworkTable(name="random", input_shape=input_shape, layers=tuple(layers), weight_bits=(4,), act_bits=(4,))


def random_network(seed: int) -> NetworkModel:
    """A scrambled model of a `random_table`."""
    table, weight_bits, act_bits = random_table(seed)
    model = build_model(table, weight_bits=weight_bits, act_bits=act_bits)
    scramble(model, seed)
    return model


class OutOfOrder(nn.Module):
    """Registers its layers in an order that has nothing to do with that of the data."""

    def __init__(self) -> None:
        super().__init__()
        self.last = QuantLinear(2 * 3 * 4, 3, weight_bits=6)
        self.quant_b = ActivationQuantizer(3)
        self.second = conv(5, 2, 3, stride=2)
        self.norm_a = nn.BatchNorm2d(5)
        self.drop = nn.Dropout(0.5)
        self.norm_b = nn.BatchNorm2d(2)
        self.quant_a = ActivationQuantizer(5)
        self.image = ImageQuantizer(4)
        self.body = nn.ModuleDict({"first": conv(1, 5)})
        self.input_shape = (1, 10, 14)

    def forward(self, image: Tensor) -> Tensor:
        """Two convolutions, each pooled or strided, and a dense layer."""
        values = self.norm_a(self.body["first"](self.image(image)))
        values = self.quant_a(torch.nn.functional.max_pool2d(values, 2))
        values = self.quant_b(self.norm_b(self.second(values)))
        output: Tensor = self.last(torch.flatten(self.drop(values), 1))
        return output
