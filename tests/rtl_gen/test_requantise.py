# amaranth: UnusedElaboratable=no
"""Requantisation stage, by multiplication and by thresholds, against the formula in Python integers."""

from __future__ import annotations

import random
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from amaranth.back import verilog
from amaranth.hdl import Fragment

from mixq.formats import IntFormat
from mixq.streams import StreamShape
from rtl_gen.requantise import METHODS, RequantiseStage, RequantiseUnit, RequantiseValues, requantise_unit
from rtl_gen.requantise_multiply import MultiplyUnit
from rtl_gen.requantise_threshold import ThresholdUnit
from rtl_gen.rom import verilog_sources
from sim.tools import find_yosys
from tests.rtl_gen.stages import hold, masks_of, random_frames, with_noise

A20 = IntFormat(20, True, -300_000, 310_000)
U4 = IntFormat(4, False)


@dataclass(frozen=True)
class Case:
    """Values, and the beats they come in: channels are those of the values."""

    name: str
    values: RequantiseValues
    pixels: int
    lanes: int

    def __str__(self) -> str:
        return self.name


def drawn(seed: int, channels: int, low: int, high: int, shift: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Random multipliers in low..high and biases of half the range of the products."""
    rng = random.Random(seed)
    multipliers = tuple(rng.randint(low, high) for _ in range(channels))
    return multipliers, tuple(rng.randint(-(1 << shift + 1), 1 << shift + 1) for _ in range(channels))


RISING = drawn(1, 6, 1 << 11, 1 << 12, 26)
MIXED = drawn(2, 6, -(1 << 12), 1 << 12, 26)
FALLING = drawn(3, 4, -(1 << 12), -(1 << 10), 26)

CASES = [
    Case("rising", RequantiseValues(*RISING, 26, A20, U4), 1, 2),
    Case("both signs and zero", RequantiseValues((0, *MIXED[0][1:]), MIXED[1], 26, A20, U4), 2, 3),
    Case("falling", RequantiseValues(*FALLING, 26, A20, IntFormat(2, False)), 1, 1),
    Case("one group", RequantiseValues(*MIXED, 26, A20, U4), 2, 6),
    Case("one channel", RequantiseValues((3,), (-70,), 4, IntFormat(8, False), IntFormat(1, False)), 1, 1),
    Case("wires", RequantiseValues((1,) * 4, (-8,) * 4, 4, IntFormat(8, False), U4), 1, 2),
    Case("shift 0", RequantiseValues((1, -2, 5, 0), (0, 1, -1, 3), 0, IntFormat(3, True), U4), 1, 2),
    Case("minus one", RequantiseValues((-1, -1), (-8, -8), 4, IntFormat(8, True), U4), 3, 1),
    Case("shared", RequantiseValues((46341,) * 4, RISING[1][:4], 26, A20, IntFormat(8, False)), 1, 2),
    Case("offset", RequantiseValues(*MIXED, 26, A20, U4, (7, -9, 0, 100_000, -50_000, 1)), 1, 2),
    Case("signed codes", RequantiseValues(*MIXED, 26, A20, IntFormat(4, True)), 1, 3),
    Case("narrow codes", RequantiseValues(*MIXED, 26, A20, IntFormat(4, False, 2, 11)), 1, 3),
    Case("always clamped", RequantiseValues((1, 2), (9 << 20, -(9 << 20)), 4, IntFormat(8, True), U4), 1, 1),
    Case("constant input", RequantiseValues((70, 71), (0, 0), 4, IntFormat(4, True, -2, -2), U4), 1, 1),
    Case(
        "48 bits",
        RequantiseValues((-(1 << 15), (1 << 15) - 1), (1 << 60, 5), 61, IntFormat(48, True), IntFormat(5, False)),
        1,
        1,
    ),
]


def requantised(frames: npt.NDArray[np.int64], values: RequantiseValues) -> npt.NDArray[np.int64]:
    half = 2 ** (values.shift - 1) if values.shift else 0
    result = np.empty_like(frames)
    for at, x in np.ndenumerate(frames):
        channel = at[1]
        assert values.offset is not None
        exact = (int(x) + values.offset[channel]) * values.multiplier[channel] + values.bias[channel] + half
        code = exact // 2**values.shift
        result[at] = max(values.output_format.low, min(values.output_format.high, code))
    return result


def check(case: Case, method: str, simulator: str, work_dir: Path) -> None:
    values = case.values
    shape = StreamShape(values.channels, 2, 3, values.input_format, pixels=case.pixels, lanes=case.lanes)
    frames = random_frames(shape, 6, seed=len(case.name))
    stage = RequantiseStage(values, shape, name="rescale", method=method)
    hold(
        stage,
        with_noise(shape, shape.pack(frames)),
        stage.output_shape.pack(requantised(frames, values)),
        frames=6,
        masks=masks_of(stage.output_shape),
        work_dir=work_dir,
        simulator=simulator,
    )


@pytest.mark.cocotb
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_stage(case: Case, method: str, tmp_path: Path) -> None:
    check(case, method, "icarus", tmp_path)


@pytest.mark.cocotb
@pytest.mark.verilator
@pytest.mark.parametrize("method", METHODS)
def test_stage_in_verilator(method: str, tmp_path: Path) -> None:
    check(CASES[1], method, "verilator", tmp_path)


@pytest.mark.cocotb
@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(20))
def test_random_values(seed: int, method: str, tmp_path: Path) -> None:
    rng = random.Random(seed)
    channels = rng.choice([1, 2, 4, 6])
    lanes = rng.choice([lane for lane in (1, 2, 3, channels) if channels % lane == 0])
    shift, width = rng.choice([0, 1, 7, 16]), rng.choice([4, 9, 20])
    multipliers, biases = drawn(seed, channels, -(1 << shift), 1 << shift, shift + width - 3)
    values = RequantiseValues(
        multipliers, biases, shift, IntFormat(width, rng.random() < 0.7), IntFormat(rng.choice([1, 2, 4, 8]), False)
    )
    check(Case(f"seed {seed}", values, rng.choice([1, 2, 3]), lanes), method, "icarus", tmp_path)


def cells_of(unit: RequantiseUnit, folder: Path) -> dict[str, int]:
    """Return the cells that Yosys maps a unit to."""
    for name, text in unit.memory_images.items():
        (folder / name).write_text(text)
    (folder / "unit.v").write_text(verilog.convert(unit, name="unit_top", strip_internal_attrs=True))
    for source in verilog_sources():
        (folder / source.name).write_text(source.read_text())
    sources = " ".join(["unit.v", *(source.name for source in verilog_sources())])
    script = f"read_verilog {sources}; synth_xilinx -family xcup -flatten -top unit_top; tee -o stat.txt stat"
    yosys = find_yosys()
    command = [*yosys.command, "-q", "-p", script]
    subprocess.run(command, cwd=folder, env=yosys.environment, capture_output=True, check=True)
    found = re.findall(r"(\d+)\s+([A-Z]+\d*[A-Z]*\d*)\s", (folder / "stat.txt").read_text())
    return {name: int(count) for count, name in found}


def test_a_power_of_two_is_wires(tmp_path: Path) -> None:
    """Truncation of 8-bit pixels to 4 bits: registers of the codes and of valid, nothing else."""
    values = RequantiseValues((1,) * 4, (-8,) * 4, 4, IntFormat(8, False), U4)
    cells = cells_of(requantise_unit(values, name="pixels", method="multiply", lanes=2), tmp_path)
    assert cells["FDRE"] == 2 * 4 + 1
    assert not [name for name in cells if name.startswith(("LUT", "CARRY", "DSP", "RAM"))]


@pytest.mark.slow
def test_multiplication_takes_no_dsp(tmp_path: Path) -> None:
    cells = cells_of(requantise_unit(CASES[0].values, name="rescale", method="multiply", lanes=2), tmp_path)
    assert cells["CARRY4"] > 0
    assert not [name for name in cells if name.startswith("DSP")]


def test_files_of_thresholds() -> None:
    """A level has 2^level thresholds for each group, and a file of its own."""
    multipliers, biases = drawn(5, 64, 1 << 11, 1 << 12, 26)
    values = RequantiseValues(multipliers, biases, 26, A20, IntFormat(8, False))
    unit = requantise_unit(values, name="deep", method="threshold", lanes=1)
    Fragment.get(unit, None)  # what is built must be elaborated
    assert sorted(unit.memory_images) == [
        "deep_level0.mem",
        *(f"deep_level{level}_lane0.mem" for level in range(1, 8)),
    ]
    assert len(unit.memory_images["deep_level7_lane0.mem"].splitlines()) == 64 << 7


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"multiplier": (), "bias": ()}, "multiplier must have one value a channel, not ()"),
        ({"bias": (1,)}, "bias must have 2 values, one a channel, not (1,)"),
        ({"offset": (1, 2, 3)}, "offset must have 2 values, one a channel, not (1, 2, 3)"),
        ({"shift": -1}, "shift must be at least 0, not -1"),
        ({"shift": 64}, "shift must be at most 63, not 64"),
    ],
)
def test_values_refuse(changes: dict[str, object], message: str) -> None:
    right: dict[str, object] = {
        "multiplier": (1, 2),
        "bias": (3, 4),
        "shift": 5,
        "input_format": A20,
        "output_format": U4,
    }
    with pytest.raises(ValueError) as error:
        RequantiseValues(**{**right, **changes})  # type: ignore[arg-type]
    assert str(error.value) == message


def test_values_refuse_a_wrong_type() -> None:
    with pytest.raises(TypeError, match=r"^multiplier must be an integer, not 0\.5$"):
        RequantiseValues((0.5,), (1,), 1, A20, U4)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^output_format must be an IntFormat, not 4$"):
        RequantiseValues((1,), (1,), 1, A20, 4)  # type: ignore[arg-type]


def test_stage_refuses() -> None:
    values = RequantiseValues((1, 2), (3, 4), 5, A20, U4)
    with pytest.raises(ValueError, match=r"^method must be one of multiply, threshold, not 'dsp'$"):
        RequantiseStage(values, StreamShape(2, 1, 1, A20), name="x", method="dsp")
    with pytest.raises(ValueError, match=r"^input_shape must have 2 channels, not 4$"):
        RequantiseStage(values, StreamShape(4, 1, 1, A20), name="x", method="multiply")
    with pytest.raises(ValueError, match=r"^input_shape must have the format .* not "):
        RequantiseStage(values, StreamShape(2, 1, 1, U4), name="x", method="multiply")
    with pytest.raises(ValueError, match=r"^name must be a letter and up to 62 .* not 'a/b'$"):
        MultiplyUnit(values, name="a/b")
    with pytest.raises(ValueError, match=r"^lanes must divide the 2 channels, not 3$"):
        ThresholdUnit(values, name="x", lanes=3)


def test_multiplication_refuses_products_above_64_bits() -> None:
    values = RequantiseValues((1 << 20, 1), (0, 0), 20, IntFormat(45, True), U4)
    with pytest.raises(ValueError) as error:
        MultiplyUnit(values, name="x")
    assert str(error.value) == (
        "multiplier must keep x * multiplier + bias in 64 bits, not -18446744073709027328..18446744073709027328"
    )
