"""Weights of a graph read back from the memory images of its Verilog, and a graph with other weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from mixq.graph import Conv, Dense, Graph, accumulator_format
from mixq.plan.folding import Folding


def read_words(rtl: Path, layer: str, position: int) -> list[int]:
    return [int(line, 16) for line in (rtl / f"{layer}_weights_{position}.mem").read_text().split()]


def stored_weights(rtl: Path, layer: str, folding: Folding) -> np.ndarray:
    """Weights (C_out, C_in, K, K) of a layer as its memories hold them, C_in in the order of the stream.

    Written from docs/hardware.md, "Weight memories", and not from the code that writes them.
    """
    packing, shape = folding.packing, folding.shape
    kernel, bits = shape.kernel, packing.stored_bits
    weights = np.zeros((shape.out_channels, shape.in_channels, kernel, kernel), np.int64)
    serial_rows, words = kernel // folding.rows, folding.words
    for position in range(folding.cascade):
        for address, word in enumerate(read_words(rtl, layer, position)):
            rest, group = divmod(address, words)
            rest, serial = divmod(rest, serial_rows)
            fold, tap_pass = divmod(rest, packing.passes)
            for index in range(folding.columns * folding.chains):
                column, chain = divmod(index, folding.chains)
                row, lane = divmod(chain * folding.cascade + position, folding.lanes)
                codes = packing.decode_weights((word >> (index * bits)) & ((1 << bits) - 1))
                for channel in range(packing.channels):
                    out = fold * folding.pe + column * packing.channels + channel
                    for tap in range(packing.taps):
                        place = tap_pass * packing.taps + tap
                        here = out < shape.out_channels and group * folding.lanes + lane < shape.in_channels
                        if place < kernel and here:
                            at = (out, group * folding.lanes + lane, serial * folding.rows + row, kernel - 1 - place)
                            weights[at] = codes[channel, tap]
    return weights


def weights_of(graph: Graph, layer: str) -> np.ndarray:
    """A copy of a layer's weights."""
    node = graph.node(layer)
    assert isinstance(node, Conv | Dense)
    return node.weights.copy()


def in_graph_order(graph: Graph, layer: str, weights: np.ndarray) -> np.ndarray:
    """The same weights as the graph's node has them."""
    node = graph.node(layer)
    if isinstance(node, Conv):
        return weights
    channels, height, width = graph.tensor(node.reads[0]).shape
    return weights.reshape(-1, height, width, channels).transpose(0, 3, 1, 2).reshape(len(weights), -1)


def with_weights(graph: Graph, layer: str, weights: np.ndarray) -> Graph:
    """The graph with other weights of one layer."""
    node = graph.node(layer)
    assert isinstance(node, Conv | Dense)
    changed = replace(node, weights=weights)
    format = accumulator_format(weights, graph.tensor(node.reads[0]).format, node.bias)
    return Graph(
        graph.name,
        tuple(replace(t, format=format) if t.name == node.output else t for t in graph.tensors),
        tuple(changed if n.name == layer else n for n in graph.nodes),
        graph.input,
        graph.output,
    )
