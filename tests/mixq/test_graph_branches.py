"""The nodes of branched networks: shapes, formats, scales, refusals, files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mixq.errors import UserError
from mixq.formats import IntFormat
from mixq.graph import (
    Add,
    Concat,
    Conv,
    Graph,
    GraphError,
    Node,
    SpaceToDepth,
    SumPool,
    Tensor,
    Threshold,
    Upsample,
    accumulator_format,
)
from mixq.graph.files import load_graph
from tests.mixq.dags import Dag, every_node

U4, S4 = IntFormat(4, False), IntFormat(4, True)


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(-8, 8, shape)


def conv(**changes: Any) -> Conv:
    return Conv("c", "x", "y", **{"weights": weights(6, 2, 3, 3), "weight_format": S4, **changes})


@pytest.mark.parametrize(
    ("changes", "shape", "expected"),
    [
        ({"groups": 3}, (6, 7, 9), (6, 5, 7)),
        ({"groups": 3, "padding": (1, 0, 2, 1)}, (6, 7, 9), (6, 8, 8)),
        ({"groups": 3, "dilation": 2}, (6, 7, 9), (6, 3, 5)),
        ({"groups": 3, "dilation": 2, "padding": 4, "stride": 2}, (6, 7, 9), (6, 6, 7)),
        ({"weights": weights(6, 1, 5, 5), "groups": 6, "padding": 2, "stride": 2}, (6, 8, 9), (6, 4, 5)),
    ],
)
def test_shapes_of_convolutions(changes: dict[str, Any], shape: Any, expected: Any) -> None:
    node = conv(**changes)
    assert node.output_shape(shape) == expected
    assert node.macs(expected) == node.weights.size * expected[1] * expected[2]


def thresholds(**changes: Any) -> Threshold:
    own = {"thresholds": np.array([[1, 4], [-3, -3]]), "first": np.array([0, 2]), "step": np.array([1, -1])}
    return Threshold("c", "x", "y", **{**own, **changes})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: conv(groups=4), "groups of node c must divide 6 channels, not 4"),
        (lambda: conv(groups=0), "groups of node c must be 1 to 6, not 0"),
        (lambda: conv(dilation=0), "dilation of node c must be 1 to 2, not 0"),
        (lambda: conv(padding=3), "padding of node c must be 0 to 2, not 3"),
        (lambda: conv(padding=(0, 0, 0, 5), dilation=2), "padding of node c must be 0 to 4, not 5"),
        (lambda: conv(padding=(1, 1)), "padding of node c must be (top, left, bottom, right), not (1, 1)"),
        (lambda: conv(groups=3).output_shape((4, 9, 9)), "weights of node c must read 4 input channels, not 6"),
        (lambda: conv(dilation=2).output_shape((2, 9, 4)), "kernel of node c must fit in 9 x 4 pixels, not 3"),
        (
            lambda: thresholds(thresholds=np.array([[1, 0], [0, 0]])),
            "thresholds of node c must rise in each channel, not fall",
        ),
        (lambda: thresholds(step=np.array([1, 3])), "step of node c must be -2, -1, 1 or 2, not 3"),
        (lambda: thresholds(first=np.array([1])), "first of node c must have 2 values, not 1"),
        (
            lambda: thresholds(thresholds=np.zeros((2, 256), np.int64)),
            "thresholds of node c must be at most 255 for a channel, not 256",
        ),
        (
            lambda: thresholds().output_shape((3, 1, 1)),
            "thresholds of node c must be there for each of 3 channels, not 2",
        ),
        (lambda: SumPool("c", "x", "y", kernel=0), "kernel of node c must be 1 to 65536, not 0"),
        (lambda: SumPool("c", "x", "y", kernel=(1, 2, 3)), "kernel of node c must be (rows, columns), not (1, 2, 3)"),  # type: ignore[arg-type]
        (
            lambda: SumPool("c", "x", "y", kernel=(3, 2)).output_shape((1, 2, 2)),
            "kernel of node c must fit in 2 x 2 pixels, not (3, 2)",
        ),
        (lambda: SpaceToDepth("c", "x", "y", block=5), "block of node c must be 2 to 4, not 5"),
        (
            lambda: SpaceToDepth("c", "x", "y").output_shape((1, 4, 5)),
            "block of node c must divide 4 x 5 pixels, not 2",
        ),
        (lambda: Upsample("c", "x", "y", factor=1), "factor of node c must be 2 to 4, not 1"),
        (lambda: Concat("c", ("x",), "y"), "inputs of node c must be 2 to 8 names, not 1"),
        (lambda: Concat("c", ("x", "if"), "y"), "input of node c must not be a word that Verilog, VHDL or a file"),
        (
            lambda: Concat("c", ("x", "z"), "y").shape_from([(1, 2, 3), (1, 3, 3)]),
            "inputs of node c must be of one height and width, not ((1, 2, 3), (1, 3, 3))",
        ),
        (
            lambda: Add("c", ("x", "z"), "y", multipliers=np.ones((3, 2), np.int64)),
            "multipliers of node c must be there for each of 2 inputs, not 3",
        ),
        (
            lambda: Add("c", ("x", "z"), "y", multipliers=np.ones((2, 2), np.int64)).shape_from([(2, 1, 1), (2, 1, 2)]),
            "inputs of node c must be of one shape, not ((2, 1, 1), (2, 1, 2))",
        ),
        (
            lambda: Add("c", ("x", "z"), "y", multipliers=np.ones((2, 2), np.int64)).shape_from([(3, 1, 1)] * 2),
            "multipliers of node c must be there for each of 3 channels, not 2",
        ),
    ],
)
def test_refusals(make: Callable[[], object], message: str) -> None:
    with pytest.raises(GraphError) as failure:
        make()
    assert str(failure.value).startswith(message)


def test_wrong_types() -> None:
    with pytest.raises(TypeError, match=r"^inputs of node c must be a tuple of names, not 'xy'$"):
        Concat("c", "xy", "y")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^thresholds of node c must hold integers, not float64$"):
        thresholds(thresholds=np.zeros((2, 2)))


def graph_of(node: Node, sources: list[Tensor], target: Tensor) -> Graph:
    """A graph of one node; the first source is its input."""
    return Graph("g", (*sources, target), (node,), sources[0].name, target.name)


def tensor(name: str, shape: Any, format: IntFormat, scale: Any = None) -> Tensor:
    return Tensor(name, shape, format, scale)


@pytest.mark.parametrize(
    ("node", "source", "right", "wrong", "message"),
    [
        (
            SumPool("c", "x", "y", kernel=2),
            tensor("x", (1, 4, 4), IntFormat(4, True, -7, 5)),
            IntFormat(6, True, -28, 20),
            IntFormat(7, True, -28, 20),
            "format of tensor y must be the exact sums' IntFormat(width=6, signed=True, low=-28, high=20), not ",
        ),
        (
            thresholds(),
            tensor("x", (2, 4, 4), S4),
            IntFormat(2, False),
            IntFormat(2, True),
            "format of tensor y must hold 0..2, not ",
        ),
        (
            Upsample("c", "x", "y"),
            tensor("x", (2, 4, 4), S4),
            S4,
            U4,
            "format of tensor y must equal its input's, not ",
        ),
    ],
)
def test_formats(node: Node, source: Tensor, right: IntFormat, wrong: IntFormat, message: str) -> None:
    shape = node.shape_from([source.shape])
    graph_of(node, [source], Tensor("y", shape, right))
    with pytest.raises(GraphError) as failure:
        graph_of(node, [source], Tensor("y", shape, wrong))
    assert str(failure.value).startswith(message)


def test_the_range_of_a_sum_is_reached() -> None:
    factors = np.array([[3, -2], [-5, 7]])
    node = Add("c", ("x", "z"), "y", multipliers=factors)
    formats = IntFormat(4, True), IntFormat(3, False)
    found = node.sum_format(formats)
    every = [
        [3 * a - 5 * b for a in range(-8, 8) for b in range(8)],
        [-2 * a + 7 * b for a in range(-8, 8) for b in range(8)],
    ]
    assert (found.low, found.high) == (min(map(min, every)), max(map(max, every)))
    assert found.signed and found.width == IntFormat.for_range(found.low, found.high, signed=True).width
    wide = Add("c", ("x", "z"), "y", multipliers=np.full((2, 2), 1 << 58))
    sources = [tensor(name, (2, 1, 1), U4) for name in ("x", "z")]
    with pytest.raises(GraphError, match=r"^sums of node c must fit in 62 bits, not 64$"):
        wide.check_tensors(sources, tensor("y", (2, 1, 1), U4))


def test_scales_of_channels() -> None:
    one, other = tensor("x", (2, 4, 4), U4, 0.5), tensor("z", (1, 4, 4), U4, [0.25])
    assert other.scale == 0.25 and one.channel_scales == (0.5, 0.5)
    assert tensor("x", (2, 1, 1), U4, (0.5, 0.25)).channel_scales == (0.5, 0.25)
    assert tensor("x", (2, 1, 1), U4).channel_scales is None
    assert Concat.scale_from([one, other]) == (0.5, 0.5, 0.25)
    assert Concat.scale_from([one, one]) == 0.5
    assert Concat.scale_from([one, tensor("w", (1, 4, 4), U4)]) is None
    reorg = SpaceToDepth("c", "x", "y")
    source = tensor("x", (2, 4, 4), U4, (0.5, 0.25))
    reorg.check_tensors([source], tensor("y", (8, 2, 2), U4, (0.5, 0.25) * 4))
    with pytest.raises(GraphError, match="scale of tensor y must equal its input's"):
        reorg.check_tensors([source], tensor("y", (8, 2, 2), U4, 0.5))
    for value, message in (([0.5], "must have one value or 2, not 1"), ([0.5, -1.0], "must be positive and finite")):
        with pytest.raises(GraphError, match=message):
            tensor("x", (2, 1, 1), U4, value)


def test_a_tensor_may_be_read_twice_by_one_node() -> None:
    dag = Dag((2, 3, 3), U4)
    graph = dag.graph(dag.add("x", "x"))
    assert [node.name for node in graph.consumers("x")] == ["add0"]
    late = Add("add0", ("x", "t1"), "t0", multipliers=np.ones((2, 2), np.int64))
    with pytest.raises(GraphError, match="input of node add0 must come from an earlier node, not 't1'"):
        Graph("g", (*graph.tensors, tensor("t1", (2, 3, 3), U4)), (late,), "x", "t0")


@pytest.mark.parametrize("seed", range(3))
def test_files_round_trip(seed: int, tmp_path: Path) -> None:
    graph = every_node(seed)
    graph.save(tmp_path / "one")
    assert Graph.load(tmp_path / "one") == graph
    Graph.load(tmp_path / "one").save(tmp_path / "two")
    for name in ("graph.json", "graph.npz"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_files_of_version_1_are_read(tmp_path: Path) -> None:
    dag = Dag((2, 5, 5), U4)
    graph = dag.graph(dag.conv("x", 3, padding=1))
    graph.save(tmp_path)
    document = json.loads((tmp_path / "graph.json").read_text())
    document["version"] = 1
    (node,) = document["nodes"]
    del node["groups"], node["dilation"]
    node["padding"] = 1
    (tmp_path / "graph.json").write_text(json.dumps(document))
    assert load_graph(tmp_path) == graph
    node["groups"] = 1
    (tmp_path / "graph.json").write_text(json.dumps(document))
    assert load_graph(tmp_path) == graph


@pytest.mark.parametrize(
    ("kind", "change", "end"),
    [
        ("add", {"inputs": "t0"}, "inputs of node NAME must be a tuple of names, not 't0'"),
        ("add", {"inputs": ["t0", 3]}, "input of node NAME must be a str, not 3"),
        ("concat", {"inputs": [["t0"], "t1"]}, "input of node NAME must be a str, not ['t0']"),
        ("sum_pool", {"kernel": [2.0, 2]}, "kernel of node NAME must be an integer, not 2.0"),
        ("upsample", {"factor": True}, "factor of node NAME must be an integer, not True"),
        ("threshold", {"step": 1}, "step of node NAME must be an object, not 'int'"),
    ],
)
def test_hostile_files(kind: str, change: dict[str, Any], end: str, tmp_path: Path) -> None:
    every_node().save(tmp_path)
    document = json.loads((tmp_path / "graph.json").read_text())
    node = next(node for node in document["nodes"] if node["op"] == kind)
    node.update(change)
    (tmp_path / "graph.json").write_text(json.dumps(document))
    with pytest.raises(UserError) as failure:
        load_graph(tmp_path)
    assert str(failure.value) == f"{tmp_path}/graph.json: {end.replace('NAME', node['name'])}"


def test_accumulators_of_groups_are_exact() -> None:
    node = conv(groups=3)
    format = accumulator_format(node.weights, U4)
    positive = int(np.maximum(node.weights, 0).reshape(6, -1).sum(1).max()) * 15
    assert format.high == positive
