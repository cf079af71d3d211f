"""QONNX files that are written: the qonnx package's executor makes the interpreter's integers of them, all of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from mixq.errors import UserError
from mixq.execute import run, run_all
from mixq.formats import IntFormat
from mixq.graph import Conv, Dense, Graph, Requantise, Tensor, Threshold
from mixq.qonnx import read_qonnx, write_qonnx
from tests.mixq.dags import Dag, every_node
from tests.mixq.graphs import Chain, random_network
from tests.mixq.qonnx.executor import Values, execute


def random_codes(graph: Graph, frames: int, seed: int) -> Any:
    source = graph.tensor(graph.input)
    low, high = source.format.low, source.format.high
    codes = np.random.default_rng(seed).integers(low, high, (frames, *source.shape), endpoint=True)
    codes[0], codes[1] = low, high
    return codes


def check(graph: Graph, path: Path, *, frames: int = 3, seed: int = 0) -> Values:
    """Every tensor of the executor holds the interpreter's integers; the output is those times the scale."""
    write_qonnx(graph, path)
    onnx.checker.check_model(str(path), full_check=True)
    source, target = graph.tensor(graph.input), graph.tensor(graph.output)
    codes = random_codes(graph, frames, seed)
    scale = np.reshape(source.channel_scales or 1.0, (-1, 1, 1))
    values = execute(path, (codes * scale).astype(np.float32))
    for name, expected in run_all(graph, codes).items():
        found = values[f"{name}.codes" if name in (source.name, target.name) else name]
        np.testing.assert_array_equal(found.reshape(expected.shape), expected, err_msg=name)
    output = values[target.name]
    assert output.dtype == np.float32
    scale = np.reshape(target.channel_scales or 1.0, (-1, 1, 1)).astype(np.float32)
    real = run(graph, codes).astype(np.float32) * scale
    np.testing.assert_array_equal(output.reshape(real.shape), real)
    return values


def check_read(graph: Graph, path: Path, *, frames: int = 20, seed: int = 1) -> Graph:
    """The file that was written reads back to a graph of the same integers and the same input."""
    again = read_qonnx(path)
    mine, theirs = graph.tensor(graph.input), again.tensor(again.input)
    assert (theirs.shape, theirs.format, theirs.scale) == (mine.shape, mine.format, mine.scale or 1.0)
    codes = random_codes(graph, frames, seed)
    np.testing.assert_array_equal(run(again, codes), run(graph, codes))
    return again


def chain(seed: int) -> Graph:
    """A random chain of convolutions, requantisations, thresholds and max-pools, with a dense layer or without."""
    random = np.random.default_rng(seed)
    signed = bool(random.integers(2))
    bits = int(random.integers(2, 9))
    dag = Dag((4, 12, 14), IntFormat(bits, signed), seed)
    scale = [None, 1 / 255, 0.3, (0.1, 0.2, 1 / 3, 0.7)][seed % 4]
    dag.tensors["x"] = dataclasses.replace(dag.tensors["x"], scale=scale)
    last = dag.requantise("x", 4, shift=3) if random.integers(2) else "x"
    for groups in random.choice([1, 2, 4], 3).tolist():
        kernel, dilation = int(random.choice([1, 3, 5])), int(random.integers(1, 3))
        sides = tuple(random.integers(0, dilation * (kernel - 1), 4, endpoint=True).tolist())
        if min(dag.tensors[last].shape[1:]) < dilation * (kernel - 1) + 1:
            kernel, sides = 1, (0, 0, 0, 0)
        own = {"stride": int(random.integers(1, 3)), "dilation": dilation, "padding": sides, "groups": groups}
        last = dag.conv(last, 8, kernel, bits=int(random.integers(2, 9)), bias=bool(random.integers(2)), **own)
        width, signed = int(random.integers(2, 9)), bool(random.integers(2))
        quantise = dag.requantise if random.integers(2) else dag.threshold
        last = quantise(last, width, signed=signed)
        if min(dag.tensors[last].shape[1:]) >= 3 and random.integers(2):
            last = dag.max_pool(last, int(random.integers(2, 4)), int(random.integers(1, 3)))
    return dag.graph(dag.dense(last, 5) if random.integers(4) else last)


@pytest.mark.parametrize("seed", range(24))
def test_random_chains_there_and_back(seed: int, tmp_path: Path) -> None:
    graph = chain(seed)
    check(graph, tmp_path / "net.onnx", seed=seed)
    check_read(graph, tmp_path / "net.onnx", seed=seed)


