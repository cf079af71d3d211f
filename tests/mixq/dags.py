"""Graphs with branches for tests: a builder whose methods take tensors by name and return the new one's."""

from __future__ import annotations

from typing import Any

import numpy as np

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
from mixq.graph.tensor import Scale


class Dag:
    """Appends nodes; the graph's input is ``x``. Every method returns the name of the tensor that it makes."""

    def __init__(self, shape: tuple[int, int, int], format: IntFormat, seed: int = 0) -> None:
        self.tensors = {"x": Tensor("x", shape, format)}
        self.nodes: list[Node] = []
        self.random = np.random.default_rng(seed)

    def _append(self, node: Node, format: IntFormat, scale: Scale = None) -> str:
        shape = node.shape_from([self.tensors[name].shape for name in node.reads])
        self.tensors[node.output] = Tensor(node.output, shape, format, scale)
        self.nodes.append(node)
        return node.output

    def _names(self, kind: str) -> tuple[str, str]:
        return f"{kind}{len(self.nodes)}", f"t{len(self.nodes)}"

    def channels(self, source: str) -> int:
        """Channels of a tensor."""
        return self.tensors[source].shape[0]

    def conv(
        self,
        source: str,
        channels: int,
        kernel: int = 3,
        *,
        bits: int = 4,
        groups: int = 1,
        bias: bool = False,
        **fields: Any,
    ) -> str:
        """A convolution of random weights, as wide as ``bits`` allow."""
        name, output = self._names("conv")
        low, high = -(1 << (bits - 1)), 1 << (bits - 1)
        weights = self.random.integers(low, high, (channels, self.channels(source) // groups, kernel, kernel))
        offsets = self.random.integers(-50, 50, channels) if bias else None
        node = Conv(
            name,
            source,
            output,
            weights=weights,
            weight_format=IntFormat(bits, True),
            groups=groups,
            bias=offsets,
            **fields,
        )
        return self._append(node, accumulator_format(weights, self.tensors[source].format, offsets))

    def dense(self, source: str, units: int, *, bits: int = 4) -> str:
        """A dense layer of random weights."""
        name, output = self._names("dense")
        tensor = self.tensors[source]
        weights = self.random.integers(-(1 << (bits - 1)), 1 << (bits - 1), (units, tensor.elements))
        node = Dense(name, source, output, weights=weights, weight_format=IntFormat(bits, True))
        return self._append(node, accumulator_format(weights, tensor.format))

    def requantise(self, source: str, bits: int = 4, *, signed: bool = False, shift: int = 12) -> str:
        """To codes of a width: random multipliers of both signs that use the range of the codes."""
        name, output = self._names("requantise")
        format, target = self.tensors[source].format, IntFormat(bits, signed)
        channels = self.channels(source)
        largest = max(abs(format.low), abs(format.high), 1)
        most = max(2, (target.high << (shift + 1)) // largest)
        multiplier = self.random.integers(most // 2, most + 1, channels) * self.random.choice([1, 1, 1, -1], channels)
        bias = self.random.integers(-(1 << shift), (1 << shift) + 1, channels)
        return self._append(Requantise(name, source, output, multiplier=multiplier, bias=bias, shift=shift), target)

    def threshold(self, source: str, bits: int = 3, *, signed: bool = False) -> str:
        """To codes of a width by random thresholds, rising in some channels and falling in others."""
        name, output = self._names("threshold")
        format, target = self.tensors[source].format, IntFormat(bits, signed)
        channels, count = self.channels(source), target.high - target.low
        thresholds = np.sort(self.random.integers(format.low, format.high + 2, (channels, count)), axis=1)
        step = self.random.choice([1, -1], channels)
        first = np.where(step > 0, target.low, target.high)
        return self._append(Threshold(name, source, output, thresholds=thresholds, first=first, step=step), target)

    def max_pool(self, source: str, kernel: int = 2, stride: int = 2) -> str:
        """Max-pooling."""
        name, output = self._names("pool")
        return self._append(MaxPool(name, source, output, kernel=kernel, stride=stride), self.tensors[source].format)

    def sum_pool(self, source: str, kernel: int | tuple[int, int]) -> str:
        """Sum-pooling."""
        name, output = self._names("sum")
        node = SumPool(name, source, output, kernel=kernel)
        return self._append(node, node.sum_format(self.tensors[source].format))

    def space_to_depth(self, source: str, block: int = 2) -> str:
        """Space-to-depth."""
        name, output = self._names("reorg")
        return self._append(SpaceToDepth(name, source, output, block=block), self.tensors[source].format)

    def upsample(self, source: str, factor: int = 2) -> str:
        """Nearest upsampling."""
        name, output = self._names("upsample")
        return self._append(Upsample(name, source, output, factor=factor), self.tensors[source].format)

    def add(self, *sources: str, most: int = 100) -> str:
        """Addition with random multipliers of both signs, up to ``most``."""
        name, output = self._names("add")
        factors = self.random.integers(-most, most + 1, (len(sources), self.channels(sources[0])))
        node = Add(name, sources, output, multipliers=factors)
        return self._append(node, node.sum_format([self.tensors[source].format for source in sources]))

    def concat(self, *sources: str) -> str:
        """Concatenation."""
        name, output = self._names("concat")
        return self._append(Concat(name, sources, output), self.tensors[sources[0]].format)

    def graph(self, output: str, name: str = "net") -> Graph:
        """The graph that ends with a tensor."""
        return Graph(name, tuple(self.tensors.values()), tuple(self.nodes), "x", output)


def every_node(seed: int = 0) -> Graph:
    """A network of 3 x 12 x 16 pixels with every kind of node: a residual, a bypass, an upsampled branch."""
    dag = Dag((3, 12, 16), IntFormat(8, False), seed)
    stem = dag.requantise(dag.conv(dag.requantise("x"), 8, padding=1), 4)
    depthwise = dag.requantise(dag.conv(stem, 8, 5, padding=2, groups=8), 5, signed=True)
    pointwise = dag.conv(depthwise, 8, 1, bias=True)
    residual = dag.requantise(dag.add(pointwise, stem), 4)
    dilated = dag.threshold(dag.conv(residual, 8, padding=2, dilation=2, groups=2), 3)
    low = dag.requantise(dag.conv(dag.max_pool(dilated), 8, stride=2, padding=(0, 0, 1, 1)), 3)
    high = dag.upsample(low)
    reorg = dag.requantise(dag.space_to_depth(dilated), 3)
    both = dag.concat(reorg, high)
    pooled = dag.requantise(dag.sum_pool(dag.requantise(dag.conv(both, 6), 5), (4, 6)), 6)
    return dag.graph(dag.dense(dag.requantise(dag.dense(pooled, 12), 4), 10))
