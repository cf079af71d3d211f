"""Random chains of layers, small enough to be simulated."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np

from mixq.formats import IntFormat
from mixq.graph import Graph
from mixq.plan import Plan
from tests.mixq.graphs import Chain

MOST_MACS = 60_000


def weights(rng: np.random.Generator, bits: int, *shape: int) -> np.ndarray:
    return rng.integers(-(1 << (bits - 1)), 1 << (bits - 1), shape)


def scales(rng: np.random.Generator, chain: Chain, shift: int, format: IntFormat) -> Chain:
    """Requantise so that most codes lie inside the range; some multipliers are negative or zero."""
    channels, spread = chain.last.shape[0], max(1, chain.last.format.high // 4)
    size = max(1, (format.high << shift) // (2 * spread))
    multiplier = rng.integers(size // 2, size + 2, channels) * rng.choice([-1, 1, 1, 1], channels)
    multiplier[0] = 0
    return chain.requantise(multiplier, rng.integers(0, format.high << shift, channels), shift, format)


def pumped(chosen: Plan, name: str) -> Plan:
    """The plan with one layer's DSPs at twice the clock, half as many."""
    layer = chosen.layer(name)
    assert layer.folding is not None
    folding = replace(layer.folding, pump=2)
    resources = replace(layer.resources, dsp=folding.dsps)
    changed = replace(layer, folding=folding, resources=resources)
    return replace(chosen, layers=tuple(changed if one is layer else one for one in chosen.layers))


def random_chain(seed: int) -> Graph:
    """One to three convolutions with or without pools, then a dense layer or the last convolution's sums."""
    while True:
        graph = _attempt(seed)
        if graph is not None and sum(graph.macs(node.name) for node in graph.nodes) <= MOST_MACS:
            return graph
        seed += 1_000_003


def _attempt(seed: int) -> Graph | None:
    rng, dice = np.random.default_rng(seed), random.Random(seed)
    image = (dice.choice([1, 2, 3, 4]), dice.randint(1, 10), dice.randint(1, 12))
    chain = Chain(image, IntFormat(dice.randint(2, 8), False), 1 / 256)
    layers = dice.randint(1, 3)
    for layer in range(layers):
        channels, height, width = chain.last.shape
        kernel = dice.choice([1, 3, 3, 5])
        padding, stride = dice.randint(0, min(2, kernel - 1)), dice.choice([1, 1, 2])
        if min(height, width) + 2 * padding < kernel:
            continue
        bits, outputs = dice.randint(2, 8), dice.choice([1, 2, 3, 4, 6, 8])
        bias = rng.integers(-50, 50, outputs) if dice.random() < 0.3 else None
        kernels = weights(rng, bits, outputs, channels, kernel, kernel)
        chain.conv(kernels, bits, padding=padding, stride=stride, bias=bias)
        if layer == layers - 1 and dice.random() < 0.3:
            return chain.graph()
        scales(rng, chain, dice.randint(8, 16), IntFormat(dice.randint(2, 8), False))
        pool = dice.choice([0, 0, 2, 3])
        if pool and min(chain.last.shape[1:]) >= pool:
            chain.pool(pool, dice.randint(1, pool))
    inputs = int(np.prod(chain.last.shape))
    if inputs > 600:
        return None
    bits, outputs = dice.randint(2, 8), dice.choice([1, 2, 5, 10])
    return chain.dense(weights(rng, bits, outputs, inputs), bits, bias=rng.integers(-99, 99, outputs)).graph()
