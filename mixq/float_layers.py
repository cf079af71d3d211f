"""What a float module may be made of: the layer that each of its modules becomes, or why there is none.

`mixq.operations` knows what a training model may be made of; here is what its float counterparts must hold to, in the
sizes that the integer graph has, and what to write instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import nn

from mixq.graph.spatial import BLOCKS, POOL_KERNELS
from mixq.graph.weighted import CONV_DILATIONS, CONV_KERNELS, CONV_STRIDES
from mixq.layers import QuantConv2d, QuantLinear, SpaceToDepth
from mixq.network_table import Shape
from mixq.operations import kind_of, rewrite_of
from mixq.quantizers import ActivationQuantizerBase, ImageQuantizer

Sizes = tuple[int, ...]
"""Shape of a tensor without the batch."""


def as_image(shape: Sizes) -> Shape:
    """A shape as (C, H, W); values in a row are channels of one pixel."""
    if len(shape) != 3:
        return math.prod(shape), 1, 1
    channels, height, width = shape
    return channels, height, width


@dataclass(frozen=True)
class Layer:
    """What a float layer becomes. kind: one of `mixq.operations`, or "pixel_unshuffle"; module: that does the same."""

    kind: str
    module: nn.Module


@dataclass(frozen=True)
class Refusal:
    """Why a layer has no integer form, and what to write instead."""

    reason: str
    rewrite: str

    def __str__(self) -> str:
        return f"{self.reason}, {self.rewrite}"


SUPPORTED = (
    "use nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.ReLU, nn.LeakyReLU, nn.MaxPool2d, nn.AvgPool2d, "
    "nn.AdaptiveAvgPool2d(1), torch.cat, +, nearest nn.Upsample, nn.PixelUnshuffle, nn.Flatten, nn.Dropout"
)

_REWRITES: dict[Any, str] = {
    nn.ConvTranspose2d: "use nn.Upsample(scale_factor=2) and an nn.Conv2d",
    nn.AvgPool2d: "use one whose stride is its kernel, without padding and ceil_mode, or a depthwise nn.Conv2d",
    F.conv2d: "use an nn.Conv2d",
    F.linear: "use an nn.Linear",
    F.batch_norm: "use an nn.BatchNorm2d",
}


def float_layer(module: nn.Module, source: Sizes, target: Sizes) -> Layer | Refusal:
    """What ``module`` becomes, which makes a tensor of the shape ``target`` of one of ``source``, without the batch."""
    if isinstance(module, QuantConv2d | QuantLinear | ActivationQuantizerBase | ImageQuantizer):
        return Refusal("it is quantised already", "use the layer of torch.nn")
    for kind, rule in _RULES:
        if isinstance(module, kind):
            return rule(module, source, target)
    kind = kind_of(module)
    return Layer(kind, module) if kind else refusal(module)


def refusal(operation: Any) -> Refusal:
    """The refusal of a module, function or name of a method that has no integer form."""
    for key, advice in _REWRITES.items():
        if operation is key or (isinstance(key, type) and isinstance(operation, key)):
            return Refusal("it has no integer form", advice)
    return Refusal("it has no integer form", rewrite_of(operation, SUPPORTED))


def _convolution(layer: Any, source: Sizes, target: Sizes) -> Layer | Refusal:
    kernel, stride, dilation = set(layer.kernel_size), set(layer.stride), set(layer.dilation)
    shown = " x ".join(map(str, layer.kernel_size))
    if len(kernel) > 1 or not kernel <= set(CONV_KERNELS):
        rewrite = "use square ones of 1, 3 or 5" + (", such as three 3 x 3 layers" if max(kernel) == 7 else "")
        return Refusal(f"its kernel is {shown}", rewrite)
    if len(stride) > 1 or not stride <= set(CONV_STRIDES):
        return Refusal(f"its stride is {_shown(layer.stride)}", "use 1 or 2, with pooling or a second layer")
    if len(dilation) > 1 or not dilation <= set(CONV_DILATIONS):
        return Refusal(f"its dilation is {_shown(layer.dilation)}", "use 1 or 2")
    if layer.padding_mode != "zeros":
        return Refusal(f"it pads by {layer.padding_mode}", 'use padding_mode="zeros"')
    span = max(dilation) * (max(kernel) - 1)
    if max(convolution_padding(layer)) > span:
        return Refusal(f"its padding is {_shown(layer.padding)}", f"use {span} at most")
    return Layer("weighted", layer)


def convolution_padding(layer: nn.Conv2d) -> tuple[int, int]:
    """Zeros above and below, and at either side; "same" and "valid" in numbers."""
    if isinstance(layer.padding, str):
        span = layer.dilation[0] * (layer.kernel_size[0] - 1) // 2
        return (span, span) if layer.padding == "same" else (0, 0)
    down, across = layer.padding
    return int(down), int(across)


def _dense(layer: Any, source: Sizes, target: Sizes) -> Layer | Refusal:
    if len(source) != 1:
        return Refusal(f"it reads tensors of {len(source) + 1} dimensions", "put an nn.Flatten before it")
    return Layer("weighted", layer)


def _max_pool(pool: Any, source: Sizes, target: Sizes) -> Layer | Refusal:
    if not kind_of(pool):
        return refusal(pool)
    kernel, stride = (size if isinstance(size, int) else size[0] for size in (pool.kernel_size, pool.stride))
    low, high = POOL_KERNELS
    if not low <= kernel <= high or stride > kernel:
        return Refusal(
            f"its windows are {kernel} x {kernel} at a stride of {stride}",
            f"use {low} or {high} at a stride of as many pixels at most, one pool behind the other",
        )
    return Layer("max_pool", pool)


def _adaptive_average(pool: Any, source: Sizes, target: Sizes) -> Layer | Refusal:
    """Averages of equal windows side by side; nothing where a window is a pixel."""
    (height, width), (rows, columns) = source[1:], target[1:] or (1, 1)
    if height % rows or width % columns:
        return Refusal(f"its windows of {height} x {width} pixels differ", "use nn.AdaptiveAvgPool2d(1)")
    if (height, width) == (rows, columns):
        return Layer("identity", pool) if len(target) == len(source) else Layer("flatten", nn.Flatten())
    return Layer("average_pool", pool if rows == columns == 1 else nn.AvgPool2d((height // rows, width // columns)))


def _upsample(module: Any, source: Sizes, target: Sizes) -> Layer | Refusal:
    factors = {target[-2] / source[-2], target[-1] / source[-1]}
    if module.mode != "nearest" or len(factors) > 1 or not _is_block(min(factors)):
        shown = " x ".join(f"{factor:g}" for factor in sorted(factors))
        rewrite = f'use mode="nearest" and one whole factor from {BLOCKS[0]} to {BLOCKS[1]}'
        return Refusal(f"it enlarges {shown} times by {module.mode}", rewrite)
    return Layer("upsample", nn.Upsample(scale_factor=int(min(factors))))


def _unshuffle(module: Any, source: Sizes, target: Sizes) -> Layer | Refusal:
    block = module.block if isinstance(module, SpaceToDepth) else module.downscale_factor
    if not _is_block(block):
        return Refusal(f"its blocks are {block} x {block}", f"use {BLOCKS[0]} to {BLOCKS[1]}")
    if isinstance(module, SpaceToDepth):
        return Layer("space_to_depth", module)
    return Layer("pixel_unshuffle", SpaceToDepth(block))


def _leaky(module: Any, source: Sizes, target: Sizes) -> Layer | Refusal:
    if not 0 <= module.negative_slope <= 1:
        return Refusal(f"its slope is {module.negative_slope:g}", "use one from 0 to 1")
    return Layer("pointwise", module)


def _is_block(size: float) -> bool:
    return float(size).is_integer() and BLOCKS[0] <= size <= BLOCKS[1]


def _shown(sizes: Any) -> str:
    return sizes if isinstance(sizes, str) else " x ".join(map(str, sizes))


_RULES: tuple[tuple[Any, Callable[[Any, Sizes, Sizes], Layer | Refusal]], ...] = (
    (nn.Conv2d, _convolution),
    (nn.Linear, _dense),
    (nn.MaxPool2d, _max_pool),
    (nn.AdaptiveAvgPool2d, _adaptive_average),
    (nn.Upsample, _upsample),
    (nn.PixelUnshuffle | SpaceToDepth, _unshuffle),
    (nn.LeakyReLU, _leaky),
)
