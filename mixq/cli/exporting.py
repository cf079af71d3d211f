"""``mixq export``: the integer network as a file of another form."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mixq.build_folder import BuildFolder
from mixq.cli.options import BuildDir
from mixq.cli.tables import show_facts
from mixq.graph import Tensor


class FileForm(StrEnum):
    """Forms of files that graphs are written in."""

    qonnx = "qonnx"


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command()(export)


def export(
    build_dir: BuildDir,
    file: Annotated[Path, typer.Argument(metavar="FILE.onnx", help="The file to write; its folder must exist.")],
    to: Annotated[FileForm, typer.Option("--to", metavar="qonnx", help="The form of the file.")],
) -> None:
    """Write the integer network as a QONNX file, for other tools.

    Executors of QONNX files compute the same integers of it. docs/qonnx.md says how each layer is written. A layer
    whose integers such executors would round, a convolution with sums beyond 2^24, is refused with its name.
    """
    from mixq.qonnx import write_qonnx

    graph = BuildFolder(build_dir).load_graph()
    write_qonnx(graph, file)
    source, target = graph.tensor(graph.input), graph.tensor(graph.output)
    show_facts(
        [
            (to.value.upper(), f"{file} ({file.stat().st_size:,} bytes)"),
            ("input", f"{source.name}, {_values(source)}"),
            ("output", f"{target.name}, {_values(target)}"),
        ]
    )


def _values(tensor: Tensor) -> str:
    form = f"{tensor.format.width}-bit {'signed' if tensor.format.signed else 'unsigned'} integers"
    if tensor.scale is None:
        return form
    return f"{form} times {'a scale for each channel' if isinstance(tensor.scale, tuple) else f'{tensor.scale:.6g}'}"
