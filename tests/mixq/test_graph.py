from __future__ import annotations

import itertools
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest

from mixq.errors import UserError
from mixq.formats import IntFormat
from mixq.graph import (
    Conv,
    Dense,
    Graph,
    GraphError,
    MaxPool,
    Requantise,
    Tensor,
    accumulator_bounds,
    accumulator_format,
)
from tests.mixq.graphs import Chain, random_network

U4, U8, S4, S8 = IntFormat(4, False), IntFormat(8, False), IntFormat(4, True), IntFormat(8, True)


def refusal(call: Any, *arguments: Any, **fields: Any) -> str:
    """The message of a wrong value: at once a user's fault and a ValueError, in one line."""
    with pytest.raises(GraphError) as caught:
        call(*arguments, **fields)
    assert isinstance(caught.value, UserError) and isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def conv(weights: Any = None, **fields: Any) -> Conv:
    defaults: dict[str, Any] = {"weights": np.zeros((2, 3, 3, 3), int), "weight_format": S4}
    if weights is not None:
        defaults["weights"] = weights
    return Conv("c", "x", "y", **{**defaults, **fields})


def identity(name: str, source: str, target: str, channels: int) -> Requantise:
    return Requantise(name, source, target, multiplier=np.ones(channels, int), bias=np.zeros(channels, int), shift=0)


# --- accumulator bounds


@pytest.mark.parametrize(
    "format", [IntFormat(2, False), IntFormat(2, True), IntFormat(3, True, -1, 3), IntFormat(3, False, 2, 5)]
)
def test_bounds_are_what_all_inputs_reach(format: IntFormat) -> None:
    rng = np.random.default_rng(3)
    weights = rng.integers(-4, 4, (3, 4))
    bias = rng.integers(-20, 20, 3)
    codes = sorted({0, *range(format.low, format.high + 1)})
    sums = np.array([weights @ np.array(inputs) + bias for inputs in itertools.product(codes, repeat=4)])
    lows, highs = accumulator_bounds(weights, format, bias)
    assert lows == sums.min(axis=0).tolist() and highs == sums.max(axis=0).tolist()
    exact = accumulator_format(weights, format, bias)
    assert (exact.low, exact.high, exact.signed) == (sums.min(), sums.max(), True)
    assert IntFormat.for_range(exact.low, exact.high, signed=True).width == exact.width


def test_bounds_of_zero_weights_and_of_huge_ones() -> None:
    assert accumulator_format(np.zeros((2, 5), int), U4) == IntFormat(2, True, 0, 0)
    lows, highs = accumulator_bounds(np.full((1, 8), 2**62), IntFormat(8, False))
    assert (lows, highs) == ([0], [8 * 255 * 2**62])
    lows, highs = accumulator_bounds([[1]], U4, [2**63 - 1])
    assert (lows, highs) == ([2**63 - 1], [2**63 + 14])


def test_bounds_refuse() -> None:
    with pytest.raises(TypeError, match=r"^weights must hold integers, not float64$"):
        accumulator_bounds([[0.5]], U4)
    with pytest.raises(ValueError, match=r"not the shape \(2, 0\)$"):
        accumulator_bounds(np.zeros((2, 0), int), U4)
    with pytest.raises(ValueError, match=r"^bias must have one value for each of 2 channels, not 1$"):
        accumulator_bounds([[1], [2]], U4, [3])


# --- tensors


@pytest.mark.parametrize(
    "change, message",
    [
        ({"name": "a b"}, "name of a tensor must be a letter and at most 62 letters, digits or underscores, not 'a b'"),
        ({"shape": (0, 1, 1)}, "shape of tensor t must be 1 to 65536, not 0"),
        ({"shape": (1, 65537, 1)}, "shape of tensor t must be 1 to 65536, not 65537"),
        ({"shape": (4096, 4096, 5)}, "shape of tensor t must have at most 67108864 elements, not (4096, 4096, 5)"),
        ({"format": IntFormat(1, False)}, "width of tensor t must be 2 to 64, not 1"),
        ({"format": IntFormat(64, False)}, f"high of tensor t must be below 2**63, not {2**64 - 1}"),
        ({"scale": 0.0}, "scale of tensor t must be positive and finite, not 0.0"),
        ({"scale": -1}, "scale of tensor t must be positive and finite, not -1"),
        ({"scale": float("nan")}, "scale of tensor t must be positive and finite, not nan"),
        ({"scale": float("inf")}, "scale of tensor t must be positive and finite, not inf"),
    ],
)
def test_wrong_tensors(change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"name": "t", "shape": (1, 1, 1), "format": U4, "scale": 1.0}
    assert refusal(Tensor, **{**good, **change}) == message


