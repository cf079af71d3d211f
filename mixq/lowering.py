"""Lowers a training model to the integer graph.

The model is traced, not walked: `mixq.tracing` gives the layers in the order of the data. A weighted layer
becomes a `Conv` or `Dense` node with the quantiser's own codes as weights; its batch norm and the quantiser
behind it become one `Requantise`. Max-pooling between the two moves behind the requantisation, which
changes nothing: a quantiser never decreases, so it may be applied before or after taking a maximum, whatever
the sign of the batch norm's scale. The last layer's accumulators, with its bias in their units, are the
output.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import nn

from mixq.errors import UserError
from mixq.folding import FRACTION_BITS, IntArray, fold_affine, fold_final_bias, requantise_shift
from mixq.formats import IntFormat
from mixq.graph import Conv, Dense, Graph, MaxPool, Requantise, Tensor, accumulator_format
from mixq.graph.names import legal_name
from mixq.graph.node import Unary
from mixq.layers import QuantConv2d, activation_step, output_affine, quantised_weights
from mixq.quantizers import PIXEL_BITS, ImageQuantizer
from mixq.tracing import Stage, TracedModel, trace


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
        model: the training model; `mixq.tracing` says which orders of layers it may have.
        name: the graph's name; None takes the network table's name or else the class's.
        input_shape: (C, H, W) of an image; None takes the model's own attribute ``input_shape``.
        fraction_bits: see `mixq.folding.requantise_shift`.
        metadata: text that the graph carries, by key.

    Raises:
        UserError: the model cannot be lowered; the line names the layer and what to do.
    """
    traced = trace(model)
    shape = input_shape if input_shape is not None else getattr(model, "input_shape", None)
    if shape is None:
        raise UserError("the model has no attribute input_shape; give the shape C,H,W of an image")
    table = getattr(model, "table", None)
    graph_name = name or getattr(table, "name", None) or type(model).__name__
    told = {**_told_of_weights(traced), **(metadata or {})}
    return _Lowering(tuple(shape), fraction_bits).graph(legal_name(graph_name), traced, told)


def _told_of_weights(traced: TracedModel) -> dict[str, str]:
    """Metadata of narrow weights; none where all layers have the full range."""
    layers = [stage.layer for stage in traced.stages]
    if all(layer.weight_quantizer.weight_range == "full" for layer in layers):
        return {}
    clamped = sum(layer.weight_quantizer.clamped(layer.weight) for layer in layers)
    return {"weight_range": "narrow", "clamped_weights": str(clamped)}


@dataclass
class _Lowering:
    """The graph while it grows: ``tensors[-1]`` is what the next node reads."""

    input_shape: tuple[int, int, int]
    fraction_bits: int
    tensors: list[Tensor] = field(default_factory=list)
    nodes: list[Unary] = field(default_factory=list)

    def graph(self, name: str, traced: TracedModel, metadata: dict[str, str]) -> Graph:
        pixels = IntFormat(PIXEL_BITS, signed=False)
        self.append_tensor("pixels", self.input_shape, pixels, 2.0**-PIXEL_BITS)
        self.truncate(traced.image)
        for pool in traced.image_pools:
            self.pool(*pool)
        for stage in traced.stages:
            self.stage(stage)
        return Graph(
            name=name,
            tensors=tuple(self.tensors),
            nodes=tuple(self.nodes),
            input=self.tensors[0].name,
            output=self.tensors[-1].name,
            metadata=metadata,
        )

    def truncate(self, image: ImageQuantizer) -> None:
        """Pixels shifted right to the first layer's width; the bias takes the rounding constant back."""
        shift = PIXEL_BITS - image.bits
        if shift == 0:
            return
        channels = self.input_shape[0]
        node = Requantise(
            **self.ends("input"),
            multiplier=np.ones(channels, dtype=np.int64),
            bias=np.full(channels, -(2 ** (shift - 1)), dtype=np.int64),
            shift=shift,
        )
        self.append(node, image.format, image.step)

    def stage(self, stage: Stage) -> None:
        """A convolution or dense layer, its requantisation, then the max-pools around that."""
        codes, weight_step = quantised_weights(stage.layer, stage.path)
        affine = output_affine(stage.layer, stage.norm)
        act_bits, act_step = self.tensors[-1].format.width, self.scale
        bias = None
        if stage.quantizer is None and stage.layer.bias is not None:
            bias = fold_final_bias(affine, weight_step=weight_step, act_step=act_step, layer=stage.path)
        self.accumulate(stage, codes.cpu().numpy(), weight_step, bias)
        if stage.quantizer is None:
            return
        next_step = activation_step(stage.quantizer, stage.quantizer_path)
        fold = fold_affine(
            affine,
            weight_step=weight_step,
            act_step=act_step,
            next_step=next_step,
            shift=requantise_shift(stage.layer.weight_quantizer.bits, act_bits, fraction_bits=self.fraction_bits),
            layer=stage.path,
        )
        ends = self.ends(stage.quantizer_path)
        node = Requantise(**ends, multiplier=fold.multiplier, bias=fold.bias, shift=fold.shift)
        self.append(node, stage.quantizer.format, next_step)
        for pool in stage.pools:
            self.pool(*pool)

    def accumulate(self, stage: Stage, codes: IntArray, weight_step: float, bias: IntArray | None) -> None:
        """The `Conv` or `Dense` node of these codes."""
        layer = stage.layer
        ends: dict[str, Any] = self.ends(stage.path)
        weight_format = layer.weight_quantizer.format
        node: Unary
        if isinstance(layer, QuantConv2d):
            padding = int(layer.padding[0])
            node = Conv(
                **ends,
                weights=codes,
                weight_format=weight_format,
                stride=layer.stride[0],
                padding=padding,
                bias=bias,
            )
        else:
            node = Dense(**ends, weights=codes, weight_format=weight_format, bias=bias)
        format = accumulator_format(codes, self.tensors[-1].format, bias)
        self.append(node, format, weight_step * self.scale)

    def pool(self, path: str, module: nn.MaxPool2d) -> None:
        """A `MaxPool` node; format and scale pass unchanged."""
        kernel, stride = (size if isinstance(size, int) else size[0] for size in (module.kernel_size, module.stride))
        node = MaxPool(**self.ends(path), kernel=kernel, stride=stride)
        self.append(node, self.tensors[-1].format, self.scale)

    @property
    def scale(self) -> float:
        """Step of the codes that the next node reads."""
        scale = self.tensors[-1].scale
        assert isinstance(scale, float)
        return scale

    def ends(self, path: str) -> dict[str, str]:
        """Name, input and output of the next node, which the module at ``path`` becomes."""
        name = legal_name(path, ["input"] * (path != "input") + [node.name for node in self.nodes])
        output = legal_name(f"{name}_out", [tensor.name for tensor in self.tensors])
        return {"name": name, "input": self.tensors[-1].name, "output": output}

    def append(self, node: Unary, format: IntFormat, scale: float) -> None:
        self.nodes.append(node)
        self.append_tensor(node.output, node.output_shape(self.tensors[-1].shape), format, scale)

    def append_tensor(self, name: str, shape: tuple[int, int, int], format: IntFormat, scale: float) -> None:
        self.tensors.append(Tensor(name, shape, format, scale))
