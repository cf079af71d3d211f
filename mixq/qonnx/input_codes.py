"""Which integers the input of a QONNX file stands for; MixQ's own files say so in the model's metadata."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import onnx

from mixq.errors import UserError
from mixq.formats import IntFormat
from mixq.graph.tensor import Tensor

INPUT_KEY = "mixq_input"


def note_input(model: onnx.ModelProto, source: Tensor) -> None:
    """Note in a model's metadata the format and scale (1 where there is none) of the codes of its input."""
    format = source.format
    facts = {"width": format.width, "signed": format.signed, "low": format.low, "high": format.high}
    entry = model.metadata_props.add()
    entry.key, entry.value = INPUT_KEY, json.dumps({**facts, "scale": 1.0 if source.scale is None else source.scale})


def noted_input(model: onnx.ModelProto, channels: int, path: object) -> tuple[IntFormat, tuple[Fraction, ...]] | None:
    """Return format and scale by channel of the input's codes; None where the model notes none.

    UserError, naming the file, for a note that is damaged.
    """
    for entry in model.metadata_props:
        if entry.key == INPUT_KEY:
            try:
                return _parsed(json.loads(entry.value), channels)
            except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
                raise UserError(f"{path}: metadata {INPUT_KEY} is damaged ({error}); export the file again") from error
    return None


def _parsed(note: dict[str, Any], channels: int) -> tuple[IntFormat, tuple[Fraction, ...]]:
    format = IntFormat(note["width"], note["signed"], note["low"], note["high"])
    scales = note["scale"] if isinstance(note["scale"], list) else [note["scale"]] * channels
    # A tensor knows which scales are none.
    checked = Tensor("x", (channels, 1, 1), format, tuple(scales)).channel_scales
    assert checked is not None
    return format, tuple(Fraction(scale) for scale in checked)
