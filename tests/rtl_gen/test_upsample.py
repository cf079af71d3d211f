# amaranth: UnusedElaboratable=no
"""Upsampling against a loop over pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from mixq.formats import IntFormat
from mixq.streams import StreamShape
from rtl_gen.max_pool import MaxPoolStage
from rtl_gen.upsample import UpsampleStage
from sim.stage import Scenario, StageBench
from tests.rtl_gen.stages import StageChain, hold, random_frames

U4, S5 = IntFormat(4, False), IntFormat(5, True)

# channels, lanes, height, width, factor, format
CASES = [
    (1, 1, 1, 1, 2, U4),
    (2, 1, 1, 1, 3, S5),
    (1, 1, 3, 2, 2, U4),
    (4, 4, 4, 1, 2, U4),
    (4, 2, 3, 5, 3, S5),
    (6, 1, 2, 3, 4, U4),
    (64, 1, 2, 4, 2, U4),  # a memory deep enough for block RAM
]


def upsample(frames: npt.NDArray[np.int64], factor: int) -> npt.NDArray[np.int64]:
    count, channels, height, width = frames.shape
    result = np.empty((count, channels, height * factor, width * factor), dtype=np.int64)
    for y, x in np.ndindex(*result.shape[2:]):
        result[:, :, y, x] = frames[:, :, y // factor, x // factor]
    return result


def check(case: tuple[int, int, int, int, int, IntFormat], simulator: str, work_dir: Path) -> None:
    channels, lanes, height, width, factor, format = case
    shape = StreamShape(channels, height, width, format, pixels=1, lanes=lanes)
    frames = random_frames(shape, 4, seed=channels)
    stage = UpsampleStage(shape, factor=factor)
    expected = stage.output_shape.pack(upsample(frames, factor))
    hold(stage, shape.pack(frames), expected, frames=4, work_dir=work_dir, simulator=simulator)


@pytest.mark.cocotb
@pytest.mark.parametrize("case", CASES, ids=str)
def test_stage(case: tuple[int, int, int, int, int, IntFormat], tmp_path: Path) -> None:
    check(case, "icarus", tmp_path)


@pytest.mark.cocotb
@pytest.mark.verilator
def test_stage_in_verilator(tmp_path: Path) -> None:
    check(CASES[4], "verilator", tmp_path)


@pytest.mark.cocotb
@pytest.mark.parametrize("width, lanes", [(6, 2), (4, 1)])
def test_rows_that_come_in_bursts_are_repeated_without_a_gap(width: int, lanes: int, tmp_path: Path) -> None:
    """A pool gives one row of two; upsampled, that is as many beats as it takes."""
    pool = MaxPoolStage(StreamShape(4, 6, width, U4, lanes=lanes), kernel=2, stride=2)
    stage = UpsampleStage(pool.output_shape, factor=2)
    chain = StageChain([pool, stage])
    frames = random_frames(pool.input_shape, 6, seed=width)
    pooled = frames.reshape(6, 4, 3, 2, width // 2, 2).max(axis=(3, 5))
    bench = StageBench(chain, work_dir=tmp_path)
    expected = stage.output_shape.pack(upsample(pooled, 2))
    seen = bench.run(Scenario(pool.input_shape.pack(frames), expected, frames=6, probe=False))
    assert stage.cycles_per_frame == pool.cycles_per_frame
    steady = seen.output_cycles[2 * stage.output_shape.beats :]
    assert [cycle - steady[0] for cycle in steady] == list(range(len(steady)))


@pytest.mark.parametrize(
    "pixels, factor, message",
    [
        (1, 1, "factor must be at least 2, not 1"),
        (1, 5, "factor must be at most 4, not 5"),
        (2, 2, "input_shape must have 1 pixel a beat, not 2"),
    ],
)
def test_refuses(pixels: int, factor: int, message: str) -> None:
    with pytest.raises(ValueError) as error:
        UpsampleStage(StreamShape(1, 4, 4, U4, pixels=pixels), factor=factor)
    assert str(error.value) == message


def test_refuses_uneven_beats() -> None:
    with pytest.raises(ValueError, match=r"^input_shape must have lanes that divide its channels, not StreamShape\("):
        UpsampleStage(StreamShape(5, 4, 4, U4, lanes=2), factor=2)


def test_refuses_a_wrong_type() -> None:
    with pytest.raises(TypeError, match=r"^factor must be an integer, not 2\.5$"):
        UpsampleStage(StreamShape(1, 4, 4, U4), factor=2.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^input_shape must be a StreamShape, not 'x'$"):
        UpsampleStage("x", factor=2)  # type: ignore[arg-type]
