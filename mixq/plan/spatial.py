"""Stages without weights, node by node: what they take, and in which part of a frame they give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from mixq.board import Resources
from mixq.graph import Join, MaxPool, Node, Requantise, SpaceToDepth, SumPool, Threshold, Upsample
from mixq.plan import estimate
from mixq.streams import StreamShape

if TYPE_CHECKING:
    from mixq.plan.choices import Stage

STAGES: tuple[type[Node], ...] = (Requantise, Threshold, MaxPool, SumPool, SpaceToDepth, Upsample)
"""Nodes that are stages of their own."""

SCALINGS: tuple[type[Node], ...] = (Requantise, Threshold)
"""Those of them that a layer can have inside."""


def resources(node: Node, source: StreamShape) -> Resources | None:
    """What a stage takes that works on beats of a shape; None for one that makes codes of sums."""
    match node:
        case MaxPool():
            return estimate.max_pool(source, node.kernel, node.stride)
        case SumPool():
            return estimate.sum_pool(source, node.window)
        case SpaceToDepth():
            return estimate.space_to_depth(source, node.block)
        case Upsample():
            return estimate.upsample(source, node.factor)
    return None


def giving_share(node: Node, source: StreamShape, target: StreamShape) -> Fraction:
    """Share of a frame's time in which a stage gives, where its input comes evenly.

    Max-pooling gives in some rows alone. Sum-pooling has a place for a row of sums, which may take the time of all rows
    to leave. What comes to space-to-depth and upsampling in bursts is smoothed by the row that they can hold beside.
    """
    return Fraction(target.height, source.height) if isinstance(node, MaxPool) else Fraction(1)


def _keeps_nothing(node: Node, stage: Stage) -> bool:
    """Whether a stage has no place for a row, so that it gives as it takes."""
    in_order = isinstance(node, SpaceToDepth) and stage.targets[0].width == 1
    return in_order or isinstance(node, (*SCALINGS, MaxPool))


def passed_on(nodes: Sequence[Node], stages: Sequence[Stage], reads: Sequence[Sequence[int]]) -> list[Stage]:
    """The same stages, of which those that keep no row give in the share of the time in which they are given.

    nodes: of the stages. reads: places of the stages that each reads, -1 for the input. A join gives as the input that
    comes in the least share of the time.
    """
    found: list[Stage] = []
    for node, stage, places in zip(nodes, stages, reads, strict=True):
        before = [found[place] for place in places if place >= 0 and found[place].bursts]
        if before and (_keeps_nothing(node, stage) or isinstance(node, Join)):
            stage = replace(stage, bursts=True, share=min(own.share for own in before) * stage.share)
        found.append(stage)
    return found
