"""Whole accelerators in every simulator: right bytes, right cycles, and every broken rule is seen."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from mixq.errors import CheckFailed, UserError
from sim.network import NetworkRun, simulate
from tests.sim.increment import FAULTS, FRAME_BYTES, increment, write_increment

_SIMULATORS = ("verilator", "icarus", "verilator-cocotb")
_BEATS = 6


def _frames(count: int) -> list[bytes]:
    return [random.Random(number).randbytes(FRAME_BYTES) for number in range(count)]


def _simulate(
    rtl: Path,
    simulator: str,
    work: Path,
    *,
    stalls: str | tuple[str, str] = "none",
    frames: int = 5,
    resets: int = 0,
    stall_limit: int = 300,
    progress: Callable[[int], None] | None = None,
) -> NetworkRun:
    return simulate(
        rtl,
        _frames(frames),
        output_frame_bytes=FRAME_BYTES,
        simulator=simulator,
        stalls=stalls,
        seed=3,
        resets=resets,
        stall_limit=stall_limit,
        work_dir=work,
        optimise="compile",
        progress=progress,
    )


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where models are kept: the same Verilog for every test."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_increment(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("simulator", _SIMULATORS)
def test_bytes_and_cycles(whole: Path, work: Path, simulator: str) -> None:
    seen: list[int] = []
    run = _simulate(whole, simulator, work, progress=seen.append)
    assert run.outputs == [increment(frame) for frame in _frames(5)]
    assert run.protocol_errors == []
    first = run.first_input_cycle
    assert run.input_start_cycles == [first + _BEATS * number for number in range(5)]
    assert run.first_beat_cycles == [first + 1 + _BEATS * number for number in range(5)]
    assert run.last_beat_cycles == [first + _BEATS * (number + 1) for number in range(5)]
    assert (run.latency, run.cycles_per_frame) == (_BEATS, _BEATS)
    assert seen[-1] == 5


@pytest.mark.parametrize("stalls", ["random", "slow", ("seldom", "often"), ("none", "wait")])
@pytest.mark.parametrize("simulator", _SIMULATORS)
def test_stalls_and_resets_change_nothing(
    whole: Path, work: Path, simulator: str, stalls: str | tuple[str, str]
) -> None:
    # A side that stalls often may do so for 512 cycles.
    run = _simulate(whole, simulator, work, stalls=stalls, frames=40, resets=3, stall_limit=1000)
    assert run.outputs == [increment(frame) for frame in _frames(40)]
    assert run.protocol_errors == []
    assert run.last_beat_cycles[-1] > 40 * _BEATS + 100


@pytest.mark.parametrize("simulator", ["verilator", "icarus"])
def test_same_seed_same_cycles(whole: Path, work: Path, simulator: str) -> None:
    runs = [_simulate(whole, simulator, work, stalls="random") for _ in range(2)]
    assert runs[0].last_beat_cycles == runs[1].last_beat_cycles


@pytest.mark.verilator
def test_compiled_model_is_kept_and_memory_images_are_read_anew(tmp_path: Path) -> None:
    [frame] = _frames(1)
    for addend in (1, 7):
        run = _simulate(write_increment(tmp_path, addend=addend), "verilator", tmp_path / "sim", frames=1)
        assert run.outputs == [increment(frame, addend)]
        assert len(list((tmp_path / "sim").iterdir())) == 1
    assert run.build_seconds < 0.5


_MESSAGES = {
    "no tlast": "m_axis_0_tlast is 0 on beat 5 of a frame",
    "early tlast": "m_axis_0_tlast is 1 on beat 0 of a frame",
    "full tkeep": "m_axis_0_tkeep is",
    "changes while stalled": "the beat changed while it waited for",
    "valid follows ready": "m_axis_0_tvalid follows m_axis_0_tready within the cycle",
    "valid in reset": "m_axis_0_tvalid is 1 in reset",
    "repeats beats": "a beat more than",
}
_HANGS = ("never ready", "loses beats", "valid falls")


@pytest.mark.parametrize("fault", sorted(_MESSAGES))
@pytest.mark.parametrize("simulator", ["verilator", "icarus"])
def test_broken_rules_are_seen(tmp_path: Path, work: Path, simulator: str, fault: str) -> None:
    # Valid that follows ready never comes while a random sink waits for it: that is the next test's.
    stalls = "slow" if fault == "valid follows ready" else ("none", "random")
    run = _simulate(write_increment(tmp_path, fault=fault), simulator, work, stalls=stalls, frames=20)
    assert any(_MESSAGES[fault] in error for error in run.protocol_errors), run.protocol_errors


@pytest.mark.parametrize("simulator", ["verilator", "icarus"])
def test_valid_that_waits_for_ready_hangs(tmp_path: Path, work: Path, simulator: str) -> None:
    rtl = write_increment(tmp_path, fault="valid follows ready")
    for stalls in (("none", "wait"), ("none", "random")):
        with pytest.raises(CheckFailed, match=r"no beat for 300 cycles: .* m_axis_0_tvalid 0, m_axis_0_tready 0"):
            _simulate(rtl, simulator, work, stalls=stalls, frames=20)


@pytest.mark.parametrize("fault", _HANGS)
@pytest.mark.parametrize("simulator", ["verilator", "icarus"])
def test_a_hang_says_where_it_stands(tmp_path: Path, work: Path, simulator: str, fault: str) -> None:
    with pytest.raises(CheckFailed) as failure:
        _simulate(write_increment(tmp_path, fault=fault), simulator, work, stalls=("none", "slow"))
    message = str(failure.value)
    assert f"mixq_top in {simulator}, stalls none/slow, seed 3: cycle " in message
    assert "no beat for 300 cycles" in message
    assert ("s_axis_0_tready 0" in message) == (fault == "never ready")
    fell = "m_axis_0_tvalid fell before m_axis_0_tready took the beat"
    assert message.endswith(fell) == (fault == "valid falls")


@pytest.mark.parametrize("simulator", ["verilator", "icarus"])
def test_wrong_bytes_are_returned_as_they_are(tmp_path: Path, work: Path, simulator: str) -> None:
    run = _simulate(write_increment(tmp_path, fault="wrong sum", addend=3), simulator, work)
    assert run.protocol_errors == []
    right = [increment(frame, 3) for frame in _frames(5)]
    assert run.outputs != right
    for lane in (0, 2, 3):
        assert [frame[lane::4] for frame in run.outputs] == [frame[lane::4] for frame in right]


def test_every_fault_is_tested() -> None:
    assert set(FAULTS) == {"none", "wrong sum", *_MESSAGES, *_HANGS}


@pytest.mark.verilator
def test_verilator_stops_at_a_missing_memory_image(tmp_path: Path, work: Path) -> None:
    rtl = write_increment(tmp_path)
    (rtl / "addends.mem").unlink()
    with pytest.raises(CheckFailed, match=r"addends\.mem"):
        _simulate(rtl, "verilator", work)


@pytest.mark.icarus
def test_icarus_shows_x_on_the_bus(tmp_path: Path, work: Path) -> None:
    rtl = write_increment(tmp_path)
    (rtl / "addends.mem").unlink()
    errors = _simulate(rtl, "icarus", work).protocol_errors
    assert any("m_axis_0_tdata is XXXXXXXX" in error for error in errors)


@pytest.mark.verilator
def test_frames_of_other_lengths_may_be_sent(whole: Path, work: Path) -> None:
    frames = [bytes(FRAME_BYTES), bytes(5), bytes(FRAME_BYTES)]
    run = simulate(
        whole,
        frames,
        output_frame_bytes=FRAME_BYTES,
        output_frames=2,
        stall_limit=300,
        work_dir=work,
        optimise="compile",
    )
    # The design passes the short frame on: its two beats stand where the third frame's should.
    assert any("m_axis_0_tlast is 1 on beat 1 of a frame" in error for error in run.protocol_errors)
    assert any("a beat more than expected" in error for error in run.protocol_errors)


def test_wrong_parameters_are_refused(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"simulator must be one of .*, not 'vcs'$"):
        simulate(whole, _frames(1), output_frame_bytes=1, simulator="vcs")
    with pytest.raises(ValueError, match=r"stalls must be .*, not 'wait'$"):
        simulate(whole, _frames(1), output_frame_bytes=1, stalls="wait")
    with pytest.raises(ValueError, match=r"output_frame_bytes must be at least 1, not 0$"):
        simulate(whole, _frames(1), output_frame_bytes=0)
    with pytest.raises(ValueError, match=r"frames must hold .*, not \[b''\]$"):
        simulate(whole, [b""], output_frame_bytes=1)
    with pytest.raises(ValueError, match=r"optimise must be one of .*, not 'fast'$"):
        simulate(whole, _frames(1), output_frame_bytes=1, optimise="fast", work_dir=tmp_path)
    with pytest.raises(UserError, match=r"must hold mixq_top\.v; generate"):
        simulate(tmp_path, _frames(1), output_frame_bytes=1)
    (tmp_path / "mixq_top.v").write_text("module mixq_top(input ap_clk, input ap_rst_n); endmodule\n")
    with pytest.raises(UserError, match=r"must have port s_axis_0_tdata; generate"):
        simulate(tmp_path, _frames(1), output_frame_bytes=1)


@pytest.mark.parametrize("simulator", ["verilator", "icarus"])
def test_refused_verilog_says_why(tmp_path: Path, simulator: str) -> None:
    rtl = write_increment(tmp_path)
    text = (rtl / "mixq_top.v").read_text()
    (rtl / "mixq_top.v").write_text(text.replace("reg valid, last;", "reg last;"))
    with pytest.raises(CheckFailed, match=r"refuses the Verilog:(.|\n)*valid"):
        _simulate(rtl, simulator, tmp_path)


def _run(lasts: list[int]) -> NetworkRun:
    return NetworkRun(
        simulator="none",
        outputs=[],
        input_start_cycles=[0],
        first_beat_cycles=[],
        last_beat_cycles=lasts,
        cycles=0,
        build_seconds=0.0,
        sim_seconds=0.0,
        protocol_errors=[],
    )


def test_the_rate_is_that_of_frames_with_another_behind_them() -> None:
    assert _run([25, 40, 55, 66]).cycles_per_frame == 15
    with pytest.raises(ValueError) as failure:
        _ = _run([25, 40]).cycles_per_frame
    assert str(failure.value) == "frames must be at least 3 to measure a rate, not 2"


@pytest.mark.parametrize(
    ("simulator", "name"), [("verilator", "a b"), ("verilator", 'a"b'), ("icarus", 'a"b'), ("icarus", "a\nb")]
)
def test_folders_that_a_tool_would_misread(whole: Path, tmp_path: Path, simulator: str, name: str) -> None:
    with pytest.raises(UserError, match=rf"cannot be used by {simulator}: blanks .* rename the folder$"):
        simulate(whole, _frames(1), output_frame_bytes=1, simulator=simulator, work_dir=tmp_path / name)
    assert not (tmp_path / name).exists()


def test_icarus_takes_a_folder_with_blanks(whole: Path, tmp_path: Path) -> None:
    assert not _simulate(whole, "icarus", tmp_path / "a b'c", frames=2).protocol_errors
