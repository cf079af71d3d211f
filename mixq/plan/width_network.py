"""All ways to build a network whose widths are still open: one network of ways for every choice of widths.

Each stage has the ways of all its widths side by side. A way takes and gives beats of codes of some width, and stages
are joined only where the widths agree, so that a path is a choice of widths together with a way to build them: what
:class:`mixq.plan.planner.Planner` finds for given widths is a path here, but for circuits of the weights' values. The
layers are those of :mod:`mixq.plan.untrained`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context

import numpy as np

from mixq.board import REPORT_KEYS, Board, Resources
from mixq.graph import Tensor
from mixq.networks import NetworkTable
from mixq.packing import WeightRange
from mixq.plan.choices import (
    FloatArray,
    IntArray,
    Link,
    Stage,
    input_stage,
    joint,
    layer_stage,
    link,
    output_stage,
    simple_stage,
    vector,
)
from mixq.plan.network import undominated
from mixq.plan.options import most_dsps, options_of_all
from mixq.plan.restrictions import RESTRICTIONS, Restriction
from mixq.plan.units import INPUT, Unit
from mixq.plan.untrained import PIXEL_BITS, Piece, image_piece, layer_numbers, layer_piece, pool_piece
from mixq.streams import StreamShape

Progress = Callable[[int, int], None]
"""Takes how many pieces of the work are done, and how many there are."""


@dataclass(frozen=True, kw_only=True)
class WidthSettings:
    """What a network of ways is built for.

    table: the network. weight_widths, act_widths: those that each weighted layer may have, rising; one of a layer whose
    width is fixed. board, limits: the device, and how much of it may be taken. cycles: the least and the most cycles of
    a frame that will be asked for. residue_bits, packings: as of :class:`mixq.plan.planner.Planner`. weight_range: of
    the network.
    """

    table: NetworkTable
    weight_widths: tuple[tuple[int, ...], ...]
    act_widths: tuple[tuple[int, ...], ...]
    board: Board
    limits: Resources
    cycles: tuple[int, int]
    residue_bits: int = 2
    packings: str | None = None
    weight_range: WeightRange = "narrow"

    def __post_init__(self) -> None:
        layers = len(self.table.weighted_names)
        for name in ("weight_widths", "act_widths"):
            found = getattr(self, name)
            if len(found) != layers or not all(found):
                raise ValueError(f"{name} must have some widths for each of {layers} layers, not {found!r}")
        if not 1 <= self.cycles[0] <= self.cycles[1]:
            raise ValueError(f"cycles must be positive, the least first, not {self.cycles!r}")
        if self.packings is not None and self.packings not in RESTRICTIONS:
            raise ValueError(f"packings must be one of {', '.join(RESTRICTIONS)}, not {self.packings!r}")

    @property
    def restriction(self) -> Restriction | None:
        """The packings that layers are held to."""
        return None if self.packings is None else RESTRICTIONS[self.packings]


@dataclass(frozen=True)
class WidthStage:
    """A stage with the ways of all its widths.

    layer: number of the weighted layer, None for others. weight_bits, act_bits: (N,) of each way, 0 where there is no
    layer.
    """

    stage: Stage
    layer: int | None
    weight_bits: IntArray
    act_bits: IntArray


@dataclass(frozen=True)
class WidthNetwork:
    """Stages with the ways of all widths, and the links between them; made by :func:`width_network`."""

    settings: WidthSettings
    stages: tuple[WidthStage, ...]
    links: tuple[Link, ...]

    def priced(self, losses: Sequence[FloatArray]) -> tuple[list[Stage], list[Link]]:
        """Stages and links with the loss as one more column of costs.

        losses: for each weighted layer (weight widths, act widths), what having these widths costs.
        """
        found = []
        settings = self.settings
        for own in self.stages:
            column = np.zeros(own.stage.size)
            if own.layer is not None:
                rows = np.searchsorted(settings.weight_widths[own.layer], own.weight_bits)
                columns = np.searchsorted(settings.act_widths[own.layer], own.act_bits)
                column = losses[own.layer][rows, columns]
            found.append(replace(own.stage, costs=np.column_stack((own.stage.costs, column))))
        none = [np.zeros((*own.cycles.shape, 1)) for own in self.links]
        links = [
            replace(own, costs=np.concatenate((own.costs, zero), 2)) for own, zero in zip(self.links, none, strict=True)
        ]
        return found, links

    def widths_of(self, stage: int, numbers: IntArray) -> IntArray:
        """For ways of a stage, one number for each pair of widths; -1 where the stage is no layer."""
        own = self.stages[stage]
        if own.layer is None:
            return np.full(len(numbers), -1, np.int64)
        found: IntArray = own.weight_bits[numbers] * 16 + own.act_bits[numbers]
        return found

    def widths(self, numbers: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Weight and activation widths of every weighted layer of a path."""
        layers = [(own, number) for own, number in zip(self.stages, numbers, strict=True) if own.layer is not None]
        return (
            tuple(int(own.weight_bits[number]) for own, number in layers),
            tuple(int(own.act_bits[number]) for own, number in layers),
        )


