"""Chains of layers with the stages that have no weights between them, for tests."""

from __future__ import annotations

import random

from mixq.formats import IntFormat
from mixq.graph import Graph
from tests.mixq.dags import Dag


def image_network() -> Graph:
    """Every kind of stage between layers; thresholds and signed codes behind layers; dense layers in a row."""
    dag = Dag((3, 12, 16), IntFormat(8, False), 1)
    tensor = dag.threshold(dag.conv(dag.requantise("x"), 8, padding=1), 3)
    tensor = dag.requantise(dag.conv(dag.space_to_depth(tensor), 6, 1), 4, signed=True)
    tensor = dag.threshold(dag.conv(dag.upsample(tensor), 4, padding=1), 3, signed=True)
    tensor = dag.requantise(dag.sum_pool(tensor, (12, 16)), 6, signed=True)
    tensor = dag.threshold(dag.dense(dag.requantise(dag.dense(tensor, 12), 4), 8), 2)
    return dag.graph(dag.dense(tensor, 10), "image")


def bare_network() -> Graph:
    """Stages without weights, one behind the other, from the graph's input to its output."""
    dag = Dag((2, 8, 8), IntFormat(4, True), 2)
    tensor = dag.requantise(dag.sum_pool(dag.threshold("x", 3), 2), 5)
    tensor = dag.space_to_depth(dag.upsample(tensor, 3), 4)
    return dag.graph(dag.sum_pool(dag.max_pool(tensor, 2, 1), (1, 2)), "bare")


def pooled_network() -> Graph:
    """Sums over windows that do not fill the image, taken by layers of as many cycles."""
    dag = Dag((4, 9, 10), IntFormat(4, True), 3)
    tensor = dag.sum_pool(dag.requantise(dag.conv("x", 8, padding=1), 5), (2, 3))
    tensor = dag.requantise(dag.conv(dag.requantise(tensor, 3), 6, 1), 4)
    return dag.graph(dag.sum_pool(tensor, (4, 3)), "pooled")


def random_chain(seed: int) -> Graph:
    """Three to six stages of any kind, and then perhaps a global pool and two dense layers."""
    dice = random.Random(seed)
    sizes = dice.choice([1, 2, 4]), dice.choice([4, 6, 8, 12]), dice.choice([4, 6, 8, 12])
    dag = Dag(sizes, IntFormat(dice.choice([2, 4, 8]), dice.random() < 0.5), seed)

    def scaled(tensor: str) -> str:
        if dice.random() < 0.5:
            return dag.requantise(tensor, dice.randint(2, 6), signed=dice.random() < 0.4)
        return dag.threshold(tensor, dice.randint(2, 4), signed=dice.random() < 0.4)

    tensor = scaled("x")
    for _ in range(dice.randint(3, 6)):
        channels, height, width = dag.tensors[tensor].shape
        kind = dice.choice(["conv", "conv", "conv", "sum", "pool", "blocks", "larger", "scale"])
        if kind == "conv":
            kernel = dice.choice([1, 3])
            layer = dag.conv(tensor, dice.choice([2, 4, 6]), kernel, padding=kernel // 2, bits=dice.randint(2, 6))
            tensor = scaled(layer)
        elif kind == "sum":
            sides = dice.randint(1, min(3, height)), dice.randint(1, min(3, width))
            tensor = scaled(dag.sum_pool(tensor, sides))
        elif kind == "pool" and min(height, width) >= 2:
            tensor = dag.max_pool(tensor, 2, 2)
        elif kind == "blocks" and height % 2 == width % 2 == 0 and channels <= 8:
            tensor = dag.space_to_depth(tensor)
        elif kind == "larger" and height * width <= 64:
            tensor = dag.upsample(tensor, dice.choice([2, 3]))
        elif kind == "scale":
            tensor = scaled(tensor)
    if dice.random() < 0.6:
        _, height, width = dag.tensors[tensor].shape
        tensor = scaled(dag.sum_pool(tensor, (height, width)))
        tensor = dag.dense(scaled(dag.dense(tensor, dice.choice([4, 6]))), 5)
    return dag.graph(tensor, "random")
