"""Stages that hold the ways of several widths side by side, and how they are put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mixq.board import REPORT_KEYS
from mixq.graph import Tensor
from mixq.plan.choices import FloatArray, IntArray, Link, Stage, link, output_stage
from mixq.streams import StreamShape

Cache = dict[tuple[StreamShape, StreamShape], tuple[int, FloatArray]]
"""Cycles and resources of the converters between two shapes of beats."""


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


def table(
    name: str,
    sources: Sequence[StreamShape],
    targets: Sequence[StreamShape],
    entry: Sequence[int],
    exit_: Sequence[int],
    cycles: Sequence[int],
    costs: Sequence[FloatArray],
) -> Stage:
    """A stage from its ways, row by row."""
    return Stage(
        name,
        tuple(sources),
        tuple(targets),
        np.array(entry, np.int64),
        np.array(exit_, np.int64),
        np.array(cycles, np.int64),
        np.array(costs, np.float64).reshape(len(costs), len(REPORT_KEYS)),
        (),
    )


def into_wires(before: Stage, after: Stage, cache: Cache) -> Link:
    """Converters in front of a stage that makes codes of integers; none where codes pass: those behind do as well."""
    found = link(before, after, cache)
    made = {int(after.entry[way]) for way in range(after.size) if _cuts(after, way)}
    wire = np.array([entry not in made for entry in range(len(after.sources))], np.bool_)
    same = np.array([[target == source for source in after.sources] for target in before.targets], np.bool_)
    return replace(found, open=found.open & (same | ~wire))


def _cuts(stage: Stage, way: int) -> bool:
    return stage.targets[stage.exit[way]].format != stage.sources[stage.entry[way]].format


def output_ways(last: Stage, early: int) -> WidthStage:
    """The ways to give out the last layer's sums, of each format that they may have; early: as of `output_stage`."""
    made = []
    for format in dict.fromkeys(shape.format for shape in last.targets):
        shapes = [shape for shape in last.targets if shape.format == format]
        tensor = Tensor("sums", shapes[0].shape, format, None)
        made.append(plain(output_stage(tensor, shapes, early)))
    return merged(made)


def merged(parts: Sequence[WidthStage]) -> WidthStage:
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
    others = [
        tuple(shape for stage in stages for shape in stage.others[number]) for number in range(len(stages[0].others))
    ]
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
        share=stages[0].share,
        others=tuple(others),
    )
    weight_bits, act_bits = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("weight_bits", "act_bits")
    )
    return WidthStage(whole, parts[0].layer, weight_bits, act_bits)


def plain(stage: Stage) -> WidthStage:
    """A stage that is no layer with weights."""
    return WidthStage(replace(stage, choices=()), None, np.zeros(stage.size, np.int64), np.zeros(stage.size, np.int64))
