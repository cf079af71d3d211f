"""The stages of a graph and what stands between them, when the ways of each unit are listed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mixq.graph import Graph
from mixq.plan.choices import FloatArray, Link, Stage, input_stage, joint, link, output_stage
from mixq.plan.early_outputs import early_pixels
from mixq.plan.fifos import edge_depths
from mixq.plan.network import Edge
from mixq.plan.spatial import passed_on
from mixq.plan.units import Unit, output_unit
from mixq.streams import StreamShape


@dataclass(frozen=True)
class Assembly:
    """Stages with the AXI4-Streams at both ends, the edges between them, and the converters of each edge.

    depths: of each unit, pixels of the FIFO at each of its inputs, None where there is none.
    """

    stages: list[Stage]
    links: list[Link]
    edges: list[Edge]
    depths: list[list[int | None]]


def assembled(graph: Graph, units: Sequence[Unit], middle: Sequence[Stage]) -> Assembly:
    """The stages of a graph; middle: those of its units, in their order."""
    inner = passed_on([unit.node for unit in units], middle, [unit.reads for unit in units])
    first, last = graph.tensor(graph.input), graph.tensor(graph.output)
    giver = output_unit(graph, list(units))
    early = early_pixels(units, first.shape, giver)
    stages = [input_stage(first), *inner, output_stage(last, inner[giver].targets, early)]
    depths = edge_depths(units, first.shape)
    cache: dict[tuple[StreamShape, StreamShape], tuple[int, FloatArray]] = {}
    links: list[Link] = []
    edges: list[Edge] = []
    for index, unit in enumerate(units, 1):
        for number, place in enumerate(unit.reads):
            ends = stages[place + 1], stages[index]
            links.append(link(*ends, cache, number=number, depth=depths[index - 1][number]))
            edges.append((place + 1, index))
    # The shell's own converters stand between the last stage and the bus.
    links.append(joint(stages[giver + 1], stages[-1]))
    edges.append((giver + 1, len(stages) - 1))
    return Assembly(stages, links, edges, depths)
