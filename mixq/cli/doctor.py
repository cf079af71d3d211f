"""``mixq doctor``: what is installed, what is missing, how to get it."""

from __future__ import annotations

import platform
import shutil

import typer
from rich.console import Console
from rich.table import Table

from mixq.doctor import Finding, check_packages, check_tool
from mixq.errors import CheckFailed


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command()(doctor)


def doctor() -> None:
    """Show what is installed, what is missing, and the command that brings it.

    Exit status 1 where something is missing that a verb needs.
    """
    findings = [
        Finding("Python", platform.python_version(), "everything"),
        *check_packages(),
        *_check_tools(),
    ]
    _show(findings)
    missing = [finding.name for finding in findings if not finding.ok]
    if missing:
        raise CheckFailed(f"{len(missing)} of {len(findings)} missing or unfit: {', '.join(missing)}")


def _check_tools() -> list[Finding]:
    """The programs that stand behind simulation and synthesis."""
    from sim.tools import find_icarus, find_verilator, find_yosys

    return [
        check_tool("Icarus Verilog", find_icarus, "simulation"),
        check_tool("Verilator (with g++ and make)", find_verilator, "simulation"),
        check_tool("Yosys", find_yosys, "resource counts"),
    ]


def _show(findings: list[Finding]) -> None:
    """Writes the table, then one line for each thing to do."""
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False)
    for heading in ("", "what", "version", "needed for"):
        table.add_column(heading, no_wrap=True)
    for finding in findings:
        mark = "[green]ok[/]" if finding.ok else "[red]missing[/]" if finding.version is None else "[red]unfit[/]"
        table.add_row(mark, finding.name, finding.version or "-", finding.needed_for)
    console.print(table)
    for finding in findings:
        if not finding.ok:
            console.print(f"{finding.name}: {finding.remedy}", soft_wrap=True, markup=False)
    vivado = shutil.which("vivado")
    if vivado is None:
        console.print("Vivado is not on PATH; only bitstreams need it (mixq package): source its settings64.sh")
    else:
        console.print(f"Vivado, for bitstreams: {vivado}", soft_wrap=True, markup=False)
    if shutil.which("ccache") is None:
        console.print("Builds of Verilator are quicker the second time with: sudo apt-get install ccache")
