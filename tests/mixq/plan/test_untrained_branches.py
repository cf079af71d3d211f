"""Graphs of untrained networks with branches: node for node those that training ends with."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from mixq.checkpoints import random_model
from mixq.execute import run
from mixq.graph import Add, Concat, Conv, Dense, MaxPool, Requantise, SpaceToDepth, SumPool, Upsample
from mixq.lowering import lower
from mixq.networks import ConcatSpec, ConvSpec, NetworkTable, PoolSpec, UpsampleSpec, network
from mixq.plan.untrained import untrained_graph

SMALL = {"ultranet_bypass": (3, 32, 48), "skynet": (3, 32, 48), "mobilenetv1_025": (3, 48, 48)}
FIELDS = {
    Conv: ("stride", "sides", "groups", "dilation", "weight_format"),
    Dense: ("weight_format",),
    Requantise: ("shift",),
    MaxPool: ("kernel", "stride"),
    SumPool: ("kernel",),
    SpaceToDepth: ("block",),
    Upsample: ("factor",),
}


def same_graph(table: NetworkTable, weights: list[int], acts: list[int]) -> None:
    made = untrained_graph(table, weight_bits=weights, act_bits=acts)
    trained = lower(random_model(table, 1, weight_bits=weights, act_bits=acts, weight_range="narrow"))
    assert [(n.name, n.op, n.reads, n.output) for n in made.nodes] == [
        (n.name, n.op, n.reads, n.output) for n in trained.nodes
    ]
    assert (made.name, made.input, made.output) == (trained.name, trained.input, trained.output)
    for one, other in zip(made.nodes, trained.nodes, strict=True):
        for field in FIELDS.get(type(one), ()):
            assert getattr(one, field) == getattr(other, field), (one.name, field)
        for array in ("weights", "multiplier", "multipliers"):
            assert np.shape(getattr(one, array, 0)) == np.shape(getattr(other, array, 0)), (one.name, array)
    for tensor, like in zip(made.tensors, trained.tensors, strict=True):
        assert (tensor.name, tensor.shape) == (like.name, like.shape)
        if not like.format.signed:
            assert tensor.format == like.format


@pytest.mark.parametrize("name", ["resnet8", "resnet20", "ultranet_bypass", "skynet", "mobilenetv1_025", "ds_cnn"])
def test_it_is_the_graph_that_training_would_end_with(name: str) -> None:
    table = network(name)
    table = replace(table, input_shape=SMALL.get(name, table.input_shape))
    random = np.random.default_rng(1)
    weights = random.integers(2, 9, len(table.resolve_weight_bits())).tolist()
    acts = random.integers(2, 9, len(table.resolve_act_bits())).tolist()
    same_graph(table, weights, acts)


@pytest.mark.parametrize("name", ["resnet8", "ultranet_bypass"])
def test_equal_widths_share_their_codes(name: str) -> None:
    table = network(name)
    table = replace(table, input_shape=SMALL.get(name, table.input_shape))
    same_graph(table, [4] * len(table.weighted_names), [4] * len(table.weighted_names))


def test_upsampled_and_pooled_branches() -> None:
    layers = (
        ConvSpec(channels=4),
        PoolSpec(),
        UpsampleSpec(),
        ConcatSpec(reads=("up1", "conv1")),
        ConvSpec(channels=4, dilation=2, padding=2),
        ConvSpec(channels=3, kernel=1, padding=0, bias=True, batch_norm=False),
    )
    table = NetworkTable(name="up", input_shape=(2, 8, 8), layers=layers, weight_bits=(4,), act_bits=(4,))
    same_graph(table, [3, 4, 5], [6, 3, 4])
    graph = untrained_graph(table, weight_bits=[4], act_bits=[4])
    assert {"concat", "upsample"} <= {node.op for node in graph.nodes}


def test_random_residual_networks_tell_images_apart() -> None:
    graph = untrained_graph(network("resnet8"), weight_bits=[4], act_bits=[4])
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32))
    assert len(np.unique(run(graph, pixels))) > 4
    assert sum(isinstance(node, Add) for node in graph.nodes) == 3
    assert not any(isinstance(node, Concat) for node in graph.nodes)


def test_it_needs_no_torch() -> None:
    code = (
        "import sys; from mixq.networks import network; from mixq.plan.untrained import untrained_graph; "
        "untrained_graph(network('resnet8')); print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
