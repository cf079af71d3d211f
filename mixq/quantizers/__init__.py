"""Quantisers of the training model: of weights, of activations, and of the input image.

Every quantiser maps a real tensor to integer *codes* with a *step*; the value that the training model
computes with is ``codes * step``. There are two kinds, `QuantizerKind`, which differ in how steps are found and in
gradients: "hwgq" has fixed steps for Gaussian values (`mixq.quantizers.hwgq`), "lsq" learns them with the weights
(`mixq.quantizers.lsq`). The image's quantiser is the same for both.

=============  ==============================================  ========================
quantiser      codes for b bits and the step s                 gradient
=============  ==============================================  ========================
weights        clamp(round(w / s), -2^(b-1), 2^(b-1) - 1)      hwgq: 1 everywhere;
                                                               lsq: as of activations
narrow         clamp(round(w / s), -2^(b-1) + 1, 2^(b-1) - 1)  as of weights
activations    round(clamp(x, 0, s * (2^b - 1)) / s)           1 inside the clamp, else 0
image          floor(pixel / 256 * 2^b), i.e. pixel >> (8-b)   1 everywhere
=============  ==============================================  ========================
"""

from __future__ import annotations

from torch import nn

from mixq.packing import WeightRange
from mixq.quantizer_kinds import QUANTIZER_KINDS, QuantizerKind, check_quantizer
from mixq.quantizers.base import (
    ActivationQuantizerBase,
    WeightQuantizerBase,
    check_bits,
    check_weight_range,
    layer_weight_range,
)
from mixq.quantizers.hwgq import ACTIVATION_STEPS, WEIGHT_STEPS, ActivationQuantizer, WeightQuantizer, weight_deviation
from mixq.quantizers.image import PIXEL_BITS, ImageQuantizer
from mixq.quantizers.lsq import LearnedStep, LSQActivationQuantizer, LSQWeightQuantizer

__all__ = [
    "ACTIVATION_STEPS",
    "PIXEL_BITS",
    "QUANTIZER_KINDS",
    "WEIGHT_STEPS",
    "ActivationQuantizer",
    "ActivationQuantizerBase",
    "ImageQuantizer",
    "LSQActivationQuantizer",
    "LSQWeightQuantizer",
    "LearnedStep",
    "QuantizerKind",
    "WeightQuantizer",
    "WeightQuantizerBase",
    "check_bits",
    "check_quantizer",
    "check_weight_range",
    "layer_weight_range",
    "make_activation_quantizer",
    "make_weight_quantizer",
    "parameters_without_decay",
    "weight_deviation",
]


def make_weight_quantizer(kind: QuantizerKind, bits: int, weight_range: WeightRange = "full") -> WeightQuantizerBase:
    """A new quantiser of weights of ``bits``, 1..8 ("lsq": 2..8).

    Raises:
        TypeError, ValueError: no such kind, width or range.
    """
    made = LSQWeightQuantizer if check_quantizer("kind", kind) == "lsq" else WeightQuantizer
    return made(bits, weight_range)


def make_activation_quantizer(kind: QuantizerKind, bits: int) -> ActivationQuantizerBase:
    """A new quantiser of activations of ``bits``, 1..8.

    Raises:
        TypeError, ValueError: no such kind or width.
    """
    made = LSQActivationQuantizer if check_quantizer("kind", kind) == "lsq" else ActivationQuantizer
    return made(bits)


def parameters_without_decay(model: nn.Module) -> tuple[nn.Parameter, ...]:
    """Parameters that weight decay must leave alone, each once: the learned steps. None of a model without such.

    Decay would pull a step towards 0 at a rate that has nothing to do with the values that it is for.
    """
    return tuple(module.step for module in model.modules() if isinstance(module, LearnedStep))