@pytest.mark.parametrize(
    "change, message",
    [
        ({"name": 3}, "name of a tensor must be a str, not 3"),
        ({"shape": 5}, "shape of tensor t must be a tuple (C, H, W), not 5"),
        ({"shape": (1, 1)}, "shape of tensor t must be a tuple (C, H, W), not (1, 1)"),
        ({"shape": (1, 1, 1.0)}, "shape of tensor t must be an integer, not 1.0"),
        ({"format": 4}, "format of tensor t must be an IntFormat, not 4"),
        ({"scale": "1"}, "scale of tensor t must be a float or None, not '1'"),
    ],
)
def test_wrong_types_of_tensors(change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"name": "t", "shape": (1, 1, 1), "format": U4}
    with pytest.raises(TypeError) as caught:
        Tensor(**{**good, **change})
    assert str(caught.value) == message


# --- nodes


def test_arrays_are_copies_that_nobody_can_change() -> None:
    weights = np.ones((2, 3, 3, 3), np.int8)
    node = conv(weights)
    weights[:] = 5
    assert node.weights.dtype == np.int64 and (node.weights == 1).all()
    with pytest.raises(ValueError, match="read-only"):
        node.weights[0, 0, 0, 0] = 2
    with pytest.raises(FrozenInstanceError):
        node.stride = 2  # type: ignore[misc]


def test_nodes_are_values() -> None:
    assert conv() == conv() and hash(conv()) == hash(conv())
    assert conv() != conv(np.ones((2, 3, 3, 3), int)) and conv() != conv(stride=2) and conv() != "c"
    assert conv() != conv(bias=np.zeros(2, int)) and conv(bias=np.zeros(2, int)) != conv()
    assert conv(bias=np.zeros(2, int)) == conv(bias=[0, 0])
    assert replace(conv(), stride=2) == conv(stride=2)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"weights": np.zeros((2, 3, 7, 7), int)}, "kernel of node c must be 1, 3 or 5, not 7"),
        ({"weights": np.zeros((2, 3, 2, 2), int)}, "kernel of node c must be 1, 3 or 5, not 2"),
        ({"weights": np.zeros((2, 3, 3, 1), int)}, "weights of node c must have a square kernel, not (2, 3, 3, 1)"),
        ({"weights": np.zeros((2, 3), int)}, "weights of node c must have 4 axes, not the shape (2, 3)"),
        (
            {"weights": np.zeros((0, 3, 3, 3), int)},
            "weights of node c must not be empty, not of the shape (0, 3, 3, 3)",
        ),
        ({"weights": np.full((2, 3, 3, 3), 8)}, "weights of node c must lie in -8..7, not '8..8'"),
        ({"weight_format": IntFormat(1, True)}, "weight_format of node c must be 2 to 8 bits wide, not 1"),
        ({"weight_format": IntFormat(9, True)}, "weight_format of node c must be 2 to 8 bits wide, not 9"),
        ({"weight_format": U4}, f"weight_format of node c must be signed, not {U4!r}"),
        ({"stride": 0}, "stride of node c must be 1 to 2, not 0"),
        ({"stride": 3}, "stride of node c must be 1 to 2, not 3"),
        ({"padding": -1}, "padding of node c must be 0 to 2, not -1"),
        ({"padding": 3}, "padding of node c must be 0 to 2, not 3"),
        ({"weights": np.zeros((2, 3, 1, 1), int), "padding": 1}, "padding of node c must be 0 to 0, not 1"),
        ({"bias": [1, 2, 3]}, "bias of node c must have 2 values, not 3"),
    ],
)
def test_wrong_convolutions(fields: dict[str, Any], message: str) -> None:
    assert refusal(conv, **fields) == message


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"weights": np.full((2, 3, 3, 3), np.nan)}, "weights of node c must hold integers, not float64"),
        ({"bias": [0.5, 1.0]}, "bias of node c must hold integers, not float64"),
        ({"weight_format": 4}, "weight_format of node c must be an IntFormat, not 4"),
        ({"stride": 1.0}, "stride of node c must be an integer, not 1.0"),
    ],
)
def test_wrong_types_of_convolutions(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError) as caught:
        conv(**fields)
    assert str(caught.value) == message


