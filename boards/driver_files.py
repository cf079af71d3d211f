"""The folder that travels to the board: the driver, what it has to know of the accelerator, and how to begin."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from boards.driver.description import FILE, RESIZES, Description, Port
from boards.manifest import BuildManifest
from boards.swap import locked, replace_folder
from mixq.board import Board
from mixq.build_folder import BuildFolder, make_folder
from mixq.detection_decode import AnchorGrid
from mixq.files import load_yaml, write_atomic
from mixq.graph import Graph

PACKAGE = "mixq_driver"
"""Name of the driver's package on the board."""

SHARED = (
    "boards.registers",
    "mixq.containers",
    "mixq.data.boxes",
    "mixq.data.resizing",
    "mixq.detection_decode",
    "mixq.errors",
    "mixq.formats",
)
"""Modules that travel along as they are: they need NumPy alone, and each other."""

_ROOT = Path(__file__).resolve().parent.parent
_SOURCE = Path(__file__).resolve().parent / "driver"
#: What no other machine than a board can load: a module that imports PYNQ, and what stands beside the package.
_ON_BOARD = _SOURCE / "on_board"
_OURS = re.compile(r"^(\s*)from (?:boards|mixq)(?:\.\w+)*\.(\w+) import ", re.MULTILINE)


def driver_files(folder: BuildFolder, board: Board) -> dict[str, bytes]:
    """The files of ``driver/`` of a build for ``board``: relative path -> content.

    ``mixq_driver/``, the package; ``accelerator.json``; ``run.py``, ``README.md`` and ``requirements.txt``.

    Raises: UserError where the build has not been generated, or is of another graph or plan than the Verilog.
    """
    description = describe(folder, board)
    files = package_files()
    files[FILE] = (json.dumps(description.document(), indent=2) + "\n").encode()
    files["run.py"] = (
        (_ON_BOARD / "run.py").read_text().replace("from boards.driver import", f"from {PACKAGE} import").encode()
    )
    files["requirements.txt"] = (_ON_BOARD / "requirements.txt").read_bytes()
    files["README.md"] = _readme(description).encode()
    return files


def write_driver(folder: BuildFolder, files: Mapping[str, bytes]) -> Path:
    """Write :func:`driver_files` into ``driver/`` of the build, and return that folder.

    The package is replaced as a whole, other files one by one, and what else is there stays: the bitstream. Raises:
    UserError where the system refuses to write or another process has the build.
    """
    target = folder.path / "driver"
    with locked(folder.path):
        make_folder(target)
        inside = {name: content for name, content in files.items() if name.startswith(f"{PACKAGE}/")}
        replace_folder(target / PACKAGE, {name.partition("/")[2]: content for name, content in inside.items()})
        for name in files.keys() - inside.keys():
            write_atomic(target / name, files[name])
    return target


def package_files() -> dict[str, bytes]:
    """The driver's package alone: ``mixq_driver/NAME.py`` -> content.

    Modules stand side by side there: where they import each other, the dots before their names go. Nothing else is
    changed.
    """
    modules = {path.name: path for path in (*sorted(_SOURCE.glob("*.py")), _ON_BOARD / "overlay.py")}
    for name in SHARED:
        path = _ROOT.joinpath(*name.split(".")).with_suffix(".py")
        if path.name in modules:
            raise ValueError(f"SHARED must not hold two modules of one name, not {path.name!r}")
        modules[path.name] = path
    return {f"{PACKAGE}/{name}": _side_by_side(path.read_text()).encode() for name, path in modules.items()}


def _side_by_side(source: str) -> str:
    return _OURS.sub(lambda found: f"{found[1]}from .{found[2]} import ", source)


def describe(folder: BuildFolder, board: Board) -> Description:
    """What the driver has to know of a build's accelerator. Errors as of :func:`driver_files`."""
    folder.check_rtl()
    graph, plan = folder.load_graph(), folder.load_plan()
    source, target = graph.tensor(graph.input), graph.tensor(graph.output)
    scales = target.channel_scales
    covered = scales is not None and AnchorGrid().covers(source.shape, target.shape)
    order, resize = _images(folder, graph)
    return Description(
        name=graph.name,
        board=board.name,
        transport="xdma" if board.vivado is not None and board.vivado.ps == "none" else "pynq",
        build_hash=int(BuildManifest.load(folder).build_hash, 16),
        clock_mhz=plan.clock_mhz,
        cycles_per_frame=plan.cycles,
        input=Port(source.shape, source.format, plan.input_bus_bits),
        output=Port(target.shape, target.format, plan.output_bus_bits),
        scales=scales,
        grid=AnchorGrid() if covered else None,
        channel_order=order,
        resize=resize,
    )


def _images(folder: BuildFolder, graph: Graph) -> tuple[str, str]:
    """How the images of the data set were made: order of channels and filter, by what the build says of it."""
    options: dict[str, object] = {}
    if folder.project.is_file():
        document = load_yaml(folder.project)
        data = document.get("data") if isinstance(document, dict) else None
        given = data.get("options") if isinstance(data, dict) else None
        options = given if isinstance(given, dict) else {}
    order = str(options.get("channel_order", graph.metadata.get("channel_order", "rgb")))
    resize = str(options.get("resize", RESIZES[0]))
    return order, resize


def _readme(own: Description) -> str:
    shapes = {name: ", ".join(map(str, port.shape)) for name, port in (("input", own.input), ("output", own.output))}
    return (
        (_ON_BOARD / "README.md")
        .read_text()
        .format(
            name=own.name,
            board=own.board,
            input_shape=shapes["input"],
            output_shape=shapes["output"],
            low=own.input.format.low,
            high=own.input.format.high,
            needs="" if own.transport == "xdma" else "`pynq` of the board's image, ",
        )
    )
