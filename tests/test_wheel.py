"""The built wheel, looked at and used outside the checkout."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

PACKAGES = ("mixq", "nas", "rtl_gen", "sim", "boards")


@dataclass(frozen=True)
class Installed:
    """The wheel, and the folder of an environment that has it installed."""

    wheel: Path
    environment: Path

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a program of the environment in a folder that holds nothing of ours."""
        return subprocess.run(
            [self.environment / "bin" / program, *arguments],
            capture_output=True,
            text=True,
            cwd=self.environment,
            check=False,
        )


def call(*words: str | Path) -> None:
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def installed(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel of the checkout in an environment of its own, which borrows the other packages from ours."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = ("-m", "pip", "--quiet", "--disable-pip-version-check")
    call(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, root)
    (wheel,) = folder.glob("mixq-*.whl")
    environment = folder / "environment"
    call("-m", "venv", "--without-pip", environment)
    call(*pip, "--python", environment / "bin" / "python", "install", "--no-deps", wheel)
    # The .pth files of a folder that is named in a .pth file are not read: the checkout stays out of reach.
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return Installed(wheel, environment)


def test_it_holds_every_file_of_the_packages_and_nothing_else(installed: Installed, root: Path) -> None:
    expected = {
        path.relative_to(root).as_posix()
        for package in PACKAGES
        for path in (root / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(installed.wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == expected
    # Code, board files, Verilog, templates, the simulation's main program.
    assert {PurePosixPath(name).suffix for name in names} >= {".py", ".yaml", ".v", ".j2", ".cpp"}


def test_the_packages_come_from_the_environment(installed: Installed) -> None:
    code = "import mixq, rtl_gen, sim, boards\nfor p in (mixq, rtl_gen, sim, boards): print(p.__file__)"
    done = installed.run("python", "-c", code)
    assert done.returncode == 0, done.stderr
    for file in done.stdout.split():
        assert Path(file).is_relative_to(installed.environment)


def test_tests_are_not_in_it(installed: Installed) -> None:
    done = installed.run("python", "-c", "import tests")
    assert "No module named 'tests'" in done.stderr


def test_the_licence_travels_along(installed: Installed, root: Path) -> None:
    with zipfile.ZipFile(installed.wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/LICENSE")]
        assert archive.read(name) == (root / "LICENSE").read_bytes()


def test_the_doctor_works_there(installed: Installed) -> None:
    done = installed.run("mixq", "doctor")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Verilator" in done.stdout
