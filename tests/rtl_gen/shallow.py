"""A residual whose FIFO is as deep as a test wants it, and its build, also where it is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

from boards import load_board
from boards.axis import AxisTop
from boards.emit import write_build
from mixq.formats import IntFormat
from mixq.graph import Graph
from mixq.plan import Plan, plan
from rtl_gen import accelerator, build
from tests.mixq.dags import Dag


def residual_block() -> Graph:
    """Two 3x3 convolutions of 6 x 6 pixels and the way around them.

    The first sum waits for row 3 and column 3 of the stem's output: 2 rows and 3 pixels, 15 in all.
    """
    dag = Dag((2, 6, 6), IntFormat(4, False))
    stem = dag.requantise(dag.conv("x", 4, padding=1), 4)
    inner = dag.conv(dag.requantise(dag.conv(stem, 4, padding=1), 4), 4, padding=1)
    return dag.graph(dag.requantise(dag.add(inner, stem), 4))


def with_fifo(chosen: Plan, name: str, number: int, beats: int) -> Plan:
    """The plan with another depth of the FIFO at one input of a layer."""
    layer = chosen.layer(name)
    fifos = (*layer.fifos[:number], beats, *layer.fifos[number + 1 :])
    changed = replace(layer, fifos=fifos)
    return replace(chosen, layers=tuple(changed if own is layer else own for own in chosen.layers))


def residual_plan(beats: int) -> Plan:
    """Of the residual block, a pixel a beat, with so many beats on the way around."""
    chosen = plan(residual_block(), load_board("ultra96-v2"))
    stem = chosen.layer("requantise1")
    assert (stem.pixels, stem.lanes) == (1, 4)
    return with_fifo(chosen, "add5", 1, beats)


def unrefused(graph: Graph, chosen: Plan) -> accelerator.Accelerator:
    """The accelerator of a plan, however shallow its FIFOs are."""
    with patch.object(accelerator, "shallow", return_value=[]):
        return build(graph, chosen, "generic")


def write_unrefused(graph: Graph, chosen: Plan, folder: Path) -> None:
    """Graph, plan and Verilog in a build folder, however shallow its FIFOs are."""
    folder.mkdir(parents=True, exist_ok=True)
    graph.save(folder)
    chosen.save(folder)
    stages = unrefused(graph, chosen)
    top = AxisTop(stages, input_bus_bits=chosen.input_bus_bits, output_bus_bits=chosen.output_bus_bits)
    write_build(folder, top, target="generic")
