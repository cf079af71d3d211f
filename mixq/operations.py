"""The operations that a training model may be made of, and what to write instead of some others.

Kinds: "image", "weighted", "quantizer", "norm", "max_pool", "average_pool" (a window or the whole image), "flatten",
"concat", "add", "space_to_depth", "upsample", "pad", "pointwise" (a rectifier), "identity" (nothing in inference).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from mixq.layers import Add, Concat, QuantConv2d, QuantLinear, SpaceToDepth
from mixq.quantizers import ActivationQuantizerBase, ImageQuantizer

Norm = nn.BatchNorm1d | nn.BatchNorm2d

_IDENTITIES = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d)


def kind_of(module: nn.Module) -> str:
    """Kind of a module, "" where it is none that can be lowered."""
    for types, test, kind in _RULES:
        if isinstance(module, types):
            return kind if test(module) else ""
    return ""


def _always(module: Any) -> bool:
    return True


def _is_square(*sizes: Any) -> bool:
    return all(isinstance(size, int | float) or len(set(size)) == 1 for size in sizes)


def _is_plain_max_pool(pool: Any) -> bool:
    """Whether the pool is square, without padding, dilation and rounding up."""
    plain = pool.padding in (0, (0, 0)) and pool.dilation in (1, (1, 1))
    return plain and _is_square(pool.kernel_size, pool.stride) and not pool.ceil_mode and not pool.return_indices


def _is_plain_average_pool(pool: Any) -> bool:
    """Whether the windows do not overlap, without padding and rounding up, and the divisor is their size."""
    same = _pair(pool.kernel_size) == _pair(pool.stride)
    return same and pool.padding in (0, (0, 0)) and not pool.ceil_mode and pool.divisor_override is None


def _is_plain_convolution(layer: Any) -> bool:
    return layer.padding_mode == "zeros" and _is_square(layer.kernel_size, layer.stride, layer.dilation)


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _is_nearest(module: Any) -> bool:
    factor = module.scale_factor
    whole = factor is not None and _is_square(factor) and float(_pair_of_floats(factor)[0]).is_integer()
    return module.mode == "nearest" and module.size is None and whole


def _pair_of_floats(factor: Any) -> tuple[float, float]:
    return (factor, factor) if isinstance(factor, int | float) else (factor[0], factor[1])


_RULES: tuple[tuple[Any, Callable[[Any], bool], str], ...] = (
    (_IDENTITIES, _always, "identity"),
    (ImageQuantizer, _always, "image"),
    (QuantConv2d, _is_plain_convolution, "weighted"),
    (QuantLinear, _always, "weighted"),
    (ActivationQuantizerBase, _always, "quantizer"),
    (Norm, lambda norm: norm.track_running_stats, "norm"),
    (nn.Flatten, lambda flatten: (flatten.start_dim, flatten.end_dim) == (1, -1), "flatten"),
    (nn.MaxPool2d, _is_plain_max_pool, "max_pool"),
    (nn.AvgPool2d, _is_plain_average_pool, "average_pool"),
    (nn.AdaptiveAvgPool2d, lambda pool: pool.output_size in (1, (1, 1)), "average_pool"),
    (Concat, _always, "concat"),
    (Add, _always, "add"),
    (SpaceToDepth, _always, "space_to_depth"),
    (nn.Upsample, _is_nearest, "upsample"),
    (nn.ZeroPad2d, _always, "pad"),
    (nn.ReLU, _always, "pointwise"),
    (nn.ReLU6, _always, "pointwise"),
    (nn.LeakyReLU, _always, "pointwise"),
)


def _concat(tensors: Sequence[Any], dim: int = 0) -> nn.Module:
    if dim != 1:
        raise ValueError(f"dim must be 1, not {dim!r}")
    return Concat()


def _add(input: Any, other: Any, *, alpha: int = 1) -> nn.Module:
    if alpha != 1 or not all(isinstance(value, torch.fx.Node) for value in (input, other)):
        raise ValueError("only tensors are added")
    return Add()


def _flatten(input: Any, start_dim: int = 0, end_dim: int = -1) -> nn.Module:
    return nn.Flatten(start_dim, end_dim)


def _max_pool(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> nn.Module:
    return nn.MaxPool2d(kernel_size, stride, padding, dilation, return_indices, ceil_mode)


def _average_pool(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> nn.Module:
    return nn.AvgPool2d(kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def _adaptive_average(input: Any, output_size: Any) -> nn.Module:
    return nn.AdaptiveAvgPool2d(output_size)


class MeanOfImage(nn.AdaptiveAvgPool2d):
    """Mean over rows and columns, which are dropped: ``x.mean((2, 3))``."""

    def __init__(self) -> None:
        super().__init__(1)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to (N, C)."""
        return input.mean((2, 3))