def width_network(settings: WidthSettings, *, jobs: int = 1, progress: Progress | None = None) -> WidthNetwork:
    """All ways to build a network of open widths; jobs: processes that list the ways of layers."""
    tasks = list(_tasks(settings))
    made: list[list[WidthStage]] = []
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) if jobs > 1 else None
    try:
        mapped: Iterable[list[WidthStage]] = map(_layer, tasks) if pool is None else pool.map(_layer, tasks)
        for stages in mapped:
            made.append(stages)
            if progress is not None:
                progress(len(made), len(tasks))
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)
    by_layer: dict[int, list[WidthStage]] = {}
    for stages in made:
        for stage in stages:
            assert stage.layer is not None
            by_layer.setdefault(stage.layer, []).append(stage)
    return _assembled(settings, by_layer)


@dataclass(frozen=True)
class _Task:
    """One pair of widths of one layer, with all widths that it may give out."""

    settings: WidthSettings
    index: int
    weight_bits: int
    act_bits: int
    out_bits: tuple[int | None, ...]


def _tasks(settings: WidthSettings) -> Iterable[_Task]:
    for index, number in enumerate(layer_numbers(settings.table)):
        if number is None:
            continue
        last = number + 1 == len(settings.act_widths)
        outs: tuple[int | None, ...] = (None,) if last else settings.act_widths[number + 1]
        for weight_bits in settings.weight_widths[number]:
            for act_bits in settings.act_widths[number]:
                yield _Task(settings, index, weight_bits, act_bits, outs)


def _layer(task: _Task) -> list[WidthStage]:
    """The ways of one pair of widths, a stage for each width that is given out."""
    settings = task.settings
    number = layer_numbers(settings.table)[task.index]
    pieces = [
        layer_piece(
            settings.table, task.index, task.weight_bits, task.act_bits, out, weight_range=settings.weight_range
        )
        for out in task.out_bits
    ]
    units = [_unit(piece, first=task.index == 0 and task.act_bits == PIXEL_BITS) for piece in pieces]
    found = options_of_all(
        units,
        settings.board.device,
        most_dsps(settings.limits.dsp),
        settings.residue_bits,
        settings.restriction,
        constant_weights=False,
        window=settings.cycles,
    )
    stages = []
    for unit, ways in zip(units, found, strict=True):
        if ways.ways:
            stage = _thinned(layer_stage(unit, ways), settings)
            widths = (np.full(stage.size, bits, np.int64) for bits in (task.weight_bits, task.act_bits))
            stages.append(WidthStage(stage, number, *widths))
    return stages


def _unit(piece: Piece, *, first: bool) -> Unit:
    node, *rest = piece.nodes
    requantise = rest[0] if rest else None
    reads = (INPUT,) if first else (0,)
    return Unit(node, requantise, (piece.source,), piece.targets[-1], reads)  # type: ignore[arg-type]


def _thinned(stage: Stage, settings: WidthSettings) -> Stage:
    """The ways that fit, without those that take no less of anything, time included, than another of the same beats.

    Flip-flops, of which devices have more than designs with as many look-up tables ask for, count as no smaller a share
    of their limit than look-up tables do of theirs: so the two hardly ever differ.
    """
    least, most = settings.cycles
    limits = vector(settings.limits)
    fits = (stage.cycles <= most) & (stage.costs <= limits).all(1)
    lut, ff = (list(REPORT_KEYS).index(name) for name in ("lut", "ff"))
    counted = stage.costs / np.maximum(limits, 1)
    counted[:, ff] = np.maximum(counted[:, ff], counted[:, lut])
    kept: list[IntArray] = []
    keys = stage.entry * len(stage.targets) + stage.exit
    for key in np.unique(keys[fits]):
        places = np.flatnonzero(fits & (keys == key))
        rows = np.column_stack((np.maximum(stage.cycles[places], least), counted[places]))
        kept.append(places[undominated(rows)])
    places = np.concatenate(kept) if kept else np.empty(0, np.int64)
    return replace(
        stage,
        entry=stage.entry[places],
        exit=stage.exit[places],
        cycles=stage.cycles[places],
        costs=stage.costs[places],
        choices=(),
    )


