"""Errors become one line and an exit status."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer

import mixq.cli
from mixq import __version__
from mixq.cli import main
from mixq.errors import CheckFailed, UserError


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """A verb `work` that raises the exception which the test's parameter `error` gives."""
    error = request.getfixturevalue("error")

    def register(app: typer.Typer) -> None:
        @app.command()
        def work(count: int = 1) -> None:
            raise error

        @app.command()
        def rest() -> None:
            pass

    monkeypatch.setattr(mixq.cli, "VERB_MODULES", (SimpleNamespace(register=register),))


@pytest.mark.usefixtures("verb")
@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UserError("graph.json is missing; run mixq import"), 2, "graph.json is missing; run mixq import"),
        (CheckFailed("3 of 50 frames\n  differ"), 1, "3 of 50 frames differ"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(errno.ENOSPC, "No space left on device", "/x"), 2, "No space left on device (/x)"),
    ],
)
def test_a_fault_is_one_line_and_a_status(
    error: BaseException, status: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["work"]) == status
    assert capsys.readouterr().err == f"mixq: {line}\n"


@pytest.mark.usefixtures("verb")
@pytest.mark.parametrize("error", [ZeroDivisionError("a fault of ours")])
def test_a_fault_of_the_program_keeps_its_traceback(error: BaseException) -> None:
    with pytest.raises(ZeroDivisionError):
        main(["work"])


@pytest.mark.usefixtures("verb")
@pytest.mark.parametrize("error", [CheckFailed("never raised here")])
@pytest.mark.parametrize(
    ("words", "named", "advice"),
    [
        (["nonsense"], "'nonsense'", "see: mixq --help"),
        (["work", "--speed"], "--speed", "see: mixq work --help"),
        (["work", "--count", "x"], "'--count'", "see: mixq work --help"),
        (["work", "more"], "(more)", "see: mixq work --help"),
    ],
)
def test_wrong_words_are_the_users_fault(
    error: BaseException, words: list[str], named: str, advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("mixq: ") and captured.err.endswith(f"; {advice}\n")
    assert captured.err.count("\n") == 1 and named in captured.err
    assert captured.out == ""


@pytest.mark.usefixtures("verb")
@pytest.mark.parametrize("error", [CheckFailed("never raised here")])
def test_a_verb_that_ends_well_gives_0(error: BaseException) -> None:
    assert main(["rest"]) == 0


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mixq {__version__}\n"


def test_no_word_shows_the_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "doctor" in capsys.readouterr().out


def test_a_reader_that_goes_away_leaves_no_traceback() -> None:
    code = "import sys, mixq.cli\nsys.stdin.read()\nsys.exit(mixq.cli.main(['--version']))"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    process.stdout.close()
    process.stdin.close()
    complaint = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), complaint) == (141, b"")


@pytest.mark.parametrize("closed", ["1", "2"])
def test_a_closed_stream_is_no_fault(closed: str) -> None:
    code = (
        "import sys, mixq.cli\nsys.exit(mixq.cli.main(['packings', '--kernel', '3', '--weight-bits', '4', '--json']))"
    )
    done = subprocess.run(["sh", "-c", f'"$0" -c "$1" {closed}>&-', sys.executable, code], capture_output=True)
    assert done.returncode == 0
    assert done.stdout == b"" if closed == "1" else len(json.loads(done.stdout)) == 7


def test_names_that_are_no_text_can_be_shown(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff.npy"
    code = "import sys, mixq.cli\nsys.exit(mixq.cli.main(['report', sys.argv[1]]))"
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run([sys.executable, "-c", code, name], capture_output=True, env=environment)
    assert (done.returncode, done.stderr.count(b"\n"), done.stderr[:6]) == (2, 1, b"mixq: ")
    assert b"\\udcff.npy" in done.stderr


@pytest.mark.usefixtures("verb")
@pytest.mark.parametrize("error", [UserError("a" * 5000 + "; mend it")])
def test_a_long_line_loses_its_middle(error: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["work"]) == 2
    line = capsys.readouterr().err
    assert len(line) < 900 and line.startswith("mixq: aaaa") and line.endswith("a; mend it\n")


@pytest.mark.usefixtures("verb")
@pytest.mark.parametrize("error", [MemoryError()])
def test_too_little_memory_is_one_line(error: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["work"]) == 2
    assert capsys.readouterr().err.startswith("mixq: there is not enough memory for this; give a smaller")


def test_a_full_standard_error_keeps_the_status() -> None:
    code = "import os, sys, mixq.cli\nos._exit(mixq.cli.main(['report', 'nowhere']))"
    with open("/dev/full", "wb") as full:
        assert subprocess.run([sys.executable, "-c", code], stderr=full).returncode == 2
