"""Quantisers of the training model: of weights, of activations, and of the input image.

Every quantiser maps a real tensor to integer *codes* with a *step*; the value that the training model
computes with is ``codes * step``. The kinds, `QuantizerKind`, differ in how steps are found and in
gradients: "hwgq" has fixed steps for Gaussian values (`mixq.quantizers.hwgq`), "lsq" learns them with the weights
(`mixq.quantizers.lsq`). The image's quantiser is the same for both. "dorefa" and "dorefa-pow2", whose weights pass a
tangent first, are those of published checkpoints (`mixq.quantizers.dorefa`); of them the table below is not true.

=============  ==============================================  ========================
quantiser      codes for b bits and the step s                 gradient
=============  ==============================================  ========================
weights        clamp(round(w / s), -2^(b-1), 2^(b-1) - 1)      hwgq: 1 everywhere;
                                                               lsq: as of activations
narrow         clamp(round(w / s), -2^(b-1) + 1, 2^(b-1) - 1)  as of weights
activations    round(clamp(x, 0, s * (2^b - 1)) / s)           1 inside the clamp, else 0
image          floor(pixel / 256 * 2^b), i.e. pixel >> (8-b)   1 everywhere
=============  ==============================================  ========================

The step of weights is one for a layer, or one for each of its output channels (`WeightScale`).
"""

from __future__ import annotations

from torch import nn

from mixq.packing import WeightRange
from mixq.quantizer_kinds import (
    QUANTIZER_KINDS,
    QuantizerKind,
    WeightScale,
    check_quantizer,
    check_weight_scale,
)
from mixq.quantizers.base import (
    ActivationQuantizerBase,
    WeightQuantizerBase,
    check_bits,
    check_weight_range,
    layer_weight_range,
)
from mixq.quantizers.dorefa import DoReFaActivationQuantizer, DoReFaWeightQuantizer
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
    "DoReFaActivationQuantizer",
    "DoReFaWeightQuantizer",
    "ImageQuantizer",
    "LSQActivationQuantizer",
    "LSQWeightQuantizer",
    "LearnedStep",
    "QuantizerKind",
    "WeightQuantizer",
    "WeightQuantizerBase",
    "WeightScale",
    "check_bits",
    "check_quantizer",
    "check_weight_range",
    "check_weight_scale",
    "layer_weight_range",
    "make_activation_quantizer",
    "make_image_quantizer",
    "make_weight_quantizer",
    "parameters_without_decay",
    "weight_deviation",
]


def make_weight_quantizer(
    kind: QuantizerKind, bits: int, weight_range: WeightRange = "full", *, channels: int | None = None
) -> WeightQuantizerBase:
    """A new quantiser of weights of ``bits``, 2..8 ("hwgq": 1..8).

    channels: output channels, where each has a step of its own ("hwgq" and "lsq"); None for one step.

    Raises:
        TypeError, ValueError: no such kind, width or range; steps of channels for "dorefa".
    """
    check_weight_scale("weight_scale", "tensor" if channels is None else "channel", check_quantizer("kind", kind))
    if kind in ("dorefa", "dorefa-pow2"):
        return DoReFaWeightQuantizer(bits, weight_range, power_of_two=kind == "dorefa-pow2")
    return (LSQWeightQuantizer if kind == "lsq" else WeightQuantizer)(bits, weight_range, channels)


def make_activation_quantizer(kind: QuantizerKind, bits: int, *, signed: bool = False) -> ActivationQuantizerBase:
    """A new quantiser of activations of ``bits``, 1..8; signed ones, 2..8, are of "hwgq" and "lsq" alone.

    Raises:
        TypeError, ValueError: no such kind or width.
    """
    if check_quantizer("kind", kind) in ("dorefa", "dorefa-pow2"):
        if signed:
            raise ValueError(f"signed must be False for {kind}, not {signed!r}")
        return DoReFaActivationQuantizer(bits, power_of_two=kind == "dorefa-pow2")
    return (LSQActivationQuantizer if kind == "lsq" else ActivationQuantizer)(bits, signed)


def make_image_quantizer(kind: QuantizerKind, bits: int) -> ImageQuantizer:
    """A new quantiser of images to ``bits``, 1..8. White is 1.0 in networks of "dorefa", 255 / 256 in others.

    Raises:
        TypeError, ValueError: no such kind or width.
    """
    return ImageQuantizer(bits, white=255 if check_quantizer("kind", kind) == "dorefa" else 256)


def parameters_without_decay(model: nn.Module) -> tuple[nn.Parameter, ...]:
    """Parameters that weight decay must leave alone, each once: the learned steps. None of a model without such.

    Decay would pull a step towards 0 at a rate that has nothing to do with the values that it is for.
    """
    return tuple(module.step for module in model.modules() if isinstance(module, LearnedStep))
