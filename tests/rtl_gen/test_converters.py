# amaranth: UnusedElaboratable=no
"""Every conversion of beats against the order that StreamShape packs."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Fragment

from mixq.formats import IntFormat
from mixq.streams import StreamShape
from rtl_gen.converters import ChannelGather, ChannelSplit, Group, Ungroup, convert
from tests.rtl_gen.stages import StageChain, hold, masks_of, random_frames, with_noise

S3 = IntFormat(3, True)


def tensor(channels: int, height: int, width: int, pixels: int, lanes: int) -> StreamShape:
    return StreamShape(channels, height, width, S3, pixels=pixels, lanes=lanes)


def check(stage: Any, simulator: str, work_dir: Path, *, known_latency: bool = True) -> None:
    """Don't-care codes at the input are ones and must show nowhere; padding of Group must be zeros."""
    source, target = stage.input_shape, stage.output_shape
    frames = random_frames(source, 4, seed=source.beats)
    inputs = with_noise(source, source.pack(frames))
    # Where pixels stay, don't-care codes pass as they are; where they change, packing's zeros are demanded.
    masks = masks_of(target) if source.pixels == target.pixels else None
    hold(
        stage,
        inputs,
        target.pack(frames),
        frames=4,
        work_dir=work_dir,
        simulator=simulator,
        masks=masks,
        known_latency=known_latency,
    )


# shape (channels, height, width, pixels, lanes) and the other lanes
CHANNEL_CASES = [
    ((4, 2, 3, 2, 4), 1),
    ((4, 2, 3, 2, 1), 4),
    ((6, 1, 4, 3, 6), 2),
    ((6, 3, 1, 1, 2), 6),
    ((2, 2, 2, 1, 2), 2),
    ((3, 2, 3, 1, 1), 2),
    ((10, 2, 3, 2, 2), 4),
    ((5, 1, 2, 1, 1), 4),
]


@pytest.mark.cocotb
@pytest.mark.parametrize("shape, lanes", CHANNEL_CASES)
def test_channels(shape: tuple[int, int, int, int, int], lanes: int, tmp_path: Path) -> None:
    stage = ChannelSplit if lanes < shape[-1] else ChannelGather
    check(stage(tensor(*shape), lanes=lanes), "icarus", tmp_path)


# Whole groups, a short last group, W < N, one group of channels, one channel, one column, one pixel a group.
PIXEL_CASES = [
    (4, 2, 4, 2, 4),
    (4, 2, 3, 2, 2),
    (3, 2, 7, 3, 1),
    (2, 2, 2, 4, 2),
    (2, 3, 1, 3, 1),
    (5, 1, 5, 2, 1),
    (1, 2, 5, 1, 1),
]


@pytest.mark.cocotb
@pytest.mark.parametrize("shape", PIXEL_CASES)
def test_ungroup(shape: tuple[int, int, int, int, int], tmp_path: Path) -> None:
    check(Ungroup(tensor(*shape)), "icarus", tmp_path)


@pytest.mark.cocotb
@pytest.mark.parametrize("shape", PIXEL_CASES)
def test_group(shape: tuple[int, int, int, int, int], tmp_path: Path) -> None:
    channels, height, width, pixels, lanes = shape
    check(Group(tensor(channels, height, width, 1, lanes), pixels=pixels), "icarus", tmp_path)


# source and target (pixels, lanes) of a tensor with 12 channels, 2 rows of 5 pixels; the names of the stages; cycles
# a frame.
CHAINS = [
    ((1, 4), (1, 6), ["ChannelSplit", "ChannelGather"], 60),
    ((4, 1), (1, 4), ["ChannelGather", "Ungroup"], 48),
    ((2, 6), (1, 2), ["Ungroup", "ChannelSplit"], 60),
    ((1, 6), (4, 1), ["Group", "ChannelSplit"], 48),
    ((1, 2), (2, 12), ["ChannelGather", "Group"], 60),
    ((2, 12), (4, 3), ["Ungroup", "Group", "ChannelSplit"], 16),
    ((3, 4), (2, 6), ["ChannelSplit", "ChannelGather", "Ungroup", "Group"], 24),
]


@pytest.mark.parametrize("source, target, names, cycles", CHAINS)
def test_convert_chooses(source: tuple[int, int], target: tuple[int, int], names: list[str], cycles: int) -> None:
    stages = convert(tensor(12, 2, 5, *source), tensor(12, 2, 5, *target))
    assert [type(stage).__name__ for stage in stages] == names
    assert stages[0].input_shape == tensor(12, 2, 5, *source)
    assert stages[-1].output_shape == tensor(12, 2, 5, *target)
    for before, after in pairwise(stages):
        assert before.output_shape == after.input_shape
    for stage in stages:
        Fragment.get(stage, None)  # what is built must be elaborated
    assert max(stage.cycles_per_frame for stage in stages) == cycles


def test_convert_of_equal_shapes_is_empty() -> None:
    assert convert(tensor(12, 2, 5, 2, 3), tensor(12, 2, 5, 2, 3)) == []


@pytest.mark.cocotb
@pytest.mark.parametrize("source, target, names, cycles", CHAINS[:1] + CHAINS[5:])
def test_chain(source: tuple[int, int], target: tuple[int, int], names: list[str], cycles: int, tmp_path: Path) -> None:
    chain = StageChain(convert(tensor(12, 2, 5, *source), tensor(12, 2, 5, *target)))
    assert chain.cycles_per_frame == cycles
    # What the latencies of the parts add up to depends on their rates: no part claims it.
    check(chain, "icarus", tmp_path, known_latency=False)


@pytest.mark.cocotb
@pytest.mark.verilator
def test_chain_in_verilator(tmp_path: Path) -> None:
    source, target, *_ = CHAINS[-1]
    chain = StageChain(convert(tensor(12, 2, 5, *source), tensor(12, 2, 5, *target)))
    check(chain, "verilator", tmp_path, known_latency=False)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: ChannelSplit(tensor(4, 1, 1, 1, 4), lanes=3), "lanes must divide the input's 4, not 3"),
        (lambda: ChannelSplit(tensor(4, 1, 1, 1, 2), lanes=4), "lanes must divide the input's 2, not 4"),
        (lambda: ChannelGather(tensor(4, 1, 1, 1, 2), lanes=1), "lanes must be a multiple of the input's 2, not 1"),
        (lambda: ChannelGather(tensor(4, 1, 1, 1, 2), lanes=0), "lanes must be at least 1, not 0"),
        (lambda: Group(tensor(4, 1, 1, 2, 2), pixels=2), "input_shape must have 1 pixel a beat, not 2"),
        (lambda: Group(tensor(4, 1, 1, 1, 2), pixels=0), "pixels must be at least 1, not 0"),
    ],
)
def test_refuses(make: Any, message: str) -> None:
    with pytest.raises(ValueError) as error:
        make()
    assert str(error.value) == message


@pytest.mark.parametrize("stage", [ChannelSplit, ChannelGather])
def test_channels_refuse_uneven_beats(stage: Any) -> None:
    with pytest.raises(ValueError, match=r"^input_shape must have lanes that divide its channels, not StreamShape\("):
        stage(tensor(5, 1, 1, 1, 2), lanes=2)


def test_convert_refuses_another_tensor() -> None:
    with pytest.raises(ValueError, match=r"^target must be a stream of the source's tensor"):
        convert(tensor(4, 2, 2, 1, 1), tensor(4, 2, 3, 1, 1))
    with pytest.raises(TypeError, match=r"^source must be a StreamShape, not 3$"):
        convert(3, tensor(4, 2, 3, 1, 1))  # type: ignore[arg-type]
