"""Quantisers of the training model: Gaussian weights, half-wave Gaussian activations, image input.

Every quantiser maps a real tensor to integer *codes* with a *step*; the value that the training model
computes with is ``codes * step``. Gradients are straight-through estimates. Steps are the optimal uniform
steps for a unit Gaussian (Cai et al., "Deep Learning with Low Precision by Half-wave Gaussian
Quantization", CVPR 2017), as tabulated by the published mixed-precision system that this one follows.

=============  ==============================================  =========================
quantiser      codes for b bits                                gradient
=============  ==============================================  =========================
weights        clamp(round(w / s), -2^(b-1), 2^(b-1) - 1)      1 everywhere
narrow         clamp(round(w / s), -2^(b-1) + 1, 2^(b-1) - 1)  1 everywhere
activations    round(clamp(x, 0, s * (2^b - 1)) / s)           1 inside the clamp, else 0
image          floor(pixel / 256 * 2^b), i.e. pixel >> (8-b)   1 everywhere
=============  ==============================================  =========================
"""

from __future__ import annotations

from typing import Any, get_args

import torch
from torch import Tensor, nn

from mixq.formats import IntFormat
from mixq.packing import WeightRange, default_weight_range

PIXEL_BITS = 8
"""Width of an image's pixels; an image network takes ``pixel / 2**PIXEL_BITS`` as its real input."""

WEIGHT_STEPS = {1: 1.596, 2: 0.996, 3: 0.586, 4: 0.336, 5: 0.190, 6: 0.106, 7: 0.059, 8: 0.032}
"""Step of a weight quantiser of 1..8 bits, in units of the weights' standard deviation."""

ACTIVATION_STEPS = {1: 0.799, 2: 0.538, 3: 0.3217, 4: 0.185, 5: 0.104, 6: 0.058, 7: 0.033, 8: 0.019}
"""Step of an activation quantiser of 1..8 bits (the half-wave Gaussian's, fixed for each width)."""


def check_bits(name: str, bits: int) -> int:
    """Return ``bits`` if it is an integer in 1..8; ``name`` is the parameter that the error names.

    Raises:
        TypeError: ``bits`` is no integer. ValueError: it is outside 1..8.
    """
    if not isinstance(bits, int) or isinstance(bits, bool):
        raise TypeError(f"{name} must be an integer, not {bits!r}")
    if not 1 <= bits <= 8:
        raise ValueError(f"{name} must be between 1 and 8, not {bits!r}")
    return bits


def check_weight_range(name: str, weight_range: WeightRange) -> WeightRange:
    """Return ``weight_range`` if it is "full" or "narrow"; ``name`` is the parameter that the error names.

    Raises:
        TypeError: ``weight_range`` is no text. ValueError: it is another text.
    """
    if not isinstance(weight_range, str):
        raise TypeError(f"{name} must be a text, not {weight_range!r}")
    if weight_range not in get_args(WeightRange):
        raise ValueError(f"{name} must be {' or '.join(get_args(WeightRange))}, not {weight_range!r}")
    return weight_range


def layer_weight_range(bits: int, weight_range: WeightRange) -> WeightRange:
    """Range of a layer of ``bits`` in a network of ``weight_range``.

    Layers of up to 3 bits keep the full range in a narrow network: there the most negative code is one in eight or
    fewer, too many to lose.

    >>> [layer_weight_range(bits, "narrow") for bits in (2, 3, 4, 8)]
    ['full', 'full', 'narrow', 'narrow']
    """
    return default_weight_range(bits) if weight_range == "narrow" else "full"


class _RoundWeights(torch.autograd.Function):
    """Codes times step, with a gradient of one inside and outside the clamp; the step is detached."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, codes: Tensor, step: Tensor) -> Tensor:
        return (codes * step).to(weight.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0], None, None


class _RoundActivations(torch.autograd.Function):
    """Nearest multiple of the step in [0, step * high], with no gradient outside that range."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, step: float, high: int) -> Tensor:
        ctx.save_for_backward((value >= 0) & (value <= step * high))
        return torch.round(value.clamp(0, step * high) / step) * step

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (inside,) = ctx.saved_tensors
        return gradients[0] * inside, None, None


