"""``mixq run``: the interpreter."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mixq.build_folder import BuildFolder
from mixq.cli.arrays import read_frames, write_array
from mixq.cli.options import BuildDir
from mixq.cli.progress import progress
from mixq.cli.tables import show_facts
from mixq.execute import run as run_graph


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command()(run)


def run(
    build_dir: BuildDir,
    inputs: Annotated[
        Path,
        typer.Option(
            metavar="FILE.npy",
            help="Integers (frames, C, H, W): 8-bit pixels for image networks, codes otherwise.",
        ),
    ],
    outputs: Annotated[
        Path, typer.Option(metavar="FILE.npy", help="Where the final integers go, int64 (frames, C, H, W).")
    ],
) -> None:
    """Run the integer network in the interpreter, exactly.

    The output of a dense layer has the shape (frames, C, 1, 1).
    """
    graph = BuildFolder(build_dir).load_graph()
    codes = read_frames(inputs)
    with progress("running the interpreter", len(codes)) as update:
        result = run_graph(graph, codes, progress=update)
    write_array(outputs, result)
    show_facts([("frames", len(result)), ("shape", " x ".join(map(str, result.shape))), ("outputs", outputs)])