@pytest.mark.parametrize("seed", range(3))
def test_networks_with_biases_and_scales_there_and_back(seed: int, tmp_path: Path) -> None:
    graph = random_network(seed)
    values = check(graph, tmp_path / "net.onnx", seed=seed)
    assert len(np.unique(values[graph.output])) > 5
    again = check_read(graph, tmp_path / "net.onnx")
    mine, theirs = ([node.op.replace("threshold", "requantise") for node in net.nodes] for net in (graph, again))
    assert mine == theirs
    for one, other in zip(graph.nodes, again.nodes, strict=True):
        if isinstance(one, Conv | Dense):
            assert isinstance(other, Conv | Dense) and one.weight_format.width == other.weight_format.width
            np.testing.assert_array_equal(one.weights, other.weights)
            own, read = (np.zeros(1) if node.bias is None else node.bias for node in (one, other))
            np.testing.assert_array_equal(own, read)


@pytest.mark.parametrize("seed", range(4))
def test_every_kind_of_node(seed: int, tmp_path: Path) -> None:
    check(every_node(seed), tmp_path / "net.onnx", seed=seed)
    check_read(every_node(seed), tmp_path / "net.onnx")


def test_sums_beyond_float32_are_held_in_float64(tmp_path: Path) -> None:
    dag = Dag((3, 5, 6), IntFormat(8, False))
    left = dag.conv("x", 6, 3, padding=1)
    right = dag.threshold(dag.conv("x", 6, 1), 3, signed=True)
    wide = dag.add(left, right, left, most=1 << 24)
    twice = dag.add(wide, right, most=1 << 8)
    assert dag.tensors[wide].format.width > 36 and dag.tensors[twice].format.width > 44
    last = dag.concat(dag.requantise(twice, 5, shift=20), dag.threshold(wide, 5))
    graph = dag.graph(dag.conv(last, 3, 1))
    values = check(graph, tmp_path / "net.onnx")
    check_read(graph, tmp_path / "net.onnx")
    assert values[wide].dtype == values[twice].dtype == np.float64
    assert len(np.unique(values[last])) > 10


def test_wide_output_is_scaled_and_narrowed_last(tmp_path: Path) -> None:
    dag = Dag((2, 3, 3), IntFormat(8, False))
    output = dag.add("x", "x", most=1 << 30)
    for scale in (None, 0.3):
        dag.tensors[output] = dataclasses.replace(dag.tensors[output], scale=scale)
        graph = dag.graph(output)
        path = tmp_path / f"{scale}.onnx"
        write_qonnx(graph, path)
        onnx.checker.check_model(str(path), full_check=True)
        codes = random_codes(graph, 4, 0)
        values = execute(path, codes.astype(np.float32))
        np.testing.assert_array_equal(values[f"{output}.codes"], run(graph, codes))
        real = run(graph, codes).astype(np.float32) * np.float32(scale or 1.0)
        np.testing.assert_array_equal(values[output], real)
        check_read(graph, path)


def test_dense_outputs_become_images_again_where_images_are_read(tmp_path: Path) -> None:
    dag = Dag((2, 3, 3), IntFormat(4, True))
    vector = dag.requantise(dag.dense("x", 6), 4)
    pixel = dag.requantise(dag.conv("x", 6, 3), 4)
    last = dag.conv(dag.concat(vector, dag.requantise(dag.add(vector, pixel), 4), vector), 4, 1)
    graph = dag.graph(dag.upsample(dag.threshold(last, 3), 3))
    check(graph, tmp_path / "net.onnx")
    check_read(graph, tmp_path / "net.onnx")


@pytest.mark.parametrize(
    ("step", "first"), [([1, -2, 2, -1], [0, 3, -7, 5]), ([2, -2, 2, 2], [-4, 4, 0, 2]), ([2, -2, 2, 2], [-3, 3, 1, 1])]
)
def test_thresholds_with_high_steps_and_offsets(step: list[int], first: list[int], tmp_path: Path) -> None:
    bounds = [[-300, 5, 5, 70], [-128, -5, 0, 127], [0, 1, 2, 300], [-90, -80, 128, 128]]
    chain = Chain((4, 3, 3), IntFormat(8, True), 0.25)
    node = Threshold("stairs", "x", "y", thresholds=np.array(bounds), first=np.array(first), step=np.array(step))
    graph = chain.append(node, IntFormat(5, True)).graph()
    values = check(graph, tmp_path / "net.onnx", frames=12)
    assert len(np.unique(values["y"])) >= 6
    check_read(graph, tmp_path / "net.onnx")