class _TruncateImage(torch.autograd.Function):
    """Largest multiple of 2^-bits that is not above the value, with a gradient of one."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, bits: int) -> Tensor:
        return torch.floor(value * 2.0**bits) * 2.0**-bits

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


class WeightQuantizer(nn.Module):
    """Gaussian weight quantiser: codes ``clamp(round(w / s), low, 2^(b-1) - 1)``.

    ``low`` is ``-2^(b-1)``, or one more where the range is narrow: packings without the most negative code are denser.
    The step ``s = WEIGHT_STEPS[b] * std(w)`` uses the unbiased standard deviation of the whole tensor and
    is detached. Codes and step are computed in float64 whatever the dtype of the weights, so a model and
    its float64 copy hold the same codes.

    Parameters:
        bits: width of a weight, 1..8.
        weight_range: "full", or "narrow" for 2 bits or more; the step is the same.

    Raises:
        TypeError, ValueError: ``bits`` is not an integer in 1..8; ``weight_range`` is none, or narrow for 1 bit.
    """

    def __init__(self, bits: int, weight_range: WeightRange = "full") -> None:
        super().__init__()
        self.bits = check_bits("bits", bits)
        self.weight_range = check_weight_range("weight_range", weight_range)
        if self.bits == 1 and self.weight_range == "narrow":
            raise ValueError(f"weight_range must be full for 1 bit, not {weight_range!r}")

    @property
    def format(self) -> IntFormat:
        """Format of the codes: signed, ``bits`` wide, in a narrow range without the most negative code."""
        high = (1 << (self.bits - 1)) - 1
        return IntFormat(self.bits, signed=True, low=-high if self.weight_range == "narrow" else None)

    def clamped(self, weight: Tensor) -> int:
        """How many weights of this tensor have another code than in the full range; none where the range is full."""
        return int((self._nearest(weight, self.step(weight)) < self.format.low).sum()) if self._is_narrow else 0

    def step(self, weight: Tensor) -> Tensor:
        """Step for this tensor: a float64 scalar tensor, detached."""
        return weight.detach().double().std() * WEIGHT_STEPS[self.bits]

    def codes(self, weight: Tensor) -> Tensor:
        """Integer codes of this tensor, as float64 of the same shape, detached."""
        return self._codes(weight, self.step(weight))

    def forward(self, weight: Tensor) -> Tensor:
        """``codes * step`` in the dtype of the weights."""
        step = self.step(weight)
        value: Tensor = _RoundWeights.apply(weight, self._codes(weight, step), step)
        return value

    def extra_repr(self) -> str:
        """Show the width, and a range that is not full, where PyTorch prints the module."""
        return f"bits={self.bits}" + (f", weight_range={self.weight_range}" if self._is_narrow else "")

    @property
    def _is_narrow(self) -> bool:
        return self.weight_range == "narrow"

    def _nearest(self, weight: Tensor, step: Tensor) -> Tensor:
        """Nearest multiples of the step, before the clamp."""
        return torch.round(weight.detach().double() / step)

    def _codes(self, weight: Tensor, step: Tensor) -> Tensor:
        return self._nearest(weight, step).clamp(self.format.low, self.format.high)


class ActivationQuantizer(nn.Module):
    """Half-wave Gaussian activation quantiser: codes ``round(clamp(x, 0, s * (2^b - 1)) / s)``.

    It is unsigned, so it is the network's rectifier too. No gradient passes outside the clamp.

    Parameters:
        bits: width of an activation, 1..8.

    Raises:
        TypeError, ValueError: ``bits`` is not an integer in 1..8.
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = check_bits("bits", bits)

    @property
    def format(self) -> IntFormat:
        """Format of the codes: unsigned, ``bits`` wide."""
        return IntFormat(self.bits, signed=False)

    @property
    def step(self) -> float:
        """The fixed step of this width."""
        return ACTIVATION_STEPS[self.bits]

    def codes(self, value: Tensor) -> Tensor:
        """Integer codes of this tensor, in its own dtype, detached."""
        value = value.detach()
        return torch.round(value.clamp(0, self.step * (2**self.bits - 1)) / self.step)

    def forward(self, value: Tensor) -> Tensor:
        """``codes * step`` in the dtype of the value."""
        rounded: Tensor = _RoundActivations.apply(value, self.step, 2**self.bits - 1)
        return rounded

    def extra_repr(self) -> str:
        """Show the width where PyTorch prints the module."""
        return f"bits={self.bits}"


class ImageQuantizer(nn.Module):
    """Quantiser of a network's input, ``pixel / 256`` of an 8-bit image: codes ``pixel >> (8 - b)``.

    Parameters:
        bits: width of the first layer's activations, 1..8.

    Raises:
        TypeError, ValueError: ``bits`` is not an integer in 1..8.
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = check_bits("bits", bits)

    @property
    def format(self) -> IntFormat:
        """Format of the codes: unsigned, ``bits`` wide."""
        return IntFormat(self.bits, signed=False)

    @property
    def step(self) -> float:
        """The step, ``2**-bits``."""
        return 2.0**-self.bits

    def codes(self, value: Tensor) -> Tensor:
        """Integer codes of ``pixel / 256``, in its own dtype, detached."""
        return torch.floor(value.detach() * 2.0**self.bits)

    def forward(self, value: Tensor) -> Tensor:
        """``codes * step`` in the dtype of the value, which holds ``pixel / 256`` in [0, 1)."""
        truncated: Tensor = _TruncateImage.apply(value, self.bits)
        return truncated

    def extra_repr(self) -> str:
        """Show the width where PyTorch prints the module."""
        return f"bits={self.bits}"
