"""Graphs of untrained networks: the shape of trained ones, numbers that follow from a layer's own widths alone."""

from __future__ import annotations

import numpy as np
import pytest

from mixq.checkpoints import random_model
from mixq.errors import UserError
from mixq.graph import Conv, Dense, Requantise
from mixq.lowering import lower
from mixq.networks import network
from mixq.plan.untrained import untrained_graph

WIDTHS = [
    ("digits_cnn", [4, 3, 2, 6], [5, 4, 3, 6]),
    ("digits_cnn", [8, 2, 5, 3], [8, 2, 7, 4]),
    ("vgg_tiny", [8, 2, 3, 4, 5, 6], [8, 3, 3, 3, 6, 3]),
    ("ultranet", [4], [4]),
]


@pytest.mark.parametrize(("name", "weights", "acts"), WIDTHS)
def test_it_is_the_graph_that_training_would_end_with(name: str, weights: list[int], acts: list[int]) -> None:
    table = network(name)
    made = untrained_graph(table, weight_bits=weights, act_bits=acts)
    trained = lower(random_model(table, 1, weight_bits=weights, act_bits=acts, weight_range="narrow"))
    assert [(n.name, n.op, n.reads, n.output) for n in made.nodes] == [
        (n.name, n.op, n.reads, n.output) for n in trained.nodes
    ]
    for one, other in zip(made.nodes, trained.nodes, strict=True):
        if isinstance(one, Conv | Dense):
            assert isinstance(other, Conv | Dense)
            assert (one.weights.shape, one.weight_format) == (other.weights.shape, other.weight_format)
        if isinstance(one, Requantise):
            assert isinstance(other, Requantise)
            assert one.shift == other.shift
    for tensor, same in zip(made.tensors, trained.tensors, strict=True):
        assert (tensor.name, tensor.shape) == (same.name, same.shape)
        if not same.format.signed:
            assert tensor.format == same.format


def test_codes_are_spread_like_those_of_trained_layers() -> None:
    for bits in range(2, 9):
        made = untrained_graph(network("vgg_tiny"), weight_bits=[bits], act_bits=[4])
        trained = lower(random_model("vgg_tiny", 3, weight_bits=[bits], act_bits=[4], weight_range="narrow"))
        for one, other in zip(made.nodes, trained.nodes, strict=True):
            if isinstance(one, Conv) and isinstance(other, Conv):
                assert 0.7 < one.weights.std() / other.weights.std() < 1.6
                assert one.weights.min() == one.weight_format.low
            if isinstance(one, Requantise) and isinstance(other, Requantise):
                widths = [np.abs(n.multiplier).max().item().bit_length() for n in (one, other)]
                assert abs(widths[0] - widths[1]) <= 2


def test_a_layer_is_the_same_whatever_the_others_are() -> None:
    table = network("digits_cnn")
    one = untrained_graph(table, weight_bits=[4, 3, 2, 6], act_bits=[5, 4, 3, 6])
    other = untrained_graph(table, weight_bits=[8, 3, 7, 2], act_bits=[2, 4, 3, 8])
    by_name = {node.name: node for node in other.nodes}
    for node in one.nodes:
        if node.name in ("conv2", "conv2_act", "pool1", "pool2"):
            assert node == by_name[node.name]
    assert one.nodes[1] != by_name["conv1"]


def test_pixels_of_full_width_are_not_truncated() -> None:
    graph = untrained_graph(network("digits_cnn"), act_bits=[8, 4, 3, 6])
    assert graph.nodes[0].name == "conv1"
    assert graph.nodes[0].reads == (graph.input,)


def test_wrong_widths_are_refused() -> None:
    with pytest.raises(UserError, match="must be integers from 2 to 8, not 9"):
        untrained_graph(network("digits_cnn"), weight_bits=[9])
