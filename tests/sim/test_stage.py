"""The bench for single stages: passes a right one with its cycles, and sees every way to break the rules."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from mixq.errors import CheckFailed
from sim.stage import Scenario, StageBench, check_stage
from tests.sim.stages import FAULTS, SkidBuffer, TableStage, Unclocked

_SIMULATORS = ("icarus", "verilator")
_FRAME = 4


def _beats(frames: int, width: int = 8, seed: int = 1) -> list[int]:
    return [
        random.Random(seed).getrandbits(width * frames * _FRAME) >> (width * n) & ((1 << width) - 1)
        for n in range(frames * _FRAME)
    ]


def _scenarios(beats: list[int], frames: int, *, resets: int = 3) -> list[Scenario]:
    """All kinds of stalls on both sides."""
    modes = [("none", "none"), ("none", "slow"), ("slow", "none"), ("none", "wait"), ("none", "random")]
    modes += [("random", "none"), ("random", "random"), ("random", "random"), ("random", "slow")]
    return [
        Scenario(beats, beats, frames=frames, stalls=stalls, seed=seed, resets=resets, stall_limit=200)
        for seed, stalls in enumerate(modes)
    ]


@pytest.mark.parametrize("simulator", _SIMULATORS)
def test_a_right_stage_passes_with_its_cycles(tmp_path: Path, simulator: str) -> None:
    beats = _beats(16, width=100)
    bench = StageBench(SkidBuffer(100), work_dir=tmp_path, simulator=simulator)
    runs = bench.run_all(_scenarios(beats, 16))
    free = runs[0]
    assert free.outputs == tuple(beats)
    assert (free.latency, free.cycles_per_frame) == (1, _FRAME)
    start = free.input_cycles[0]
    assert free.input_cycles == tuple(range(start, start + 16 * _FRAME))
    assert free.first_input_cycles == tuple(range(start, start + 16 * _FRAME, _FRAME))
    assert free.last_input_cycles == tuple(cycle + _FRAME - 1 for cycle in free.first_input_cycles)
    assert free.first_output_cycles == tuple(cycle + 1 for cycle in free.first_input_cycles)
    assert free.last_output_cycles == tuple(cycle + 1 for cycle in free.last_input_cycles)
    # A sink that is ready one cycle in eight, and a driver that offers so often.
    assert runs[1].cycles_per_frame == runs[2].cycles_per_frame == 8 * _FRAME
    met = {kind: sum(run.handshakes[kind] for run in runs) for kind in free.handshakes}
    assert min(met.values()) > 0, met
    assert bench.run(_scenarios(beats, 16)[-2]).output_cycles == runs[-2].output_cycles


_MESSAGES = {
    "drops a beat": "is 0x|no beat for 200 cycles",
    "repeats the first beat after reset": "is 0x|a beat more than",
    "changes while stalled": "the beat changed while it waited",
    "valid falls": "o__valid fell before o__ready took the beat",
    "valid waits for ready": "no beat for 200 cycles: .* o__valid 0, o__ready 0",
    "valid follows ready": "o__valid follows o__ready within the cycle|no beat for 200 cycles",
    "looks at payload without valid": "is 0x|the beat changed",
    "keeps state over reset": "is 0x",
    "one beat too many": "a beat more than|is 0x",
    "needs the next frame": "no beat for 200 cycles|fell before",
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.icarus
def test_a_broken_stage_is_seen(tmp_path: Path, fault: str) -> None:
    beats = _beats(8)
    bench = StageBench(SkidBuffer(8, fault=fault), work_dir=tmp_path)
    with pytest.raises(CheckFailed, match=rf"stage_skid_buffer in icarus, scenario \d, .*({_MESSAGES[fault]})"):
        bench.run_all(_scenarios(beats, 8))


@pytest.mark.icarus
def test_only_resets_show_state_that_outlives_them(tmp_path: Path) -> None:
    beats = _beats(8)
    bench = StageBench(SkidBuffer(8, fault="keeps state over reset"), work_dir=tmp_path)
    bench.run(Scenario(beats, beats, frames=8))
    with pytest.raises(CheckFailed, match=r"beat 0 of frame 0 is 0x"):
        bench.run(Scenario(beats, beats, frames=8, resets=8))


@pytest.mark.icarus
def test_the_first_differing_beat_is_named(tmp_path: Path) -> None:
    beats = _beats(3)
    wrong = [*beats]
    wrong[6] ^= 0x10
    bench = StageBench(SkidBuffer(8), work_dir=tmp_path)
    with pytest.raises(CheckFailed) as failure:
        bench.run(Scenario(beats, wrong, frames=3, seed=5))
    message = f"beat 2 of frame 1 is {beats[6]:#x}, expected {wrong[6]:#x}"
    assert str(failure.value).startswith("stage_skid_buffer in icarus, scenario 0, stalls none/none, seed 5: cycle ")
    assert str(failure.value).endswith(message)
    masks = [0xFF, 0xFF, 0xEF, 0xFF]
    assert bench.run(Scenario(beats, wrong, frames=3, masks=masks)).outputs == tuple(beats)
    masks = [0xFF, 0xFF, 0x1F, 0xFF]
    with pytest.raises(CheckFailed, match=r"beat 2 of frame 1 "):
        bench.run(Scenario(beats, wrong, frames=3, masks=masks))


@pytest.mark.icarus
def test_too_few_beats_in_or_out_are_seen(tmp_path: Path) -> None:
    beats = _beats(2)
    bench = StageBench(SkidBuffer(8), work_dir=tmp_path)
    with pytest.raises(CheckFailed, match=r"a beat more than the 7 expected$"):
        bench.run(Scenario(beats, beats[:7]))
    with pytest.raises(CheckFailed, match=r"no beat for 50 cycles: 8 of 8 beats in, 8 of 9 out, i__valid 0, "):
        bench.run(Scenario(beats, [*beats, 0], stall_limit=50))


@pytest.mark.icarus
def test_a_wire_has_latency_0(tmp_path: Path) -> None:
    beats = _beats(3)
    run = check_stage(Unclocked(8), beats, beats, frames=3, work_dir=tmp_path)
    assert (run.latency, run.cycles_per_frame) == (0, _FRAME)
    check_stage(Unclocked(8), beats, beats, frames=3, work_dir=tmp_path, stalls=("random", "random"), resets=2)


@pytest.mark.parametrize("simulator", _SIMULATORS)
def test_memory_images_and_hand_written_modules_are_found(tmp_path: Path, simulator: str) -> None:
    table = [(37 * word + 11) % 256 for word in range(16)]
    inputs = list(range(16))
    run = check_stage(TableStage(table), inputs, table, work_dir=tmp_path, simulator=simulator)
    assert run.outputs == tuple(table)


@pytest.mark.icarus
def test_x_in_the_payload_is_seen_where_the_mask_wants_it(tmp_path: Path) -> None:
    # A table of 12 words, the memory of 16: the words beyond are X.
    component = TableStage([0x5A] * 16)
    component.memory_images = {"table.mem": "5a\n" * 12 + "xa\n" * 4}
    bench = StageBench(component, work_dir=tmp_path)
    beats = [11, 12]
    with pytest.raises(CheckFailed, match=r"o__payload is XXXX1010 on beat 1 of a frame$"):
        bench.run(Scenario(beats, [0x5A, 0x5A]))
    assert bench.run(Scenario(beats, [0x5A, 0x5A], masks=[0xFF, 0x0F])).outputs == (0x5A, 0x0A)


@pytest.mark.icarus
def test_other_inputs_are_held(tmp_path: Path) -> None:
    beats = _beats(2)
    bench = StageBench(SkidBuffer(8), work_dir=tmp_path, constants={"add": 5})
    bench.run(Scenario(beats, [(beat + 5) % 256 for beat in beats]))
    with pytest.raises(ValueError, match=r"constants must name inputs of the component, not \['rst'\]$"):
        StageBench(SkidBuffer(8), work_dir=tmp_path, constants={"rst": 1})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": 0}, r"frames must be at least 1, not 0$"),
        ({"frames": 3}, r"inputs must hold beats for 3 frames, not 4$"),
        ({"expected": []}, r"expected must hold beats for 1 frames, not 0$"),
        ({"masks": [1]}, r"masks must hold 4 values, not 1$"),
        ({"stalls": ("wait", "none")}, r"stalls must be .*, not \('wait', 'none'\)$"),
        ({"resets": -1}, r"resets must be at least 0, not -1$"),
    ],
)
def test_wrong_scenarios_are_refused(changes: dict[str, object], message: str) -> None:
    values: dict[str, object] = {"inputs": [1, 2, 3, 4], "expected": [1, 2, 3, 4], **changes}
    with pytest.raises(ValueError, match=message):
        Scenario(**values)  # type: ignore[arg-type]


def test_wrong_simulator_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"simulator must be one of icarus, verilator, not 'vcs'$"):
        StageBench(SkidBuffer(8), work_dir=tmp_path, simulator="vcs")
