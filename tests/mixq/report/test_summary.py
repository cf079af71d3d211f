from __future__ import annotations

from pathlib import Path

from mixq.plan import Plan
from mixq.report import summary
from tests.mixq.report.builds import small_graph, write, write_results


def test_ten_lines_with_the_numbers_of_the_files(build: Path, planned: Plan) -> None:
    counts = write_results(build, planned)["total"]
    lines = summary(build)
    assert len(lines) == 10
    found = {line.split()[0]: line[12:] for line in lines}
    macs = 8 * 8 * 4 * 9 + 4 * 4 * 8 * 4 * 9 + 1280
    assert found["network"] == f"net, weight/activation bits 8/8 4/4 3/3, {macs:,} multiplications a frame"
    assert found["accuracy"] == "97.22 % integer, 97.50 % training model (top1, 360 test images)"
    assert found["conversion"] == "46 of 14,745,600 codes differ from the training model, by rounding"
    rate = f"{250e6 / planned.cycles:,.0f} frames/s: {planned.cycles:,} cycles a frame at an assumed 250 MHz"
    assert found["plan"] == f"test-board, {rate}"
    assert planned.bottleneck in found["bottleneck"]
    assert found["counted"].startswith(f"{counts['DSP']} DSPs, {counts['LUT']:,} LUTs, {counts['FF']:,} FFs")
    assert found["icarus"] == f"0 mismatches in 20 frames, {planned.cycles:,} cycles a frame as planned"
    assert found["verilator"] == f"0 mismatches in 50 frames, {planned.cycles:,} cycles a frame as planned"
    assert found["report"] == str(build / "report" / "index.html")


def test_what_has_not_been_done_is_left_out(tmp_path: Path) -> None:
    small_graph().save(tmp_path)
    assert [line.split()[0] for line in summary(tmp_path)] == ["network", "report"]


def test_a_missed_rate_is_said(build: Path, planned: Plan) -> None:
    run = {"simulator": "icarus", "frames": 5, "latency_cycles": 1, "mismatches": 2, "sim_seconds": 0.1}
    write(build, "rtlsim_performance_icarus.json", {**run, "cycles_per_frame": 7})
    write(build, "rtlsim_performance_verilator.json", {**run, "simulator": "verilator", "cycles_per_frame": None})
    found = {line.split()[0]: line[12:] for line in summary(build)}
    assert found["icarus"] == f"2 mismatches in 5 frames, 7 cycles a frame, not {planned.cycles:,} as planned"
    assert found["verilator"] == "2 mismatches in 5 frames"
