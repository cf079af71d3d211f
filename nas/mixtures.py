"""Mixture modules: a tensor quantised at every width of a layer, summed by probability.

Each mixture has a `WidthChoice`, whose architecture parameters are trained with the weights (Cai and Vasconcelos,
"Rethinking Differentiable Search for Mixed-Precision Neural Networks", CVPR 2020, the search that the published
mixed-precision system uses). Where a choice is held to one width, a mixture is that width's quantiser.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixq.packing import WeightRange, weight_bounds
from mixq.quantizers import (
    ACTIVATION_STEPS,
    WEIGHT_STEPS,
    ImageQuantizer,
    LSQActivationQuantizer,
    LSQWeightQuantizer,
    QuantizerKind,
    layer_weight_range,
    make_activation_quantizer,
    make_weight_quantizer,
)
from nas.fused import ClampedCodes, GaussianCodes, TruncatedCodes, mixed_activations, mixed_images, mixed_weights
from nas.fused_steps import SteppedCodes, mixed_steps

ALPHA_START = 0.01
"""Value of every architecture parameter at the start; all widths then have the same probability."""


class WidthChoice(nn.Module):
    """Probabilities ``softmax(alpha)`` of a tensor's widths.

    Parameters:
        widths: to choose from. With a single one there is nothing to train.

    Attributes:
        alpha: architecture parameters (widths,). held: place of the width that the mixture is held to, None for none.
    """

    alpha: Tensor

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = tuple(widths)
        start = torch.full((len(self.widths),), ALPHA_START)
        if self.is_searched:
            self.alpha = nn.Parameter(start)
        else:
            self.register_buffer("alpha", start, persistent=False)
        self.held: int | None = None

    @property
    def is_searched(self) -> bool:
        """Whether there is more than one width."""
        return len(self.widths) > 1

    @property
    def single(self) -> int | None:
        """Place of the one width to use: the one held to, or the only one; None for a mixture."""
        return self.held if self.is_searched else 0

    def reset_parameters(self) -> None:
        """Give all widths the same probability again."""
        with torch.no_grad():
            self.alpha.fill_(ALPHA_START)

    def probabilities(self) -> Tensor:
        """Probability of each width (widths,), differentiable."""
        return torch.softmax(self.alpha, 0)

    def argmax(self) -> int:
        """The most probable width; of several the smallest."""
        values = self.alpha.tolist()
        return self.widths[values.index(max(values))]

    def extra_repr(self) -> str:
        """Show the widths where PyTorch prints the module."""
        return f"widths={self.widths}"


class Mixture(nn.Module):
    """Sum of a tensor's quantised forms; subclasses may have a faster way to the same sum.

    Parameters:
        choice: of the widths. quantizers: one for each width.
    """

    def __init__(self, choice: WidthChoice, quantizers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.choice = choice
        self.quantizers = nn.ModuleList(quantizers)

    def forward(self, value: Tensor) -> Tensor:
        """The quantised tensor, or the sum over the widths."""
        single = self.choice.single
        if single is None:
            return self._mixed(value, self.choice.probabilities())
        quantised: Tensor = self.quantizers[single](self._own(value, single))
        return quantised

    def _own(self, value: Tensor, index: int) -> Tensor:
        """The tensor that the quantiser of this place reads."""
        return value

    def _mixed(self, value: Tensor, probabilities: Tensor) -> Tensor:
        terms = [
            quantizer(self._own(value, index)) * probabilities[index] for index, quantizer in enumerate(self.quantizers)
        ]
        return cast(Tensor, sum(terms[1:], terms[0]))


class ActivationMixture(Mixture):
    """Mixture of a layer's input, summed in one pass."""

    def __init__(self, widths: Sequence[int], *, quantizer: QuantizerKind = "hwgq") -> None:
        super().__init__(WidthChoice(widths), [make_activation_quantizer(quantizer, bits) for bits in widths])
        self.quantizer = quantizer
        self._codes = tuple(ClampedCodes(step=ACTIVATION_STEPS[bits], high=2**bits - 1) for bits in widths)

    def _mixed(self, value: Tensor, probabilities: Tensor) -> Tensor:
        if self.quantizer == "lsq":
            return _mixed_steps(value, probabilities, self.quantizers, exact=False)
        return mixed_activations(value, probabilities, self._codes)


