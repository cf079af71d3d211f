# amaranth: UnusedElaboratable=no
"""Explicit thresholds: the stage against counting, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from mixq.formats import IntFormat
from mixq.streams import StreamShape
from rtl_gen.requantise import RequantiseStage, ThresholdValues, requantise_unit
from tests.rtl_gen.stages import hold, masks_of, random_frames, with_noise

S8, U6 = IntFormat(8, True, -100, 110), IntFormat(6, False)


@dataclass(frozen=True)
class Case:
    """Explicit thresholds, and the beats they come in."""

    name: str
    first: tuple[int, ...]
    step: tuple[int, ...]
    count: int
    source: IntFormat
    target: IntFormat
    lanes: int = 1
    pixels: int = 1
    offset: tuple[int, ...] | None = None

    def __str__(self) -> str:
        return self.name

    @property
    def values(self) -> ThresholdValues:
        """Random thresholds, some of them equal, some that nothing reaches, some that everything does."""
        rng = np.random.default_rng(self.count)
        low, high = self.source.low - 20, self.source.high + 20
        bounds = rng.integers(low, high + 1, (len(self.first), self.count))
        bounds[:, : self.count // 3] = rng.integers(self.source.low, self.source.high + 1)
        bounds[0, -1] = 1 << 60
        rows = tuple(map(tuple, np.sort(bounds, axis=1).tolist()))
        return ThresholdValues(rows, self.first, self.step, self.source, self.target, self.offset)


CASES = [
    Case("one threshold", (0,) * 4, (1,) * 4, 1, S8, IntFormat(1, False), lanes=2),
    Case("signs", (-1, 1, 1, -1), (2, -2, -2, 2), 1, S8, IntFormat(2, True), lanes=2),
    Case("both ways", (0, 7, 0, 7), (1, -1, 1, -1), 7, S8, IntFormat(3, False)),
    Case("falling", (5, 5), (-1, -1), 5, U6, IntFormat(4, True), pixels=2),
    Case("steps of two", (-6, 6, -6), (2, -2, 2), 6, S8, IntFormat(5, True), lanes=3, pixels=2),
    Case("every step", (-8, 8, 0, 8), (1, -1, 2, -2), 8, S8, IntFormat(6, True), lanes=2),
    Case("own first codes", (-30, 20, 3, 31, -9, 0), (1, -1, 2, -2, 1, 2), 5, S8, IntFormat(7, True), lanes=2),
    Case("own first codes side by side", (-30, 20, 3), (1, -1, 2), 5, S8, IntFormat(7, True), lanes=3),
    Case("first codes near", (0, 1, 2, 0), (1, 1, 1, 1), 5, U6, IntFormat(3, False)),
    Case("offset", (0, 3, 0, 3), (1, -1, 1, -1), 3, S8, IntFormat(2, False), lanes=2, offset=(5, -7, 0, 90)),
    Case("255 thresholds", (0, 255), (1, -1), 255, IntFormat(12, True), IntFormat(8, False)),
    Case("255 steps of two", (-255, 255), (2, -2), 255, IntFormat(12, True), IntFormat(9, True), lanes=2),
]


def counted(frames: npt.NDArray[np.int64], values: ThresholdValues) -> npt.NDArray[np.int64]:
    result = np.empty_like(frames)
    for at, x in np.ndenumerate(frames):
        channel = at[1]
        assert values.offset is not None
        reached = sum(int(x) + values.offset[channel] >= bound for bound in values.bounds[channel])
        result[at] = values.first[channel] + values.step[channel] * reached
    return result


def check(case: Case, simulator: str, work_dir: Path) -> None:
    values = case.values
    shape = StreamShape(values.channels, 3, 5, case.source, pixels=case.pixels, lanes=case.lanes)
    frames = random_frames(shape, 4, seed=case.count)
    stage = RequantiseStage(values, shape, name="steps", method="threshold")
    hold(
        stage,
        with_noise(shape, shape.pack(frames)),
        stage.output_shape.pack(counted(frames, values)),
        frames=4,
        masks=masks_of(stage.output_shape),
        work_dir=work_dir,
        simulator=simulator,
    )


@pytest.mark.cocotb
@pytest.mark.parametrize("case", CASES, ids=str)
def test_stage(case: Case, tmp_path: Path) -> None:
    check(case, "icarus", tmp_path)


@pytest.mark.cocotb
@pytest.mark.verilator
def test_stage_in_verilator(tmp_path: Path) -> None:
    check(CASES[6], "verilator", tmp_path)


def test_thresholds_are_not_multiplied() -> None:
    with pytest.raises(ValueError, match=r"^method must be threshold for explicit thresholds, not 'multiply'$"):
        requantise_unit(CASES[0].values, name="x", method="multiply")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"bounds": ()}, "bounds must have a threshold for every channel, not ()"),
        ({"bounds": ((), ())}, "bounds must have a threshold for every channel, not ((), ())"),
        ({"bounds": ((1, 2), (3,))}, "bounds must be 2 for every channel, not (3,)"),
        ({"bounds": ((2, 1), (3, 4))}, "bounds must rise, not (2, 1)"),
        ({"first": (0,)}, "first must have 2 values, one a channel, not (0,)"),
        ({"step": (1, 0)}, "step must be -2, -1, 1 or 2, not 0"),
        ({"offset": (1,)}, "offset must have 2 values, one a channel, not (1,)"),
        (
            {"first": (0, 63)},
            "output_format must hold 63..65, not IntFormat(width=6, signed=False, low=0, high=63)",
        ),
    ],
)
def test_values_refuse(changes: dict[str, object], message: str) -> None:
    right: dict[str, object] = {
        "bounds": ((1, 2), (3, 4)),
        "first": (0, 0),
        "step": (1, 1),
        "input_format": S8,
        "output_format": U6,
    }
    with pytest.raises(ValueError) as error:
        ThresholdValues(**{**right, **changes})  # type: ignore[arg-type]
    assert str(error.value) == message


def test_values_refuse_a_wrong_type() -> None:
    with pytest.raises(TypeError, match=r"^bounds must be an integer, not 0\.5$"):
        ThresholdValues(((0.5,),), (0,), (1,), S8, U6)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^output_format must be an IntFormat, not 4$"):
        ThresholdValues(((1,),), (0,), (1,), S8, 4)  # type: ignore[arg-type]