def _assembled(settings: WidthSettings, by_layer: dict[int, list[WidthStage]]) -> WidthNetwork:
    """The whole chain of stages with its links."""
    table = settings.table
    bus = input_stage(image_piece(table, PIXEL_BITS).source)
    stages = [WidthStage(replace(bus, choices=()), None, *_no_widths(bus)), _image_stage(settings)]
    for index, number in enumerate(layer_numbers(table)):
        if number is not None:
            if number not in by_layer:
                name = table.weighted_names[number]
                raise ValueError(f"cycles must allow a way to build layer {name}, not {settings.cycles!r}")
            stages.append(_merged(by_layer[number]))
        else:
            widths = settings.act_widths[_next_layer(table, index)]
            pools = [simple_stage(_unit(pool_piece(table, index, bits), first=False)) for bits in widths]
            stages.append(_merged([WidthStage(pool, None, *_no_widths(pool)) for pool in pools]))
    stages.append(_output(stages[-1].stage))
    cache: dict[tuple[StreamShape, StreamShape], tuple[int, FloatArray]] = {}
    links = [_into_image(stages[0].stage, stages[1].stage)]
    links += [link(stages[at].stage, stages[at + 1].stage, cache) for at in range(1, len(stages) - 2)]
    links.append(joint(stages[-2].stage, stages[-1].stage))
    return WidthNetwork(settings, tuple(stages), tuple(links))


def _next_layer(table: NetworkTable, index: int) -> int:
    """Number of the weighted layer behind an entry, or the last one's where none is."""
    numbers = [number for number in layer_numbers(table)[index:] if number is not None]
    return numbers[0] if numbers else len(table.weighted_names) - 1


def _image_stage(settings: WidthSettings) -> WidthStage:
    """What the first layer's widths make of 8-bit pixels; for 8 bits beats pass as they are."""
    made = []
    for bits in settings.act_widths[0]:
        piece = image_piece(settings.table, bits)
        if piece.nodes:
            stage = simple_stage(_unit(piece, first=True))
        else:
            stage = _wire(input_stage(piece.source))
        made.append(WidthStage(stage, None, *_no_widths(stage)))
    return _merged(made)


def _wire(bus: Stage) -> Stage:
    """A stage that gives out what the bus gives it."""
    classes = np.arange(len(bus.targets), dtype=np.int64)
    costs = np.zeros((len(classes), len(REPORT_KEYS)))
    cycles = np.ones(len(classes), np.int64)
    return Stage("image", bus.targets, bus.targets, classes, classes, cycles, costs, ())


def _into_image(bus: Stage, image: Stage) -> Link:
    """Converters in front of a truncation; none where 8-bit pixels pass: those behind do as well."""
    found = link(bus, image, {})
    truncated = {int(image.entry[way]) for way in range(image.size) if _cuts(image, way)}
    wire = np.array([entry not in truncated for entry in range(len(image.sources))], np.bool_)
    same = np.array([[target == source for source in image.sources] for target in bus.targets], np.bool_)
    return replace(found, open=found.open & (same | ~wire))


def _cuts(image: Stage, way: int) -> bool:
    return image.targets[image.exit[way]].format != image.sources[image.entry[way]].format


def _output(last: Stage) -> WidthStage:
    """The ways to give out the last layer's sums, of each format that they may have."""
    made = []
    for format in dict.fromkeys(shape.format for shape in last.targets):
        shapes = [shape for shape in last.targets if shape.format == format]
        first = shapes[0]
        tensor = Tensor("sums", (first.channels, first.height, first.width), format)
        stage = output_stage(tensor, shapes)
        made.append(WidthStage(stage, None, *_no_widths(stage)))
    return _merged(made)


def _merged(parts: Sequence[WidthStage]) -> WidthStage:
    """One stage with the ways of all, whose classes of beats stand one after another."""
    stages = [part.stage for part in parts]
    sources: dict[StreamShape, int] = {}
    targets: dict[StreamShape, int] = {}
    for stage in stages:
        for shape in stage.sources:
            sources.setdefault(shape, len(sources))
        for shape in stage.targets:
            targets.setdefault(shape, len(targets))
    entry = [np.array([sources[shape] for shape in stage.sources], np.int64)[stage.entry] for stage in stages]
    exit_ = [np.array([targets[shape] for shape in stage.targets], np.int64)[stage.exit] for stage in stages]
    whole = Stage(
        stages[0].name,
        tuple(sources),
        tuple(targets),
        np.concatenate(entry),
        np.concatenate(exit_),
        np.concatenate([stage.cycles for stage in stages]),
        np.concatenate([stage.costs for stage in stages]),
        (),
        bursts=stages[0].bursts,
    )
    weight_bits, act_bits = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("weight_bits", "act_bits")
    )
    return WidthStage(whole, parts[0].layer, weight_bits, act_bits)


def _no_widths(stage: Stage) -> tuple[IntArray, IntArray]:
    return np.zeros(stage.size, np.int64), np.zeros(stage.size, np.int64)
