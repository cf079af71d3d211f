"""Running the command line in this process, and small builds to run it on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from mixq.cli import main


@dataclass(frozen=True)
class Outcome:
    """Exit status, standard output and standard error of one command line."""

    status: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The last line of standard error, which says what went wrong."""
        return self.err.splitlines()[-1] if self.err else ""


Run = Callable[..., Outcome]


@pytest.fixture
def mixq(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `mixq` with the given words."""

    def run(*words: object) -> Outcome:
        capsys.readouterr()
        status = main([str(word) for word in words])
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return run


#: A digits_cnn so small that it is simulated in seconds.
SMALL = ("--network", "digits-cnn", "--weight-bits", "2", "--act-bits", "2,2,2,3", "--input-shape", "1,4,4")


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with random weights, imported, planned and generated; tests must not change it."""
    folder = tmp_path_factory.mktemp("builds") / "small"
    for words in (
        ["import", "random:1", *SMALL, "--out", folder],
        # Packings of a published system, so that there are DSPs: for a network this small none would be cheaper.
        ["plan", folder, "--board", "ultra96-v2", "--max-dsp", "10", "--packings", "finn"],
        ["generate", folder, "--target", "generic"],
    ):
        assert main([str(word) for word in words]) == 0
    return folder


@pytest.fixture
def build(built: Path, tmp_path: Path) -> Path:
    """A copy of the small build, to be changed; compiled simulations are shared."""
    folder = tmp_path / "small"
    shutil.copytree(built, folder, ignore=shutil.ignore_patterns("sim"))
    (built / "sim").mkdir(exist_ok=True)
    (folder / "sim").symlink_to(built / "sim")
    return folder
