from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mixq.errors import UserError
from mixq.graph import Graph
from mixq.graph.arrays import array_digest, narrowest_dtype
from tests.mixq.graphs import random_network


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random_network().save(tmp_path / "net")
    return tmp_path / "net"


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        Graph.load(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "graph.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")


def rewrite(folder: Path, change: Callable[[dict[str, bytes]], object]) -> None:
    path = folder / "graph.npz"
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize("seed", range(5))
def test_round_trip(tmp_path: Path, seed: int) -> None:
    graph = random_network(seed)
    graph.save(tmp_path / "deep" / "net")
    loaded = Graph.load(tmp_path / "deep" / "net")
    assert loaded == graph and loaded.metadata == graph.metadata
    assert all(
        not array.flags.writeable
        for node in loaded.nodes
        for array in vars(node).values()
        if isinstance(array, np.ndarray)
    )
    assert sorted(path.name for path in (tmp_path / "deep" / "net").iterdir()) == ["graph.json", "graph.npz"]


def test_saving_twice_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    Graph.load(folder).save(tmp_path / "again")
    for name in ("graph.json", "graph.npz"):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_the_order_of_metadata_makes_no_difference(tmp_path: Path) -> None:
    graph = random_network()
    turned = Graph(
        graph.name, graph.tensors, graph.nodes, "x", graph.output, dict(reversed(list(graph.metadata.items())))
    )
    assert list(turned.metadata) != list(graph.metadata)
    for name, value in (("a", graph), ("b", turned)):
        value.save(tmp_path / name)
    assert (tmp_path / "a" / "graph.json").read_bytes() == (tmp_path / "b" / "graph.json").read_bytes()


def test_numpy_alone_reads_the_arrays_and_json_their_digests(folder: Path) -> None:
    graph = random_network()
    document = json.loads((folder / "graph.json").read_text(encoding="utf-8"))
    with np.load(folder / "graph.npz", allow_pickle=False) as arrays:
        assert np.array_equal(arrays["conv1.weights"], graph.node("conv1").weights)  # type: ignore[attr-defined]
        assert arrays["conv1.weights"].dtype == np.int8 and "conv1.bias" not in arrays
        for node in document["nodes"]:
            for name, value in node.items():
                if isinstance(value, dict) and "sha256" in value:
                    array = arrays[f"{node['name']}.{name}"]
                    assert value == {"shape": list(array.shape), "sha256": array_digest(array)}
    assert document["metadata"] == {"origin": "random", "seed": "0"}
    with zipfile.ZipFile(folder / "graph.npz") as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_arrays_are_stored_as_narrow_as_they_fit() -> None:
    for bits in (8, 16, 32, 64):
        most = 2 ** (bits - 1) - 1
        assert narrowest_dtype(np.array([-most - 1, most])).itemsize == bits // 8
    assert narrowest_dtype(np.array([128])).itemsize == 2 and narrowest_dtype(np.array([-129])).itemsize == 2


def test_missing_files(folder: Path, tmp_path: Path) -> None:
    assert refusal(tmp_path / "none") == f"{tmp_path}/none/graph.json: no such file"
    (folder / "graph.npz").unlink()
    assert refusal(folder) == f"{folder}/graph.npz: no such file"


def test_saving_where_a_file_stands(tmp_path: Path) -> None:
    (tmp_path / "net").write_text("")
    with pytest.raises(UserError, match=r"^cannot make the folder .*/net: File exists$"):
        random_network().save(tmp_path / "net")


OPS = "conv, dense, requantise, threshold, max_pool, sum_pool, space_to_depth, upsample, add, concat"


