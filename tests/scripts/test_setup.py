"""What the set-up says and does where something is missing, on machines made of a few stand-in programs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

REAL = ("sh", "cat", "cksum", "cp", "date", "grep", "mkdir", "rm", "sed", "make", "g++", "perl")


class Machine:
    """A checkout, and the only folder on PATH: real programs linked into it, others as scripts."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.programs = folder / "bin"
        self.checkout = folder / "checkout"
        self.log = folder / "log"
        self.programs.mkdir()
        (self.checkout / "requirements").mkdir(parents=True)
        shutil.copytree(root / "scripts", self.checkout / "scripts")
        (self.checkout / "pyproject.toml").write_text("")
        (self.checkout / "requirements" / "constraints.txt").write_text("torch==1.0\n")
        for name in REAL:
            found = shutil.which(name)
            assert found is not None, name
            (self.programs / name).symlink_to(found)
        self.add("python3", "echo 'Python 3.11.7'")
        self.add("iverilog", "exit 0")
        self.add("id", "echo 1000")

    def add(self, name: str, script: str) -> None:
        """Puts a program on PATH; ``$LOG`` is a file that it may write to."""
        file = self.programs / name
        file.write_text(f"#!/bin/sh\nLOG={self.log}\n{script}\n")
        file.chmod(0o755)

    def remove(self, name: str) -> None:
        (self.programs / name).unlink()

    def set_up(self) -> tuple[int, str, str]:
        """Exit status, standard output, standard error of the set-up."""
        done = subprocess.run(
            ["sh", "scripts/setup.sh"],
            cwd=self.checkout,
            env={"PATH": str(self.programs), "HOME": str(self.checkout)},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def machine(tmp_path: Path, root: Path) -> Machine:
    return Machine(tmp_path, root)


def test_without_a_new_python_it_says_what_to_run(machine: Machine) -> None:
    machine.add("python3", "exit 1")
    assert machine.set_up() == (
        2,
        "",
        "setup: Python 3.11 or newer is needed; run: sudo apt-get install -y python3 python3-venv\n",
    )


def test_a_newer_python_under_another_name_is_taken(machine: Machine) -> None:
    machine.add("python3", "exit 1")
    machine.add("python3.12", 'case "$*" in *venv*) echo made >$LOG; exit 1;; esac; echo "Python 3.12.1"')
    machine.add("apt-get", "exit 1")
    machine.set_up()
    assert machine.log.read_text() == "made\n"


def test_without_rights_it_says_the_one_command(machine: Machine) -> None:
    machine.remove("iverilog")
    machine.remove("g++")
    machine.add("apt-get", "echo $* >>$LOG")
    status, out, err = machine.set_up()
    assert (status, out) == (2, "")
    assert err == "setup: these are missing: iverilog g++; run: sudo apt-get install -y iverilog g++\n"
    assert not machine.log.exists(), "nothing may be installed without rights"


def test_without_apt_it_names_the_programs(machine: Machine) -> None:
    machine.remove("iverilog")
    status, _, err = machine.set_up()
    assert status == 2
    assert err.startswith("setup: these are missing: iverilog; install them with this system's package manager")


@pytest.mark.parametrize("rights", ["root", "sudo"])
def test_with_rights_it_installs_what_is_missing_and_nothing_else(machine: Machine, rights: str) -> None:
    machine.remove("iverilog")
    machine.add("apt-get", "echo $* >>$LOG")
    if rights == "root":
        machine.add("id", "echo 0")
    else:
        machine.add("sudo", 'shift; "$@"')
    machine.set_up()
    update, install = machine.log.read_text().splitlines()
    assert update == "update -qq"
    assert install == "install -y -qq --no-install-recommends iverilog ccache"


def test_an_installation_that_fails_says_the_command(machine: Machine) -> None:
    machine.remove("iverilog")
    machine.add("id", "echo 0")
    machine.add("apt-get", "exit 100")
    status, out, err = machine.set_up()
    assert (status, out) == (2, "setup: installing from the distribution: iverilog\n")
    assert err == "setup: could not install iverilog; run: sudo apt-get install -y iverilog\n"


def test_python_without_venv_names_its_package(machine: Machine) -> None:
    machine.add(
        "python3",
        'case "$*" in *ensurepip*) exit 1;; *print*) echo python3.11;; *) echo "Python 3.11.7";; esac',
    )
    machine.add("apt-get", "exit 0")
    status, _, err = machine.set_up()
    assert (status, err) == (
        2,
        "setup: these are missing: python3.11-venv; run: sudo apt-get install -y python3.11-venv\n",
    )


def stand_in_python(answer_to_cpu: int) -> str:
    """A python that logs its arguments, makes a .venv of copies of itself, and installs PyTorch's CPU label or not."""
    return (
        'echo "$*" >>$LOG\n'
        'case "$*" in\n'
        '*--clear*) mkdir -p .venv/bin; cp "$0" .venv/bin/python;;\n'
        f"*+cpu*) exit {answer_to_cpu};;\n"
        '*) echo "Python 3.11.7";;\n'
        "esac"
    )


def test_a_set_up_checkout_is_left_alone(machine: Machine) -> None:
    # The first run makes .venv, the second must find nothing to do.
    machine.add("python3", stand_in_python(0))
    status, out, err = machine.set_up()
    assert (status, err) == (0, "")
    assert "setup: ready after" in out
    assert "--editable .[train,sim,dev]" in machine.log.read_text()
    machine.log.unlink()
    assert machine.set_up() == (0, "", "")
    assert "pip" not in machine.log.read_text().replace("ensurepip", "")
    with (machine.checkout / "requirements" / "constraints.txt").open("a") as file:
        file.write("numpy==2\n")
    assert "setup: ready after" in machine.set_up()[1], "another pin must be installed"


@pytest.mark.parametrize(("answer_to_cpu", "from_their_index"), [(0, False), (1, True)])
def test_the_cpu_build_of_torch_comes_from_its_own_index_only_where_no_other_has_it(
    machine: Machine, answer_to_cpu: int, from_their_index: bool
) -> None:
    machine.add("python3", stand_in_python(answer_to_cpu))
    assert machine.set_up()[0] == 0
    calls = [line for line in machine.log.read_text().splitlines() if "torch==1.0" in line]
    assert calls[0].endswith("install --no-deps torch==1.0+cpu")
    assert [call.endswith("--index-url https://download.pytorch.org/whl/cpu torch==1.0") for call in calls[1:]] == (
        [True] if from_their_index else []
    )