def test_wrong_other_nodes() -> None:
    dense: dict[str, Any] = {"weights": np.zeros((2, 3), int), "weight_format": IntFormat(9, True)}
    assert refusal(Dense, "d", "x", "y", **dense) == "weight_format of node d must be 2 to 8 bits wide, not 9"
    requantise: dict[str, Any] = {"multiplier": [1, 2], "bias": [0, 0], "shift": 0}
    changes: list[tuple[dict[str, Any], str]] = [
        ({"shift": -1}, "shift of node r must be 0 to 62, not -1"),
        ({"shift": 63}, "shift of node r must be 0 to 62, not 63"),
        ({"bias": [0]}, "bias of node r must have 2 values, not 1"),
        ({"multiplier": [[1, 2]]}, "multiplier of node r must have 1 axes, not the shape (1, 2)"),
        (
            {"multiplier": np.array([1, 2**63], np.uint64)},
            f"multiplier of node r must fit in 64 bits with sign, not {2**63}",
        ),
    ]
    for change, message in changes:
        assert refusal(Requantise, "r", "x", "y", **{**requantise, **change}) == message
    for kernel, stride, message in [
        (1, 1, "kernel of node p must be 2 to 3, not 1"),
        (4, 1, "kernel of node p must be 2 to 3, not 4"),
        (2, 0, "stride of node p must be 1 to 2, not 0"),
        (2, 3, "stride of node p must be 1 to 2, not 3"),
    ]:
        assert refusal(MaxPool, "p", "x", "y", kernel=kernel, stride=stride) == message
    assert "reserves, not 'wire'" in refusal(MaxPool, "wire", "x", "y", kernel=2, stride=2)
    assert refusal(MaxPool, "p", "x y", "y", kernel=2, stride=2).startswith("input of node p must be a letter")


def test_macs() -> None:
    graph = random_network()
    macs = [graph.macs(node.name) for node in graph.nodes]
    assert macs == [0, 6 * 3 * 9 * 9 * 10, 0, 0, 4 * 6 * 25 * 2 * 3, 0, 240]


# --- graphs


def test_lookups() -> None:
    graph = random_network()
    assert graph.tensor("t1").shape == (6, 9, 10) and graph.node("pool3").op == "max_pool"
    assert graph.producer("x") is None and graph.producer("t1") is graph.nodes[1]
    assert graph.consumers("t1") == (graph.nodes[2],) and graph.consumers(graph.output) == ()
    assert graph == random_network() and graph != random_network(1)
    assert hash(graph) == hash(random_network())
    for call in (graph.tensor, graph.node, graph.producer, graph.consumers):
        with pytest.raises(KeyError):
            call("none")


def test_a_fork_is_allowed() -> None:
    chain = Chain((2, 4, 4), U4).conv(np.ones((2, 2, 1, 1), int))
    accumulator = chain.last
    left = identity("left", accumulator.name, "l", 2)
    right = MaxPool("right", accumulator.name, "r", kernel=2, stride=2)
    tensors = (*chain.tensors, Tensor("l", (2, 4, 4), U4), Tensor("r", (2, 2, 2), accumulator.format))
    tail = identity("tail", "l", "e", 2)
    # The fork's other arm ends in nothing: that is a loose end, the fork itself is not.
    message = refusal(Graph, "g", (*tensors, Tensor("e", (2, 4, 4), U4)), (*chain.nodes, left, right, tail), "x", "e")
    assert message == "tensors must each be read by a node or be the output, not 'r'"
    both = (*chain.nodes, left, replace(right, input="l"))
    graph = Graph("g", (*tensors[:-1], Tensor("r", (2, 2, 2), U4)), both, "x", "r")
    assert graph.consumers("l") == (both[-1],)


