"""Beats that the stages of a plan give and take, and the converters between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mixq.graph import Graph
from mixq.plan.conversion import bridge
from mixq.plan.units import INPUT, Unit
from mixq.streams import StreamShape

if TYPE_CHECKING:
    from mixq.plan.values import Plan


def given_beats(units: Sequence[Unit], graph: Graph, plan: Plan, place: int) -> StreamShape:
    """Beats that a unit gives in a plan, or those of the graph's input."""
    if place == INPUT:
        first = graph.tensor(graph.input)
        return StreamShape(*first.shape, first.format, pixels=1, lanes=plan.input_lanes)
    unit = units[place]
    layer = plan.layer((unit.requantise or unit.node).name)
    return StreamShape(*unit.target.shape, unit.target.format, pixels=layer.pixels, lanes=layer.lanes)


def taken_beats(unit: Unit, plan: Plan, number: int = 0) -> StreamShape:
    """Beats that a unit takes in a plan at the input of that number.

    Stages without weights take beats of one pixel and of as many channels as those that they give.
    """
    layer, source = plan.layer(unit.node.name), unit.sources[number]
    if layer.folding is None:
        return StreamShape(*source.shape, source.format, pixels=1, lanes=layer.lanes)
    shape, folding = unit.shape, layer.folding
    beats = {"pixels": folding.in_pixels, "lanes": folding.lanes}
    return StreamShape(shape.in_channels, shape.height, shape.width, source.format, **beats)


def converters(units: Sequence[Unit], graph: Graph, plan: Plan) -> list[list[int]]:
    """How many converters stand in front of every input of every unit."""
    return [
        [
            len(bridge(given_beats(units, graph, plan, place), taken_beats(unit, plan, number)))
            for number, place in enumerate(unit.reads)
        ]
        for unit in units
    ]
