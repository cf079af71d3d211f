"""Shapes of beats on the way from one stage to the next."""

from __future__ import annotations

from math import gcd

from mixq.streams import StreamShape


def conversion_path(source: StreamShape, target: StreamShape) -> list[StreamShape]:
    """Shapes after each converter that leads from ``source`` to ``target``; empty where they are equal.

    Pixels change to or from beats of one pixel, channels to a divisor or a multiple; where neither divides the
    other, by their greatest common divisor. The target's channels in a beat need not divide the tensor's; the
    source's do. The channels of a beat grow before the pixels change and shrink after it, so that no beat on the
    way is narrower than it must be. A converter takes as many cycles for a frame as the larger count of beats at
    its two ends.

    Raises ValueError for shapes of different tensors or formats.
    """
    if (source.shape, source.format) != (target.shape, target.format):
        raise ValueError(f"target must be a stream of the source's tensor {source!r}, not {target!r}")
    common = gcd(source.lanes, target.lanes)
    if common in (source.lanes, target.lanes):
        channels_first = target.lanes > source.lanes
    else:
        # The narrow beats on the way are fewest where they carry more pixels.
        channels_first = source.pixels >= target.pixels
    channels = [lanes for lanes in (common, target.lanes) if lanes != source.lanes]
    if common == target.lanes:
        channels = channels[:1]
    path: list[StreamShape] = []
    shape = source

    def change_channels() -> None:
        nonlocal shape
        for lanes in channels:
            shape = shape.with_beat(pixels=shape.pixels, lanes=lanes)
            path.append(shape)

    def change_pixels() -> None:
        nonlocal shape
        steps = [] if shape.pixels in (1, target.pixels) else [1]
        if target.pixels != (steps or [shape.pixels])[-1]:
            steps.append(target.pixels)
        for pixels in steps:
            shape = shape.with_beat(pixels=pixels, lanes=shape.lanes)
            path.append(shape)

    for change in (change_channels, change_pixels) if channels_first else (change_pixels, change_channels):
        change()
    return path


def bridge(source: StreamShape, target: StreamShape) -> list[tuple[StreamShape, StreamShape]]:
    """Converters from a stage's output to the next one's input, each as (shape before, shape after).

    A dense layer takes a tensor as one pixel of many channels, in the order of the stream: beats of one pixel are
    the same beats then.
    """
    if source.shape == target.shape:
        path = conversion_path(source, target)
        return list(zip([source, *path], path, strict=False))
    single = conversion_path(source, source.with_beat(pixels=1, lanes=source.lanes))
    pairs = list(zip([source, *single], single, strict=False))
    flat = flattened((single or [source])[-1])
    path = conversion_path(flat, target)
    return pairs + list(zip([flat, *path], path, strict=False))


def flattened(shape: StreamShape) -> StreamShape:
    """Beats of one pixel, seen as those of a tensor of a single pixel. Raises ValueError for beats of more pixels."""
    if shape.pixels != 1:
        raise ValueError(f"shape must have beats of 1 pixel, not {shape.pixels!r}")
    channels = shape.channels * shape.height * shape.width
    return StreamShape(channels, 1, 1, shape.format, pixels=1, lanes=shape.lanes)


def bridge_cycles(pairs: list[tuple[StreamShape, StreamShape]]) -> int:
    """Cycles that converters take for a frame; 0 where there are none."""
    return max((max(before.beats, after.beats) for before, after in pairs), default=0)


def burst_beats(shape: StreamShape) -> int:
    """Beats of a pixel, which pooling and the grouping of pixels give one in each cycle, and none between pixels.

    shape: what the stage takes. So many find a place at its output, so that it need not wait where each is then cut
    into parts; beats of one channel are not cut.
    """
    return shape.channel_groups if shape.lanes > 1 else 0
