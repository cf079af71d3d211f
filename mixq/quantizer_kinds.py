"""Names of the ways to quantise that a network can be built with; this module does without PyTorch."""

from __future__ import annotations

from typing import Literal, get_args

QuantizerKind = Literal["hwgq", "lsq", "dorefa", "dorefa-pow2"]
"""How steps are found: "hwgq", fixed for Gaussian values; "lsq", learned with the weights; "dorefa" and "dorefa-pow2",
fixed for values in -1..1, as published checkpoints have them."""

SEARCHED_KINDS: tuple[QuantizerKind, ...] = ("hwgq", "lsq")
"""Those of which a search knows mixtures of widths."""

QUANTIZER_KINDS: tuple[QuantizerKind, ...] = get_args(QuantizerKind)

KNOWN = f"{', '.join(QUANTIZER_KINDS[:-1])} or {QUANTIZER_KINDS[-1]}"
"""Their names in a message."""


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
