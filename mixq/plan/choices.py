"""Stages as arrays: the ways to build each, the beats they take and give, cycles and resources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from math import ceil, gcd
from typing import overload

import numpy as np
import numpy.typing as npt

from mixq.board import REPORT_KEYS, Resources
from mixq.containers import container_bits
from mixq.errors import CheckFailed
from mixq.graph import Tensor
from mixq.plan import estimate, spatial
from mixq.plan.conversion import bridge, bridge_cycles
from mixq.plan.early_outputs import early_beats
from mixq.plan.fifos import depth_in_beats
from mixq.plan.folding import Folding
from mixq.plan.join_costs import join_ways
from mixq.plan.options import Options, divisors, scale_of
from mixq.plan.units import Unit
from mixq.streams import StreamShape

BUS_BITS = (8, 16, 32, 64, 128)
"""Widths of an AXI stream."""

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

Beat = tuple[int, int]
"""Pixels and channels of a beat."""


@dataclass(frozen=True)
class Choice:
    """One way to build a stage: what of it the plan says.

    lanes: channels in a beat that leaves. folding: of a layer. method: of its requantisation. bus_bits: of an AXI
    stream at either end.
    """

    lanes: int
    folding: Folding | None = None
    method: str | None = None
    bus_bits: int | None = None


@dataclass(frozen=True)
class Stage:
    """All ways to build a stage.

    name: of the node, "input stream" or "output stream" at the ends. sources, targets: shapes of beats
    that some way takes or gives. entry, exit: (N,) which of them each way takes and gives. cycles: (N,). costs: (N, 5),
    a column for each of REPORT_KEYS. choices: the ways themselves. bursts: what it gives comes in some rows of its
    input alone, as fast as it works. share: of a frame's time, that in which it gives then. others: of a join, shapes
    of beats at the inputs behind the first, in the order of ``sources``.
    """

    name: str
    sources: tuple[StreamShape, ...]
    targets: tuple[StreamShape, ...]
    entry: IntArray
    exit: IntArray
    cycles: IntArray
    costs: FloatArray
    choices: Sequence[Choice]
    bursts: bool = False
    share: Fraction = Fraction(1)
    others: tuple[tuple[StreamShape, ...], ...] = ()

    @cached_property
    def size(self) -> int:
        """How many ways there are."""
        return len(self.cycles)


@dataclass(frozen=True)
class Link:
    """Converters between two stages, for each shape that leaves the first (B) and each that the second takes (A).

    cycles: (B, A). costs: (B, A, 5). open: (B, A), whether there is a way between them.
    """

    cycles: IntArray
    costs: FloatArray
    open: npt.NDArray[np.bool_]


def layer_stage(unit: Unit, found: Options) -> Stage:
    """A convolution or dense layer with its requantisation."""
    if not found.ways:
        raise CheckFailed(f"layer {unit.node.name} does not fit: no way to build it takes so few DSPs")
    shape = unit.shape
    source = StreamShape(shape.in_channels, shape.height, shape.width, unit.source.format)
    bases = [(base.lanes, base.out_pixels) for base in found.bases]
    return _stage(
        unit.node.name,
        source,
        _stream(unit.target),
        [(in_pixels, bases[base][0]) for base, in_pixels, _, _ in found.ways],
        [(bases[base][1], out_lanes) for base, _, out_lanes, _ in found.ways],
        found.cycles,
        found.costs,
        _LayerChoices(found),
    )


class _LayerChoices(Sequence[Choice]):
    """The ways of a layer, made when they are asked for: few of the many are."""

    def __init__(self, found: Options) -> None:
        self._found = found

    def __len__(self) -> int:
        return len(self._found.ways)

    @overload
    def __getitem__(self, way: int) -> Choice: ...

    @overload
    def __getitem__(self, way: slice) -> Sequence[Choice]: ...

    def __getitem__(self, way: int | slice) -> Choice | Sequence[Choice]:
        if isinstance(way, slice):
            return [self[index] for index in range(len(self))[way]]
        folding = self._found.folding(way)
        return Choice(folding.out_lanes, folding, self._found.method(way))


def simple_stage(unit: Unit) -> Stage:
    """A stage that works on beats of one pixel: one of :data:`mixq.plan.spatial.STAGES` on its own.

    It gives beats of as many channels as it takes.
    """
    source, target = _stream(unit.source), _stream(unit.target)
    beats: list[Beat] = []
    cycles: list[int] = []
    costs: list[FloatArray] = []
    choices: list[Choice] = []
    for lanes in divisors(source.channels):
        here = source.with_beat(pixels=1, lanes=lanes)
        for method, resources in _simple(unit, here):
            beats.append((1, lanes))
            cycles.append(max(here.beats, target.with_beat(pixels=1, lanes=lanes).beats))
            costs.append(vector(resources))
            choices.append(Choice(lanes, method=method))
    stage = _stage(
        unit.node.name, source, target, beats, beats, np.array(cycles, np.int64), np.array(costs, np.float64), choices
    )
    share = spatial.giving_share(unit.node, source, target)
    return replace(stage, bursts=share < 1, share=share)


def _simple(unit: Unit, here: StreamShape) -> list[tuple[str | None, Resources]]:
    """Requantisation and resources of a simple stage that works on beats of a shape."""
    without_scaling = spatial.resources(unit.node, here)
    if without_scaling is not None:
        return [(None, without_scaling)]
    buffer = estimate.fifo(unit.target.format.width * here.lanes, 8)
    if _only_shifts(unit):
        return [("multiply", buffer)]
    scale = scale_of(unit, unit.source.format, 1, here.lanes)
    return [(method, estimate.requantise_alone(scale, method)) for method in estimate.requantise_methods(scale)]


def join_stage(unit: Unit) -> Stage:
    """A join: all inputs come, and the sums or channels leave, in beats of one pixel and as many channels."""
    streams = [_stream(source) for source in unit.sources]
    target = _stream(unit.target)
    beats: list[Beat] = []
    cycles: list[int] = []
    costs: list[FloatArray] = []
    choices: list[Choice] = []
    for lanes in divisors(gcd(*(stream.channels for stream in streams))):
        for method, resources in join_ways(unit, lanes):
            beats.append((1, lanes))
            cycles.append(target.with_beat(pixels=1, lanes=lanes).beats)
            costs.append(vector(resources))
            choices.append(Choice(lanes, method=method))
    made = _stage(
        unit.node.name,
        streams[0],
        target,
        beats,
        beats,
        np.array(cycles, np.int64),
        np.array(costs, np.float64),
        choices,
    )
    others = tuple(
        tuple(stream.with_beat(pixels=1, lanes=shape.lanes) for shape in made.sources) for stream in streams[1:]
    )
    return replace(made, others=others)


def input_stage(tensor: Tensor) -> Stage:
    """The AXI4-Stream at the input, which gives beats of one pixel.

    The beats that the bus is cut into are the accelerator's: the ways differ in the bus and in the channels of a beat.
    """
    stream = _stream(tensor)
    exits: list[Beat] = []
    rows: list[tuple[int, FloatArray, Choice]] = []
    for lanes in divisors(stream.channels):
        here = stream.with_beat(pixels=1, lanes=lanes)
        for bits, cycles in _buses(here):
            exits.append((1, lanes))
            rows.append((cycles, vector(estimate.shell_input(here, bits)), Choice(lanes, bus_bits=bits)))
    return _end("input stream", stream, exits, rows, at_input=True)


def output_stage(tensor: Tensor, shapes: Sequence[StreamShape], early: int = 0) -> Stage:
    """The AXI4-Stream at the output, for each shape of beats that the last stage may give.

    early: pixels that may come before the input frame is whole, see :func:`mixq.plan.early_outputs.early_pixels`.

    Beats of several pixels are taken apart to one, and channels are joined as far as the time asks for.
    """
    entries: list[Beat] = []
    rows: list[tuple[int, FloatArray, Choice]] = []
    for shape in shapes:
        for lanes in divisors(shape.channels):
            if lanes % shape.lanes:
                continue
            single = shape.with_beat(pixels=1, lanes=lanes)
            pairs = bridge(shape, single)
            between = estimate.converters(pairs)
            for bits, cycles in _buses(single):
                entries.append((shape.pixels, shape.lanes))
                waiting = max(2, early_beats(early, single, bits))
                resources = vector(between + estimate.shell_output(single, bits, waiting))
                rows.append((max(cycles, bridge_cycles(pairs)), resources, Choice(lanes, bus_bits=bits)))
    return _end("output stream", _stream(tensor), entries, rows, at_input=False)


def link(
    before: Stage,
    after: Stage,
    cache: dict[tuple[StreamShape, StreamShape], tuple[int, FloatArray]],
    *,
    number: int = 0,
    depth: int | None = None,
) -> Link:
    """The converters between two stages; ``cache`` keeps what was counted for a pair of shapes.

    number: of the input of the second, where that is a join. depth: pixels of the FIFO before them, None for none.
    There are no converters between codes of different formats, which meet where widths are open.
    """
    sources = (after.sources, *after.others)[number]
    cycles = np.zeros((len(before.targets), len(sources)), np.int64)
    costs = np.zeros((*cycles.shape, len(REPORT_KEYS)))
    open_ = np.ones(cycles.shape, np.bool_)
    for b, target in enumerate(before.targets):
        for a, source in enumerate(sources):
            if target.format != source.format:
                open_[b, a] = False
                continue
            found = cache.get((target, source))
            if found is None:
                pairs = bridge(target, source)
                found = cache[target, source] = bridge_cycles(pairs), vector(estimate.converters(pairs))
            cycles[b, a], costs[b, a] = found
            if depth is not None:
                costs[b, a] += vector(estimate.fifo(target.payload_bits, depth_in_beats(depth, target)))
            if before.bursts:
                cycles[b, a] = max(found[0], _burst_cycles(before, b, max(found[0], source.beats)))
    return Link(cycles, costs, open_)


def _burst_cycles(before: Stage, given: int, cycles: int) -> int:
    """Cycles of a frame that keep a stage that gives in bursts from waiting for what comes after it.

    given: the number of its beats. cycles: of a frame, as what comes after it works. That has the time of those rows
    alone in which something is given. 0 where the stage itself is no faster: it gives the time then.
    """
    paced = ceil(cycles / before.share)
    return paced if paced > before.sources[given].beats else 0


def joint(before: Stage, after: Stage) -> Link:
    """Neighbours without converters between them: the second takes what the first gives."""
    same = np.array([[target == source for source in after.sources] for target in before.targets], np.bool_)
    return Link(np.zeros(same.shape, np.int64), np.zeros((*same.shape, len(REPORT_KEYS))), same)


def vector(resources: Resources) -> FloatArray:
    """Resources as (5,) numbers in the order of REPORT_KEYS."""
    return np.array([getattr(resources, name) for name in REPORT_KEYS], np.float64)


def from_vector(numbers: FloatArray) -> Resources:
    """The inverse of :func:`vector`."""
    lut, ff, dsp, bram36, uram = (float(number) for number in numbers)
    return Resources(int(lut), int(ff), int(dsp), bram36, int(uram))


def _buses(here: StreamShape) -> list[tuple[int, int]]:
    """Widths of a bus that carries beats of one pixel, each with the cycles that a frame takes on it."""
    container = container_bits(here.format)
    codes = here.channels * here.height * here.width
    return [(bits, max(ceil(codes / (bits // container)), here.beats)) for bits in BUS_BITS if bits >= container]


def _stream(tensor: Tensor) -> StreamShape:
    return StreamShape(*tensor.shape, tensor.format)


def _end(
    name: str, stream: StreamShape, beats: list[Beat], rows: list[tuple[int, FloatArray, Choice]], *, at_input: bool
) -> Stage:
    """A stage at an end of the network, of which one side is the bus."""
    bus = [(1, 1)] * len(rows)
    entries, exits = (bus, beats) if at_input else (beats, bus)
    cycles, costs, choices = zip(*rows, strict=True)
    return _stage(name, stream, stream, entries, exits, np.array(cycles, np.int64), np.array(costs), list(choices))


def _stage(
    name: str,
    source: StreamShape,
    target: StreamShape,
    entries: list[Beat],
    exits: list[Beat],
    cycles: IntArray,
    costs: FloatArray,
    choices: Sequence[Choice],
) -> Stage:
    def classes(shape: StreamShape, beats: list[Beat]) -> tuple[tuple[StreamShape, ...], IntArray]:
        number = {beat: index for index, beat in enumerate(sorted(set(beats)))}
        shapes = tuple(shape.with_beat(pixels=pixels, lanes=lanes) for pixels, lanes in number)
        return shapes, np.array([number[beat] for beat in beats], np.int64)

    sources, entry = classes(source, entries)
    targets, exit_ = classes(target, exits)
    return Stage(name, sources, targets, entry, exit_, cycles, costs, choices)


def _only_shifts(unit: Unit) -> bool:
    """Whether a requantisation is the same power of two for all channels: wires then."""
    multiplier = getattr(unit.node, "multiplier", None)
    return multiplier is not None and bool((multiplier == multiplier[0]).all()) and int(multiplier[0]).bit_count() == 1
