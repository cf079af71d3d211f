"""``mixq estimate``: resources, counted by Yosys in the emitted Verilog."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from mixq.build_folder import BuildFolder
from mixq.cli.options import BuildDir
from mixq.cli.progress import progress
from mixq.cli.tables import Cell, show_facts, show_table

if TYPE_CHECKING:
    from sim.synthesis import Synthesis


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command()(estimate)


def estimate(build_dir: BuildDir) -> None:
    """Count LUTs, flip-flops, DSPs and block RAMs of the generated Verilog with Yosys, and the depth of its logic.

    Writes report/synth_resources.json and report/logic_depth.json. A result is kept until the Verilog changes. There is
    no timing in it: depth is of the deepest path between registers of each layer, in look-up tables and carry chains.
    """
    folder = BuildFolder(build_dir)
    found = count_resources(folder)
    rows: list[tuple[Cell, ...]] = [(name, *counts.values()) for name, counts in found.report().items()]
    show_table(("layer", "LUT", "FF", "DSP", "BRAM_36K", "URAM"), rows)
    deepest: list[tuple[Cell, ...]] = [
        (name, str(path.depth), "yes" if path.depth.within else "no", path.start, path.end)
        for name, path in ((name, depth.registers) for name, depth in found.depths.items())
    ]
    show_table(("layer", "deepest path", "within bound", "from", "to"), deepest)
    reports = [folder.report / name for name in ("synth_resources.json", "logic_depth.json")]
    show_facts([("Yosys", found.yosys_version), *(("report", path) for path in reports)])


def count_resources(folder: BuildFolder) -> Synthesis:
    """Count, and write ``report/synth_resources.json`` and ``report/logic_depth.json``."""
    from sim.synthesis import count

    folder.check_rtl()
    with progress("counting resources with Yosys, stage by stage") as update:
        found = count(folder.rtl, progress=update)
    found.write(folder.path)
    return found
