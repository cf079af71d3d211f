"""Networks made, trained for statistics and exported with Brevitas."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn


def brevitas() -> tuple[Any, Any]:
    """Return the modules ``brevitas.nn`` and ``brevitas.quant``; what they warn of is no matter of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import brevitas.nn
        import brevitas.quant

        return brevitas.nn, brevitas.quant


def export(model: nn.Module, shape: tuple[int, ...], path: Path, *, dynamo: bool = True) -> Path:
    """Show the model random inputs, so that its scales and statistics are some, and export it as QONNX."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from brevitas.export import export_qonnx

        model.train()
        for _ in range(4):
            model(torch.randn(8, *shape))
        model.eval()
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
                    module.weight.uniform_(-1.5, 1.5)
                    module.bias.uniform_(-0.5, 0.5)
        export_qonnx(model, torch.randn(1, *shape), str(path), dynamo=dynamo)
    return path


def cnn(seed: int, bias: str = "Int16Bias") -> nn.Module:
    """Convolutions with per-channel and per-tensor scales, batch norm, pooling of both kinds, a dense layer."""
    qnn, quant = brevitas()
    torch.manual_seed(seed)
    per_channel = quant.Int8WeightPerChannelFloat
    offsets = getattr(quant, bias)
    return nn.Sequential(
        qnn.QuantIdentity(act_quant=quant.Int8ActPerTensorFloat, return_quant_tensor=True),
        qnn.QuantConv2d(2, 4, 3, padding=1, weight_bit_width=4, weight_quant=per_channel, bias_quant=offsets),
        nn.BatchNorm2d(4),
        qnn.QuantReLU(bit_width=4, return_quant_tensor=True),
        nn.MaxPool2d(2),
        qnn.QuantConv2d(4, 4, 3, padding=1, groups=2, bias=False, weight_bit_width=3),
        nn.BatchNorm2d(4),
        qnn.QuantReLU(bit_width=3, return_quant_tensor=True),
        qnn.TruncAvgPool2d(2),
        nn.Flatten(),
        qnn.QuantLinear(4, 5, bias=True, weight_bit_width=4, bias_quant=offsets),
    )


def mlp(seed: int) -> nn.Module:
    """Dense layers with batch norm and quantised biases, and a quantised output."""
    qnn, quant = brevitas()
    torch.manual_seed(seed)
    return nn.Sequential(
        qnn.QuantIdentity(bit_width=6, return_quant_tensor=True),
        qnn.QuantLinear(12, 8, bias=True, weight_bit_width=2, bias_quant=quant.Int32Bias),
        nn.BatchNorm1d(8),
        qnn.QuantReLU(bit_width=2, return_quant_tensor=True),
        nn.Dropout(0.2),
        qnn.QuantLinear(8, 8, bias=True, weight_bit_width=5, bias_quant=quant.Int8BiasPerTensorFloatInternalScaling),
        qnn.QuantHardTanh(bit_width=3, max_val=1.0, min_val=-1.0, return_quant_tensor=True),
        qnn.QuantLinear(8, 5, bias=True, weight_bit_width=8, bias_quant=quant.Int16Bias),
    )


def binary(seed: int) -> nn.Module:
    """Weights of one bit and of -1, 0, +1; activations of one bit."""
    qnn, quant = brevitas()
    torch.manual_seed(seed)
    signs, ternary = quant.SignedBinaryWeightPerTensorConst, quant.SignedTernaryWeightPerTensorConst
    return nn.Sequential(
        qnn.QuantIdentity(bit_width=4, return_quant_tensor=True),
        qnn.QuantConv2d(2, 4, 3, padding=1, bias=False, weight_quant=signs),
        nn.BatchNorm2d(4),
        qnn.QuantIdentity(act_quant=quant.SignedBinaryActPerTensorConst, scaling_init=1.0, return_quant_tensor=True),
        nn.Flatten(),
        qnn.QuantLinear(64, 5, bias=False, weight_quant=ternary),
    )


def resized(seed: int) -> nn.Module:
    """Padding, leaky rectifier and upsampling as layers of PyTorch; the output comes with its scale and width."""
    qnn, _ = brevitas()
    torch.manual_seed(seed)
    return nn.Sequential(
        qnn.QuantIdentity(bit_width=5, return_quant_tensor=True),
        nn.ZeroPad2d((1, 0, 2, 1)),
        qnn.QuantConv2d(2, 4, 3, bias=True, weight_bit_width=4),
        nn.LeakyReLU(0.1),
        qnn.QuantIdentity(bit_width=4, return_quant_tensor=True),
        nn.Upsample(scale_factor=2, mode="nearest"),
        qnn.QuantConv2d(4, 2, 3, stride=2, padding=1, bias=False, weight_bit_width=4),
        qnn.QuantIdentity(bit_width=5, return_quant_tensor=True),
    )


class Residual(nn.Module):
    """A residual addition with one scale for both branches, a concatenation, a global mean; depthwise in between."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        qnn, quant = brevitas()
        torch.manual_seed(seed)
        self.start = nn.Sequential(qnn.QuantIdentity(bit_width=8, return_quant_tensor=True), self.conv(2, 4, 3))
        self.branch = nn.Sequential(
            qnn.QuantReLU(bit_width=4, return_quant_tensor=True),
            qnn.QuantConv2d(4, 4, 3, padding=1, groups=4, bias=False, weight_bit_width=4),
            nn.BatchNorm2d(4),
        )
        self.shared = qnn.QuantIdentity(bit_width=4, return_quant_tensor=True)
        self.add = qnn.QuantIdentity(bit_width=4, act_quant=quant.Int8ActPerTensorFloat, return_quant_tensor=True)
        self.narrow = nn.Sequential(self.conv(4, 3, 1), self.shared)
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.after = qnn.QuantIdentity(bit_width=6, return_quant_tensor=True)
        self.last = qnn.QuantLinear(7, 5, bias=True, weight_bit_width=4, bias_quant=quant.Int16Bias)

    def conv(self, inputs: int, outputs: int, kernel: int) -> nn.Module:
        """A convolution with batch norm."""
        qnn, _ = brevitas()
        layer = qnn.QuantConv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False, weight_bit_width=3)
        return nn.Sequential(layer, nn.BatchNorm2d(outputs))

    def forward(self, x: Any) -> Any:
        """Values of five classes."""
        x = self.shared(self.start(x))
        x = self.shared(self.add(x + self.shared(self.branch(x))))
        x = torch.cat([x, self.narrow(x)], dim=1)
        return self.last(torch.flatten(self.after(self.mean(x)), 1))
