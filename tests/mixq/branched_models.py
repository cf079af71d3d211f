"""Random training models with branches: every kind of layer that `mixq.operations` knows, in random orders."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mixq.layers import Add, Concat, QuantConv2d, QuantLinear, SpaceToDepth
from mixq.quantizers import ImageQuantizer, make_activation_quantizer
from tests.mixq.torch_models import scramble

Shape = tuple[int, int, int]


class Branched(nn.Module):
    """Layers by name, and which of the earlier ones each reads."""

    def __init__(self, layers: dict[str, nn.Module], reads: dict[str, tuple[str, ...]], shape: Shape) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(layers)
        self.reads = reads
        self.input_shape = shape

    def forward(self, image: Tensor) -> Tensor:
        """The last layer's output."""
        values = {"": image}
        for name, layer in self.layers.items():
            values[name] = layer(*(values[source] for source in self.reads[name]))
        return values[name]


class _Builder:
    """Grows a model: every method takes tensors by name and returns the new one's."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.layers: dict[str, nn.Module] = {}
        self.reads: dict[str, tuple[str, ...]] = {}
        self.shapes: dict[str, Shape] = {}

    def append(self, kind: str, module: nn.Module, shape: Shape, *sources: str) -> str:
        name = f"{kind}{len(self.layers)}"
        self.layers[name], self.reads[name], self.shapes[name] = module, sources, shape
        return name

    def one_of(self, *choices: Any) -> Any:
        return choices[int(self.random.integers(len(choices)))]

    def conv(self, source: str, channels: int | None = None, *, keep: bool = False) -> str:
        """A convolution with batch norm or without; keep: of the same height and width."""
        before, height, width = self.shapes[source]
        kernel = self.one_of(1, 3, 3, 5)
        dilation = self.one_of(1, 1, 2) if kernel == 3 else 1
        extent = dilation * (kernel - 1) + 1
        channels = channels or int(self.random.integers(1, 4)) * 2
        groups = self.one_of(1, 1, before) if channels % before == 0 else 1
        stride = 1 if keep else self.one_of(1, 1, 2)
        padding = extent // 2
        if not keep and stride == 2 and extent == 3 and min(height, width) > 2:
            source = self.append("pad", nn.ZeroPad2d((0, 1, 0, 1)), (before, height + 1, width + 1), source)
            height, width, padding = height + 1, width + 1, 0
        layer = QuantConv2d(
            before,
            channels,
            kernel=kernel,
            weight_bits=int(self.random.integers(2, 9)),
            stride=stride,
            padding=padding,
            groups=groups,
            dilation=dilation,
            bias=bool(self.random.integers(2)),
        )
        size = [(axis + 2 * padding - extent) // stride + 1 for axis in (height, width)]
        name = self.append("conv", layer, (channels, size[0], size[1]), source)
        if self.random.integers(4):
            name = self.append("norm", nn.BatchNorm2d(channels), self.shapes[name], name)
        return name

    def quantised(self, source: str, signed: bool = False) -> str:
        """A quantiser, perhaps behind a rectifier."""
        bits = int(self.random.integers(2, 7))
        rectifier = self.one_of(None, None, nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(0.1) if signed else None)
        if rectifier is not None:
            source = self.append("relu", rectifier, self.shapes[source], source)
        module = make_activation_quantizer("hwgq", bits, signed=signed)
        return self.append("act", module, self.shapes[source], source)

    def block(self, source: str) -> str:
        """One to three layers from codes to codes."""
        _, height, width = self.shapes[source]
        kind = self.one_of("conv", "pool", "residual", "concat", "reorg", "up", "mean", "signed", "fork")
        if kind == "pool" and min(height, width) >= 4:
            shape = (self.shapes[source][0], height // 2, width // 2)
            if self.random.integers(2):
                return self.append("pool", nn.MaxPool2d(2), shape, source)
            name = self.conv(source, keep=True)
            shape = (self.shapes[name][0], height // 2, width // 2)
            return self.quantised(self.append("pool", nn.MaxPool2d(2), shape, name))
        if kind == "residual":
            name = self.conv(source, self.shapes[source][0], keep=True)
            other = source if self.random.integers(2) else self.conv(source, self.shapes[source][0], keep=True)
            name = self.append("sum", Add(), self.shapes[name], name, other)
            if self.random.integers(2):
                name = self.append("norm", nn.BatchNorm2d(self.shapes[name][0]), self.shapes[name], name)
            return self.quantised(name)
        if kind in ("concat", "reorg") and height % 2 == 0 and width % 2 == 0:
            left, right = self.conv(source, keep=True), self.conv(source, keep=True)
            if kind == "reorg":
                left = self.append("reorg", SpaceToDepth(), self._half(left, 4), left)
                right = self.append("pool", nn.MaxPool2d(2), self._half(right, 1), right)
            channels = self.shapes[left][0] + self.shapes[right][0]
            return self.quantised(self.append("cat", Concat(), (channels, *self.shapes[left][1:]), left, right))
        if kind == "up" and height * width <= 40:
            name = self.conv(source, keep=True)
            shape = (self.shapes[name][0], 2 * height, 2 * width)
            return self.quantised(self.append("up", nn.Upsample(scale_factor=2), shape, name))
        if kind == "mean" and min(height, width) >= 4:
            name = source if self.random.integers(2) else self.conv(source, keep=True)
            return self.quantised(self.append("mean", nn.AvgPool2d(2), self._half(name, 1), name))
        if kind == "fork":
            name = self.conv(source, 4, keep=True)
            left, right = self.conv(self.quantised(name), 4, keep=True), self.conv(self.quantised(name), 4, keep=True)
            return self.quantised(self.append("sum", Add(), self.shapes[left], left, right))
        return self.quantised(self.conv(source), signed=kind == "signed")

    def _half(self, source: str, times: int) -> Shape:
        channels, height, width = self.shapes[source]
        return channels * times, height // 2, width // 2


def random_branches(seed: int) -> Branched:
    """A scrambled random model of two to five blocks, of all kinds of layers, with its own widths."""
    builder = _Builder(seed)
    rows, columns = (2 * int(n) for n in builder.random.integers(4, 7, 2))
    shape = (int(builder.random.integers(1, 4)), rows, columns)
    name = builder.append("image", ImageQuantizer(int(builder.random.integers(2, 9))), shape, "")
    name = builder.quantised(builder.conv(name))
    for _ in range(int(builder.random.integers(1, 5))):
        name = builder.block(name)
    ending = builder.one_of("conv", "dense", "mean", "codes")
    channels, height, width = builder.shapes[name]
    if ending == "conv":
        builder.append("last", QuantConv2d(channels, 3, kernel=1, weight_bits=4, bias=True), (3, height, width), name)
    elif ending in ("dense", "mean"):
        if ending == "mean":
            name = builder.append("mean", nn.AdaptiveAvgPool2d(1), (channels, 1, 1), name)
            name = builder.quantised(name)
            height = width = 1
        features = channels * height * width
        name = builder.append("flat", nn.Flatten(), (features, 1, 1), name)
        name = builder.append("dense", QuantLinear(features, 6, weight_bits=4), (6, 1, 1), name)
        name = builder.quantised(name)
        builder.append("last", QuantLinear(6, 4, weight_bits=5), (4, 1, 1), name)
    model = Branched(builder.layers, builder.reads, shape)
    scramble(model, seed)
    return model


def images(seed: int, model: Branched, count: int = 3) -> torch.Tensor:
    """Random pixels, int64."""
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, *model.input_shape)))
