"""Build folders that the tests of the reports start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixq.graph import Graph
from mixq.plan import Plan
from tests.mixq.report.builds import small_graph, small_plan


@pytest.fixture(scope="session")
def graph() -> Graph:
    return small_graph()


@pytest.fixture(scope="session")
def planned(graph: Graph) -> Plan:
    return small_plan(graph)


@pytest.fixture
def build(tmp_path: Path, graph: Graph, planned: Plan) -> Path:
    """A folder with graph and plan."""
    folder = tmp_path / "quick"
    folder.mkdir()
    graph.save(folder)
    planned.save(folder)
    return folder
