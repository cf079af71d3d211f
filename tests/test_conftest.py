"""The count of simulator runs and the ban on skips, tried on small test files of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COUNTED = """
import pytest

@pytest.mark.parametrize("simulator", ["icarus", "verilator"])
def test_by_parameter(simulator): pass

@pytest.mark.cocotb
def test_by_marker(): pass

@pytest.mark.cocotb
@pytest.mark.verilator
def test_by_both(): pass

@pytest.mark.icarus
def test_that_fails(): assert False, "on purpose"

def test_without(): pass
"""

SKIPPING = """
import pytest

def test_with_data(shared): assert shared.is_dir()

def test_skipping(shared): pytest.skip("no such picture")

@pytest.mark.gpu
def test_gpu(): pytest.skip("no such device")
"""


@pytest.fixture
def checkout(root: Path, tmp_path: Path) -> Path:
    """A checkout that holds this project's conftest and settings and nothing else."""
    folder = tmp_path / "checkout"
    (folder / "tests").mkdir(parents=True)
    (folder / "tests" / "conftest.py").write_text((root / "tests" / "conftest.py").read_text())
    (folder / "pyproject.toml").write_text((root / "pyproject.toml").read_text())
    return folder


def run_tests(checkout: Path, source: str, *options: str, shared: Path | None = None) -> tuple[int, str]:
    """Runs one test file in the checkout; returns the exit status and what it printed."""
    (checkout / "tests" / "test_it.py").write_text(source)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "MIXQ"))}
    if shared is not None:
        environment["MIXQ_SHARED"] = str(shared)
    words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests", *options]
    done = subprocess.run(words, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("processes", ["0", "2"])
def test_passed_tests_are_counted_per_simulator(checkout: Path, processes: str) -> None:
    status, output = run_tests(checkout, COUNTED, "-n", processes)
    assert status == 1
    assert "\nsimulators: icarus 2 tests, verilator 2 tests\n" in output
    assert "1 failed, 5 passed" in output.splitlines()[-1]


def test_a_demanded_simulator_without_a_passed_test_fails_the_run(checkout: Path) -> None:
    only = "-kparameter and icarus"
    demand = "--require-simulators=icarus,verilator"
    status, output = run_tests(checkout, COUNTED, only, demand)
    assert status == 1
    assert "ERROR: no test passed in verilator" in output and "no test passed in icarus" not in output
    assert "1 passed" in output.splitlines()[-1]
    assert run_tests(checkout, COUNTED, "-kparameter", demand)[0] == 0


def test_a_skip_passes_only_where_there_are_no_data(checkout: Path) -> None:
    status, output = run_tests(checkout, SKIPPING, "-m", "")
    assert status == 0 and "3 skipped" in output.splitlines()[-1]


@pytest.mark.parametrize("named", [True, False], ids=["MIXQ_SHARED", "beside the checkout"])
def test_a_skip_fails_where_there_are_data(checkout: Path, tmp_path: Path, named: bool) -> None:
    folder = tmp_path / ("elsewhere" if named else "shared")
    folder.mkdir()
    status, output = run_tests(checkout, SKIPPING, "-m", "", shared=folder if named else None)
    assert status == 1
    assert "must not be skipped where the shared data are there: Skipped: no such picture" in output
    assert "1 failed, 1 passed, 1 skipped" in output.splitlines()[-1]


def test_a_module_that_skips_itself_fails_too(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    source = 'import pytest\npytest.importorskip("no_such_module")\n'
    status, output = run_tests(checkout, source)
    assert status == 2 and "must not be skipped" in output


def test_a_wrong_folder_is_told(checkout: Path, tmp_path: Path) -> None:
    status, output = run_tests(checkout, SKIPPING, shared=tmp_path / "nowhere")
    assert status != 0
    assert f"MIXQ_SHARED must name a folder, not {str(tmp_path / 'nowhere')!r}" in output
