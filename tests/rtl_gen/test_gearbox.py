# amaranth: UnusedElaboratable=no
"""The gearbox of the bus, both ways, against the plain sequence of a frame's codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from mixq.formats import IntFormat
from mixq.streams import StreamShape
from rtl_gen.gearbox import BeatsToCodes, CodesToBeats
from tests.rtl_gen.stages import hold, random_frames

FRAMES = 8
U3 = IntFormat(3, False)

# bus codes, channels, lanes, height, width
CASES = [
    (1, 1, 1, 2, 2),
    (4, 4, 4, 2, 3),  # equal beats
    (8, 3, 3, 2, 3),  # an image on a 64-bit bus: 18 codes, 2 in the last beat
    (8, 3, 1, 1, 5),
    (2, 6, 3, 2, 2),  # bus narrower than a beat, neither divides
    (3, 8, 4, 1, 3),
    (16, 4, 2, 1, 1),  # a frame shorter than a beat of the bus
    (5, 4, 4, 1, 2),  # partial beats that end in the middle of a beat of the tensor
    (8, 10, 10, 1, 1),  # one beat of the tensor a frame
    (16, 12, 6, 3, 1),
]


def on_the_bus(frames: npt.NDArray[np.int64], codes: int, filling: int) -> list[tuple[int, int]]:
    """Return (codes, how many count) of each beat of the bus; places beyond a frame hold ``filling``."""
    beats = []
    for frame in frames:
        sequence = [int(code) for code in frame.transpose(1, 2, 0).ravel()]
        for start in range(0, len(sequence), codes):
            part = sequence[start : start + codes]
            whole = part + [filling] * (codes - len(part))
            beats.append((sum(code << U3.width * at for at, code in enumerate(whole)), len(part)))
    return beats


def check_in(case: tuple[int, int, int, int, int], simulator: str, work_dir: Path) -> None:
    codes, channels, lanes, height, width = case
    shape = StreamShape(channels, height, width, U3, pixels=1, lanes=lanes)
    frames = random_frames(shape, FRAMES, seed=codes)
    inputs = [beat for beat, _ in on_the_bus(frames, codes, filling=U3.high)]
    stage = CodesToBeats(codes, shape)
    assert stage.bus_beats * FRAMES == len(inputs)
    assert stage.cycles_per_frame == max(len(inputs) // FRAMES, shape.beats)
    hold(stage, inputs, shape.pack(frames), frames=FRAMES, work_dir=work_dir, simulator=simulator)


def check_out(case: tuple[int, int, int, int, int], simulator: str, work_dir: Path) -> None:
    codes, channels, lanes, height, width = case
    shape = StreamShape(channels, height, width, U3, pixels=1, lanes=lanes)
    frames = random_frames(shape, FRAMES, seed=codes)
    beats = on_the_bus(frames, codes, filling=0)
    per_frame = len(beats) // FRAMES
    count_at = codes * U3.width
    last_at = count_at + codes.bit_length()
    expected = [
        beat | count << count_at | (at % per_frame == per_frame - 1) << last_at
        for at, (beat, count) in enumerate(beats)
    ]
    stage = BeatsToCodes(codes, shape)
    assert stage.cycles_per_frame == max(per_frame, shape.beats)
    hold(stage, shape.pack(frames), expected, frames=FRAMES, work_dir=work_dir, simulator=simulator)


@pytest.mark.cocotb
@pytest.mark.parametrize("case", CASES, ids=str)
def test_codes_to_beats(case: tuple[int, int, int, int, int], tmp_path: Path) -> None:
    check_in(case, "icarus", tmp_path)


@pytest.mark.cocotb
@pytest.mark.parametrize("case", CASES, ids=str)
def test_beats_to_codes(case: tuple[int, int, int, int, int], tmp_path: Path) -> None:
    check_out(case, "icarus", tmp_path)


@pytest.mark.cocotb
@pytest.mark.verilator
def test_in_verilator(tmp_path: Path) -> None:
    check_in(CASES[2], "verilator", tmp_path)
    check_out(CASES[2], "verilator", tmp_path)


def test_refuses() -> None:
    shape = StreamShape(4, 1, 2, U3, pixels=2, lanes=2)
    for stage in (CodesToBeats, BeatsToCodes):
        with pytest.raises(ValueError, match=r"^shape must have 1 pixel a beat, not 2$"):
            stage(8, shape)
        with pytest.raises(ValueError, match=r"^shape must have lanes that divide its channels, not StreamShape\("):
            stage(8, shape.with_beat(pixels=1, lanes=3))
        with pytest.raises(ValueError, match=r"^bus_codes must be at least 1, not 0$"):
            stage(0, shape.with_beat(pixels=1, lanes=2))
        with pytest.raises(TypeError, match=r"^shape must be a StreamShape, not 4$"):
            stage(8, 4)  # type: ignore[arg-type]
