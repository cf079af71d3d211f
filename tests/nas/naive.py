"""Mixtures written out term by term, for autograd to differentiate, from the published formulas and steps alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# The published steps for 2 to 8 bits, copied from the published description by hand.
WEIGHT_STEP = dict(zip(range(2, 9), [0.996, 0.586, 0.336, 0.190, 0.106, 0.059, 0.032], strict=True))
ACTIVATION_STEP = dict(zip(range(2, 9), [0.538, 0.3217, 0.185, 0.104, 0.058, 0.033, 0.019], strict=True))


def straight_through(value: Tensor, quantised: Tensor) -> Tensor:
    """The quantised tensor, with the gradient of ``value``."""
    return value + (quantised - value).detach()


def weights(weight: Tensor, bits: int, *, narrow: bool) -> Tensor:
    step = WEIGHT_STEP[bits] * weight.detach().double().std()
    low = -(2 ** (bits - 1)) + (1 if narrow and bits >= 4 else 0)
    codes = torch.round(weight.detach().double() / step).clamp(low, 2 ** (bits - 1) - 1)
    return straight_through(weight, (codes * step).to(weight.dtype))


def activations(value: Tensor, bits: int) -> Tensor:
    step = ACTIVATION_STEP[bits]
    clamped = value.clamp(0, step * (2**bits - 1))
    return straight_through(clamped, torch.round(clamped / step) * step)


def image(value: Tensor, bits: int) -> Tensor:
    return straight_through(value, torch.floor(value * 2**bits) / 2**bits)


def mixture(terms: Sequence[Tensor], probabilities: Tensor) -> Tensor:
    total = torch.zeros_like(terms[0])
    for term, probability in zip(terms, probabilities, strict=True):
        total = total + probability * term
    return total
