"""Chains of stages from one shape of beats to another, of the same tensor."""

from __future__ import annotations

from math import gcd

from mixq.streams import StreamShape
from rtl_gen.channel_groups import ChannelGather, ChannelSplit
from rtl_gen.interfaces import Stage
from rtl_gen.pixel_groups import Group, Ungroup

__all__ = ["ChannelGather", "ChannelSplit", "Group", "Ungroup", "convert"]


def convert(source: StreamShape, target: StreamShape) -> list[Stage]:
    """Return the stages, in order, that turn beats of ``source`` into beats of ``target``; none if they are equal.

    Other pixels go through beats of one pixel (Ungroup, Group), other channels through their greatest common
    divisor where neither divides the other (ChannelSplit, ChannelGather). The channels of a beat grow before the
    pixels change and shrink after it, so that no beat on the way is narrower than it must be: except through the
    common divisor, the chain takes max(source beats, target beats) cycles a frame, or those of one pixel x the
    larger channels where both ends carry several pixels.

    Raises: TypeError for no StreamShape, ValueError for shapes of different tensors or formats.
    """
    for name, end in (("source", source), ("target", target)):
        if not isinstance(end, StreamShape):
            raise TypeError(f"{name} must be a StreamShape, not {end!r}")
    if (source.shape, source.format) != (target.shape, target.format):
        raise ValueError(f"target must be a stream of the source's tensor {source!r}, not {target!r}")
    common = gcd(source.lanes, target.lanes)
    if common in (source.lanes, target.lanes):
        channels_first = target.lanes > source.lanes
    else:
        # The narrow beats on the way are fewest where they carry more pixels.
        channels_first = source.pixels >= target.pixels
    steps = [_change_channels, _change_pixels] if channels_first else [_change_pixels, _change_channels]
    stages: list[Stage] = []
    for step in steps:
        stages += step(stages[-1].output_shape if stages else source, target)
    return stages


def _change_channels(shape: StreamShape, target: StreamShape) -> list[Stage]:
    """Return the stages that give beats the channels of ``target``."""
    stages: list[Stage] = []
    common = gcd(shape.lanes, target.lanes)
    if common < shape.lanes:
        stages.append(ChannelSplit(shape, lanes=common))
        shape = stages[-1].output_shape
    if common < target.lanes:
        stages.append(ChannelGather(shape, lanes=target.lanes))
    return stages


def _change_pixels(shape: StreamShape, target: StreamShape) -> list[Stage]:
    """Return the stages that give beats the pixels of ``target``."""
    stages: list[Stage] = []
    if shape.pixels not in (1, target.pixels):
        stages.append(Ungroup(shape))
        shape = stages[-1].output_shape
    if shape.pixels != target.pixels:
        stages.append(Group(shape, pixels=target.pixels))
    return stages