class ImageMixture(Mixture):
    """Mixture of a network's input, ``pixel / 256`` truncated to each width."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__(WidthChoice(widths), [ImageQuantizer(bits) for bits in widths])
        self._codes = tuple(TruncatedCodes(bits=bits) for bits in widths)

    def _mixed(self, value: Tensor, probabilities: Tensor) -> Tensor:
        return mixed_images(value, probabilities, self._codes)


class WeightMixture(Mixture):
    """Mixture of a layer's weights.

    Parameters:
        shared: whether all widths quantise one tensor; else its input is (widths, ...), a tensor for each.
    """

    def __init__(
        self, widths: Sequence[int], *, shared: bool, quantizer: QuantizerKind, weight_range: WeightRange
    ) -> None:
        super().__init__(WidthChoice(widths), [_weight_quantizer(quantizer, bits, weight_range) for bits in widths])
        self.shared = shared
        self.quantizer = quantizer
        self._codes = tuple(_gaussian_codes(bits, weight_range) for bits in widths)

    def own_weight(self, weight: Tensor, index: int) -> Tensor:
        """The tensor that the width at ``index`` quantises."""
        return self._own(weight, index)

    def _own(self, value: Tensor, index: int) -> Tensor:
        return value if self.shared else value[index]

    def _mixed(self, value: Tensor, probabilities: Tensor) -> Tensor:
        if self.quantizer == "lsq":
            # Learned steps of separate tensors have no common values to go over once.
            if not self.shared:
                return super()._mixed(value, probabilities)
            return _mixed_steps(value, probabilities, self.quantizers, exact=True)
        return mixed_weights(value, probabilities, self._codes, shared=self.shared)


class MixtureConv2d(nn.Conv2d):
    """Convolution with zero padding whose weights are a `WeightMixture`.

    ``weight`` is (C_out, C_in, k, k), or with separate weights (widths, C_out, C_in, k, k).

    Parameters:
        in_channels, out_channels, kernel, stride, padding, groups, dilation, bias: as in `mixq.layers.QuantConv2d`.
        mixture: of the weights.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int,
        mixture: WeightMixture,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        dilation: int = 1,
        bias: bool = False,
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
        self.mixture = mixture
        _separate(self, mixture)

    def reset_parameters(self) -> None:
        """Draw weights and bias as `torch.nn.Conv2d` does, separate weights one after the other."""
        _draw(self.weight, self.bias, 4)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve ``input`` (N, C_in, H, W) with the mixed weights."""
        return self._conv_forward(input, self.mixture(self.weight), self.bias)


class MixtureLinear(nn.Linear):
    """Dense layer whose weights are a `WeightMixture`.

    ``weight`` is (out, in), or with separate weights (widths, out, in).

    Parameters:
        in_features, out_features, bias: as in `mixq.layers.QuantLinear`. mixture: of the weights.
    """

    def __init__(self, in_features: int, out_features: int, *, mixture: WeightMixture, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias=bias)
        self.mixture = mixture
        _separate(self, mixture)

    def reset_parameters(self) -> None:
        """Draw weights and bias as `torch.nn.Linear` does, separate weights one after the other."""
        _draw(self.weight, self.bias, 2)

    def forward(self, input: Tensor) -> Tensor:
        """Multiply ``input`` (N, in_features) with the mixed weights."""
        return F.linear(input, self.mixture(self.weight), self.bias)


def _mixed_steps(value: Tensor, probabilities: Tensor, quantizers: nn.ModuleList, *, exact: bool) -> Tensor:
    """The sum of quantisers with learned steps, each of which finds its first step in its first training pass."""
    own = [cast("LSQWeightQuantizer | LSQActivationQuantizer", quantizer) for quantizer in quantizers]
    steps = [quantizer.step_for(value) for quantizer in own]
    codes = [
        SteppedCodes(low=quantizer.format.low, high=quantizer.format.high, scale=quantizer.gradient_scale(value))
        for quantizer in own
    ]
    return mixed_steps(value, probabilities, steps, codes, exact=exact)


def _weight_quantizer(quantizer: QuantizerKind, bits: int, weight_range: WeightRange) -> nn.Module:
    return make_weight_quantizer(quantizer, bits, layer_weight_range(bits, weight_range))


def _gaussian_codes(bits: int, weight_range: WeightRange) -> GaussianCodes:
    low, high = weight_bounds(bits, layer_weight_range(bits, weight_range))
    return GaussianCodes(scale=WEIGHT_STEPS[bits], low=low, high=high)


def _separate(layer: MixtureConv2d | MixtureLinear, mixture: WeightMixture) -> None:
    """Give a new layer a tensor for each width, where its weights are not shared."""
    if not mixture.shared:
        layer.weight = nn.Parameter(layer.weight.new_empty(len(mixture.choice.widths), *layer.weight.shape))
        layer.reset_parameters()


def _draw(weight: Tensor, bias: Tensor | None, dimensions: int) -> None:
    """PyTorch's own initial values, in its order of draws, for each tensor of ``dimensions`` in ``weight``."""
    weight = weight.detach()
    parts = [weight] if weight.dim() == dimensions else list(weight)
    for part in parts:
        nn.init.kaiming_uniform_(part, a=math.sqrt(5))
    if bias is not None:
        bound = 1 / math.sqrt(parts[0][0].numel())
        nn.init.uniform_(bias, -bound, bound)
