"""What a quantiser reads, as an expression over integers.

A training model computes real values between one quantiser and the next. Here each is written as what it is of the
integers that layers and quantisers give: a weighted sum for each channel (batch norm, biases, steps, averages, sums of
branches), perhaps behind a rectifier, perhaps moved about by max-pooling, concatenation, space-to-depth or upsampling.

    codes   integers of a quantiser or the image, or what pooling, concatenation ... make of such: real = code * step
    Terms   f(sum over terms of scale_t[c] * (product of steps_t) * x_t + shift[c]), x_t integers of a layer
    Moved   an operation that only moves values, or takes the maximum of some, of other expressions

Quantisers and rectifiers never decrease, so they may be applied before or after whatever moves values or takes maxima:
that is how the integer graph may requantise first and move codes, which are narrower.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import nn

from mixq.errors import UserError
from mixq.folding import Affine, FloatArray
from mixq.layers import activation_step, norm_affine, norm_magnitude, output_affine, quantised_weights
from mixq.tracing import INPUT, Step, TracedModel

Sizes = Mapping[str, tuple[int, ...]]
Scale = float | FloatArray
"""Of codes: one number, or one for each channel (C,)."""


@dataclass(frozen=True)
class Rectifier:
    """``min(x if x >= 0 else slope * x, most)``. relu: slope 0."""

    slope: float = 1.0
    most: float = np.inf


@dataclass(frozen=True)
class Window:
    """Rows and columns that the step ``path`` takes the mean over. flat: whether it drops them from the shape."""

    path: str
    rows: int
    columns: int
    flat: bool = False


@dataclass(frozen=True, eq=False)
class Term:
    """Integers of a layer, ``source``, with what their real value is multiplied by.

    window: over which they are summed first, None for none. scale: (C,). steps: of weights, of
    activations, one over the window's size; kept apart, as products of floats depend on their order. bits: how much
    precision the integers ask for, the widths of weights and activations.
    """

    source: str
    scale: FloatArray
    steps: tuple[Scale, ...]
    bits: int
    window: Window | None = None


@dataclass(frozen=True, eq=False)
class Terms:
    """A sum of terms, ``shift`` (C,) and a rectifier; ``path``: the step that it is the value of, for messages.

    magnitude: (C,) sum of the absolute values of what makes up the shift. bare: whether it is a weighted layer's output
    as it is: nothing but its own bias was added.
    """

    path: str
    terms: tuple[Term, ...]
    shift: FloatArray
    magnitude: FloatArray
    rectifier: Rectifier = Rectifier()
    bare: bool = False


@dataclass(frozen=True, eq=False)
class Moved:
    """Values of ``parts`` moved, or maxima of them: the step's kind says how."""

    step: Step
    parts: tuple[Real, ...]

    @property
    def path(self) -> str:
        """The step's."""
        return self.step.path


@dataclass(frozen=True, eq=False)
class Codes:
    """Integers as they are: of the step ``path``. step: of a code. bits, signed: of the codes' format."""

    path: str
    step: Scale
    bits: int
    signed: bool
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)


Real = Terms | Moved
Value = Codes | Real


@dataclass(frozen=True, kw_only=True)
class Expressions:
    """The values of a traced model's steps by path, and what each quantiser reads, in the order of the data."""

    traced: TracedModel
    values: dict[str, Value]
    quantised: dict[str, Real] = field(default_factory=dict)

    def codes(self, path: str) -> Codes:
        """The codes that a step gives; TypeError where it gives none."""
        value = self.values[path]
        if not isinstance(value, Codes):
            raise TypeError(f"{path} must give codes, not {value!r}")
        return value


def expressions(traced: TracedModel, sizes: Sizes | None = None) -> Expressions:
    """Follow the values through a model.

    sizes: shapes (C, H, W) of the steps' outputs for an image, where they are known; means over the image need them.

    Raises:
        UserError: a step that cannot read what it reads; the line says which, and what to do.
    """
    found = Expressions(traced=traced, values={})
    flat: set[str] = set()
    for step in traced.steps:
        inputs = [found.values.get(source) for source in step.reads]
        _check_shapes(traced, step, flat)
        if step.kind == "image":
            if step.reads != (INPUT,):
                raise _wrong(traced, step, "only the model's input is an image")
            module: Any = step.module
            found.values[step.path] = Codes(step.path, module.step, module.bits, False)
            continue
        if any(value is None for value in inputs):
            raise UserError(
                f"{traced.label(step.path)} cannot follow the input: the first layer must be an ImageQuantizer"
            )
        own = [value for value in inputs if value is not None]
        found.values[step.path] = _RULES[step.kind](found, step, own, sizes)
        if step.kind == "quantizer":
            found.quantised[step.path] = as_real(own[0])
    _check_output(found)
    return found