def test_a_tensor_that_is_output_and_read_is_a_fork_too() -> None:
    chain = Chain((2, 4, 4), U4).pool(2, 1).pool(2, 1)
    assert Graph("g", tuple(chain.tensors), tuple(chain.nodes), "x", "t1").consumers("t0") == (chain.nodes[1],)
    message = refusal(Graph, "g", tuple(chain.tensors), tuple(chain.nodes), "x", "t0")
    assert message == "tensors must each be read by a node or be the output, not 't1'"


def broken(**changes: Any) -> str:
    """The message for a small chain (conv0, requantise1, pool2) with some fields of the graph replaced."""
    chain = Chain((2, 5, 5), U4, 0.5).conv(np.ones((3, 2, 3, 3), int))
    graph = chain.requantise([1] * 3, [0] * 3, 4, U4).pool(2, 2).graph()
    tensors = changes.pop("tensor", None)
    if tensors is not None:
        changes["tensors"] = tuple(tensors.get(tensor.name, tensor) for tensor in graph.tensors)
    nodes = changes.pop("node", None)
    if nodes is not None:
        changes["nodes"] = tuple(nodes.get(node.name, node) for node in graph.nodes)
    changes = {key: value(graph) if callable(value) else value for key, value in changes.items()}
    return refusal(replace, graph, **changes)


ACC = accumulator_format(np.ones((3, 2, 3, 3), int), U4)


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"name": "../x"},
            "name of the graph must be a letter and at most 62 letters, digits or underscores, not '../x'",
        ),
        ({"nodes": ()}, "nodes must not be empty, not ()"),
        ({"input": "none"}, "input must be the name of a tensor, not 'none'"),
        ({"output": "none"}, "output must be the name of a tensor, not 'none'"),
        ({"metadata": {"a": "b" * 70000}}, "metadata must hold at most 65536 characters, not 70001"),
        ({"metadata": {"a": "\ud800"}}, "metadata must be text that UTF-8 can hold, not 'a': '\\ud800'"),
        (
            {"tensors": lambda g: (*g.tensors, Tensor("T0", (1, 1, 1), U4))},
            "name of a tensor must be unique, in any case, not 'T0'",
        ),
        ({"nodes": lambda g: (*g.nodes, g.nodes[0])}, "name of a node must be unique, in any case, not 'conv0'"),
        ({"nodes": lambda g: g.nodes[::-1]}, "input of node pool2 must come from an earlier node, not 't1'"),
        (
            {"tensors": lambda g: (*g.tensors, Tensor("u", (1, 1, 1), U4))},
            "tensors must each be the output of a node, not 'u'",
        ),
        ({"nodes": lambda g: g.nodes[:2], "output": "t1"}, "tensors must each be the output of a node, not 't2'"),
        (
            {"nodes": lambda g: (*g.nodes, replace(g.nodes[2], name="p"))},
            "output of node p must be written only once, not 't2'",
        ),
        (
            {"nodes": lambda g: (*g.nodes, replace(g.nodes[2], name="p", output="x"))},
            "output of node p must be written only once, not 'x'",
        ),
        (
            {"nodes": lambda g: (*g.nodes[:2], replace(g.nodes[2], input="none"))},
            "input of node pool2 must be the name of a tensor, not 'none'",
        ),
        (
            {"nodes": lambda g: (*g.nodes[:2], replace(g.nodes[2], output="none"))},
            "output of node pool2 must be the name of a tensor, not 'none'",
        ),
        (
            {"nodes": lambda g: (*g.nodes[:2], replace(g.nodes[2], input="t2"))},
            "input of node pool2 must come from an earlier node, not 't2'",
        ),
        ({"tensor": {"t0": Tensor("t0", (3, 3, 4), ACC)}}, "shape of tensor t0 must be (3, 3, 3), not (3, 3, 4)"),
        (
            {"tensor": {"t0": Tensor("t0", (3, 3, 3), S8)}},
            f"format of tensor t0 must be the exact accumulator {ACC}, not {S8!r}",
        ),
        ({"tensor": {"x": Tensor("x", (3, 5, 5), U4)}}, "weights of node conv0 must read 3 input channels, not 2"),
        ({"tensor": {"x": Tensor("x", (2, 2, 9), U4)}}, "kernel of node conv0 must fit in 2 x 9 pixels, not 3"),
        (
            {"tensor": {"x": Tensor("x", (2, 5, 5), IntFormat(9, False))}},
            "input of node conv0 must be 2 to 8 bits wide, not 9",
        ),
        (
            {"tensor": {"t2": Tensor("t2", (3, 1, 1), S4, 0.5)}},
            f"format of tensor t2 must equal its input's, not {S4!r}",
        ),
        ({"tensor": {"t2": Tensor("t2", (3, 1, 1), U4, 0.25)}}, "scale of tensor t2 must equal its input's, not 0.25"),
        (
            {"node": {"requantise1": identity("requantise1", "t0", "t1", 1)}},
            "multiplier of node requantise1 must have a value for each of 3 channels, not 1",
        ),
    ],
)
def test_wrong_graphs(changes: dict[str, Any], message: str) -> None:
    assert broken(**changes) == message


