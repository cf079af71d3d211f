"""The ways of every layer with weights, for each of its widths and each width that it may give out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context

import numpy as np

from mixq.board import REPORT_KEYS
from mixq.formats import IntFormat
from mixq.graph import Requantise, Tensor, accumulator_format
from mixq.network_table import IMAGE
from mixq.plan.choices import IntArray, Stage, layer_stage, vector
from mixq.plan.network import undominated
from mixq.plan.options import most_dsps, options_of_all
from mixq.plan.units import INPUT, Unit
from mixq.plan.untrained_branches import layer_node, layer_term, sum_shift, term_constants
from mixq.plan.untrained_values import PIXEL_BITS, code_tensor
from mixq.plan.width_settings import WidthSettings

Progress = Callable[[int, int], None]
"""Takes how many pieces of the work are done, and how many there are."""

WayKey = tuple[int, int, int, int | None]
"""Number of a layer with weights, width of its weights, of its input, and of the codes it gives, None for its sums."""


@dataclass(frozen=True)
class Task:
    """One pair of widths of one layer, with all widths that it may give out."""

    settings: WidthSettings
    number: int
    weight_bits: int
    act_bits: int
    out_bits: tuple[int | None, ...]


def tasks(settings: WidthSettings, outs: Sequence[tuple[int | None, ...]]) -> list[Task]:
    """What there is to list; outs: of each layer, the widths that it may give out."""
    return [
        Task(settings, number, weight_bits, act_bits, own)
        for number, own in enumerate(outs)
        for weight_bits in settings.weight_widths[number]
        for act_bits in settings.act_widths[number]
    ]


def listed(todo: Sequence[Task], *, jobs: int, progress: Progress | None) -> dict[WayKey, Stage]:
    """A stage for all widths of all layers that there is a way for; jobs: processes."""
    found: dict[WayKey, Stage] = {}
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) if jobs > 1 else None
    try:
        mapped: Iterable[Mapping[WayKey, Stage]] = map(_listed, todo) if pool is None else pool.map(_listed, todo)
        for done, stages in enumerate(mapped, 1):
            found.update(stages)
            if progress is not None:
                progress(done, len(todo))
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)
    return found


def _listed(task: Task) -> dict[WayKey, Stage]:
    settings = task.settings
    units = [layer_unit(settings, task.number, task.weight_bits, task.act_bits, out) for out in task.out_bits]
    found = options_of_all(
        units,
        settings.board.device,
        most_dsps(settings.limits.dsp),
        settings.residue_bits,
        settings.restriction,
        constant_weights=False,
        window=settings.cycles,
    )
    return {
        (task.number, task.weight_bits, task.act_bits, out): thinned(layer_stage(unit, ways), settings)
        for unit, out, ways in zip(units, task.out_bits, found, strict=True)
        if ways.ways
    }


def layer_unit(settings: WidthSettings, number: int, weight_bits: int, act_bits: int, out_bits: int | None) -> Unit:
    """The unit of a layer with weights, by its number; out_bits: of the codes it gives, None for its sums."""
    table = settings.table
    index = table.weighted_places[number]
    name = table.weighted_names[number]
    shape = table.shapes()[index]
    source = code_tensor("codes", table.input_shapes()[index], act_bits)
    kind, options = layer_node(table, number, weight_bits, source.format, settings.weight_range)
    node = kind(name, source.name, "sums", **options)
    first = table.inputs[index] == (IMAGE,) and act_bits == PIXEL_BITS
    reads = (INPUT,) if first else (0,)
    if out_bits is None:
        sums = accumulator_format(options["weights"], source.format, options["bias"])
        return Unit(node, None, (source,), Tensor("sums", shape, sums, 1.0), reads)
    term = layer_term("sums", number, weight_bits, source.format, options["weights"])
    shift = sum_shift(term.bits, 1)
    multiplier, bias = term_constants(term, 1, out_bits, shift)
    scale = Requantise(f"{name}_act", "sums", "codes_out", multiplier=multiplier, bias=bias, shift=shift)
    return Unit(node, scale, (source,), Tensor("codes_out", shape, IntFormat(out_bits, False), 1.0), reads)


def thinned(stage: Stage, settings: WidthSettings) -> Stage:
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
