"""Layers of the training model: those that quantise their weights, and those that PyTorch has no module for.

`quantised_weights` and `output_affine` read off a trained layer what its integer form needs.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixq.errors import UserError
from mixq.folding import Affine, FloatArray
from mixq.packing import WeightRange
from mixq.quantizers import ActivationQuantizerBase, QuantizerKind, WeightScale, make_weight_quantizer


class QuantConv2d(nn.Conv2d):
    """Convolution with zero padding whose weights pass a quantiser.

    Parameters:
        in_channels, out_channels, kernel, stride, padding, groups, dilation, bias: as in `torch.nn.Conv2d`, square
            but for the padding.
        weight_bits: width of a weight, 1..8. weight_range: "full" or "narrow", see
            `mixq.quantizers.WeightQuantizerBase`. quantizer: "hwgq" or "lsq".
        weight_scale: "tensor" for one step, "channel" for one of each output channel.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int,
        weight_bits: int,
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
        groups: int = 1,
        dilation: int = 1,
        bias: bool = False,
        weight_range: WeightRange = "full",
        quantizer: QuantizerKind = "hwgq",
        weight_scale: WeightScale = "tensor",
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            bias=bias,
        )
        channels = out_channels if weight_scale == "channel" else None
        self.weight_quantizer = make_weight_quantizer(quantizer, weight_bits, weight_range, channels=channels)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve ``input`` (N, C_in, H, W) with the quantised weights."""
        return self._conv_forward(input, self.weight_quantizer(self.weight), self.bias)


class QuantLinear(nn.Linear):
    """Dense layer whose weights pass a quantiser.

    Parameters:
        in_features, out_features, bias: as in `torch.nn.Linear`; inputs of an image come in C, H, W order.
        weight_bits: width of a weight, 1..8. weight_range: "full" or "narrow", see
            `mixq.quantizers.WeightQuantizerBase`. quantizer: "hwgq" or "lsq".
        weight_scale: "tensor" for one step, "channel" for one of each output channel.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        weight_bits: int,
        bias: bool = True,
        weight_range: WeightRange = "full",
        quantizer: QuantizerKind = "hwgq",
        weight_scale: WeightScale = "tensor",
    ) -> None:
        super().__init__(in_features, out_features, bias=bias)
        channels = out_features if weight_scale == "channel" else None
        self.weight_quantizer = make_weight_quantizer(quantizer, weight_bits, weight_range, channels=channels)

    def forward(self, input: Tensor) -> Tensor:
        """Multiply ``input`` (N, in_features) with the quantised weights."""
        return F.linear(input, self.weight_quantizer(self.weight), self.bias)


class SpaceToDepth(nn.Module):
    """Blocks of ``block`` x ``block`` pixels become channels, block by block.

    ``y[n, (u * block + v) * C + c, r, q] = x[n, c, r * block + u, q * block + v]``; unlike `torch.nn.PixelUnshuffle`,
    whose channels are ``c * block^2 + u * block + v``.
    """

    def __init__(self, block: int = 2) -> None:
        super().__init__()
        self.block = block

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C * block^2, H / block, W / block)."""
        count, channels, height, width = input.shape
        block = self.block
        split = input.reshape(count, channels, height // block, block, width // block, block)
        return split.permute(0, 3, 5, 1, 2, 4).reshape(count, -1, height // block, width // block)

    def extra_repr(self) -> str:
        """Show the block where PyTorch prints the module."""
        return f"block={self.block}"


class Concat(nn.Module):
    """Concatenation of channels."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """(N, C_i, H, W) each to (N, sum of C_i, H, W)."""
        return torch.cat(inputs, dim=1)


class Add(nn.Module):
    """Sum of tensors of one shape."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """Their sum."""
        return sum(inputs[1:], inputs[0])


def quantised_weights(layer: QuantConv2d | QuantLinear, name: str) -> tuple[Tensor, float | FloatArray]:
    """Codes of a layer's weights, an int64 tensor of their shape, and their step: a number, or (C,) for channels.

    ``name`` is what the error calls the layer.

    Raises:
        UserError: weights or a step that are not finite; equal weights, where they leave the step without a value.
    """
    problem = layer.weight_quantizer.problem(layer.weight)
    if problem:
        raise UserError(f"layer {name}: {problem}; retrain it or repair the checkpoint")
    codes = layer.weight_quantizer.codes(layer.weight)
    step = layer.weight_quantizer.step(layer.weight)
    return codes.to(torch.int64), float(step) if step.ndim == 0 else _float64(step)


def activation_step(quantizer: ActivationQuantizerBase, name: str) -> float:
    """Step of the codes of a layer's activations; ``name`` is what the error calls the layer.

    Raises:
        UserError: the step has no value yet, or is not finite.
    """
    problem = quantizer.problem()
    if problem:
        raise UserError(f"layer {name}: {problem}; retrain it or repair the checkpoint")
    return quantizer.step


def output_affine(layer: QuantConv2d | QuantLinear) -> Affine:
    """What happens to a layer's sums in inference: its own bias is added."""
    return Affine.of_bias(layer.weight.shape[0], None if layer.bias is None else _float64(layer.bias))


def norm_affine(affine: Affine, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> Affine:
    """An affine map followed by batch norm, as it is in inference.

    Raises:
        ValueError: ``norm`` keeps no running statistics.
    """
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise ValueError(f"norm must keep running statistics, not {norm!r}")
    return affine.then_norm(
        gamma=np.ones(norm.num_features) if norm.weight is None else _float64(norm.weight),
        beta=np.zeros(norm.num_features) if norm.bias is None else _float64(norm.bias),
        mean=_float64(mean),
        variance=_float64(variance),
        epsilon=norm.eps,
    )


def norm_magnitude(magnitude: FloatArray, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> FloatArray:
    """What rounding errors of a shift behind batch norm are relative to, (C,): absolute values of its terms, summed.

    magnitude: the same before batch norm.
    """
    scale = np.abs(norm_affine(Affine.of_bias(norm.num_features, None), norm).scale)
    mean = np.zeros_like(scale) if norm.running_mean is None else np.abs(_float64(norm.running_mean))
    beta = np.zeros_like(scale) if norm.bias is None else np.abs(_float64(norm.bias))
    result: FloatArray = (magnitude + mean) * scale + beta
    return result


def _float64(tensor: Tensor) -> FloatArray:
    return tensor.detach().cpu().double().numpy()
