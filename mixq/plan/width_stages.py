"""The stages of a network whose widths are open: those of all widths side by side, and what stands between them.

Codes of different widths have different formats, and stages are joined only where the formats agree. Sums that go to an
addition, or to a requantisation on its own, have formats that stand for the bits of weights and input together
(:mod:`mixq.plan.width_sums`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from mixq.board import REPORT_KEYS
from mixq.formats import IntFormat
from mixq.graph import Add, Concat, Requantise, SumPool, Tensor
from mixq.plan import estimate
from mixq.plan.choices import (
    FloatArray,
    Link,
    Stage,
    input_stage,
    join_stage,
    joint,
    link,
    simple_stage,
    vector,
)
from mixq.plan.early_outputs import early_pixels
from mixq.plan.fifos import depth_in_beats
from mixq.plan.network import Edge
from mixq.plan.options import divisors
from mixq.plan.spatial import passed_on
from mixq.plan.units import INPUT, Unit, units
from mixq.plan.untrained import untrained_graph
from mixq.plan.untrained_branches import code_term
from mixq.plan.untrained_values import PIXEL_BITS, code_tensor, truncation
from mixq.plan.width_parts import Cache, WidthStage, into_wires, merged, output_ways, plain, table
from mixq.plan.width_settings import WidthSettings
from mixq.plan.width_structure import Reader, Structure, possible_depths
from mixq.plan.width_sums import Addition, Alternative, LayerSums, largest_bits, layer_sums, named_format, requantised
from mixq.plan.width_ways import WayKey
from mixq.streams import StreamShape


@dataclass(frozen=True)
class _Sum:
    """An addition's entries: bits of the widest sums, width given out, channels of a beat; the latter two 0 where it
    gives its sums to several quantisers. products: of each entry and input, by the bits of what comes."""

    entries: list[tuple[int, int, int]]
    products: list[list[dict[int, FloatArray]]]


class Stages:
    """All stages, edges and links of a network; ways: those of its layers with weights.

    exact: a path is a design, with what it takes; otherwise it takes no more than the designs of the same widths do.
    Raises ValueError where no way to build some layer is fast enough.
    """

    def __init__(self, settings: WidthSettings, found: Structure, ways: Mapping[WayKey, Stage]) -> None:
        self._settings, self._found, self._ways = settings, found, ways
        self._depths = possible_depths(found, settings.act_widths)
        self._cache: Cache = {}
        self._sums: dict[int, LayerSums] = {}
        self._additions: dict[int, _Sum] = {}
        unit_nodes = [unit.node for unit in found.units]
        made = [self._of_unit(place) for place in range(len(found.units))]
        paced = passed_on(unit_nodes, [own.stage for own in made], found.reads)
        bus, image = plain(input_stage(self._pixels)), self._image()
        self.stages: list[WidthStage] = [bus, image]
        self.edges: list[Edge] = [(0, 1)]
        self.links: list[Link] = [into_wires(bus.stage, image.stage, self._cache)]
        self._at: dict[tuple[int, Reader | str], int] = {(INPUT, "all"): 1}
        for place, (own, stage) in enumerate(zip(made, paced, strict=True)):
            self._place(place, replace(own, stage=stage))
        last = len(found.units) - 1
        giver = self._at[last, "all"]
        inner = [replace(unit, reads=reads) for unit, reads in zip(found.units, found.reads, strict=True)]
        early = early_pixels(inner, self._pixels.shape, last)
        self.stages.append(output_ways(self.stages[giver].stage, early))
        self._join(giver, len(self.stages) - 1, joint(self.stages[giver].stage, self.stages[-1].stage))
        certain = all(len(depths) == 1 for depths in self._depths.values())
        self.exact = certain and not found.split and not self._additions

    @property
    def _pixels(self) -> Tensor:
        return code_tensor("pixels", self._settings.table.input_shape, PIXEL_BITS)

    def _place(self, place: int, made: WidthStage) -> None:
        """Append a unit's stage with the edges that lead to it, and those of quantisers behind it."""
        index = len(self.stages)
        self.stages.append(made)
        for number, giver in enumerate(self._found.reads[place]):
            split = giver != INPUT and len(self._found.readers[giver]) > 1
            before = self._at[giver, self._found.side(place, giver) if split else "all"]
            self._join(before, index, self._link(before, place, number))
        self._at[place, "all"] = index
        if len(self._found.readers[place]) > 1:
            for reader in self._found.readers[place]:
                own = self._quantiser(place, reader, made.stage)
                self.stages.append(plain(own))
                self._at[place, reader] = len(self.stages) - 1
                found = into_wires(made.stage, own, self._cache)
                fifos = self._forked(place, reader, made.stage)
                self._join(index, len(self.stages) - 1, replace(found, costs=found.costs + fifos[:, None, :]))

    def _join(self, before: int, after: int, between: Link) -> None:
        self.edges.append((before, after))
        self.links.append(between)

    def _link(self, before: int, place: int, number: int) -> Link:
        """The converters and the FIFO in front of an input of a unit, whose stage is the last one."""
        giver, taker = self.stages[before].stage, self.stages[-1].stage
        depths = self._depths[self._found.units[place].node.name, number]
        fifos = np.array([_least_fifo(depths, target) for target in giver.targets])
        addition = self._additions.get(place)
        if addition is not None:
            return self._into_addition(giver, place, number, addition, fifos)
        found = link(giver, taker, self._cache, number=number)
        return replace(found, costs=found.costs + fifos[:, None, :])

    def _forked(self, place: int, reader: Reader, stage: Stage) -> FloatArray:
        """FIFOs between a value of two quantisers and one of them, for each shape of beats that the value has.

        Of codes those that stand before their only reader where quantisers are equal, and else nowhere.
        """
        found = self._found
        behind = [
            self._depths[unit.node.name, number]
            for other, unit in enumerate(found.units)
            for number, giver in enumerate(found.reads[other])
            if giver == place and found.side(other, place) == reader
        ]
        codes = [depths - {None} for depths in behind] if len(behind) == 1 and None in behind[0] else []
        # A layer's sums always fork into two requantisations; an addition has no sums of its own.
        sums = [frozenset((0,))] if found.layers[place] is not None else []
        return np.array(
            [
                sum(
                    (_least_fifo(depths, target) for depths in (sums if target.format.signed else codes)),
                    np.zeros(len(REPORT_KEYS)),
                )
                for target in stage.targets
            ]
        )

    def _into_addition(self, giver: Stage, place: int, number: int, addition: _Sum, fifos: FloatArray) -> Link:
        """What stands in front of an addition, with the multipliers of that input."""
        formats = list(dict.fromkeys(target.format for target in giver.targets))
        lanes = divisors(self._found.units[place].target.shape[0])
        shape = giver.targets[0]
        sources = [replace(shape, format=own, pixels=1, lanes=count) for own in formats for count in lanes]
        column = {(source.format, source.lanes): at for at, source in enumerate(sources)}
        single = link(giver, table(giver.name, sources, sources[:1], [], [], [], []), self._cache)
        by_format = {
            own: np.array([at for at, target in enumerate(giver.targets) if target.format == own]) for own in formats
        }
        size = len(giver.targets), len(addition.entries)
        cycles, costs, open_ = np.zeros(size, np.int64), np.zeros((*size, len(REPORT_KEYS))), np.zeros(size, np.bool_)
        for entry, (largest, out, count) in enumerate(addition.entries):
            for format, rows in by_format.items():
                bits = _bits(format)
                if not out:
                    open_[rows, entry] = bits <= largest
                elif bits in addition.products[entry][number]:
                    between = column[format, count]
                    open_[rows, entry] = True
                    cycles[rows, entry] = single.cycles[rows, between]
                    product = addition.products[entry][number][bits]
                    costs[rows, entry] = single.costs[rows, between] + fifos[rows] + product
        return Link(cycles, costs, open_)

    def _of_unit(self, place: int) -> WidthStage:
        """The ways of a unit with all its widths."""
        unit, number = self._found.units[place], self._found.layers[place]
        if number is not None:
            return self._layer(place, number)
        if isinstance(unit.node, Add):
            return plain(self._addition(place))
        readers = self._found.readers[place]
        if isinstance(unit.node, SumPool) and not readers:
            return plain(simple_stage(unit))
        widths = self._found.widths(readers[0], self._settings.act_widths)
        make = join_stage if isinstance(unit.node, Concat) else simple_stage
        return merged([plain(make(self._at_width(unit, bits))) for bits in widths])

    def _at_width(self, unit: Unit, bits: int) -> Unit:
        """A unit without weights that gives codes of a width."""
        if isinstance(unit.node, Requantise):
            layers = len(self._settings.act_widths)
            graph = untrained_graph(self._settings.table, weight_bits=[2] * layers, act_bits=[bits] * layers)
            return next(own for own in units(graph) if own.node.name == unit.node.name)
        format = IntFormat(bits, False)
        sources = tuple(replace(source, format=format) for source in unit.sources)
        return replace(unit, sources=sources, target=replace(unit.target, format=format))

    def _layer(self, place: int, number: int) -> WidthStage:
        parts = []
        last = place == len(self._found.units) - 1
        for (own, weight_bits, act_bits, out), stage in self._ways.items():
            if own != number:
                continue
            if out is None and not last:
                named = self.sums(place).formats[weight_bits + act_bits]
                stage = replace(stage, targets=tuple(replace(target, format=named) for target in stage.targets))
            widths = (np.full(stage.size, bits, np.int64) for bits in (weight_bits, act_bits))
            parts.append(WidthStage(stage, number, *widths))
        if not parts:
            name = self._settings.table.weighted_names[number]
            raise ValueError(f"cycles must allow a way to build layer {name}, not {self._settings.cycles!r}")
        return merged(parts)

    def sums(self, place: int) -> LayerSums:
        """The sums of the layer at a place."""
        number = self._found.layers[place]
        assert number is not None
        if place not in self._sums:
            settings = self._settings
            pairs = [(w, a) for w in settings.weight_widths[number] for a in settings.act_widths[number]]
            shape = self._found.units[place].target.shape
            self._sums[place] = layer_sums(settings.table, number, pairs, shape, settings.weight_range)
        return self._sums[place]

    def _outs(self, place: int) -> list[int]:
        """Widths that all quantisers of a unit's value may have."""
        widths = [set(self._found.widths(own, self._settings.act_widths)) for own in self._found.readers[place]]
        return sorted(set.intersection(*widths))

    def _alternatives(self, place: int) -> list[list[Alternative]]:
        """What may come at the inputs of an addition."""
        found = []
        for giver in self._found.reads[place]:
            if giver != INPUT and not self._found.readers[giver]:
                found.append(self.sums(giver).alternatives)
                continue
            split = giver != INPUT and len(self._found.readers[giver]) > 1
            reader = 0 if giver == INPUT else self._found.readers[giver][0]
            reader = self._found.side(place, giver) if split else reader
            channels = self._found.units[place].target.shape[0]
            formats = [IntFormat(bits, False) for bits in self._found.widths(reader, self._settings.act_widths)]
            found.append([Alternative(code_term("codes", channels, own), own) for own in formats])
        return found

    def _addition(self, place: int) -> Stage:
        unit = self._found.units[place]
        given = self._alternatives(place)
        whole = StreamShape(*unit.target.shape, unit.target.format)
        addition = self._additions[place] = _Sum([], [])
        sources: list[StreamShape] = []
        rows: list[tuple[int, StreamShape, int, FloatArray]] = []
        for largest in largest_bits(given):
            for out in self._outs(place):
                own = Addition(unit, given, largest=largest, out_bits=out)
                for lanes in divisors(whole.channels):
                    target = replace(whole, format=IntFormat(out, False), pixels=1, lanes=lanes)
                    rows += [(len(sources), target, target.beats, cost) for cost in own.ways(lanes).values()]
                    sources.append(target)
                    addition.entries.append((largest, out, lanes))
                    addition.products.append([own.products(number, lanes) for number in range(len(given))])
            if len(self._found.readers[place]) > 1:
                raw = replace(whole, format=named_format(largest, 1), pixels=1, lanes=1)
                rows.append((len(sources), raw, 1, np.zeros(len(REPORT_KEYS))))
                sources.append(raw)
                addition.entries.append((largest, 0, 0))
                addition.products.append([])
        targets = list(dict.fromkeys(target for _, target, _, _ in rows))
        return table(
            unit.node.name,
            sources,
            targets,
            [row[0] for row in rows],
            [targets.index(row[1]) for row in rows],
            [row[2] for row in rows],
            [row[3] for row in rows],
        )

    def _quantiser(self, place: int, reader: Reader, before: Stage) -> Stage:
        """What stands between a value of two quantisers and those that read what one of them makes of it."""
        unit, widths = self._found.units[place], self._found.widths(reader, self._settings.act_widths)
        free = np.zeros(len(REPORT_KEYS))
        rows: list[tuple[StreamShape, StreamShape, int, FloatArray]] = [
            (target, target, 1, free) for target in before.targets if not target.format.signed
        ]
        whole = StreamShape(*unit.target.shape, unit.target.format)
        for out in widths:
            target = replace(whole, format=IntFormat(out, False))
            for bits, lanes, cost in self._requantised(place, out):
                given = target.with_beat(pixels=1, lanes=lanes)
                if self._found.layers[place] is None:
                    taken = replace(whole, format=named_format(bits, 1), pixels=1, lanes=1)
                else:
                    taken = replace(given, format=self.sums(place).formats[bits])
                rows.append((taken, given, given.beats, cost))
        sources, targets = list(dict.fromkeys(row[0] for row in rows)), list(dict.fromkeys(row[1] for row in rows))
        return table(
            f"{unit.node.name} for {reader}",
            sources,
            targets,
            [sources.index(row[0]) for row in rows],
            [targets.index(row[1]) for row in rows],
            [row[2] for row in rows],
            [row[3] for row in rows],
        )

    def _requantised(self, place: int, out: int) -> list[tuple[int, int, FloatArray]]:
        """Bits of sums, channels of a beat and resources of what makes codes of ``out`` bits of them alone."""
        if self._found.layers[place] is not None:
            by_bits = requantised(self.sums(place), out)
            return [(bits, lanes, cost) for bits, own in by_bits.items() for (lanes, _), cost in own.items()]
        given, unit = self._alternatives(place), self._found.units[place]
        found = []
        for largest in largest_bits(given):
            own = Addition(unit, given, largest=largest, out_bits=out)
            for lanes in divisors(unit.target.shape[0]):
                found += [(largest, lanes, cost) for cost in own.whole(lanes).values()]
        return found

    def _image(self) -> WidthStage:
        """What the first layer's widths make of 8-bit pixels; for 8 bits beats pass as they are."""
        made = []
        pixels = self._pixels
        for bits in self._settings.act_widths[0]:
            if bits == PIXEL_BITS:
                shapes = input_stage(pixels).targets
                places = list(range(len(shapes)))
                free = [np.zeros(len(REPORT_KEYS))] * len(shapes)
                made.append(plain(table("image", shapes, shapes, places, places, [1] * len(shapes), free)))
                continue
            node = Requantise("input", "pixels", "codes", **truncation(pixels.shape[0], bits))
            made.append(plain(simple_stage(Unit(node, None, (pixels,), code_tensor("codes", pixels.shape, bits)))))
        return merged(made)


def _bits(format: IntFormat) -> int:
    """Bits of sums of a format that stands for them, width of codes."""
    return format.high if format.signed else format.width


def _least_fifo(depths: frozenset[int | None], target: StreamShape) -> FloatArray:
    """Least resources of a FIFO of one of several depths in pixels, None for none."""
    costs = [
        np.zeros(len(REPORT_KEYS))
        if depth is None
        else vector(estimate.fifo(target.payload_bits, depth_in_beats(depth, target)))
        for depth in depths
    ]
    least: FloatArray = np.minimum.reduce(costs)
    return least
