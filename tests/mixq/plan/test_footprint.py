"""The least memory of networks, against counts by hand and against plans, which must never take less."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from boards import load_board
from mixq.board import Resources
from mixq.checkpoints import random_model
from mixq.errors import UserError
from mixq.formats import IntFormat
from mixq.lowering import lower
from mixq.networks import network
from mixq.plan import plan, resnet
from mixq.plan.footprint import Footprint, LayerSize, footprint, sizes_of_graph, sizes_of_table
from tests.mixq.graphs import Chain

BOARD = load_board("ultra96-v2")


def size(weights: int, bits: int = 8) -> LayerSize:
    return LayerSize(name="conv1", weights=weights, macs=1, line_values=10, weight_bits=bits, act_bits=8)


def test_sizes_of_the_digits_network_by_hand() -> None:
    first, second, third, dense = sizes_of_table(network("digits-cnn"), weight_bits=[4, 3, 2, 6], act_bits=[5, 4, 3, 6])
    assert (first.name, first.weights, first.macs, first.line_values) == ("conv1", 144, 144 * 64, 2 * 8)
    assert (second.weights, second.line_bits) == (16 * 32 * 9, 2 * 4 * 16 * 4)
    # The image has two rows there: a kernel of three reaches back to one of them.
    assert (third.line_values, third.weight_memory_bits) == (1 * 2 * 32, 32 * 32 * 9 * 2)
    assert (dense.name, dense.weights, dense.line_bits) == ("dense", 32 * 4 * 10, 0)


@pytest.mark.parametrize("name", ["digits-cnn", "vgg-tiny", "ultranet"])
def test_table_and_graph_have_the_same_sizes(name: str) -> None:
    shape = (3, 32, 32) if name == "ultranet" else network(name).input_shape
    table = replace(network(name), input_shape=shape)
    assert sizes_of_graph(lower(random_model(table, 1))) == sizes_of_table(table)


def test_lines_reach_as_far_as_the_taps() -> None:
    chain = Chain((4, 9, 10), IntFormat(4, False))
    chain.conv(np.ones((4, 1, 3, 3), np.int64), 4, groups=4, padding=(0, 0, 1, 1), stride=2)
    chain.requantise([1] * 4, [0] * 4, 2, IntFormat(3, False))
    chain.conv(np.ones((6, 2, 3, 3), np.int64), 4, groups=2, padding=2, dilation=2)
    depthwise, dilated = sizes_of_graph(chain.graph())
    assert (depthwise.weights, depthwise.line_values, depthwise.line_bits) == (4 * 9, 2 * 10 * 4, 2 * 10 * 4 * 4)
    # Of an image of 4 rows, all but the one that comes.
    assert (dilated.weights, dilated.line_values) == (6 * 2 * 9, 3 * 5 * 4)


def test_small_layers_may_do_without_memory() -> None:
    assert not size(20_000).needs_memory(0)
    assert size(20_001).needs_memory(0)
    # Two words of 27 x 18 bits each, of weights of log2(255) bits and activations of 8: 15.2 products, 8 words each.
    assert not size(43_700).needs_memory(360)
    assert size(43_900).needs_memory(360)
    assert footprint([size(43_700), size(43_900)], Resources(dsp=360)) == Footprint(
        weight_bits=43_900 * 8, line_bits=2 * 10 * 8
    )


def test_what_does_not_fit_is_counted_to_the_bit() -> None:
    least = Footprint(weight_bits=100_000, line_bits=1_000)
    limits = Resources(lut=100, bram36=2.5)
    assert least.memory_bits == 101_000
    assert least.lacking_bits(limits) == 101_000 - 92_160 - 6_400
    assert least.least_luts(limits) == 139  # 8,840 bits, 64 each
    assert least.lacking_bits(Resources(lut=139, bram36=2.5)) == 0
    assert least.lacking_bits(Resources(lut=138, bram36=2.5)) == 101_000 - 92_160 - 138 * 64


@pytest.mark.parametrize(("name", "bits"), [("digits-cnn", 8), ("vgg-tiny", 8)])
def test_no_plan_takes_less_than_the_bound(name: str, bits: int) -> None:
    graph = lower(random_model(name, 1, weight_bits=[bits], act_bits=[4]))
    made = plan(graph, BOARD, max_cycles=10**9)  # the smallest there is
    least = footprint(sizes_of_graph(graph), made.resources)
    assert least.lacking_bits(made.resources) == 0
    assert least.weight_bits > 0 or name == "digits-cnn"


def test_resnet18_has_the_published_parameters() -> None:
    sizes = resnet.resnet18_sizes()
    # 11,689,512 parameters less 9,600 of batch norm and the dense layer's 1,000 biases.
    assert sum(layer.weights for layer in sizes) == 11_678_912
    # 1.82 billion multiplications, the figure that is published for one image of 224 x 224, downsampling included.
    assert sum(layer.macs for layer in sizes) == 1_814_073_344
    assert len(sizes) == 21
    assert [layer.act_bits for layer in sizes] == [8] + [4] * 20
    assert {layer.weight_bits for layer in resnet.resnet18_sizes(weight_bits=[2])} == {2}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight_bits": [9]}, "weight widths of resnet18 must be integers from 2 to 8, not (9,)"),
        ({"act_bits": [4, 4]}, "resnet18 takes 21 act widths, one for each layer, or 1 for all; not 2"),
        ({"input_shape": (3, 31, 224)}, "images of resnet18 must be at least 32 x 32, not 31 x 224"),
    ],
)
def test_what_resnet18_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as failure:
        resnet.resnet18_sizes(**arguments)
    assert str(failure.value) == message
