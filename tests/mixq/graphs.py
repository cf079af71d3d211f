"""Graphs for tests: a builder that appends a layer at a time, and a small random network."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixq.formats import IntFormat
from mixq.graph import Conv, Dense, Graph, MaxPool, Node, Requantise, Tensor, accumulator_format
from mixq.graph.tensor import Scale


class Chain:
    """Appends nodes to the last tensor; every method returns the chain."""

    def __init__(self, shape: tuple[int, int, int], format: IntFormat, scale: float | None = None) -> None:
        self.tensors = [Tensor("x", shape, format, scale)]
        self.nodes: list[Node] = []

    @property
    def last(self) -> Tensor:
        return self.tensors[-1]

    def append(self, node: Node, format: IntFormat, scale: Scale = None) -> Chain:
        self.tensors.append(Tensor(node.output, node.shape_from([self.last.shape]), format, scale))
        self.nodes.append(node)
        return self

    def _ends(self, kind: str) -> tuple[str, str, str]:
        count = len(self.nodes)
        return f"{kind}{count}", self.last.name, f"t{count}"

    def conv(self, weights: np.ndarray, bits: int = 8, bias: Any = None, **fields: Any) -> Chain:
        node = Conv(*self._ends("conv"), weights=weights, weight_format=IntFormat(bits, True), bias=bias, **fields)
        return self.append(node, accumulator_format(weights, self.last.format, bias))

    def dense(self, weights: np.ndarray, bits: int = 8, bias: Any = None) -> Chain:
        node = Dense(*self._ends("dense"), weights=weights, weight_format=IntFormat(bits, True), bias=bias)
        return self.append(node, accumulator_format(weights, self.last.format, bias))

    def requantise(self, multiplier: Any, bias: Any, shift: int, format: IntFormat) -> Chain:
        node = Requantise(*self._ends("requantise"), multiplier=np.array(multiplier), bias=np.array(bias), shift=shift)
        return self.append(node, format, 0.5)

    def pool(self, kernel: int, stride: int) -> Chain:
        return self.append(
            MaxPool(*self._ends("pool"), kernel=kernel, stride=stride), self.last.format, self.last.scale
        )

    def graph(self, name: str = "net", **fields: Any) -> Graph:
        return Graph(name, tuple(self.tensors), tuple(self.nodes), "x", self.last.name, **fields)


def random_network(seed: int = 0) -> Graph:
    """An image network 3x9x10 with every kind of node: input, conv, requantise, max-pool, conv, dense."""
    rng = np.random.default_rng(seed)
    chain = Chain((3, 9, 10), IntFormat(8, False), 1 / 256)
    chain.requantise([1] * 3, [-8] * 3, 4, IntFormat(4, False))
    chain.conv(rng.integers(-8, 8, (6, 3, 3, 3)), 4, padding=1)
    chain.requantise(rng.integers(-90, 90, 6), rng.integers(-9000, 9000, 6), 12, IntFormat(5, False))
    chain.pool(2, 2)
    chain.conv(rng.integers(-3, 4, (4, 6, 5, 5)), 3, rng.integers(-99, 99, 4), padding=2, stride=2)
    chain.requantise(rng.integers(1, 90, 4), rng.integers(-99, 99, 4), 9, IntFormat(3, True))
    chain.dense(rng.integers(-128, 128, (10, 4 * 2 * 3)), 8, rng.integers(-999, 999, 10))
    return chain.graph(metadata={"origin": "random", "seed": str(seed)})
