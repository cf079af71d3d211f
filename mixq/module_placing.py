"""Places quantisers between the layers of a float module; `mixq.quantise_module` says where.

`mixq.expressions` knows what a quantiser may read. Here each value of the float module is described just so far as that
asks for, and a quantiser is put in where a layer could not read the value as it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from mixq.float_layers import as_image, convolution_padding
from mixq.float_tracing import UNKNOWN, FloatStep, FloatTrace
from mixq.layers import QuantConv2d, QuantLinear
from mixq.module_values import IMAGE_STEP, JOIN_BITS, NO_RECTIFIER, Order, Placed, PlacedStep, Settings, Value
from mixq.network_table import Shape
from mixq.quantizers import (
    layer_weight_range,
    make_activation_quantizer,
    make_image_quantizer,
)
from mixq.tracing import INPUT


def placed(trace: FloatTrace, settings: Settings) -> Placed:
    """The steps of the training model of a float module. Weights are copied; steps of kind "unknown" do nothing."""
    placing = _Placing(trace, settings)
    for step in trace.steps:
        placing.step(step)
    output = placing.output()
    return Placed(steps=tuple(placing.steps), output=output, problems=tuple(placing.problems))


@dataclass
class _Placing:
    trace: FloatTrace
    settings: Settings
    steps: list[PlacedStep] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)
    inputs: dict[str, Value] = field(default_factory=dict)
    joined: dict[str, Value] = field(default_factory=dict)
    _kept: set[str] = field(init=False)
    _taken: set[str] = field(init=False)

    def __post_init__(self) -> None:
        paths = [step.path for step in self.trace.steps]
        containers = {path[:end] for path in paths for end, sign in enumerate(path) if sign == "."}
        self._kept = {step.path for step in self.trace.steps if step.kind in ("weighted", "norm")}
        self._taken = {*dir(nn.Module()), *_ATTRIBUTES, *containers, *self._kept}
        self._weighted = [step for step in self.trace.steps if step.kind == "weighted"]
        first = next((step for step in self._weighted if self._behind_image(step)), None)
        self._image_bits = 8 if first is None else self.settings.act_bits[first.path]
        module = make_image_quantizer(self.settings.quantizer, self._image_bits)
        path = self._append(IMAGE_STEP, module, (INPUT,))
        self.values[INPUT] = Value(path=path, shape=self.settings.image_shape, codes=True, positive=True)

    def step(self, step: FloatStep) -> None:
        """The steps of a layer, with the quantisers in front of it."""
        inputs = [self.values[source] for source in step.reads]
        padded = [value for value in inputs if value.padding is not None]
        if padded and step.kind not in ("weighted", UNKNOWN):
            self._refuse(step, "it reads padded values", "zeros are padded before an nn.Conv2d only")
        rules: Any = {
            "weighted": self._layer,
            "norm": self._norm,
            "pointwise": self._rectifier,
            "average_pool": self._average,
            "add": self._add,
            "concat": self._concat,
            "flatten": self._flatten,
            "pad": self._pad,
            "pixel_unshuffle": self._unshuffle,
            "space_to_depth": self._unshuffle,
            UNKNOWN: self._unknown,
        }
        self.values[step.path] = rules.get(step.kind, self._move)(step, inputs)

    def output(self) -> str:
        """The path of the output, behind a quantiser where it is no weighted layer's own."""
        name = self.trace.output
        if name == INPUT:
            self.problems.append("the output: it is the image, return that of a layer")
            return self.values[INPUT].path
        *_, last = (step for step in self.trace.steps if step.path == name)
        value, readers = self.values[name], self._readers(name)
        if last.kind == "flatten":  # nobody needs it: outputs are flattened by what reads them
            before = self.values[last.reads[0]]
            if before.bare and len(self._readers(last.reads[0])) == 1:
                self.steps = [step for step in self.steps if step.path != value.path]
                value = before
        if value.order is not None:
            self._refuse(last, "its channels are in the order of nn.PixelUnshuffle", "put an nn.Conv2d behind it")
        if value.bare and not readers:
            return value.path
        return self._quantised(value, f"{name}_out", JOIN_BITS, self._label(last)).path

    # One rule for each kind of layer.

    def _layer(self, step: FloatStep, inputs: list[Value]) -> Value:
        value = self._input(step)
        layer: Any = step.module
        settings, bits = self.settings, self.settings.weight_bits[step.path]
        options: dict[str, Any] = {
            "weight_bits": bits,
            "bias": layer.bias is not None,
            "weight_range": layer_weight_range(bits, settings.weight_range),
            "quantizer": settings.quantizer,
            "weight_scale": settings.weight_scale,
        }
        groups = 1
        made: QuantConv2d | QuantLinear
        if isinstance(layer, nn.Linear):
            made = QuantLinear(layer.in_features, layer.out_features, **options)
        else:
            groups = layer.groups
            made = QuantConv2d(
                layer.in_channels,
                layer.out_channels,
                kernel=layer.kernel_size[0],
                stride=layer.stride[0],
                padding=convolution_padding(layer),
                groups=groups,
                dilation=layer.dilation[0],
                **options,
            )
        order = self._ordered(step, made, value.order, groups)
        path = self._append(step.path, made, (value.path,))
        return Value(path=path, shape=as_image(step.shape), bare=True, flat=len(step.shape) == 1, order=order)

    def _ordered(
        self, step: FloatStep, made: QuantConv2d | QuantLinear, order: Order | None, groups: int
    ) -> Order | None:
        """Copy the weights, inputs in the order of the value that is read; the order of the output."""
        layer: Any = step.module
        weight = layer.weight.detach()
        bias = None if layer.bias is None else layer.bias.detach()
        out = None
        if order is not None and groups == 1:
            weight = weight[:, list(order)]
        elif order is not None and groups == len(order):
            each = weight.shape[0] // groups
            out = tuple(channel * each + place for channel in order for place in range(each))
            weight = weight[list(out)]
            bias = None if bias is None else bias[list(out)]
        elif order is not None:
            self._refuse(step, "it reads groups of channels of nn.PixelUnshuffle", "use groups=1")
        with torch.no_grad():
            made.weight.copy_(weight)
            if bias is not None and made.bias is not None:
                made.bias.copy_(bias)
        return out

    def _norm(self, step: FloatStep, inputs: list[Value]) -> Value:
        (value,) = inputs
        one_pixel = value.shape[1:] == (1, 1)
        if value.flat and not one_pixel:
            self._refuse(step, "it reads flattened images", "put an nn.BatchNorm2d before the nn.Flatten")
        moved = value.moved - {"upsample"} - ({"flatten"} if one_pixel else set())
        if not value.codes and (moved or value.rectifiers != NO_RECTIFIER):
            value = self._join(step.reads[0], f"{step.path}_in", step)
        given: Any = step.module
        made = type(given)(given.num_features, eps=given.eps, momentum=given.momentum, affine=given.affine)
        state = given.state_dict()
        if value.order is not None:
            state = {name: own[list(value.order)] if own.ndim else own for name, own in state.items()}
        made.load_state_dict(state)
        path = self._append(step.path, made, (value.path,))
        return replace(value, path=path, codes=False, bare=False, positive=False, rectifiers=NO_RECTIFIER)

    def _rectifier(self, step: FloatStep, inputs: list[Value]) -> Value:
        (value,) = inputs
        module: Any = step.module
        slope = float(module.negative_slope) if isinstance(module, nn.LeakyReLU) else 0.0
        most = 6.0 if isinstance(module, nn.ReLU6) else math.inf
        both = frozenset((own * slope, min(top, most)) for own, top in value.rectifiers)
        made = nn.LeakyReLU(slope) if slope else nn.ReLU() if math.isinf(most) else nn.ReLU6()
        path = self._append(step.path, made, (value.path,))
        positive = value.positive or slope == 0
        return replace(value, path=path, codes=False, bare=False, rectifiers=both, positive=positive)

    def _average(self, step: FloatStep, inputs: list[Value]) -> Value:
        (value,) = inputs
        if not value.codes:
            value = self._quantised(value, f"{step.path}_in", JOIN_BITS, step.label)
        path = self._append(step.path, step.module, (value.path,))
        return self._real(value, path, as_image(step.shape), flat=len(step.shape) == 1)

    def _add(self, step: FloatStep, inputs: list[Value]) -> Value:
        if len({value.shape for value in inputs}) > 1:
            shapes = " and ".join(" x ".join(map(str, value.shape)) for value in inputs)
            self._refuse(step, f"it adds tensors of {shapes}", "use tensors of one shape")
        parts = [self._added(source, step) for source in step.reads]
        if len({part.order for part in parts}) > 1:
            self._refuse(step, "its inputs have different orders of channels", "put an nn.Conv2d before it")
        path = self._append(step.path, step.module, tuple(part.path for part in parts))
        positive = all(part.positive for part in parts)
        made = self._real(parts[0], path, parts[0].shape, flat=parts[0].flat)
        return replace(made, positive=positive, terms=sum(part.terms for part in parts))

    def _added(self, source: str, step: FloatStep) -> Value:
        """What an addition reads of a value: codes where a weighted layer reads them, or where it cannot do without."""
        value = self.values[source]
        if value.codes:
            return value
        readers = [own for own in self._weighted if self._quantiser_reads(own) == source]
        if readers:
            return self._input(readers[0], padded=False)
        if source in self.joined:
            return self.joined[source]
        if value.plain and (value.terms == 1 or len(self._readers(source)) == 1):
            return value
        return self._join(source, f"{step.path}_in", step)

    def _concat(self, step: FloatStep, inputs: list[Value]) -> Value:
        if any(value.flat and value.shape[1:] != (1, 1) for value in inputs):
            self._refuse(step, "it joins flattened images", "join them before the nn.Flatten")
        positive = all(value.positive for value in inputs)
        ranges = {_range(own, positive) for value in inputs for own in value.rectifiers}
        parts = [
            self._join(source, f"{step.path}_in", step)
            if len(ranges) > 1 and not value.codes and value.rectifiers != NO_RECTIFIER
            else value
            for source, value in zip(step.reads, inputs, strict=True)
        ]
        orders = [part.order for part in parts]
        order: Order | None = None
        if any(own is not None for own in orders):
            joined: list[int] = []
            for part in parts:
                start = len(joined)
                joined += [start + own for own in part.order or range(part.shape[0])]
            order = tuple(joined)
        path = self._append(step.path, step.module, tuple(part.path for part in parts))
        shape = sum(part.shape[0] for part in parts), *parts[0].shape[1:]
        rectifiers = frozenset(own for part in parts for own in part.rectifiers)
        return Value(
            path=path,
            shape=shape,
            flat=parts[0].flat,
            moved=frozenset({"concat"}),
            rectifiers=rectifiers,
            positive=positive,
            order=order,
        )

    def _flatten(self, step: FloatStep, inputs: list[Value]) -> Value:
        (value,) = inputs
        pixels = value.shape[1] * value.shape[2]
        order = value.order
        if order is not None and not value.flat:
            order = tuple(channel * pixels + pixel for channel in order for pixel in range(pixels))
        return replace(self._move(step, inputs), shape=value.shape, flat=True, order=order)

    def _pad(self, step: FloatStep, inputs: list[Value]) -> Value:
        (value,) = inputs
        readers = self._readers(step.path)
        module: Any = step.module
        if min(module.padding) < 0:
            self._refuse(step, "it cuts pixels off", "use padding of 0 or more")
        if not readers or any(reader.kind != "weighted" for reader in readers):
            self._refuse(step, "no nn.Conv2d reads it", "zeros are padded before an nn.Conv2d only")
        return replace(value, padding=tuple(module.padding), bare=False)

    def _unshuffle(self, step: FloatStep, inputs: list[Value]) -> Value:
        (value,) = inputs
        module: Any = step.module
        blocks, channels = module.block**2, value.shape[0]
        order = value.order
        if step.kind == "pixel_unshuffle":
            order = tuple(own * blocks + block for block in range(blocks) for own in value.order or range(channels))
        elif order is not None:
            order = tuple(block * channels + own for block in range(blocks) for own in order)
        return replace(self._move(step, inputs), order=order)

    def _move(self, step: FloatStep, inputs: list[Value]) -> Value:
        (value,) = inputs
        path = self._append(step.path, step.module, (value.path,))
        moved = value.moved if value.codes else value.moved | {step.kind}
        return replace(value, path=path, shape=as_image(step.shape), moved=moved, bare=False)

    def _unknown(self, step: FloatStep, inputs: list[Value]) -> Value:
        return Value(path=step.path, shape=as_image(step.shape), bare=True, flat=len(step.shape) == 1)

    def _real(self, value: Value, path: str, shape: Shape, *, flat: bool) -> Value:
        """A sum of codes or sums, of the channels of ``value``."""
        return Value(path=path, shape=shape, flat=flat, positive=value.positive, order=value.order)

    # Quantisers.

    def _input(self, step: FloatStep, *, padded: bool = True) -> Value:
        """The codes that a weighted layer reads, made where they are not there yet."""
        source = self._quantiser_reads(step)
        bits = self.settings.act_bits[step.path]
        if step.path not in self.inputs:
            value = self.values[source]
            image = value.codes and source in self._image_values()
            if not (image and bits == self._image_bits):
                value = self._quantised(value, f"{step.path}_in", bits, step.label)
            self.inputs[step.path] = value
        value = self.inputs[step.path]
        if padded and source != step.reads[0]:
            sides: Any = self.values[step.reads[0]].padding
            path = self._append(f"{step.path}_pad", nn.ZeroPad2d(sides), (value.path,))
            return replace(value, path=path)
        return value

    def _quantiser_reads(self, step: FloatStep) -> str:
        """What the quantiser in front of a weighted layer reads: what stands before the padding, if there is some."""
        source = step.reads[0]
        while source != INPUT and self._made(source).kind == "pad":
            source = self._made(source).reads[0]
        return source

    def _join(self, source: str, name: str, step: FloatStep) -> Value:
        """Codes of a value that no weighted layer reads as it is."""
        if source not in self.joined:
            self.joined[source] = self._quantised(self.values[source], name, JOIN_BITS, step.label)
        return self.joined[source]

    def _quantised(self, value: Value, name: str, bits: int, label: str) -> Value:
        kind = self.settings.quantizer
        if not value.positive and kind in ("dorefa", "dorefa-pow2"):
            line = f"{label}: it reads negative values, which {kind} has no codes for; put an nn.ReLU before it"
            self.problems.append(line)
            kind = "lsq"
        module = make_activation_quantizer(kind, bits, signed=not value.positive)
        path = self._append(name, module, (value.path,))
        return replace(value, path=path, codes=True, bare=False, moved=frozenset(), rectifiers=NO_RECTIFIER, terms=1)

    # The float module's graph.

    def _made(self, path: str) -> FloatStep:
        return next(step for step in self.trace.steps if step.path == path)

    def _readers(self, path: str) -> list[FloatStep]:
        return [step for step in self.trace.steps if path in step.reads]

    def _image_values(self) -> set[str]:
        """The image, and what only moves it or takes maxima of it."""
        found = {INPUT}
        for step in self.trace.steps:
            if step.kind in _MOVES and step.reads[0] in found:
                found.add(step.path)
        return found

    def _behind_image(self, step: FloatStep) -> bool:
        return self._quantiser_reads(step) in self._image_values()

    # Steps.

    def _append(self, name: str, module: nn.Module, reads: tuple[str, ...]) -> str:
        """Append a step; returns its path, which is ``name`` unless something else is called so."""
        top, dot, rest = name.replace(":", "_").partition(".")
        path = base = f"{top}_{dot}{rest}" if top in _ATTRIBUTES else f"{top}{dot}{rest}"
        count = 1
        # Layers with numbers keep their paths; what is put between them gives way.
        while path in self._taken and not (path == name and path in self._kept):
            count += 1
            path = f"{base}_{count}"
        self._kept.discard(path)
        self._taken.add(path)
        self.steps.append(PlacedStep(path=path, module=module, reads=reads))
        return path

    def _refuse(self, step: FloatStep, reason: str, rewrite: str) -> None:
        self.problems.append(f"{step.label}: {reason}, {rewrite}")

    def _label(self, step: FloatStep) -> str:
        return f"the output, {step.label}"


_MOVES = ("max_pool", "flatten", "space_to_depth", "pixel_unshuffle", "upsample")
_ATTRIBUTES = {
    *("table", "weight_bits", "act_bits", "weight_range", "quantizer", "weight_scale", "input_shape"),
    *("_steps", "_output"),
}


def _range(rectifier: tuple[float, float], positive: bool) -> tuple[bool, float]:
    """What of a rectifier decides which codes there are behind a quantiser."""
    slope, most = rectifier
    return (slope == 0 and not positive), most
