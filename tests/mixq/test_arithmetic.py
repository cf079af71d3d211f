"""What the nodes of branched networks compute, against loops over Python's integers and against PyTorch."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mixq import arithmetic
from mixq.execute import apply_node, run, run_all
from mixq.formats import IntFormat
from mixq.graph import Add, Concat, Conv, SpaceToDepth, SumPool, Threshold, Upsample
from tests.mixq.dags import Dag, every_node


def codes(seed: int, format: IntFormat, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(format.low, format.high, shape, endpoint=True)


def naive_conv(node: Conv, values: np.ndarray) -> np.ndarray:
    (top, left, _, _), kernel = node.sides, node.kernel
    frames, _, height, width = values.shape
    outputs, inputs = node.weights.shape[:2]
    _, rows, columns = node.output_shape(values.shape[1:])
    result = np.zeros((frames, outputs, rows, columns), np.int64)
    for n, o, r, c in np.ndindex(*result.shape):
        total = 0 if node.bias is None else int(node.bias[o])
        block = o // (outputs // node.groups) * inputs
        for i, u, v in itertools.product(range(inputs), range(kernel), range(kernel)):
            y, x = r * node.stride + u * node.dilation - top, c * node.stride + v * node.dilation - left
            if 0 <= y < height and 0 <= x < width:
                total += int(node.weights[o, i, u, v]) * int(values[n, block + i, y, x])
        result[n, o, r, c] = total
    return result


CONVS: list[dict[str, Any]] = [
    {"kernel": 3, "groups": 4, "padding": 1},
    {"kernel": 5, "groups": 4, "padding": 2, "stride": 2},
    {"kernel": 3, "groups": 2, "padding": (0, 0, 1, 1), "stride": 2, "bias": True},
    {"kernel": 3, "dilation": 2, "padding": (2, 1, 0, 4)},
    {"kernel": 3, "dilation": 2, "groups": 4, "stride": 2, "padding": 2},
    {"kernel": 1, "groups": 2, "stride": 2},
]


@pytest.mark.parametrize("fields", CONVS)
@pytest.mark.parametrize("signed", [False, True])
def test_convolutions(fields: dict[str, Any], signed: bool) -> None:
    format = IntFormat(3, signed)
    dag = Dag((4, 6, 7), format, seed=5)
    graph = dag.graph(dag.conv("x", 8, **fields))
    (node,) = graph.nodes
    assert isinstance(node, Conv)
    values = codes(1, format, 2, 4, 6, 7)
    found = run(graph, values)
    assert np.array_equal(found, naive_conv(node, values))
    top, left, bottom, right = node.sides
    bias = None if node.bias is None else torch.from_numpy(node.bias.copy()).double()
    expected = F.conv2d(
        F.pad(torch.from_numpy(values).double(), (left, right, top, bottom)),
        torch.from_numpy(node.weights.copy()).double(),
        bias,
        stride=node.stride,
        dilation=node.dilation,
        groups=node.groups,
    )
    assert np.array_equal(found, expected.long().numpy())
    assert graph.tensor(graph.output).format.contains(found)


@pytest.mark.parametrize("kernel", [(2, 2), (3, 2), (1, 4), (5, 6)])
def test_sums_over_windows(kernel: tuple[int, int]) -> None:
    format = IntFormat(5, True)
    dag = Dag((3, 5, 6), format)
    graph = dag.graph(dag.sum_pool("x", kernel))
    values = codes(2, format, 2, 3, 5, 6)
    expected = F.avg_pool2d(torch.from_numpy(values).double(), kernel) * kernel[0] * kernel[1]
    assert np.array_equal(run(graph, values), expected.round().long().numpy())


@pytest.mark.parametrize("block", [2, 3, 4])
def test_blocks_become_channels(block: int) -> None:
    format = IntFormat(6, False)
    dag = Dag((3, 12, 24), format)
    graph = dag.graph(dag.space_to_depth("x", block))
    values = codes(3, format, 2, 3, 12, 24)
    found = run(graph, values)
    for u, v in itertools.product(range(block), range(block)):
        first = (u * block + v) * 3
        assert np.array_equal(found[:, first : first + 3], values[:, :, u::block, v::block])
    # PyTorch's has the channels of the input outermost.
    shuffled = F.pixel_unshuffle(torch.from_numpy(values), block).numpy().reshape(2, 3, block * block, 12 // block, -1)
    assert np.array_equal(found, shuffled.transpose(0, 2, 1, 3, 4).reshape(found.shape))


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_nearest_neighbours(factor: int) -> None:
    format = IntFormat(6, True)
    dag = Dag((2, 3, 5), format)
    graph = dag.graph(dag.upsample("x", factor))
    values = codes(4, format, 2, 2, 3, 5)
    expected = F.interpolate(torch.from_numpy(values).double(), scale_factor=factor).long().numpy()
    assert np.array_equal(run(graph, values), expected)


def test_thresholds_count_from_below_and_above() -> None:
    node = Threshold(
        "t",
        "x",
        "y",
        thresholds=np.array([[-3, 0, 0, 5], [-8, -8, 2, 99], [1, 2, 3, 4]]),
        first=np.array([0, 4, -1]),
        step=np.array([1, -1, 2]),
    )
    values = np.arange(-8, 8).reshape(1, 1, 16, 1).repeat(3, axis=1)
    (found,) = arithmetic.compute(node, [values], [IntFormat(4, True)], IntFormat(5, True))
    for channel, (first, step) in enumerate([(0, 1), (4, -1), (-1, 2)]):
        bounds = node.thresholds[channel].tolist()
        expected = [first + step * sum(value >= bound for bound in bounds) for value in range(-8, 8)]
        assert found[channel, :, 0].tolist() == expected


def test_weighted_sums_and_concatenation() -> None:
    one, other = codes(5, IntFormat(8, True), 2, 3, 4, 5), codes(6, IntFormat(4, False), 2, 3, 4, 5)
    factors = np.array([[7, -5, 1 << 40], [-1, 0, 1 << 42]])
    node = Add("a", ("x", "z"), "y", multipliers=factors)
    formats = [IntFormat(8, True), IntFormat(4, False)]
    found = arithmetic.compute(node, [one, other], formats, node.sum_format(formats))
    for index in np.ndindex(*one.shape):
        channel = index[1]
        assert int(found[index]) == int(one[index]) * int(factors[0, channel]) + int(other[index]) * int(
            factors[1, channel]
        )
    joined = arithmetic.compute(Concat("c", ("x", "z"), "y"), [one, other], formats, formats[0])
    assert np.array_equal(joined[:, :3], one) and np.array_equal(joined[:, 3:], other)


@pytest.mark.parametrize("seed", range(3))
def test_all_nodes_together(seed: int) -> None:
    graph = every_node(seed)
    values = np.random.default_rng(seed).integers(0, 256, (3, *graph.tensor("x").shape))
    tensors = run_all(graph, values)
    for node in graph.nodes:
        own = tensors[node.output]
        assert graph.tensor(node.output).format.contains(own)
        assert np.array_equal(apply_node(graph, node.name, *(tensors[name] for name in node.reads)), own)
    assert np.array_equal(run(graph, values), tensors[graph.output])
    single = [run(graph, values[frame : frame + 1]) for frame in range(3)]
    assert np.array_equal(np.concatenate(single), tensors[graph.output])
    kinds = {type(node) for node in graph.nodes}
    assert {Conv, Threshold, SumPool, SpaceToDepth, Upsample, Add, Concat} <= kinds


def test_another_number_of_inputs_is_refused() -> None:
    dag = Dag((2, 3, 3), IntFormat(4, False))
    graph = dag.graph(dag.add("x", "x"))
    with pytest.raises(ValueError, match="argument"):
        apply_node(graph, "add0", np.zeros((1, 2, 3, 3), np.int64))
