# amaranth: UnusedElaboratable=no
"""Max-pooling against a loop over windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from mixq.formats import IntFormat
from mixq.streams import StreamShape
from rtl_gen.converters import convert
from rtl_gen.max_pool import MaxPoolStage
from sim.stage import Scenario, StageBench
from tests.rtl_gen.stages import StageChain, hold, random_frames

U4, S5, U1 = IntFormat(4, False), IntFormat(5, True), IntFormat(1, False)

# channels, lanes, height, width, kernel, stride, format
CASES = [
    (2, 2, 2, 2, 2, 2, U4),  # one group of channels, one window
    (4, 2, 5, 7, 2, 2, S5),  # odd sizes: last row and column unused
    (4, 1, 6, 5, 3, 2, U4),
    (3, 3, 5, 5, 3, 1, S5),  # windows overlap by two
    (2, 1, 4, 4, 2, 1, U1),
    (1, 1, 7, 9, 3, 3, U4),
    (72, 1, 2, 4, 2, 2, S5),  # memories deep enough for block RAM
]


def max_pool(frames: npt.NDArray[np.int64], kernel: int, stride: int) -> npt.NDArray[np.int64]:
    count, channels, height, width = frames.shape
    rows, columns = range(0, height - kernel + 1, stride), range(0, width - kernel + 1, stride)
    result = np.empty((count, channels, len(rows), len(columns)), dtype=np.int64)
    for y, top in enumerate(rows):
        for x, left in enumerate(columns):
            result[:, :, y, x] = frames[:, :, top : top + kernel, left : left + kernel].max(axis=(2, 3))
    return result


def check(case: tuple[int, int, int, int, int, int, IntFormat], simulator: str, work_dir: Path) -> None:
    channels, lanes, height, width, kernel, stride, format = case
    shape = StreamShape(channels, height, width, format, pixels=1, lanes=lanes)
    frames = random_frames(shape, 4, seed=channels)
    stage = MaxPoolStage(shape, kernel=kernel, stride=stride)
    expected = stage.output_shape.pack(max_pool(frames, kernel, stride))
    hold(stage, shape.pack(frames), expected, frames=4, work_dir=work_dir, simulator=simulator)


@pytest.mark.cocotb
@pytest.mark.parametrize("case", CASES, ids=str)
def test_stage(case: tuple[int, int, int, int, int, int, IntFormat], tmp_path: Path) -> None:
    check(case, "icarus", tmp_path)


@pytest.mark.cocotb
@pytest.mark.verilator
@pytest.mark.parametrize("case", CASES[2:3], ids=str)
def test_stage_in_verilator(case: tuple[int, int, int, int, int, int, IntFormat], tmp_path: Path) -> None:
    check(case, "verilator", tmp_path)


# channels, lanes, size, kernel, stride; pixels and lanes of what comes after
BURSTS = [
    ((128, 4, 6, 2, 2), (1, 2)),
    ((64, 2, 8, 2, 2), (4, 1)),
    ((128, 4, 4, 2, 2), (2, 2)),
    ((128, 4, 10, 3, 2), (1, 2)),
    ((96, 3, 6, 3, 3), (1, 1)),
]


@pytest.mark.cocotb
@pytest.mark.parametrize("pool, after", BURSTS, ids=str)
def test_what_is_cut_into_parts_keeps_nobody_waiting(
    pool: tuple[int, int, int, int, int], after: tuple[int, int], tmp_path: Path
) -> None:
    channels, lanes, size, kernel, stride = pool
    pixels, parts = after
    stage = MaxPoolStage(StreamShape(channels, size, size, U4, pixels=1, lanes=lanes), kernel=kernel, stride=stride)
    chain = StageChain([stage, *convert(stage.output_shape, stage.output_shape.with_beat(pixels=pixels, lanes=parts))])
    frames = random_frames(stage.input_shape, 4, seed=channels)
    expected = chain.output_shape.pack(max_pool(frames, kernel, stride))
    bench = StageBench(chain, work_dir=tmp_path)
    seen = bench.run(Scenario(stage.input_shape.pack(frames), expected, frames=4, probe=False))
    accepted = seen.input_cycles
    assert [cycle - accepted[0] for cycle in accepted] == list(range(4 * stage.cycles_per_frame))


@pytest.mark.parametrize(
    "shape, kernel, stride, message",
    [
        ((4, 4, 1), 4, 1, "kernel must be at most 3, not 4"),
        ((4, 4, 1), 1, 1, "kernel must be at least 2, not 1"),
        ((4, 4, 1), 2, 3, "stride must be at most 2, not 3"),
        ((4, 4, 1), 2, 0, "stride must be at least 1, not 0"),
        ((4, 1, 1), 2, 2, "input_shape must have a width of at least kernel = 2, not 1"),
        ((2, 4, 1), 3, 2, "input_shape must have a height of at least kernel = 3, not 2"),
        ((4, 4, 2), 2, 2, "input_shape must have 1 pixel a beat, not 2"),
    ],
)
def test_refuses(shape: tuple[int, int, int], kernel: int, stride: int, message: str) -> None:
    height, width, pixels = shape
    with pytest.raises(ValueError) as error:
        MaxPoolStage(StreamShape(1, height, width, U4, pixels=pixels), kernel=kernel, stride=stride)
    assert str(error.value) == message


def test_refuses_uneven_beats() -> None:
    with pytest.raises(ValueError, match=r"^input_shape must have lanes that divide its channels, not StreamShape\("):
        MaxPoolStage(StreamShape(5, 4, 4, U4, lanes=2), kernel=2, stride=2)


def test_refuses_a_wrong_type() -> None:
    with pytest.raises(TypeError, match=r"^kernel must be an integer, not 2\.5$"):
        MaxPoolStage(StreamShape(1, 4, 4, U4), kernel=2.5, stride=2)  # type: ignore[arg-type]
