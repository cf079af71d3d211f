"""The ``mixq`` command: one module per group of verbs; here alone errors become exit statuses."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.exceptions import TyperException

from mixq import __version__
from mixq.cli import (
    accuracy,
    checking,
    doctor,
    estimating,
    exporting,
    generating,
    importing,
    packaging,
    packings,
    planning,
    projects,
    quickstart,
    reports,
    running,
    searching,
    training,
    verifying,
)
from mixq.errors import MixqError, UserError

#: Modules with a function ``register(app)`` that adds their verbs, in the order of ``--help``.
VERB_MODULES = (
    quickstart,
    doctor,
    projects,
    checking,
    searching,
    training,
    accuracy,
    importing,
    running,
    planning,
    generating,
    verifying,
    estimating,
    reports,
    packaging,
    exporting,
    packings,
)

INTERRUPTED = 130
BROKEN_PIPE = 141
#: Characters of a fault's line.
LONGEST_MESSAGE = 800


def build_app() -> typer.Typer:
    """The whole command line. Building it imports neither PyTorch nor Amaranth: verbs do so when they run."""
    app = typer.Typer(
        name="mixq",
        help="From a CNN and a board to a mixed-precision network and its pipelined FPGA accelerator.",
        add_completion=False,
        pretty_exceptions_enable=False,
    )

    @app.callback()
    def mixq(
        version: Annotated[
            bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
        ] = False,
    ) -> None:
        pass

    for module in VERB_MODULES:
        module.register(app)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line, ``sys.argv`` by default, and returns its exit status.

    0: done and right. 1: the check that was asked for failed. 2: the user's input is at fault.
    130: interrupted. 141: the reader of the output has gone. Each fault is one line on standard error.
    An exception of any other kind is a fault of this program and keeps its traceback.
    """
    _mend_streams()
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        status = build_app()(args=words, prog_name="mixq", standalone_mode=False)
        sys.stdout.flush()
    except TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "mixq"
        return _complain(f"{error.format_message().rstrip('.')}; see: {command} --help", error.exit_code)
    except MixqError as error:
        return _complain(str(error), error.exit_status)
    except (KeyboardInterrupt, typer.Abort):
        return _complain("interrupted", INTERRUPTED)
    except BrokenPipeError:
        return _drop_output()
    except MemoryError:
        return _complain("there is not enough memory for this; give a smaller network or fewer frames", 2)
    except OSError as error:
        # A full disk, a folder that may not be written: the machine's state, not a fault of the program.
        where = f" ({error.filename})" if error.filename else ""
        return _complain(f"{error.strerror or error}{where}", UserError.exit_status)
    except SystemExit as error:
        # Typer turns a broken pipe into exit status 1, which means a failed check here.
        if isinstance(error.__context__, BrokenPipeError):
            return _drop_output()
        raise
    if status == INTERRUPTED:
        return _complain("interrupted", INTERRUPTED)
    return status if isinstance(status, int) else 0


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mixq {__version__}")
        raise typer.Exit


def _mend_streams() -> None:
    """Gives a standard stream that is closed nowhere to write to, and lets names of files that are no text through."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - open for as long as the process
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _drop_output() -> int:
    """Sends what is still buffered nowhere: it has no reader, and must not be written when Python exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN_PIPE


def _complain(message: str, status: int) -> int:
    """Writes the message as one line on standard error and hands the exit status through.

    A message that quotes a file may be as long as the file: the middle of such a one is left out.
    """
    line = " ".join(message.split())
    if len(line) > LONGEST_MESSAGE:
        line = f"{line[: LONGEST_MESSAGE - 200]} ... {line[-195:]}"
    with contextlib.suppress(OSError):  # where standard error takes nothing, the status alone tells
        typer.echo(f"mixq: {line}", err=True)
    return status
