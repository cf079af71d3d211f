# amaranth: UnusedElaboratable=no
"""Sum-pooling against a loop over windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from mixq.formats import IntFormat
from mixq.streams import StreamShape
from rtl_gen.converters import convert
from rtl_gen.sum_pool import SumPoolStage
from sim.stage import Scenario, StageBench
from tests.rtl_gen.stages import StageChain, hold, random_frames

U4, S5, U1, NARROW = IntFormat(4, False), IntFormat(5, True), IntFormat(1, False), IntFormat(6, True, -20, 11)

# channels, lanes, height, width, kernel, format
CASES = [
    (4, 4, 3, 3, (3, 3), U4),  # global, a beat a pixel
    (4, 1, 3, 3, (3, 3), S5),  # global, several beats a pixel
    (6, 2, 1, 1, (1, 1), U1),  # an image of one pixel: sums have two bits at least
    (3, 3, 2, 3, (1, 1), S5),
    (4, 2, 5, 7, (2, 2), S5),  # odd sizes: last row and column unused
    (2, 2, 5, 7, (2, 3), NARROW),  # columns first, then rows
    (2, 2, 3, 8, (1, 3), U4),  # columns alone
    (4, 2, 3, 8, (1, 3), S5),
    (2, 2, 6, 4, (3, 1), U4),  # rows alone
    (2, 1, 6, 4, (3, 1), U4),
    (3, 1, 5, 5, (2, 5), U4),  # one column of sums
    (2, 2, 4, 1, (2, 1), S5),
    (48, 1, 4, 8, (2, 2), U4),  # a memory deep enough for block RAM
]


def sum_pool(frames: npt.NDArray[np.int64], kernel: tuple[int, int]) -> npt.NDArray[np.int64]:
    rows, columns = kernel
    count, channels, height, width = frames.shape
    result = np.empty((count, channels, height // rows, width // columns), dtype=np.int64)
    for y, x in np.ndindex(*result.shape[2:]):
        window = frames[:, :, y * rows : (y + 1) * rows, x * columns : (x + 1) * columns]
        result[:, :, y, x] = window.sum(axis=(2, 3))
    return result


def check(case: tuple[int, int, int, int, tuple[int, int], IntFormat], simulator: str, work_dir: Path) -> None:
    channels, lanes, height, width, kernel, format = case
    shape = StreamShape(channels, height, width, format, pixels=1, lanes=lanes)
    frames = random_frames(shape, 4, seed=channels)
    frames[0], frames[1] = format.low, format.high  # the ends of the range of sums
    stage = SumPoolStage(shape, kernel=kernel)
    expected = stage.output_shape.pack(sum_pool(frames, kernel))
    hold(stage, shape.pack(frames), expected, frames=4, work_dir=work_dir, simulator=simulator)


@pytest.mark.cocotb
@pytest.mark.parametrize("case", CASES, ids=str)
def test_stage(case: tuple[int, int, int, int, tuple[int, int], IntFormat], tmp_path: Path) -> None:
    check(case, "icarus", tmp_path)


@pytest.mark.cocotb
@pytest.mark.verilator
def test_stage_in_verilator(tmp_path: Path) -> None:
    check(CASES[5], "verilator", tmp_path)


def test_formats_are_exact() -> None:
    stage = SumPoolStage(StreamShape(2, 7, 7, U4), kernel=(7, 7))
    assert stage.output_shape == StreamShape(2, 1, 1, IntFormat(10, False, 0, 49 * 15))
    stage = SumPoolStage(StreamShape(2, 4, 5, S5), kernel=(2, 2))
    assert stage.output_shape == StreamShape(2, 2, 2, IntFormat(7, True, -64, 60))


@pytest.mark.cocotb
@pytest.mark.parametrize("kernel, parts", [((6, 6), 1), ((2, 2), 2)], ids=str)
def test_sums_that_are_cut_into_parts_keep_nobody_waiting(kernel: tuple[int, int], parts: int, tmp_path: Path) -> None:
    stage = SumPoolStage(StreamShape(128, 6, 6, U4, pixels=1, lanes=4), kernel=kernel)
    chain = StageChain([stage, *convert(stage.output_shape, stage.output_shape.with_beat(pixels=1, lanes=parts))])
    frames = random_frames(stage.input_shape, 4, seed=6)
    expected = chain.output_shape.pack(sum_pool(frames, kernel))
    bench = StageBench(chain, work_dir=tmp_path)
    seen = bench.run(Scenario(stage.input_shape.pack(frames), expected, frames=4, probe=False))
    accepted = seen.input_cycles
    assert [cycle - accepted[0] for cycle in accepted] == list(range(4 * stage.cycles_per_frame))


@pytest.mark.parametrize(
    "shape, kernel, message",
    [
        ((4, 4, 1), (5, 1), "kernel must be at most 4, not 5"),
        ((4, 3, 1), (1, 4), "kernel must be at most 3, not 4"),
        ((4, 4, 1), (0, 1), "kernel must be at least 1, not 0"),
        ((4, 4, 2), (2, 2), "input_shape must have 1 pixel a beat, not 2"),
    ],
)
def test_refuses(shape: tuple[int, int, int], kernel: tuple[int, int], message: str) -> None:
    height, width, pixels = shape
    with pytest.raises(ValueError) as error:
        SumPoolStage(StreamShape(1, height, width, U4, pixels=pixels), kernel=kernel)
    assert str(error.value) == message


def test_refuses_uneven_beats() -> None:
    with pytest.raises(ValueError, match=r"^input_shape must have lanes that divide its channels, not StreamShape\("):
        SumPoolStage(StreamShape(5, 4, 4, U4, lanes=2), kernel=(2, 2))


def test_refuses_a_wrong_type() -> None:
    with pytest.raises(TypeError, match=r"^kernel must be \(rows, columns\), not 2$"):
        SumPoolStage(StreamShape(1, 4, 4, U4), kernel=2)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^kernel must be an integer, not 2\.0$"):
        SumPoolStage(StreamShape(1, 4, 4, U4), kernel=(2.0, 2))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^input_shape must be a StreamShape, not 3$"):
        SumPoolStage(3, kernel=(2, 2))  # type: ignore[arg-type]
