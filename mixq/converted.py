"""The converted model: the training model with every layer replaced by its integer counterpart, in PyTorch.

This is the reference that the interpreter and the hardware are held to. It keeps the training model's own
forward, and so its order of layers: a max-pool before a quantiser takes the maximum of the scaled sums,
before they are rounded. It shares no code with `mixq.execute`.

==========================  ==========================================================
training model              converted model, all tensors int64
==========================  ==========================================================
ImageQuantizer(b)           pixels >> (8 - b)
QuantConv2d, QuantLinear    sums of products of codes, then * multiplier + bias
batch norm                  nothing: it is in multiplier and bias
activation quantiser of b   clamp((y + 2^(T-1)) >> T, 0, 2^b - 1)
max-pool, flatten           as they are
==========================  ==========================================================
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixq.errors import UserError
from mixq.folding import FRACTION_BITS, fold_affine, fold_final_bias, requantise_shift
from mixq.layers import QuantConv2d, QuantLinear, activation_step, output_affine, quantised_weights
from mixq.quantizers import PIXEL_BITS
from mixq.tracing import Stage, trace


class ConvertedModel(nn.Module):
    """Integer network in PyTorch, made from a trained model, which is left as it is.

    Submodules keep the paths of the training model's under ``network``.

    Parameters:
        model: the training model, as for `mixq.lowering.lower`.
        fraction_bits: see `mixq.folding.requantise_shift`.

    Raises:
        UserError: the model cannot be converted.
    """

    def __init__(self, model: nn.Module, *, fraction_bits: int = FRACTION_BITS) -> None:
        super().__init__()
        self.network = copy.deepcopy(model).cpu().eval()
        traced = trace(self.network)
        _replace(self.network, traced.image_path, IntegerImage(traced.image.bits))
        act_bits, act_step = traced.image.bits, traced.image.step
        for stage in traced.stages:
            _convert_stage(self.network, stage, act_bits, act_step, fraction_bits)
            if stage.quantizer is not None:
                act_bits = stage.quantizer.bits
                act_step = activation_step(stage.quantizer, stage.quantizer_path)

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> Tensor:
        """Final integers, int64 (N, C, H, W), of integer pixels 0..255 of shape (N, C, H, W).

        Raises:
            TypeError: ``pixels`` is not of integers. ValueError: a pixel is outside 0..255.
        """
        if pixels.dtype.is_floating_point or pixels.dtype.is_complex or pixels.dtype == torch.bool:
            raise TypeError(f"pixels must be integers, not {pixels.dtype!r}")
        values = pixels.to(torch.int64)
        if values.numel() and not 0 <= int(values.min()) <= int(values.max()) < 2**PIXEL_BITS:
            raise ValueError(f"pixels must be 0 to 255, not {int(values.min())!r} to {int(values.max())!r}")
        output: Tensor = self.network(values)
        return output if output.ndim == 4 else output[:, :, None, None]


class IntegerImage(nn.Module):
    """Pixels shifted right to the first layer's width."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits

    def forward(self, pixels: Tensor) -> Tensor:
        """``pixels >> (8 - bits)``."""
        return pixels >> (PIXEL_BITS - self.bits)


class IntegerSums(nn.Module):
    """Sums of products of a weighted layer, in float64, which is exact below 2^53.

    Parameters:
        layer: the training layer, for its geometry. codes: its weights' codes, int64.
        act_bits: width of the codes that it reads.

    Raises:
        UserError: sums may reach 2^53.
    """

    def __init__(self, layer: QuantConv2d | QuantLinear, codes: Tensor, act_bits: int) -> None:
        super().__init__()
        bound = int(codes.abs().flatten(1).sum(1).max()) * (2**act_bits - 1)
        if bound >= 2**53:
            raise UserError(f"sums of a layer must stay below 2^53, not {bound!r}; use fewer channels")
        self.geometry = (layer.stride, layer.padding) if isinstance(layer, QuantConv2d) else None
        self.register_buffer("codes", codes.double())
        self.codes: Tensor

    def forward(self, activations: Tensor) -> Tensor:
        """Int64 sums of int64 codes."""
        values = activations.double()
        if self.geometry is None:
            return F.linear(values, self.codes).to(torch.int64)
        stride, padding = self.geometry
        return F.conv2d(values, self.codes, stride=stride, padding=padding).to(torch.int64)


class IntegerAffine(nn.Module):
    """``sums * multiplier + bias`` for each channel; int64 (C,) both."""

    def __init__(self, multiplier: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("multiplier", multiplier)
        self.register_buffer("bias", bias)
        self.multiplier: Tensor
        self.bias: Tensor

    def forward(self, sums: Tensor) -> Tensor:
        """Scaled sums, of the shape (N, C) or (N, C, H, W) of the sums."""
        shape = (1, -1) + (1,) * (sums.ndim - 2)
        return sums * self.multiplier.reshape(shape) + self.bias.reshape(shape)


class IntegerRequantise(nn.Module):
    """``clamp((y + 2^(T-1)) >> T, 0, 2^bits - 1)``: rounds half up."""

    def __init__(self, shift: int, bits: int) -> None:
        super().__init__()
        self.shift = shift
        self.bits = bits

    def forward(self, scaled: Tensor) -> Tensor:
        """Codes of the next layer's input."""
        return ((scaled + (1 << (self.shift - 1))) >> self.shift).clamp(0, 2**self.bits - 1)


def _convert_stage(network: nn.Module, stage: Stage, act_bits: int, act_step: float, fraction_bits: int) -> None:
    """Replace a weighted layer and the modules that belong to it."""
    codes, weight_step = quantised_weights(stage.layer, stage.path)
    affine = output_affine(stage.layer, stage.norm)
    sums = IntegerSums(stage.layer, codes, act_bits)
    if stage.quantizer is None:
        bias = fold_final_bias(affine, weight_step=weight_step, act_step=act_step, layer=stage.path)
        multiplier = torch.ones(len(bias), dtype=torch.int64)
        _replace(network, stage.path, nn.Sequential(sums, IntegerAffine(multiplier, torch.from_numpy(bias))))
        return
    shift = requantise_shift(stage.layer.weight_quantizer.bits, act_bits, fraction_bits=fraction_bits)
    fold = fold_affine(
        affine,
        weight_step=weight_step,
        act_step=act_step,
        next_step=activation_step(stage.quantizer, stage.quantizer_path),
        shift=shift,
        layer=stage.path,
    )
    scale = IntegerAffine(torch.from_numpy(fold.multiplier), torch.from_numpy(fold.bias))
    _check_range(stage.path, sums, scale, act_bits, shift)
    _replace(network, stage.path, nn.Sequential(sums, scale))
    _replace(network, stage.quantizer_path, IntegerRequantise(shift, stage.quantizer.bits))
    if stage.norm is not None:
        _replace(network, stage.norm_path, nn.Identity())


def _check_range(path: str, sums: IntegerSums, scale: IntegerAffine, act_bits: int, shift: int) -> None:
    """Refuse a layer whose scaled sums could leave int64."""
    largest = sums.codes.abs().flatten(1).sum(1).to(torch.int64).tolist()
    pairs = zip(largest, scale.multiplier.tolist(), scale.bias.tolist(), strict=True)
    bound = max(total * (2**act_bits - 1) * abs(factor) + abs(bias) for total, factor, bias in pairs)
    if bound + (1 << shift) >= 2**63:
        raise UserError(f"layer {path}: its scaled sums need more than 64 bits; reduce its batch norm scale")


def _replace(network: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, module)
