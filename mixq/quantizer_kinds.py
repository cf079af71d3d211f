"""Names of the ways to quantise that a network can be built with; this module does without PyTorch."""

from __future__ import annotations

from typing import Literal, get_args

QuantizerKind = Literal["hwgq", "lsq", "dorefa", "dorefa-pow2"]
"""How steps are found: "hwgq", fixed for Gaussian values; "lsq", learned with the weights; "dorefa" and "dorefa-pow2",
fixed for values in -1..1, as published checkpoints have them."""

WeightScale = Literal["tensor", "channel"]
"""Whether the weights of a layer have one step, or those of each output channel their own."""

SEARCHED_KINDS: tuple[QuantizerKind, ...] = ("hwgq", "lsq")
"""Those of which a search knows mixtures of widths."""

QUANTIZER_KINDS: tuple[QuantizerKind, ...] = get_args(QuantizerKind)

KNOWN = f"{', '.join(QUANTIZER_KINDS[:-1])} or {QUANTIZER_KINDS[-1]}"
"""Their names in a message."""


def check_weight_scale(name: str, weight_scale: WeightScale, kind: QuantizerKind) -> WeightScale:
    """Return ``weight_scale`` if quantisers of ``kind`` know it; ``name`` is the parameter that the error names.

    Raises:
        TypeError: ``weight_scale`` is no text. ValueError: it is another text, or "channel" for DoReFa.
    """
    if not isinstance(weight_scale, str):
        raise TypeError(f"{name} must be a text, not {weight_scale!r}")
    if weight_scale not in get_args(WeightScale):
        raise ValueError(f"{name} must be tensor or channel, not {weight_scale!r}")
    if weight_scale == "channel" and kind in ("dorefa", "dorefa-pow2"):
        raise ValueError(f"{name} must be tensor for {kind}, whose steps the width fixes, not {weight_scale!r}")
    return weight_scale


def check_quantizer(name: str, kind: QuantizerKind) -> QuantizerKind:
    """Return ``kind`` if it is one of `QUANTIZER_KINDS`; ``name`` is the parameter that the error names.

    Raises:
        TypeError: ``kind`` is no text. ValueError: it is another text.
    """
    if not isinstance(kind, str):
        raise TypeError(f"{name} must be a text, not {kind!r}")
    if kind not in QUANTIZER_KINDS:
        raise ValueError(f"{name} must be {KNOWN}, not {kind!r}")
    return kind