def _mean(input: Any, dim: Any = None, keepdim: bool = False) -> nn.Module:
    if dim is None or sorted(axis % 4 for axis in ([dim] if isinstance(dim, int) else dim)) != [2, 3]:
        raise ValueError(f"dim must be rows and columns, not {dim!r}")
    return nn.AdaptiveAvgPool2d(1) if keepdim else MeanOfImage()


def _interpolate(
    input: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest", **options: Any
) -> nn.Module:
    if any(options.values()):
        raise ValueError("only plain nearest interpolation is known")
    return nn.Upsample(size, scale_factor, mode)


def _pad(input: Any, pad: Any, mode: str = "constant", value: Any = None) -> nn.Module:
    if mode != "constant" or value not in (None, 0) or len(pad) != 4:
        raise ValueError("only zeros around rows and columns are known")
    return nn.ZeroPad2d(tuple(pad))


def _relu(input: Any, inplace: bool = False) -> nn.Module:
    return nn.ReLU()


def _relu6(input: Any, inplace: bool = False) -> nn.Module:
    return nn.ReLU6()


def _leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> nn.Module:
    return nn.LeakyReLU(negative_slope)


def _dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> nn.Module:
    return nn.Identity()


OPERATIONS: dict[Any, Callable[..., nn.Module]] = {
    **dict.fromkeys((operator.add, operator.iadd, torch.add, "add", "add_"), _add),
    **dict.fromkeys((torch.cat, torch.concat, torch.concatenate), _concat),
    **dict.fromkeys((torch.flatten, "flatten"), _flatten),
    **dict.fromkeys((F.max_pool2d, torch.max_pool2d), _max_pool),
    F.avg_pool2d: _average_pool,
    F.adaptive_avg_pool2d: _adaptive_average,
    **dict.fromkeys((torch.mean, "mean"), _mean),
    F.interpolate: _interpolate,
    F.pad: _pad,
    **dict.fromkeys((F.relu, torch.relu, "relu", "relu_"), _relu),
    F.relu6: _relu6,
    F.leaky_relu: _leaky_relu,
    F.dropout: _dropout,
}
"""Function, or name of a tensor's method -> the module that does the same; it fails where there is none."""

_SUPPORTED = (
    "use ImageQuantizer, QuantConv2d, QuantLinear, activation quantisers, batch norm with running statistics, "
    "max-pooling without padding, average-pooling of separate windows, concatenation, addition, SpaceToDepth, nearest "
    "upsampling, flatten from dimension 1, dropout"
)

_REWRITES: dict[Any, str] = {
    nn.Conv2d: "use QuantConv2d",
    nn.Linear: "use QuantLinear",
    nn.PixelUnshuffle: "use SpaceToDepth, whose channels come block by block",
    nn.ConvTranspose2d: "use nn.Upsample(scale_factor=2) and a QuantConv2d",
    **dict.fromkeys((nn.Hardswish, nn.SiLU, nn.GELU, nn.ELU, nn.PReLU, nn.Mish), "use nn.ReLU or nn.LeakyReLU"),
    **dict.fromkeys((F.hardswish, F.silu, F.gelu, F.elu), "use nn.ReLU or nn.LeakyReLU"),
    **dict.fromkeys(
        (nn.Sigmoid, nn.Tanh, nn.Softmax, nn.LogSoftmax, nn.Hardsigmoid), "apply it to the network's output"
    ),
    **dict.fromkeys(
        (torch.sigmoid, torch.softmax, F.softmax, "sigmoid", "softmax"), "apply it to the network's output"
    ),
    **dict.fromkeys((nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm2d), "use nn.BatchNorm2d"),
    **dict.fromkeys(("view", "reshape", torch.reshape), "use torch.flatten(x, 1)"),
    nn.MaxPool2d: "use a square one without padding, dilation and ceil_mode",
    nn.AvgPool2d: "use one whose stride is its kernel, without padding and ceil_mode, or a depthwise QuantConv2d",
    nn.AdaptiveAvgPool2d: "use nn.AdaptiveAvgPool2d(1), or nn.AvgPool2d",
    nn.AdaptiveMaxPool2d: "use nn.MaxPool2d",
    nn.BatchNorm2d: "let it track running statistics",
    nn.BatchNorm1d: "let it track running statistics",
    nn.Flatten: "use nn.Flatten()",
    nn.Upsample: 'use mode="nearest" with a whole scale_factor',
    operator.mul: "scale by batch norm, or in the weights",
    operator.sub: "add, with negative weights in the layer before",
}


def rewrite_of(operation: Any, otherwise: str = _SUPPORTED) -> str:
    """What to write instead of a module or function that cannot be lowered; ``otherwise`` where nothing is known."""
    for key, advice in _REWRITES.items():
        if operation is key or (isinstance(key, type) and isinstance(operation, key)):
            return advice
        if isinstance(key, str) and operation == key:
            return advice
    return otherwise
