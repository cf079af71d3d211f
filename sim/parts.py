"""The parts of an accelerator in the order of the data, read from the names of its streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mixq.graph import Graph
from mixq.plan.units import units
from rtl_gen.handshakes import INPUT, OUTPUT, StreamLabel

#: Instances beside the accelerator: between it and the two buses.
BUSES = INPUT_BUS, OUTPUT_BUS = ("input_bus", "output_bus")


@dataclass(frozen=True)
class Part:
    """A stage, a converter, a FIFO or fork, or what stands between the accelerator and a bus (``kind``).

    ``node``: the layer's name in the graph, None for what belongs to no layer. ``inputs``, ``outputs``: numbers of its
    streams. ``tensor``: what it gives.
    """

    name: str
    kind: str
    node: str | None
    tensor: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def parts(labels: Sequence[StreamLabel], tensors: Sequence[str], graph: Graph) -> list[Part]:
    """The parts behind those that they are fed from, the buses first and last; ``tensors`` that the streams carry."""
    nodes = {unit.target.name: unit.node.name for unit in units(graph)}
    inputs: dict[str, list[int]] = {}
    outputs: dict[str, list[int]] = {}
    for number, label in enumerate(labels):
        inputs.setdefault(label.target, []).append(number)
        outputs.setdefault(label.source, []).append(number)
    given = tuple(outputs.pop(INPUT))
    taken = tuple(inputs.pop(OUTPUT))
    found = [Part(INPUT_BUS, "bus", None, tensors[given[0]], (), given)]
    known = set(given)
    waiting = dict(outputs)
    while waiting:
        name = next(name for name in waiting if known.issuperset(inputs[name]))
        own = waiting.pop(name)
        kind = "stage"
        if labels[own[0]].converter:
            kind = "converter"
        elif any(labels[number].depth for number in own):
            kind = "fifo"
        tensor = tensors[own[0]]
        node = nodes[tensor] if kind == "stage" else None
        found.append(Part(name, kind, node, tensor, tuple(inputs[name]), tuple(own)))
        known.update(own)
    return [*found, Part(OUTPUT_BUS, "bus", None, tensors[taken[0]], taken, ())]