def as_real(value: Value) -> Real:
    """The real values of codes; other values as they are."""
    if not isinstance(value, Codes):
        return value
    # The channels are not known: arrays of one number stand for all.
    one, zero = np.ones(1), np.zeros(1)
    return Terms(value.path, (Term(value.path, one, (value.step,), value.bits),), zero, zero)


def _weighted(found: Expressions, step: Step, inputs: Sequence[Value], sizes: Sizes | None) -> Value:
    codes = inputs[0]
    if not isinstance(codes, Codes):
        raise _wrong(found.traced, step, f"{_behind(found, step)} comes an activation quantiser")
    if isinstance(codes.step, np.ndarray):
        raise _wrong(found.traced, step, "its inputs must be of one step; put a quantiser behind the concatenation")
    layer: Any = step.module
    _, weight_step = quantised_weights(layer, step.path)
    affine = output_affine(layer)
    bits = layer.weight_quantizer.bits + codes.bits
    term = Term(step.path, affine.scale, (weight_step, codes.step), bits)
    return Terms(step.path, (term,), affine.shift, np.abs(affine.shift), bare=True)


def _quantizer(found: Expressions, step: Step, inputs: Sequence[Value], sizes: Sizes | None) -> Value:
    module: Any = step.module
    _check_padding(found, step, inputs)
    return Codes(step.path, activation_step(module, step.path), module.bits, module.format.signed)


def _norm(found: Expressions, step: Step, inputs: Sequence[Value], sizes: Sizes | None) -> Value:
    return _normed(found, step, as_real(inputs[0]))


def _normed(found: Expressions, step: Step, value: Real) -> Real:
    """An expression behind batch norm."""
    if isinstance(value, Moved):
        if value.step.kind in ("upsample", "flatten"):
            return replace(value, parts=tuple(_normed(found, step, part) for part in value.parts))
        raise _wrong(found.traced, step, f"{_behind(found, step)} comes an activation quantiser")
    if value.rectifier != Rectifier():
        raise _wrong(found.traced, step, "batch norm comes before the rectifier; put a quantiser between")
    norm: Any = step.module
    affine = norm_affine(Affine(scale=np.ones_like(value.shift), shift=value.shift), norm)
    terms = tuple(replace(term, scale=term.scale * affine.scale) for term in value.terms)
    magnitude = norm_magnitude(value.magnitude, norm)
    return replace(value, path=step.path, terms=terms, shift=affine.shift, magnitude=magnitude, bare=False)


def _pointwise(found: Expressions, step: Step, inputs: Sequence[Value], sizes: Sizes | None) -> Value:
    module: Any = step.module
    if isinstance(module, nn.LeakyReLU):
        if module.negative_slope < 0:
            raise _wrong(found.traced, step, "its slope must not be negative")
        rectifier = Rectifier(float(module.negative_slope))
    else:
        rectifier = Rectifier(0.0, 6.0 if isinstance(module, nn.ReLU6) else np.inf)
    return _rectified(found, step, as_real(inputs[0]), rectifier)


def _rectified(found: Expressions, step: Step, value: Real, rectifier: Rectifier) -> Real:
    if isinstance(value, Moved):
        return replace(value, parts=tuple(_rectified(found, step, part, rectifier) for part in value.parts))
    own = value.rectifier
    both = Rectifier(own.slope * rectifier.slope, min(own.most, rectifier.most))
    return replace(value, path=step.path, rectifier=both, bare=False)


def _average(found: Expressions, step: Step, inputs: Sequence[Value], sizes: Sizes | None) -> Value:
    _check_padding(found, step, inputs)
    return _averaged(found, step, as_real(inputs[0]), _window(found, step, sizes))


def _averaged(found: Expressions, step: Step, value: Real, window: Window) -> Real:
    if isinstance(value, Moved):
        if value.step.kind == "concat":
            return replace(value, parts=tuple(_averaged(found, step, part, window) for part in value.parts))
        raise _wrong(found.traced, step, f"{_behind(found, step)} comes an activation quantiser")
    if value.rectifier != Rectifier() or any(term.window is not None for term in value.terms):
        raise _wrong(found.traced, step, "put an activation quantiser before it: rounding comes before the mean")
    count = window.rows * window.columns
    terms = tuple(
        replace(term, window=window, steps=(*term.steps, 1 / count), bits=term.bits + (count - 1).bit_length())
        for term in value.terms
    )
    return replace(value, path=step.path, terms=terms, bare=False)


def _window(found: Expressions, step: Step, sizes: Sizes | None) -> Window:
    module: Any = step.module
    if isinstance(module, nn.AvgPool2d):
        size: Any = module.kernel_size
        return Window(step.path, size, size) if isinstance(size, int) else Window(step.path, int(size[0]), int(size[1]))
    if sizes is None:
        label = found.traced.label(step.path)
        raise UserError(f"{label} needs the shape of an image: give it, or the model an attribute input_shape")
    shape = sizes[step.reads[0]]
    return Window(step.path, int(shape[-2]), int(shape[-1]), _drops_pixels(step))


