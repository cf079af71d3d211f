"""``mixq package``: from the generated Verilog to a Vivado project and the driver for a board."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mixq.build_folder import BuildFolder
from mixq.cli.options import BuildDir
from mixq.cli.tables import show_facts

if TYPE_CHECKING:
    from boards.vivado_design import StreamPath, VivadoDesign


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command()(package)


def package(
    build_dir: BuildDir,
    board: Annotated[str, typer.Option(metavar="BOARD", help="The board, e.g. ultra96-v2, or a board file.")],
) -> None:
    """Write what a Vivado project for a board is made from into vivado/, and the driver for the board into driver/.

    vivado/ holds scripts, constraints and the IP's description. It is replaced as a whole, with what Vivado has made in
    it, unless its files are the same already. driver/ is what travels to the board; a bitstream in it stays. The board
    may be another than the one planned for, where its DSPs are of the same kind and the plan fits: exit status 1, with
    the numbers, where it does not.
    """
    from boards import load_board
    from boards.driver_files import driver_files, write_driver
    from boards.manifest import record
    from boards.vivado_design import vivado_design
    from boards.vivado_files import vivado_files, write_vivado

    folder = BuildFolder(build_dir)
    chosen = load_board(board)
    design = vivado_design(folder, chosen)
    project, driver = vivado_files(design), driver_files(folder, chosen)
    written, target = write_vivado(folder, project), write_driver(folder, driver)
    record(folder.path, "vivado", [f"{folder.vivado.name}/{name}" for name in project])
    record(folder.path, "driver", [f"{target.name}/{name}" for name in driver])
    _show(folder, design, written, target)


def _show(folder: BuildFolder, design: VivadoDesign, written: bool, driver: Path) -> None:
    clock = f"{design.clock_mhz:g} MHz" + (f", ap_clk2x {2 * design.clock_mhz:g} MHz" if design.fast_clock else "")
    planned = "" if design.planned_for == design.board.name else f", planned for {design.planned_for}"
    dma = "DMA for PCI Express" if design.vivado.ps == "none" else "AXI DMA"
    show_facts(
        [
            ("board", f"{design.board.name}{planned}, {design.board.part}, board part {design.vivado.board_part}"),
            ("clock", clock),
            ("input", _stream(design.taken, dma)),
            ("output", _stream(design.given, dma)),
            ("registers", "AXI4-Lite" if design.control else "none"),
            ("scripts", f"{folder.vivado} ({'written' if written else 'the same as before'})"),
            ("IP", folder.vivado / "component.xml"),
            ("driver", driver),
            ("timing alone", shlex.join(["make", "-C", str(folder.vivado), "ooc"])),
            ("bitstream", shlex.join(["make", "-C", str(folder.vivado), "bitstream"])),
            ("then", shlex.join(["mixq", "report", str(folder)])),
        ]
    )


def _stream(path: StreamPath, dma: str) -> str:
    if path.converted:
        return f"{path.bus} bits, converted to the {path.stream} of {dma}"
    return f"{path.bus} bits, {dma}"