def test_wrong_types_of_graphs() -> None:
    graph = random_network()
    changes: list[tuple[dict[str, Any], str]] = [
        ({"name": None}, "name of the graph must be a str, not None"),
        ({"tensors": ("x",)}, "tensors must hold Tensor objects only, not 'x'"),
        ({"nodes": (1,)}, "nodes must hold Node objects only, not 1"),
        ({"input": 1}, "input must be a str, not 1"),
        ({"metadata": {"a": 1}}, "metadata must hold text by text, not 'a': 1"),
        ({"metadata": ["a"]}, "metadata must be a dict, not ['a']"),
    ]
    for change, message in changes:
        with pytest.raises(TypeError) as caught:
            replace(graph, **change)
        assert str(caught.value) == message


def test_pools_and_dense_layers_that_do_not_fit() -> None:
    message = refusal(Chain((2, 2, 9), U4).pool, 3, 1)
    assert message == "kernel of node pool0 must fit in 2 x 9 pixels, not 3"
    message = refusal(Chain((2, 2, 2), U4).dense, np.ones((1, 7), int))
    assert message == "weights of node dense0 must read 8 inputs, not 7"


def test_accumulators_of_48_bits_at_most() -> None:
    weights = np.array([[1]])
    most = 2**47 - 1 - 255
    assert Chain((1, 1, 1), U8).dense(weights, bias=[most]).graph().tensor("t0").format.width == 48
    message = refusal(Chain((1, 1, 1), U8).dense(weights, bias=[most + 1]).graph)
    assert message == "accumulator of node dense0 must fit in 48 bits, not 49"
    node = Dense("d", "x", "y", weights=weights, weight_format=S4, bias=np.array([2**63 - 1]))
    tensors = (Tensor("x", (1, 1, 1), U8), Tensor("y", (1, 1, 1), IntFormat(48, True)))
    message = refusal(Graph, "g", tensors, (node,), "x", "y")
    assert message == "accumulator of node d: width must be 1 to 64 bits, not 65"


def test_output_shapes_follow_the_formula() -> None:
    for kernel, stride, padding, size in itertools.product((1, 3, 5), (1, 2), (0, 1, 2), range(5, 12)):
        if padding < kernel:
            node = conv(np.zeros((2, 3, kernel, kernel), int), stride=stride, padding=padding)
            positions = range(-padding, size + padding - kernel + 1, stride)
            assert node.output_shape((3, size, 9 + size))[:2] == (2, len(positions))
    for kernel, stride, size in itertools.product((2, 3), (1, 2, 3), range(3, 12)):
        if stride <= kernel:
            pool = MaxPool("p", "x", "y", kernel=kernel, stride=stride)
            assert pool.output_shape((7, size, 5)) == (
                7,
                len(range(0, size - kernel + 1, stride)),
                (5 - kernel) // stride + 1,
            )
