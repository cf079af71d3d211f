"""Arguments and options that several verbs share, and how their texts are read."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mixq.errors import UserError

BuildDir = Annotated[Path, typer.Argument(metavar="BUILD_DIR", help="The build folder, e.g. build/quickstart.")]


ResidueBits = Annotated[
    int,
    typer.Option(
        metavar="B",
        min=0,
        max=2,
        help="Low bits of a lane that packings may know from look-up tables, 0 to 2; more is denser.",
    ),
]


class Target(StrEnum):
    """How DSPs are written in the Verilog."""

    dsp48e2 = "dsp48e2"
    dsp48e1 = "dsp48e1"
    generic = "generic"


class Simulator(StrEnum):
    """Simulators of the emitted Verilog."""

    icarus = "icarus"
    verilator = "verilator"


class Stalls(StrEnum):
    """Whether both sides of the accelerator stall at random."""

    none = "none"
    random = "random"


def integers(option: str, text: str | None) -> list[int] | None:
    """The numbers of a list such as ``8,2,2``; None for no text. UserError names the option.

    >>> integers("--weight-bits", "8, 2,2")
    [8, 2, 2]
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"-?[0-9]{1,9}", part) for part in parts):
        raise UserError(f"{option} must be whole numbers separated by commas, such as 8,2,2, not {text!r}")
    return [int(part) for part in parts]


def shape(option: str, text: str | None) -> tuple[int, int, int] | None:
    """The shape ``C,H,W``; None for no text. UserError names the option."""
    numbers = integers(option, text)
    if numbers is None:
        return None
    if len(numbers) != 3 or min(numbers) < 1:
        raise UserError(f"{option} must be three positive numbers C,H,W, such as 3,32,32, not {text!r}")
    return numbers[0], numbers[1], numbers[2]
