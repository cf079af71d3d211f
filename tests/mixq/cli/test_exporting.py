"""`mixq export`: a QONNX file of a build folder, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mixq.execute import run
from mixq.formats import IntFormat
from mixq.graph import Graph
from tests.mixq.cli.conftest import Run
from tests.mixq.dags import Dag
from tests.mixq.qonnx.executor import execute


def test_a_build_is_written_and_read_back(built: Path, mixq: Run, tmp_path: Path) -> None:
    file = tmp_path / "net.onnx"
    outcome = mixq("export", built, "--to", "qonnx", file)
    assert outcome.status == 0 and outcome.err == ""
    size = f"{file.stat().st_size:,} bytes"
    assert outcome.out.splitlines()[0].split() == ["QONNX", str(file), *f"({size})".split()]
    graph = Graph.load(built)
    codes, expected = np.load(built / "reference/codes.npy"), np.load(built / "reference/expected.npy")
    scale = graph.tensor(graph.input).scale
    assert isinstance(scale, float)
    values = execute(file, (codes * scale).astype(np.float32))
    assert np.array_equal(values[f"{graph.output}.codes"].reshape(expected.shape), expected)
    assert mixq("import", file, "--out", tmp_path / "again").status == 0
    assert np.array_equal(run(Graph.load(tmp_path / "again"), codes), expected)


def test_refusals_are_one_line_with_status_2(built: Path, mixq: Run, tmp_path: Path) -> None:
    dag = Dag((2, 4, 4), IntFormat(8, False))
    dag.graph(dag.sum_pool(dag.add("x", "x", most=1 << 30), 2)).save(tmp_path / "wide")
    file = tmp_path / "net.onnx"
    for words, says in (
        ((tmp_path / "none", "--to", "qonnx", file), "is no build folder (it has no graph.json)"),
        ((built, "--to", "tflite", file), "'tflite' is not one of 'qonnx'"),
        ((built, file), "Missing option '--to'"),
        ((built, "--to", "qonnx", tmp_path / "nowhere" / "net.onnx"), "cannot write"),
        ((built, "--to", "qonnx", tmp_path), "no regular file"),
        ((tmp_path / "wide", "--to", "qonnx", file), "node sum1 reads sums beyond 2^24"),
    ):
        outcome = mixq("export", *words)
        assert (outcome.status, outcome.out) == (2, "") and says in outcome.err and outcome.err.count("\n") == 1
        assert not file.exists()
