# amaranth: UnusedElaboratable=no
"""Space-to-depth against a loop over pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from mixq.formats import IntFormat
from mixq.streams import StreamShape
from rtl_gen.space_to_depth import SpaceToDepthStage
from sim.stage import Scenario, StageBench
from tests.rtl_gen.stages import hold, random_frames

U4, S5, U1 = IntFormat(4, False), IntFormat(5, True), IntFormat(1, False)

# channels, lanes, height, width, block, format
CASES = [
    (1, 1, 2, 2, 2, U4),  # one block: the order stays
    (2, 1, 6, 2, 2, U4),
    (1, 1, 2, 4, 2, U4),  # the smallest memory
    (3, 3, 8, 4, 2, S5),
    (3, 1, 4, 12, 2, S5),  # strides that take many blocks to come back
    (4, 2, 6, 9, 3, U4),
    (1, 1, 6, 6, 3, U1),
    (2, 2, 8, 16, 4, U4),
    (32, 2, 4, 8, 2, IntFormat(8, False)),  # a memory deep enough for block RAM
]


def space_to_depth(frames: npt.NDArray[np.int64], block: int) -> npt.NDArray[np.int64]:
    count, channels, height, width = frames.shape
    result = np.empty((count, channels * block**2, height // block, width // block), dtype=np.int64)
    for r, q in np.ndindex(*result.shape[2:]):
        for u, v in np.ndindex(block, block):
            for c in range(channels):
                result[:, (u * block + v) * channels + c, r, q] = frames[:, c, r * block + u, q * block + v]
    return result


def check(case: tuple[int, int, int, int, int, IntFormat], simulator: str, work_dir: Path) -> None:
    channels, lanes, height, width, block, format = case
    shape = StreamShape(channels, height, width, format, pixels=1, lanes=lanes)
    frames = random_frames(shape, 6, seed=channels)
    stage = SpaceToDepthStage(shape, block=block)
    expected = stage.output_shape.pack(space_to_depth(frames, block))
    hold(stage, shape.pack(frames), expected, frames=6, work_dir=work_dir, simulator=simulator)


@pytest.mark.cocotb
@pytest.mark.parametrize("case", CASES, ids=str)
def test_stage(case: tuple[int, int, int, int, int, IntFormat], tmp_path: Path) -> None:
    check(case, "icarus", tmp_path)


@pytest.mark.cocotb
@pytest.mark.verilator
def test_stage_in_verilator(tmp_path: Path) -> None:
    check(CASES[4], "verilator", tmp_path)


@pytest.mark.cocotb
@pytest.mark.parametrize("case", CASES[2:8:2], ids=str)
def test_a_beat_is_taken_in_every_cycle(case: tuple[int, int, int, int, int, IntFormat], tmp_path: Path) -> None:
    channels, lanes, height, width, block, format = case
    stage = SpaceToDepthStage(StreamShape(channels, height, width, format, lanes=lanes), block=block)
    frames = random_frames(stage.input_shape, 4, seed=1)
    expected = stage.output_shape.pack(space_to_depth(frames, block))
    bench = StageBench(stage, work_dir=tmp_path)
    seen = bench.run(Scenario(stage.input_shape.pack(frames), expected, frames=4, probe=False))
    assert [cycle - seen.input_cycles[0] for cycle in seen.input_cycles] == list(range(4 * stage.cycles_per_frame))


@pytest.mark.slow
@pytest.mark.cocotb
@pytest.mark.parametrize("block", [2, 3, 4])
@pytest.mark.parametrize("blocks", range(2, 12))
def test_rows_of_every_length(block: int, blocks: int, tmp_path: Path) -> None:
    check((2, 1 + blocks % 2, 2 * block, blocks * block, block, U4), "icarus", tmp_path)


@pytest.mark.parametrize(
    "shape, block, message",
    [
        ((4, 4, 1), 1, "block must be at least 2, not 1"),
        ((5, 5, 1), 5, "block must be at most 4, not 5"),
        ((4, 6, 1), 4, "block must divide the 4 x 6 pixels, not 4"),
        ((4, 4, 2), 2, "input_shape must have 1 pixel a beat, not 2"),
    ],
)
def test_refuses(shape: tuple[int, int, int], block: int, message: str) -> None:
    height, width, pixels = shape
    with pytest.raises(ValueError) as error:
        SpaceToDepthStage(StreamShape(1, height, width, U4, pixels=pixels), block=block)
    assert str(error.value) == message


def test_refuses_uneven_beats() -> None:
    with pytest.raises(ValueError, match=r"^input_shape must have lanes that divide its channels, not StreamShape\("):
        SpaceToDepthStage(StreamShape(5, 4, 4, U4, lanes=2), block=2)


def test_refuses_a_wrong_type() -> None:
    with pytest.raises(TypeError, match=r"^block must be an integer, not True$"):
        SpaceToDepthStage(StreamShape(1, 4, 4, U4), block=True)
    with pytest.raises(TypeError, match=r"^input_shape must be a StreamShape, not None$"):
        SpaceToDepthStage(None, block=2)  # type: ignore[arg-type]