@pytest.mark.parametrize(
    "change, end",
    [
        (lambda d: d.update(format="onnx"), "format and version must be mixq-graph 1 to 2, not 'onnx' 2"),
        (lambda d: d.update(version=3), "format and version must be mixq-graph 1 to 2, not 'mixq-graph' 3"),
        (lambda d: d.update(extra=1), "'version'] only, not 'extra'"),
        (
            lambda d: d.pop("nodes"),
            "the file must have the key 'nodes', not only ['format', 'input', 'metadata', "
            "'name', 'output', 'tensors', 'version']",
        ),
        (lambda d: d.update(nodes={}), "nodes must be a list, not 'dict'"),
        (lambda d: d.update(name="a/b"), "not 'a/b'"),
        (lambda d: d.update(input=["x"]), "input must be a str, not ['x']"),
        (lambda d: d["nodes"].append(3), f"op of a node must be one of {OPS}, not None"),
        (lambda d: d["nodes"][1].update(op="lstm"), f"op of a node must be one of {OPS}, not 'lstm'"),
        (lambda d: d["nodes"][1].update(op=["conv"]), "add, concat, not ['conv']"),
        (lambda d: d["nodes"][1].update(shift=3), "only, not 'shift'"),
        (
            lambda d: d["nodes"][1].pop("groups"),
            "must have the key 'groups', not only ['bias', 'dilation', 'input', "
            "'name', 'op', 'output', 'padding', 'stride', 'weight_format', 'weights']",
        ),
        (lambda d: d["nodes"][1].update(groups=4), "groups of node conv1 must divide 6 channels, not 4"),
        (lambda d: d["nodes"][1].update(padding=[1, 1, 1]), "must be (top, left, bottom, right), not [1, 1, 1]"),
        (lambda d: d["nodes"][1].update(padding=["1", 1, 1, 1]), "padding of node conv1 must be an integer, not '1'"),
        (lambda d: d["nodes"][1].update(dilation=3), "dilation of node conv1 must be 1 to 2, not 3"),
        (lambda d: d["nodes"][1].update(stride=3), "stride of node conv1 must be 1 to 2, not 3"),
        (lambda d: d["nodes"][1].update(stride=1.0), "stride of node conv1 must be an integer, not 1.0"),
        (lambda d: d["nodes"][1].update(weights=None), "(see ['conv1.weights.npy'])"),
        (lambda d: d["nodes"][1].update(weights=[1]), "weights of node conv1 must be an object, not 'list'"),
        (
            lambda d: d["nodes"][1]["weights"].update(shape=[6, 3, 3, -3]),
            "must be up to 4 positive integers, not [6, 3, 3, -3]",
        ),
        (
            lambda d: d["nodes"][1]["weights"].update(shape=[6, 3, 9]),
            "conv1.weights.npy must have the shape (6, 3, 9), not (6, 3, 3, 3)",
        ),
        (lambda d: d["nodes"][1]["weights"].update(sha256="0"), "the values of conv1.weights differ, write both again"),
        (
            lambda d: d["nodes"][1]["weight_format"].update(width=9),
            "weight_format of node conv1 must be 2 to 8 bits wide, not 9",
        ),
        (
            lambda d: d["nodes"][1]["weight_format"].update(low=-2),
            "weights of node conv1 must lie in -2..7, not '-8..7'",
        ),
        (lambda d: d["tensors"][0].update(scale=-1.0), "scale of tensor x must be positive and finite, not -1.0"),
        (lambda d: d["tensors"][0].update(shape=[3, 9]), "shape of a tensor must be [C, H, W], not [3, 9]"),
        (lambda d: d["tensors"][0].update(shape=[3, 9, True]), "shape of tensor x must be an integer, not True"),
        (lambda d: d["tensors"][0]["format"].update(width=0), "width must be 1 to 64 bits, not 0"),
        (lambda d: d["tensors"][0].update(format=8), "format of tensor x must be an object, not 'int'"),
        (lambda d: d["tensors"][0].update(name="a\nb", format=8), "digits or underscores, not 'a\\nb'"),
        (lambda d: d["nodes"][1].update(name="a\nb", weights=1), "digits or underscores, not 'a\\nb'"),
        (lambda d: d["tensors"].append(None), "a tensor must be an object, not 'NoneType'"),
        (lambda d: d["metadata"].update(a=1), "metadata must hold text by text, not 'a': 1"),
        (lambda d: d["tensors"][2]["format"].update(low=-1), "low=-1, high=990)"),
    ],
)
def test_hostile_json(folder: Path, change: Callable[[dict[str, Any]], object], end: str) -> None:
    edit(folder, change)
    message = refusal(folder)
    assert message.startswith(f"{folder}/graph.json: ") and message.endswith(end)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "NaN", '{"a":1,"a":2}', "[" * 50_000])
def test_json_that_is_no_graph(folder: Path, text: str) -> None:
    (folder / "graph.json").write_text(text)
    assert refusal(folder).startswith(f"{folder}/graph.json")


