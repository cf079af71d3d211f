"""All ways to build a network whose widths are still open: one network of ways for every choice of widths.

Each stage has the ways of all its widths side by side. A way takes and gives beats of codes of some width, and stages
are joined only where the widths agree, so that a path is a choice of widths together with a way to build them: what
:class:`mixq.plan.planner.Planner` finds for given widths is a path here, but for circuits of the weights' values. The
layers are those of :mod:`mixq.plan.untrained`.

Where branches are added, or a value has two quantisers, a path takes no more than the design it stands for: what
follows from the widths of several layers together is counted as the least that it can be. Such a network is no exact
one; what given widths take is told by the stages of these widths alone, of the same ways.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mixq.plan.assembly import assembled
from mixq.plan.choices import FloatArray, IntArray, Link, Stage, join_stage, simple_stage, vector
from mixq.plan.network import Edge
from mixq.plan.search import Search
from mixq.plan.units import units
from mixq.plan.untrained import untrained_graph
from mixq.plan.width_parts import WidthStage
from mixq.plan.width_settings import WidthSettings
from mixq.plan.width_stages import Stages
from mixq.plan.width_structure import Structure, structure
from mixq.plan.width_ways import Progress, WayKey, listed, tasks

__all__ = ["Progress", "WidthNetwork", "WidthSettings", "WidthStage", "width_network"]

Widths = tuple[Sequence[int], Sequence[int]]
"""Of weights and of inputs, for every weighted layer."""


@dataclass(frozen=True)
class WidthNetwork:
    """Stages with the ways of all widths, and the links between them; made by :func:`width_network`.

    edges: which stage takes what which gives. exact: whether a path takes what its design does; otherwise it takes no
    more. ways: of the layers with weights, by their widths.
    """

    settings: WidthSettings
    stages: tuple[WidthStage, ...]
    links: tuple[Link, ...]
    edges: tuple[Edge, ...]
    exact: bool
    ways: Mapping[WayKey, Stage]

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
        layers = {
            own.layer: (int(own.weight_bits[number]), int(own.act_bits[number]))
            for own, number in zip(self.stages, numbers, strict=True)
            if own.layer is not None
        }
        pairs = [layers[number] for number in range(len(layers))]
        return tuple(weight for weight, _ in pairs), tuple(act for _, act in pairs)

    def alone(self, widths: Widths, time_limit: float) -> Search | None:
        """Programs about given widths alone, with what they really take; None where a layer has no way."""
        settings = self.settings
        graph = untrained_graph(
            settings.table, weight_bits=widths[0], act_bits=widths[1], weight_range=settings.weight_range
        )
        found = units(graph)
        middle: list[Stage] = []
        number = 0
        for unit in found:
            if not unit.is_layer:
                middle.append(join_stage(unit) if unit.joins else simple_stage(unit))
                continue
            out = None if unit.requantise is None else unit.target.format.width
            stage = self.ways.get((number, widths[0][number], widths[1][number], out))
            if stage is None:
                return None
            middle.append(stage)
            number += 1
        made = assembled(graph, found, middle)
        return Search(made.stages, made.links, vector(settings.limits), time_limit, made.edges)


def width_network(settings: WidthSettings, *, jobs: int = 1, progress: Progress | None = None) -> WidthNetwork:
    """All ways to build a network of open widths; jobs: processes that list the ways of layers.

    Raises UserError for a network that cannot be taken apart so, and ValueError where no way is fast enough.
    """
    found = structure(settings.table)
    ways = listed(tasks(settings, _outs(settings, found)), jobs=jobs, progress=progress)
    made = Stages(settings, found, ways)
    return WidthNetwork(settings, tuple(made.stages), tuple(made.links), tuple(made.edges), made.exact, ways)


def _outs(settings: WidthSettings, found: Structure) -> list[tuple[int | None, ...]]:
    """Of each weighted layer, the widths that it may give out; None for its sums."""
    outs: list[tuple[int | None, ...]] = []
    for number, readers in zip(found.layers, found.readers, strict=True):
        if number is None:
            continue
        widths = [set(found.widths(reader, settings.act_widths)) for reader in readers]
        shared = sorted(set.intersection(*widths)) if widths else []
        outs.append((*shared, *([] if len(readers) == 1 else [None])))
    return outs
