"""A graph as the chain of stages that the hardware makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from mixq.errors import UserError
from mixq.formats import IntFormat
from mixq.graph import Conv, Dense, Graph, MaxPool, Node, Requantise, Tensor
from mixq.packing import SoftMultipliers, WeightRange
from mixq.plan.folding import Folding
from mixq.plan.layer_shape import LayerShape
from mixq.plan.stage_features import Constants
from mixq.plan.sum_widths import exact_sum_bits, exact_sum_format, reach

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Unit:
    """One stage: a node, and the requantisation that is built into a convolution or dense layer.

    source: the tensor it reads. target: the tensor it gives out. first: whether it reads the graph's input.
    """

    node: Node
    requantise: Requantise | None
    source: Tensor
    target: Tensor
    first: bool = False

    @property
    def is_layer(self) -> bool:
        """Whether it multiplies by weights."""
        return isinstance(self.node, Conv | Dense)

    @cached_property
    def shape(self) -> LayerShape:
        """Sizes of a convolution; a dense layer is one of a single pixel with all inputs as channels."""
        channels, height, width = self.source.shape
        if isinstance(self.node, Dense):
            return LayerShape(channels * height * width, len(self.node.weights), 1, 1)
        assert isinstance(self.node, Conv)
        node = self.node
        padding = node.even_padding
        assert padding is not None
        return LayerShape(channels, len(node.weights), height, width, node.kernel, node.stride, padding)

    @cached_property
    def stream_weights(self) -> IntArray:
        """Weights (C_out, C_in, K, K) with the input channels in the order of the stream."""
        node = self.node
        if isinstance(node, Conv):
            return node.weights
        assert isinstance(node, Dense)
        channels, height, width = self.source.shape
        ordered = node.weights.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(ordered).reshape(len(node.weights), -1, 1, 1)

    @property
    def scaling(self) -> Requantise:
        """The requantisation of the stage, in a layer or on its own. Raises TypeError where there is none."""
        node = self.requantise or self.node
        if not isinstance(node, Requantise):
            raise TypeError(f"unit must have a requantisation, not {node.op!r}")
        return node

    @cached_property
    def constants(self) -> Constants:
        """Of that requantisation."""
        return Constants.of(self.scaling.multiplier.tolist(), self.scaling.bias.tolist())

    @cached_property
    def weight_bits(self) -> int:
        """Width of the weights."""
        assert isinstance(self.node, Conv | Dense)
        return self.node.weight_format.width

    def sum_bits(self, folding: Folding) -> int:
        """Width of the sums of a folding of the layer, by its weights."""
        return self.sum_format(folding).width

    def sum_format(self, folding: Folding) -> IntFormat:
        """Format of these sums; those of DSPs are taken to use all of their width."""
        packing = folding.packing
        if isinstance(packing, SoftMultipliers):
            return self._soft_sum_format
        ends = tuple(bound - packing.recentre for bound in packing.act_bounds)
        if ends not in self._reaches:
            assert isinstance(self.node, Conv | Dense)
            self._reaches[ends] = reach(packing, self.node.weights)
        return IntFormat(exact_sum_bits(folding, self._reaches[ends]), False)

    @cached_property
    def _soft_sum_format(self) -> IntFormat:
        source = self.source.format
        packing = SoftMultipliers(self.weight_bits, source.width, self.shape.kernel, act_signed=source.signed)
        return exact_sum_format(packing, self.stream_weights)

    @cached_property
    def _reaches(self) -> dict[tuple[int, ...], int]:
        return {}

    @cached_property
    def weight_range(self) -> WeightRange:
        """Whether the most negative weight really occurs: packings that exclude it are denser."""
        assert isinstance(self.node, Conv | Dense)
        return "full" if int(self.node.weights.min()) == -(1 << (self.weight_bits - 1)) else "narrow"


def chain(graph: Graph) -> list[Unit]:
    """The stages of a graph, from input to output.

    Raises UserError where a tensor has several readers: forks have no hardware yet.
    """
    units: list[Unit] = []
    tensor = graph.input
    while tensor != graph.output:
        node = _reader(graph, tensor)
        source, last, requantise = graph.tensor(tensor), node, None
        if isinstance(node, Conv | Dense) and node.output != graph.output:
            following = _reader(graph, node.output)
            if not isinstance(following, Requantise):
                raise UserError(
                    f"layer {node.name}: its sums go to {following.name} ({following.op}), not to a requantise node"
                )
            last = requantise = following
        if not isinstance(node, Conv | Dense | Requantise | MaxPool):
            raise UserError(f"node {node.name}: no stage is built for {node.op!r}")
        if isinstance(node, Conv) and (node.groups > 1 or node.dilation > 1 or node.even_padding is None):
            raise UserError(f"node {node.name}: no stage is built for groups, dilation or uneven padding")
        units.append(Unit(node, requantise, source, graph.tensor(last.output), first=not units))
        tensor = last.output
    return units


def _reader(graph: Graph, tensor: str) -> Node:
    readers = graph.consumers(tensor)
    if len(readers) != 1:
        names = ", ".join(node.name for node in readers)
        raise UserError(f"tensor {tensor} is read by {names}: only chains of layers are built, no forks")
    return readers[0]
