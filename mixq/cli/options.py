"""Arguments and options that several verbs share, and how their texts are read."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from mixq.errors import UserError
from mixq.packing import WeightRange
from mixq.quantizer_kinds import QUANTIZER_KINDS, QuantizerKind, WeightScale

BuildDir = Annotated[Path, typer.Argument(metavar="BUILD_DIR", help="The build folder, e.g. build/quickstart.")]

NetworkName = Annotated[
    str | None,
    typer.Option(
        "--network",
        metavar="NAME",
        help="The network, or package.module:factory of your own; needed unless SOURCE says it.",
    ),
]

InputShape = Annotated[
    str | None, typer.Option("--input-shape", metavar="C,H,W", help="Shape of an image; the network's own by default.")
]

WeightBits = Annotated[
    str | None,
    typer.Option("--weight-bits", metavar="W,W,...", help="Weight width of every layer, or one width for all."),
]

ActBits = Annotated[
    str | None,
    typer.Option("--act-bits", metavar="A,A,...", help="Width of every layer's input, or one width for all."),
]

WeightScaleName = Annotated[
    WeightScale | None,
    typer.Option(
        "--weight-scale",
        metavar="tensor|channel",
        help="One step for a layer's weights, or one for each of its output channels; by default the checkpoint's, "
        "or else tensor.",
    ),
]

WeightRangeName = Annotated[
    WeightRange | None,
    typer.Option(
        "--weight-range",
        metavar="full|narrow",
        help="Range of weights of 4 bits or more; narrow clamps the most negative one away, which packs denser; "
        "by default the checkpoint's, or else full.",
    ),
]

QuantizerName = Annotated[
    QuantizerKind | None,
    typer.Option(
        "--quantizer",
        metavar="|".join(QUANTIZER_KINDS),
        help="How the steps of weights and activations are found: fixed for Gaussian values (hwgq), learned (lsq), or "
        "those of published DoReFa checkpoints (dorefa, dorefa-pow2); by default the checkpoint's, or else hwgq.",
    ),
]

ChannelOrderName = Annotated[
    Literal["rgb", "bgr"] | None,
    typer.Option(
        "--channel-order",
        metavar="rgb|bgr",
        help="Order of the colours that the network was trained with, noted in the graph's metadata: images for it "
        "must come in this order. By default rgb.",
    ),
]

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
