"""Layers of the training model that quantise their weights: a convolution and a dense layer.

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
from mixq.quantizers import ActivationQuantizerBase, QuantizerKind, make_weight_quantizer


class QuantConv2d(nn.Conv2d):
    """Convolution with zero padding whose weights pass a quantiser.

    Parameters:
        in_channels, out_channels, kernel, stride, padding, bias: as in `torch.nn.Conv2d`, square.
        weight_bits: width of a weight, 1..8. weight_range: "full" or "narrow", see
            `mixq.quantizers.WeightQuantizerBase`. quantizer: "hwgq" or "lsq".
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int,
        weight_bits: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool = False,
        weight_range: WeightRange = "full",
        quantizer: QuantizerKind = "hwgq",
    ) -> None:
        super().__init__(in_channels, out_channels, kernel, stride=stride, padding=padding, bias=bias)
        self.weight_quantizer = make_weight_quantizer(quantizer, weight_bits, weight_range)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve ``input`` (N, C_in, H, W) with the quantised weights."""
        return self._conv_forward(input, self.weight_quantizer(self.weight), self.bias)


class QuantLinear(nn.Linear):
    """Dense layer whose weights pass a quantiser.

    Parameters:
        in_features, out_features, bias: as in `torch.nn.Linear`; inputs of an image come in C, H, W order.
        weight_bits: width of a weight, 1..8. weight_range: "full" or "narrow", see
            `mixq.quantizers.WeightQuantizerBase`. quantizer: "hwgq" or "lsq".
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
    ) -> None:
        super().__init__(in_features, out_features, bias=bias)
        self.weight_quantizer = make_weight_quantizer(quantizer, weight_bits, weight_range)

    def forward(self, input: Tensor) -> Tensor:
        """Multiply ``input`` (N, in_features) with the quantised weights."""
        return F.linear(input, self.weight_quantizer(self.weight), self.bias)


def quantised_weights(layer: QuantConv2d | QuantLinear, name: str) -> tuple[Tensor, float]:
    """Codes of a layer's weights, an int64 tensor of their shape, and their step.

    ``name`` is what the error calls the layer.

    Raises:
        UserError: weights or a step that are not finite; equal weights, where they leave the step without a value.
    """
    problem = layer.weight_quantizer.problem(layer.weight)
    if problem:
        raise UserError(f"layer {name}: {problem}; retrain it or repair the checkpoint")
    codes = layer.weight_quantizer.codes(layer.weight)
    return codes.to(torch.int64), float(layer.weight_quantizer.step(layer.weight))


def activation_step(quantizer: ActivationQuantizerBase, name: str) -> float:
    """Step of the codes of a layer's activations; ``name`` is what the error calls the layer.

    Raises:
        UserError: the step has no value yet, or is not finite.
    """
    problem = quantizer.problem()
    if problem:
        raise UserError(f"layer {name}: {problem}; retrain it or repair the checkpoint")
    return quantizer.step


def output_affine(layer: QuantConv2d | QuantLinear, norm: nn.BatchNorm1d | nn.BatchNorm2d | None = None) -> Affine:
    """What happens to a layer's sums in inference: its own bias, then batch norm where there is one."""
    bias = None if layer.bias is None else _float64(layer.bias)
    affine = Affine.of_bias(layer.weight.shape[0], bias)
    if norm is None:
        return affine
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


def output_magnitude(
    layer: QuantConv2d | QuantLinear, norm: nn.BatchNorm1d | nn.BatchNorm2d | None = None
) -> tuple[FloatArray, FloatArray]:
    """Magnitudes that bound rounding errors behind a layer, both float64 (C,).

    Returns:
        ``|scale|`` of `output_affine`, and the sum of the absolute values of the terms of its shift, which
        is not below ``|shift|``.
    """
    affine = output_affine(layer, norm)
    scale = np.abs(affine.scale)
    bias = np.zeros_like(scale) if layer.bias is None else np.abs(_float64(layer.bias))
    if norm is None:
        return scale, bias
    mean = np.zeros_like(scale) if norm.running_mean is None else np.abs(_float64(norm.running_mean))
    beta = np.zeros_like(scale) if norm.bias is None else np.abs(_float64(norm.bias))
    return scale, (bias + mean) * scale + beta


def _float64(tensor: Tensor) -> FloatArray:
    return tensor.detach().cpu().double().numpy()
