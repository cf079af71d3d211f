"""Lowers a training model to the integer graph.

The model is traced, not walked: `mixq.tracing` gives the layers in the order of the data, `mixq.expressions` what each
quantiser reads, as an expression over integers. A weighted layer becomes a `Conv` or `Dense` node with the quantiser's
own codes as weights. Where a quantiser reads, the expression before it becomes integers: batch norm, biases and steps
one `Requantise`, an addition an `Add` before that, a mean a `SumPool`, a leaky rectifier a `Threshold`. Max-pooling,
concatenation, space-to-depth and upsampling between the two move behind the requantisation, which changes nothing: a
quantiser never decreases, so it may be applied before or after taking a maximum, whatever the sign of the batch norm's
scale. A tensor that several quantisers read forks before it is requantised; equal nodes are made once.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from torch import nn

from mixq.errors import UserError
from mixq.expressions import Codes, Expressions, Moved, Real, Terms, expressions
from mixq.folding import FRACTION_BITS, Fold, IntArray, fold_final_bias
from mixq.formats import IntFormat
from mixq.graph import (
    Add,
    Concat,
    Conv,
    Dense,
    Graph,
    MaxPool,
    Node,
    Requantise,
    SpaceToDepth,
    SumPool,
    Tensor,
    Threshold,
    Upsample,
    accumulator_format,
)
from mixq.graph.names import legal_name
from mixq.graph.tensor import Scale
from mixq.layers import QuantConv2d, quantised_weights
from mixq.quantizers import PIXEL_BITS, ImageQuantizer
from mixq.rectified import folded, quantised_format, rectified_thresholds
from mixq.tracing import Step, TracedModel, image_shape, trace, traced_sizes


def lower(
    model: nn.Module,
    *,
    name: str | None = None,
    input_shape: tuple[int, int, int] | None = None,
    fraction_bits: int = FRACTION_BITS,
    metadata: dict[str, str] | None = None,
) -> Graph:
    """Integer graph of a trained model.

    Where layers have narrow weights, its metadata has ``weight_range`` and, in ``clamped_weights``, how many weights
    have another code than in the full range.

    Parameters:
        model: the training model; `mixq.operations` says what it may be made of.
        name: the graph's name; None takes the network table's name or else the class's.
        input_shape: (C, H, W) of an image; None takes the model's own attribute ``input_shape``.
        fraction_bits: see `mixq.folding.requantise_shift`.
        metadata: text that the graph carries, by key.

    Raises:
        UserError: the model cannot be lowered; the line names the layer and what to do.
    """
    traced = trace(model)
    shape = image_shape(model, input_shape)
    if shape is None:
        raise UserError("the model has no attribute input_shape; give the shape C,H,W of an image")
    found = expressions(traced, traced_sizes(model, traced, shape))
    table = getattr(model, "table", None)
    graph_name = name or getattr(table, "name", None) or type(model).__name__
    told = {**_told_of_weights(traced), **(metadata or {})}
    return _Lowering(found, shape, fraction_bits).graph(legal_name(graph_name), told)


def _told_of_weights(traced: TracedModel) -> dict[str, str]:
    """Metadata of narrow weights; none where all layers have the full range."""
    layers: list[Any] = [step.module for step in traced.weighted]
    if all(layer.weight_quantizer.weight_range == "full" for layer in layers):
        return {}
    clamped = sum(layer.weight_quantizer.clamped(layer.weight) for layer in layers)
    return {"weight_range": "narrow", "clamped_weights": str(clamped)}


@dataclass
class _Lowering:
    """The graph while it grows. ``made``: the tensor that holds the integers of a step, by the step's path."""

    found: Expressions
    input_shape: tuple[int, int, int]
    fraction_bits: int
    tensors: dict[str, Tensor] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    made: dict[str, str] = field(default_factory=dict)

    def graph(self, name: str, metadata: dict[str, str]) -> Graph:
        traced = self.found.traced
        image: Any = traced.steps[0].module
        pixels = Tensor("pixels", self.input_shape, IntFormat(PIXEL_BITS, signed=False), 1 / image.white)
        self.tensors[pixels.name] = pixels
        for step in traced.steps:
            self.step(step)
        return Graph(
            name=name,
            tensors=tuple(self.tensors.values()),
            nodes=tuple(self.nodes),
            input=pixels.name,
            output=self.made[traced.output],
            metadata=metadata,
        )

    def step(self, step: Step) -> None:
        """The nodes of a step that gives integers; others wait for the quantiser behind them."""
        value = self.found.values[step.path]
        if step.kind == "image":
            self.made[step.path] = self.truncated(step)
        elif step.kind == "weighted":
            self.made[step.path] = self.accumulated(step)
        elif step.kind == "quantizer":
            self.made[step.path] = self.quantised(self.found.quantised[step.path], step)
        elif isinstance(value, Codes) and step.path == value.path:
            self.made[step.path] = self.moved(step, [self.made[self.codes(source).path] for source in step.reads])

    def codes(self, path: str) -> Codes:
        return self.found.codes(path)

    def truncated(self, step: Step) -> str:
        """Pixels shifted right to the first layer's width; the bias takes the rounding constant back."""
        image = step.module
        assert isinstance(image, ImageQuantizer)
        shift = PIXEL_BITS - image.bits
        if shift == 0:
            return "pixels"
        channels = self.input_shape[0]
        return self.append(
            Requantise,
            "input",
            ("pixels",),
            image.format,
            image.step,
            multiplier=np.ones(channels, dtype=np.int64),
            bias=np.full(channels, -(2 ** (shift - 1)), dtype=np.int64),
            shift=shift,
        )

    def accumulated(self, step: Step) -> str:
        """The `Conv` or `Dense` node of a weighted layer."""
        layer: Any = step.module
        codes = self.codes(step.reads[0])
        weights, weight_step = quantised_weights(layer, step.path)
        assert isinstance(codes.step, float)
        bias = None
        if step.path == self.found.traced.output and layer.bias is not None:
            value = self.found.values[step.path]
            assert isinstance(value, Terms)
            bias = fold_final_bias(value.shift, weight_step=weight_step, act_step=codes.step, layer=step.path)
        array, source = weights.cpu().numpy(), self.made[codes.path]
        options: dict[str, Any] = {"weights": array, "weight_format": layer.weight_quantizer.format, "bias": bias}
        if isinstance(layer, QuantConv2d):
            down, across = (int(side) for side in layer.padding)
            own = down, across, down, across
            options |= {
                "stride": layer.stride[0],
                "padding": tuple(a + b for a, b in zip(codes.padding, own, strict=True)),
                "groups": layer.groups,
                "dilation": layer.dilation[0],
            }
        format = accumulator_format(array, self.tensors[source].format, bias)
        kind = Conv if isinstance(layer, QuantConv2d) else Dense
        return self.append(kind, step.path, (source,), format, _scale(weight_step * codes.step), **options)

    def quantised(self, value: Real, step: Step) -> str:
        """The tensor of a quantiser's codes of an expression."""
        if isinstance(value, Moved):
            return self.moved(value.step, [self.quantised(part, step) for part in value.parts])
        fold = folded(value, step, self.fraction_bits)
        sources = [self.summed(value, index) for index in range(len(value.terms))]
        module: Any = step.module
        channels = max(self.tensors[source].shape[0] for source in sources)
        format, bias = quantised_format(value, step), _channels(fold.bias, channels)
        source, multiplier = sources[0], _channels(fold.multipliers[0], channels)
        if len(sources) > 1:
            factors = np.stack([_channels(own, channels) for own in fold.multipliers])
            source, multiplier = self.added(value.path, sources, factors), np.ones(channels, dtype=np.int64)
        fold = Fold(multipliers=(multiplier,), bias=bias, shift=fold.shift)
        if value.rectifier.slope in (0.0, 1.0) or format.low >= 0:
            own = {"multiplier": multiplier, "bias": bias, "shift": fold.shift}
            return self.append(Requantise, step.path, (source,), format, module.step, **own)
        stairs = rectified_thresholds(fold, value.rectifier.slope, self.tensors[source].format, format)
        return self.append(Threshold, step.path, (source,), format, module.step, **stairs)

    def summed(self, value: Terms, index: int) -> str:
        """The integers of a term: a layer's, or sums of them over a window."""
        term = value.terms[index]
        source = self.made[term.source]
        if term.window is None:
            return source
        before = self.tensors[source]
        size = term.window.rows, term.window.columns
        sums = SumPool("s", source, "t", kernel=size).sum_format(before.format)
        scale, count = before.scale, size[0] * size[1]
        assert scale is not None
        mean = tuple(own / count for own in scale) if isinstance(scale, tuple) else scale / count
        return self.append(SumPool, term.window.path, (source,), sums, mean, kernel=size)

    def added(self, path: str, sources: list[str], factors: IntArray) -> str:
        node = Add("sum", tuple(sources), "t", multipliers=factors)
        try:
            format = node.sum_format([self.tensors[source].format for source in sources])
        except ValueError as error:
            raise UserError(f"layer {path}: its sums need more than 64 bits; reduce its batch norm scale") from error
        return self.append(Add, path, tuple(sources), format, None, multipliers=factors)

    def moved(self, step: Step, sources: list[str]) -> str:
        """The node of an operation that moves codes, or takes maxima of them."""
        module: Any = step.module
        first = self.tensors[sources[0]]
        format, scale = first.format, first.scale
        if step.kind == "flatten":
            return sources[0]
        if step.kind == "concat":
            formats = {self.tensors[source].format for source in sources}
            if len(formats) > 1:
                raise UserError(
                    f"{self.found.traced.label(step.path)}: rectifiers before it leave codes of different ranges; "
                    "put one rectifier behind it"
                )
            return self.append(Concat, step.path, tuple(sources), format, scale)
        if step.kind == "max_pool":
            kernel, stride = (
                size if isinstance(size, int) else size[0] for size in (module.kernel_size, module.stride)
            )
            return self.append(MaxPool, step.path, (sources[0],), format, scale, kernel=kernel, stride=stride)
        if step.kind == "space_to_depth":
            return self.append(SpaceToDepth, step.path, (sources[0],), format, scale, block=module.block)
        factor = module.scale_factor if isinstance(module.scale_factor, int | float) else module.scale_factor[0]
        return self.append(Upsample, step.path, (sources[0],), format, scale, factor=int(factor))

    def append(
        self, kind: type[Any], path: str, sources: tuple[str, ...], format: IntFormat, scale: Scale, **options: Any
    ) -> str:
        """Append a node, unless there is one that does the same; returns the name of its output."""
        name = legal_name(path, ["input"] * (path != "input") + [node.name for node in self.nodes])
        output = legal_name(f"{name}_out", self.tensors)
        read: Any = sources if kind in (Add, Concat) else sources[0]
        node = kind(name, read, output, **options)
        for other in self.nodes:
            like = self.tensors[other.output]
            alike = type(other) is kind and other.reads == sources and _same(node, other)
            if alike and (like.format, like.scale) == (format, scale):
                return other.output
        shape = node.shape_from([self.tensors[source].shape for source in sources])
        self.nodes.append(node)
        self.tensors[output] = Tensor(output, shape, format, scale)
        return output


def _same(one: Node, other: Node) -> bool:
    """Whether two nodes of a kind do the same, whatever their names."""
    own = [entry.name for entry in fields(one) if entry.name not in ("name", "input", "inputs", "output")]
    return all(np.array_equal(getattr(one, key), getattr(other, key)) for key in own)


def _channels(values: IntArray, channels: int) -> IntArray:
    """One value for each channel."""
    return np.ascontiguousarray(np.broadcast_to(values, (channels,)))


def _scale(step: Any) -> Scale:
    return tuple(step.tolist()) if isinstance(step, np.ndarray) else float(step)