def test_widths_stand_in_the_file(tmp_path: Path) -> None:
    graph = random_network()
    write_qonnx(graph, tmp_path / "net.onnx")
    model = onnx.load(str(tmp_path / "net.onnx"))
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    quants = {node.name: node for node in model.graph.node if node.op_type == "Quant"}
    bits = {name: float(constants[node.input[3]]) for name, node in quants.items()}
    assert bits == {"x.quantise": 8, "conv1.quantise": 4, "conv4.quantise": 3, "dense6.quantise": 8}
    weights = constants[quants["conv4.quantise"].input[0]]
    np.testing.assert_array_equal(weights, graph.node("conv4").weights)  # type: ignore[attr-defined]
    types = [
        attribute.s.decode()
        for node in model.graph.node
        for attribute in node.attribute
        if node.op_type == "MultiThreshold" and attribute.name == "out_dtype"
    ]
    assert types == ["UINT4", "UINT5", "INT3"]
    before = (tmp_path / "net.onnx").read_bytes()
    write_qonnx(graph, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == before


def refused(graph: Graph, path: Path) -> str:
    with pytest.raises(UserError) as caught:
        write_qonnx(graph, path)
    assert "\n" not in str(caught.value) and not path.exists()
    return str(caught.value)


def test_sums_that_float32_rounds_are_refused(tmp_path: Path) -> None:
    weights = np.full((1, 520, 1, 1), 127)
    assert 520 * 127 * 255 > 1 << 24 > 517 * 127 * 255
    for channels, exact in ((520, False), (518, True)):
        chain = Chain((channels, 1, 1), IntFormat(8, False)).conv(weights[:, :channels])
        if exact:
            check(chain.graph(), tmp_path / "net.onnx")
            check_read(chain.graph(), tmp_path / "net.onnx")
        else:
            assert "node conv0 makes sums beyond 2^24" in refused(chain.graph(), tmp_path / "none.onnx")
    # The bias takes the sum back into the range, but the executor may add it last.
    chain = Chain((520, 1, 1), IntFormat(8, False)).conv(weights, bias=[-600_000])
    assert chain.last.format.high < 1 << 24
    assert "node conv0" in refused(chain.graph(), tmp_path / "none.onnx")


def test_dense_sums_beyond_float32_are_held_in_float64(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).integers(100, 128, (3, 2200))
    for bias in (None, [-70_000_000, 1 << 25, 3]):
        chain = Chain((550, 2, 2), IntFormat(8, False)).dense(weights, bias=bias)
        for graph in (chain.graph(), chain.requantise([3, 5, -7], [9, 1 << 29, 1], 24, IntFormat(5, True)).graph()):
            path = tmp_path / "net.onnx"
            values = check(graph, path)
            assert np.abs(values["t0.codes" if graph.output == "t0" else "t0"]).max() > 1 << 25
            check_read(graph, path)


def test_what_else_the_form_does_not_hold(tmp_path: Path) -> None:
    path = tmp_path / "none.onnx"
    dag = Dag((2, 4, 4), IntFormat(8, False))
    wide = dag.add("x", "x", most=1 << 30)
    assert "reads sums beyond 2^24" in refused(dag.graph(dag.sum_pool(wide, 2)), path)
    dag = Dag((2, 4, 4), IntFormat(8, False))
    assert "sums beyond 2^53" in refused(dag.graph(dag.add("x", "x", most=1 << 52)), path)
    chain = Chain((1, 2, 2), IntFormat(10, False)).requantise([1], [0], 0, IntFormat(10, False))
    assert "more than 256 values" in refused(chain.graph(), path)
    source = Tensor("x", (1, 2, 2), IntFormat(30, True))
    graph = Graph(
        "net",
        (source, Tensor("y", (1, 2, 2), IntFormat(4, True))),
        (Requantise("r", "x", "y", multiplier=np.array([1]), bias=np.array([0]), shift=20),),
        "x",
        "y",
    )
    assert "beyond 2^20" in refused(graph, path)


@pytest.mark.parametrize(
    "note",
    [
        "{",
        "[]",
        '{"width": 8, "signed": false, "low": 0, "high": 255}',
        '{"width": 8, "signed": false, "low": 0, "high": 256, "scale": 1.0}',
        '{"width": 8, "signed": false, "low": 0, "high": 255, "scale": -1.0}',
        '{"width": 8, "signed": false, "low": 0, "high": 255, "scale": [1.0, 2.0]}',
        '{"width": 8, "signed": false, "low": 0, "high": 255, "scale": "1"}',
    ],
)
def test_damaged_notes_of_the_input_are_refused(note: str, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    write_qonnx(random_network(), path)
    model = onnx.load(str(path))
    model.metadata_props[0].value = note
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match=r"metadata mixq_input is damaged .*; export the file again") as caught:
        read_qonnx(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
