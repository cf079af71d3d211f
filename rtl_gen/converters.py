"""Chains of stages from one shape of beats to another, of the same tensor."""

from __future__ import annotations

from mixq.plan.conversion import conversion_path
from mixq.streams import StreamShape
from rtl_gen.channel_groups import ChannelGather, ChannelSplit
from rtl_gen.interfaces import Stage
from rtl_gen.pixel_groups import Group, Ungroup

__all__ = ["ChannelGather", "ChannelSplit", "Group", "Ungroup", "convert", "converter"]


def convert(source: StreamShape, target: StreamShape) -> list[Stage]:
    """Return the stages, in order, that turn beats of ``source`` into beats of ``target``; none if they are equal.

    The shapes between are those of :func:`mixq.plan.conversion.conversion_path`, by which the planner counts cycles.

    Raises: TypeError for no StreamShape, ValueError for shapes of different tensors or formats.
    """
    for name, end in (("source", source), ("target", target)):
        if not isinstance(end, StreamShape):
            raise TypeError(f"{name} must be a StreamShape, not {end!r}")
    path = conversion_path(source, target)
    return [converter(before, after) for before, after in zip([source, *path], path, strict=False)]


def converter(before: StreamShape, after: StreamShape) -> Stage:
    """Return the one stage between two shapes that differ in pixels, one of them 1, or in channels, as factors.

    Raises: ValueError where no single stage does it.
    """
    if before.pixels != after.pixels and before.lanes == after.lanes:
        if after.pixels == 1:
            return Ungroup(before)
        if before.pixels == 1:
            return Group(before, pixels=after.pixels)
    if before.pixels == after.pixels and before.lanes != after.lanes:
        if before.lanes % after.lanes == 0:
            return ChannelSplit(before, lanes=after.lanes)
        if after.lanes % before.lanes == 0:
            return ChannelGather(before, lanes=after.lanes)
    raise ValueError(f"after must be one step of conversion from {before!r}, not {after!r}")
