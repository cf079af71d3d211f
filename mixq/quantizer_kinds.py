"""Names of the ways to quantise that a network can be built with; this module does without PyTorch."""

from __future__ import annotations

from typing import Literal, get_args

QuantizerKind = Literal["hwgq", "lsq"]
"""How steps are found: "hwgq", fixed for Gaussian values; "lsq", learned with the weights."""

QUANTIZER_KINDS: tuple[QuantizerKind, ...] = get_args(QuantizerKind)


def check_quantizer(name: str, kind: QuantizerKind) -> QuantizerKind:
    """Return ``kind`` if it is one of `QUANTIZER_KINDS`; ``name`` is the parameter that the error names.

    Raises:
        TypeError: ``kind`` is no text. ValueError: it is another text.
    """
    if not isinstance(kind, str):
        raise TypeError(f"{name} must be a text, not {kind!r}")
    if kind not in QUANTIZER_KINDS:
        raise ValueError(f"{name} must be {' or '.join(QUANTIZER_KINDS)}, not {kind!r}")
    return kind