def _drops_pixels(step: Step) -> bool:
    """Whether a step takes the mean over the image and leaves (N, C) of (N, C, H, W)."""
    kept = (nn.AvgPool2d, nn.AdaptiveAvgPool2d)
    return step.kind == "average_pool" and type(step.module) not in kept


def _sum(found: Expressions, step: Step, inputs: Sequence[Value], sizes: Sizes | None) -> Value:
    _check_padding(found, step, inputs)
    parts = [as_real(value) for value in inputs]
    for source, part in zip(step.reads, parts, strict=True):
        if isinstance(part, Moved) or part.rectifier != Rectifier():
            raise _wrong(found.traced, step, f"put an activation quantiser between it and {found.traced.label(source)}")
    own = [part for part in parts if isinstance(part, Terms)]
    terms = tuple(term for part in own for term in part.terms)
    shift, magnitude = np.zeros(1), np.zeros(1)
    for part in own:
        shift, magnitude = shift + part.shift, magnitude + part.magnitude
    return Terms(step.path, terms, shift, magnitude)


def _concat(found: Expressions, step: Step, inputs: Sequence[Value], sizes: Sizes | None) -> Value:
    _check_padding(found, step, inputs)
    codes = [value for value in inputs if isinstance(value, Codes)]
    formats = {(value.bits, value.signed) for value in codes}
    equal = all(not isinstance(value.step, np.ndarray) and value.step == codes[0].step for value in codes)
    if len(codes) == len(inputs) and len(formats) == 1 and equal:
        return replace(codes[0], path=step.path)
    return Moved(step, tuple(as_real(value) for value in inputs))


def _moved(found: Expressions, step: Step, inputs: Sequence[Value], sizes: Sizes | None) -> Value:
    value = inputs[0]
    if isinstance(value, Codes):
        if step.kind == "flatten":
            return value
        _check_padding(found, step, inputs)
        return replace(value, path=step.path)
    return Moved(step, (value,))


def _padded(found: Expressions, step: Step, inputs: Sequence[Value], sizes: Sizes | None) -> Value:
    value = inputs[0]
    if not isinstance(value, Codes):
        raise _wrong(found.traced, step, "put it behind the quantiser, before the convolution")
    module: Any = step.module
    left, right, top, bottom = module.padding
    sides = tuple(a + b for a, b in zip(value.padding, (top, left, bottom, right), strict=True))
    return replace(value, padding=(sides[0], sides[1], sides[2], sides[3]))


_RULES: Any = {
    "weighted": _weighted,
    "quantizer": _quantizer,
    "norm": _norm,
    "pointwise": _pointwise,
    "average_pool": _average,
    "add": _sum,
    "concat": _concat,
    "pad": _padded,
    **dict.fromkeys(("max_pool", "flatten", "space_to_depth", "upsample"), _moved),
}


def _check_padding(found: Expressions, step: Step, inputs: Sequence[Value]) -> None:
    if any(isinstance(value, Codes) and any(value.padding) for value in inputs):
        raise _wrong(found.traced, step, "zeros are padded before a convolution only")


def _check_shapes(traced: TracedModel, step: Step, flat: set[str]) -> None:
    """Keep images and flattened values apart."""
    was_flat = any(source in flat for source in step.reads)
    label = traced.label(step.path)
    dense = step.kind == "weighted" and isinstance(step.module, nn.Linear)
    if dense and not was_flat:
        raise UserError(f"{label} reads an image; put an nn.Flatten before it")
    images = ("max_pool", "average_pool", "space_to_depth", "upsample", "pad")
    if was_flat and (step.kind in images or (step.kind == "weighted" and not dense)):
        raise UserError(f"{label} reads flattened values; move the flatten")
    if was_flat or dense or step.kind == "flatten" or _drops_pixels(step):
        flat.add(step.path)


def _check_output(found: Expressions) -> None:
    path = found.traced.output
    value = found.values.get(path)
    plain = isinstance(value, Codes) and value.path != found.traced.steps[0].path and not any(value.padding)
    if plain or (isinstance(value, Terms) and value.bare):
        return
    raise UserError(
        f"the model ends with {found.traced.label(path)}; its output must be that of a convolution or dense layer, "
        "with neither batch norm nor pooling behind it, or codes: put an activation quantiser there"
    )


def _wrong(traced: TracedModel, step: Step, advice: str) -> UserError:
    read = ", ".join(traced.label(source) for source in step.reads)
    return UserError(f"{traced.label(step.path)} cannot follow {read}: {advice}")


def _behind(found: Expressions, step: Step) -> str:
    """What stands before a step, in words, to say what comes behind it."""
    kind = found.traced.step(step.reads[0]).kind
    words = {
        "weighted": "a convolution or dense layer",
        "norm": "batch norm",
        "pointwise": "a rectifier",
        "add": "an addition",
        "concat": "a concatenation",
    }
    return f"behind {words.get(kind, 'pooling or moving of unquantised values')}"
