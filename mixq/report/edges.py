"""The streams between the stages of a report: who feeds whom, and what stands between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mixq.graph import Graph, Tensor
from mixq.plan import Plan
from mixq.plan.beats import converters
from mixq.plan.units import INPUT, units
from mixq.report.rows import LayerRow


@dataclass(frozen=True)
class Edge:
    """A stream from one stage to another.

    source, target: places among the rows; `INPUT` (-1) is the graph's input, the number of rows its output. tensor:
    what travels. fifo: beats of the FIFO in front of the target, 0 for none. converters: how many change the beats.
    """

    source: int
    target: int
    tensor: Tensor
    fifo: int = 0
    converters: int = 0


def stage_edges(rows: Sequence[LayerRow], graph: Graph, plan: Plan | None) -> list[Edge]:
    """All streams, sorted by target and, at a join, by the number of the input; the last one is the network's output.

    FIFOs and converters are those of the plan; without one there are none yet.
    """
    makers = {graph.input: INPUT} | {row.target.name: index for index, row in enumerate(rows)}
    between = _converters(graph, plan)
    edges = []
    for index, row in enumerate(rows):
        fifos = () if row.layer is None else row.layer.fifos
        found = between.get(row.name, ())
        for number, tensor in enumerate(row.sources):
            fifo = fifos[number] if fifos else 0
            edges.append(Edge(makers[tensor.name], index, tensor, fifo, found[number] if found else 0))
    edges.append(Edge(makers[graph.output], len(rows), graph.tensor(graph.output)))
    return edges


def _converters(graph: Graph, plan: Plan | None) -> dict[str, list[int]]:
    """Stage -> converters in front of each of its inputs."""
    if plan is None:
        return {}
    found = units(graph)
    counts = converters(found, graph, plan)
    return {unit.node.name: own for unit, own in zip(found, counts, strict=True)}
