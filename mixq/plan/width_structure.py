"""The stages of a network whose widths are open, and how they depend on the widths.

Where two layers with weights read the same value, each has a quantiser of its own. With equal widths they are one, part
of the stage that gives the value; with others that stage gives the value itself, and there is a stage for each of them.
Here stages are those of equal widths; behind a value of two quantisers there is room for two more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from mixq.errors import UserError
from mixq.graph import Add, Requantise
from mixq.networks import ConvSpec, DenseSpec, MeanSpec, NetworkTable
from mixq.plan.fifos import edge_depths
from mixq.plan.units import INPUT, Unit, units
from mixq.plan.untrained import untrained_graph
from mixq.plan.untrained_branches import shared_graph
from mixq.plan.untrained_values import PIXEL_BITS

Reader = int | None
"""A quantiser: number of the weighted layer that it stands in front of, None for that of a mean."""

MOST_SPLIT = 6
"""Values with two quantisers, at most: depths of FIFOs are looked at for each choice of equal and other widths."""


@dataclass(frozen=True)
class Structure:
    """The stages of equal widths.

    units: without the image's truncation. reads: of each unit, places of those that it reads, `INPUT` for the image.
    layers: number of the weighted layer of each, None for others. readers: quantisers of the codes that each gives,
    none where it gives sums.
    """

    table: NetworkTable
    units: tuple[Unit, ...]
    reads: tuple[tuple[int, ...], ...]
    layers: tuple[int | None, ...]
    readers: tuple[tuple[Reader, ...], ...]

    @property
    def split(self) -> tuple[int, ...]:
        """Places of the units whose value two quantisers read."""
        return tuple(place for place, own in enumerate(self.readers) if len(own) > 1)

    def side(self, place: int, giver: int) -> Reader:
        """Which of the quantisers of the unit at ``giver`` the one at ``place`` reads."""
        if self.layers[place] is not None:
            return self.layers[place]
        if isinstance(self.units[place].node, Add):
            return next(reader for reader in self.readers[giver] if reader is not None)
        return self.readers[place][0] if self.readers[place] else None

    def widths(self, reader: Reader, act_widths: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        """Widths that a quantiser may have."""
        if reader is not None:
            return act_widths[reader]
        return (next(layer.bits for layer in self.table.layers if isinstance(layer, MeanSpec)),)


def structure(table: NetworkTable) -> Structure:
    """The stages of a network.

    Raises UserError for one that the search by ways does not know how to take apart.
    """
    means = {layer.bits for layer in table.layers if isinstance(layer, MeanSpec)}
    if len(means) > 1:
        raise _refused(table, "its means are of codes of different widths")
    if not isinstance(table.layers[-1], ConvSpec | DenseSpec):
        raise _refused(table, "it does not end with a convolution or a dense layer")
    graph, quantisers = shared_graph(table, next(iter(means), PIXEL_BITS))
    found = units(graph)
    kept = [place for place, unit in enumerate(found) if not _truncates(unit)]
    places = {place: number for number, place in enumerate(kept)}
    own = tuple(found[place] for place in kept)
    numbers = iter(range(len(table.weighted_names)))
    made = Structure(
        table,
        own,
        tuple(tuple(places.get(place, INPUT) for place in unit.reads) for unit in own),
        tuple(next(numbers) if unit.is_layer else None for unit in own),
        tuple(quantisers.get(unit.target.name, ()) for unit in own),
    )
    _check(made)
    return made


def _truncates(unit: Unit) -> bool:
    return unit.first and isinstance(unit.node, Requantise)


def _refused(table: NetworkTable, why: str) -> UserError:
    return UserError(
        f"the method budget does not search {table.name}: {why}; give search.method edmips, with a decay_c"
    )


def _check(found: Structure) -> None:
    table = found.table
    if len(found.split) > MOST_SPLIT:
        raise _refused(table, f"more than {MOST_SPLIT} values have two quantisers")
    for place, unit in enumerate(found.units):
        name, readers = unit.node.name, found.readers[place]
        if len(readers) > 2:
            raise _refused(table, f"{len(readers)} quantisers read what {name} gives, and at most 2 may")
        if len(readers) == 2 and (unit.requantise is None or not (unit.is_layer or isinstance(unit.node, Add))):
            raise _refused(table, f"2 quantisers read what {name} gives, neither a layer with weights nor an addition")
        for giver in found.reads[place]:
            sums = giver != INPUT and found.layers[giver] is not None and not found.readers[giver]
            if sums and not isinstance(unit.node, Add):
                raise _refused(table, f"{name} reads sums of {found.units[giver].node.name} that an addition reads too")
            codes = giver == INPUT or bool(found.readers[giver])
            if isinstance(unit.node, Add) and not sums and not codes:
                raise _refused(table, f"{name} adds what {found.units[giver].node.name} gives, which is not quantised")
        if isinstance(unit.node, Add) and unit.requantise is None:
            raise _refused(table, f"the sums of {name} are not quantised at once")


Depths = dict[tuple[str, int], frozenset[int | None]]
"""Of a node's name and the number of its input: pixels that the FIFO there may have to hold, None for no FIFO."""


def possible_depths(found: Structure, act_widths: Sequence[tuple[int, ...]]) -> Depths:
    """Depths of the FIFOs, which depend on where there are stages for quantisers of their own."""
    choices: list[list[dict[int, int]]] = [[{0: bits} for bits in _image_widths(act_widths[0])]]
    for place in found.split:
        one, other = found.readers[place]
        pairs = list(product(found.widths(one, act_widths), found.widths(other, act_widths)))
        kinds = {a == b: (a, b) for a, b in pairs}
        choices.append([_assigned((one, other), pair) for pair in kinds.values()])
    depths: dict[tuple[str, int], set[int | None]] = {}
    for parts in product(*choices):
        acts = [widths[0] for widths in act_widths]
        for number, bits in (entry for part in parts for entry in part.items()):
            acts[number] = bits
        graph = untrained_graph(found.table, weight_bits=[2] * len(acts), act_bits=acts)
        own = units(graph)
        for unit, deep in zip(own, edge_depths(own, graph.tensor(graph.input).shape), strict=True):
            for number, depth in enumerate(deep):
                depths.setdefault((unit.node.name, number), set()).add(depth)
    return {key: frozenset(values) for key, values in depths.items()}


def _image_widths(widths: tuple[int, ...]) -> list[int]:
    """One width that truncates the image, and the one that does not, as far as there are such."""
    return [bits for bits in (widths[0], widths[-1]) if bits in (widths[0], PIXEL_BITS)]


def _assigned(readers: tuple[Reader, ...], bits: tuple[int, ...]) -> dict[int, int]:
    return {reader: width for reader, width in zip(readers, bits, strict=True) if reader is not None}