@pytest.mark.parametrize(
    "change, end",
    [
        (lambda m: m.pop("conv1.weights.npy"), "(see ['conv1.weights.npy'])"),
        (lambda m: m.update({"../evil.npy": b""}), "(see ['../evil.npy'])"),
        (lambda m: m.update({"conv1.weights.npy": b""}), "EOF: reading magic string, expected 8 bytes got 0"),
        (
            lambda m: m.update({"conv1.weights.npy": npy(np.zeros((6, 3, 3, 3)))}),
            "must hold signed integers in C order, not dtype('float64')",
        ),
        (
            lambda m: m.update({"conv1.weights.npy": npy(np.full((6, 3, 3, 3), None))}),
            "must hold signed integers in C order, not dtype('O')",
        ),
        (
            lambda m: m.update({"conv1.weights.npy": npy(np.asfortranarray(np.ones((6, 3, 3, 3), np.int8)))}),
            "in C order, not dtype('int8')",
        ),
        (
            lambda m: m.update({"conv1.weights.npy": npy(np.zeros((6, 3, 3, 4), np.int8))}),
            "must have the shape (6, 3, 3, 3), not (6, 3, 3, 4)",
        ),
        (
            lambda m: m.update({"conv1.weights.npy": npy(np.zeros((6, 3, 3, 3), np.int8))}),
            "the values of conv1.weights differ, write both again",
        ),
        (
            lambda m: m.update({"conv1.weights.npy": npy(np.zeros((6, 3, 3, 3), np.int8))[:-1]}),
            "must hold 162 bytes of values, not 161",
        ),
        (
            lambda m: m.update({"conv1.weights.npy": npy(np.zeros((6, 3, 3, 3), np.int8)) + b"x"}),
            "must hold 162 bytes of values, not 163",
        ),
    ],
)
def test_hostile_arrays(folder: Path, change: Callable[[dict[str, bytes]], object], end: str) -> None:
    rewrite(folder, change)
    message = refusal(folder)
    assert message.startswith(f"{folder}/graph.json: graph.npz") and message.endswith(end)


def test_a_header_that_claims_terabytes(folder: Path) -> None:
    claimed = io.BytesIO()
    np.lib.format.write_array_header_1_0(claimed, {"descr": "<i8", "fortran_order": False, "shape": (1 << 40,)})
    rewrite(folder, lambda members: members.update({"conv1.weights.npy": claimed.getvalue()}))
    assert refusal(folder).endswith("conv1.weights.npy must have the shape (6, 3, 3, 3), not (1099511627776,)")
    edit(folder, lambda d: d["nodes"][1]["weights"].update(shape=[1 << 28] * 4))
    rewrite(folder, lambda members: None)
    assert "conv1.weights.npy must have the shape" in refusal(folder)


def test_another_graphs_arrays_are_not_mixed_in(folder: Path, tmp_path: Path) -> None:
    random_network(1).save(tmp_path / "other")
    (folder / "graph.npz").write_bytes((tmp_path / "other" / "graph.npz").read_bytes())
    assert "graph.npz must belong to this file" in refusal(folder)


@pytest.mark.parametrize("name", ["graph.json", "graph.npz"])
def test_every_cut_is_refused(folder: Path, name: str) -> None:
    path = folder / name
    data = path.read_bytes()
    for size in [*range(0, len(data) - 2, 97), len(data) - 2]:  # the last byte of graph.json is a newline
        path.write_bytes(data[:size])
        refusal(folder)


@pytest.mark.parametrize("name", ["graph.json", "graph.npz"])
def test_damaged_bytes_are_refused_or_change_nothing_else(folder: Path, name: str) -> None:
    graph = random_network()
    path = folder / name
    data = path.read_bytes()
    generator = random.Random(5)
    refused = 0
    for _ in range(300):
        damaged = bytearray(data)
        for _ in range(3):
            damaged[generator.randrange(len(data))] = generator.randrange(256)
        path.write_bytes(damaged)
        try:
            loaded = Graph.load(folder)
        except UserError:
            refused += 1
        else:
            # What still loads is a graph with the same numbers: a name, a scale or a time stamp changed.
            for node, other in zip(graph.nodes, loaded.nodes, strict=True):
                for field in node.arrays:
                    assert np.array_equal(getattr(node, field), getattr(other, field))
    assert refused > 200
