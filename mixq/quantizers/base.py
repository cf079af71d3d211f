"""What the quantisers of all kinds have in common: widths, ranges, formats, and how codes follow from a step."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor, nn

from mixq.formats import IntFormat
from mixq.packing import WeightRange, default_weight_range


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


def widened(value: Tensor) -> Tensor:
    """The tensor itself, or as float32 where its dtype has fewer bits, in which codes would not be exact."""
    return value.float() if value.dtype in (torch.bfloat16, torch.float16) else value


def weight_multiples(weight: Tensor, step: Tensor) -> Tensor:
    """``weight / step``, rounded to the nearest integers, ties to even: float64, a new tensor.

    ``step``: a scalar, or (C,) for the output channels, the first axis of the weights.
    """
    # The conversion may return the weights themselves; the quotient is new, so what follows may overwrite it.
    return (weight.detach().double() / along_channels(step, weight)).round_()


def along_channels(step: Tensor, weight: Tensor) -> Tensor:
    """A step beside weights (C, ...): (C, 1, ...) of (C,); a scalar as it is."""
    return step if step.ndim == 0 else step.reshape(-1, *(1,) * (weight.ndim - 1))


class WeightQuantizerBase(nn.Module):
    """A quantiser of weights: codes ``clamp(round(w / s), low, 2^(b-1) - 1)``, real values ``codes * s``.

    ``low`` is ``-2^(b-1)``, or one more where the range is narrow: packings without the most negative code are denser.
    Codes and step are computed in float64 whatever the dtype of the weights, so a model and its float64 copy hold
    the same codes.

    Parameters:
        bits: width of a weight, 1..8.
        weight_range: "full", or "narrow" for 2 bits or more; the step is the same.
        channels: output channels C, where each has a step of its own; None for one step.

    Raises:
        TypeError, ValueError: ``bits`` is not an integer in 1..8; ``weight_range`` is none, or narrow for 1 bit.
    """

    def __init__(self, bits: int, weight_range: WeightRange = "full", channels: int | None = None) -> None:
        super().__init__()
        self.channels = channels
        self.bits = check_bits("bits", bits)
        self.weight_range = check_weight_range("weight_range", weight_range)
        if self.bits == 1 and self.weight_range == "narrow":
            raise ValueError(f"weight_range must be full for 1 bit, not {weight_range!r}")

    @property
    def format(self) -> IntFormat:
        """Format of the codes: signed, ``bits`` wide, in a narrow range without the most negative code."""
        high = (1 << (self.bits - 1)) - 1
        return IntFormat(self.bits, signed=True, low=-high if self._is_narrow else None)

    def step(self, weight: Tensor) -> Tensor:
        """Step for this tensor: a float64 scalar tensor, or (C,) for channels, detached."""
        raise NotImplementedError

    def problem(self, weight: Tensor) -> str:
        """What keeps this tensor from having codes and a step, for an error's line; "" where nothing does."""
        raise NotImplementedError

    def codes(self, weight: Tensor) -> Tensor:
        """Integer codes of this tensor, as float64 of the same shape, detached."""
        return weight_multiples(weight, self.step(weight)).clamp_(self.format.low, self.format.high)

    def clamped(self, weight: Tensor) -> int:
        """How many weights of this tensor have another code than in the full range; none where the range is full."""
        if not self._is_narrow:
            return 0
        return int((weight_multiples(weight, self.step(weight)) < self.format.low).sum())

    def extra_repr(self) -> str:
        """Show the width, and a range that is not full, where PyTorch prints the module."""
        channels = "" if self.channels is None else f", channels={self.channels}"
        return f"bits={self.bits}" + (f", weight_range={self.weight_range}" if self._is_narrow else "") + channels

    @property
    def _is_narrow(self) -> bool:
        return self.weight_range == "narrow"


class ActivationQuantizerBase(nn.Module):
    """A quantiser of activations: codes ``round(clamp(x, low * s, high * s) / s)``, real values ``codes * s``.

    Unsigned ones, of codes 0 to 2^b - 1, are the network's rectifiers too. Signed ones have the codes -2^(b-1) to
    2^(b-1) - 1.

    Parameters:
        bits: width of an activation, 1..8, signed 2..8.
        signed: whether there are negative codes.

    Raises:
        TypeError, ValueError: ``bits`` is not an integer in that range.
    """

    def __init__(self, bits: int, signed: bool = False) -> None:
        super().__init__()
        self.bits = check_bits("bits", bits)
        if signed and bits < 2:
            raise ValueError(f"bits must be between 2 and 8 for signed activations, not {bits!r}")
        self.signed = signed

    @property
    def format(self) -> IntFormat:
        """Format of the codes, ``bits`` wide."""
        return IntFormat(self.bits, signed=self.signed)

    @property
    def step(self) -> float:
        """The step that the codes have now."""
        raise NotImplementedError

    def problem(self) -> str:
        """What keeps this quantiser from having a step, for an error's line; "" where nothing does."""
        raise NotImplementedError

    def codes(self, value: Tensor) -> Tensor:
        """Integer codes of this tensor, in its own dtype, detached; float32 for 16-bit ones."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        """Show the width where PyTorch prints the module, and the sign."""
        return f"bits={self.bits}" + (", signed=True" if self.signed else "")
