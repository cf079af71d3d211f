"""``mixq plan``: how the layers share a board's resources."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated

import typer

from mixq.board import Board
from mixq.build_folder import BuildFolder
from mixq.cli.options import BuildDir, ResidueBits
from mixq.cli.progress import progress
from mixq.cli.reports import write_estimates
from mixq.cli.tables import show_facts, show_table, show_usage
from mixq.errors import UserError
from mixq.graph import Graph
from mixq.plan import Plan
from mixq.plan import plan as plan_graph

#: No fabric is clocked higher; a larger number is hertz or a mistake.
MAX_CLOCK_MHZ = 10_000


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command()(plan)


def plan(
    build_dir: BuildDir,
    board: Annotated[str, typer.Option(metavar="BOARD", help="The board, e.g. ultra96-v2, or a board file.")],
    clock_mhz: Annotated[
        float | None, typer.Option(metavar="F", help="Clock of the fabric in MHz; the board's by default.")
    ] = None,
    target_fps: Annotated[
        float | None, typer.Option(metavar="F", help="The smallest plan with at least so many frames per second.")
    ] = None,
    max_cycles: Annotated[
        int | None, typer.Option(metavar="N", help="The smallest plan with at most so many cycles a frame.")
    ] = None,
    fastest: Annotated[bool, typer.Option("--fastest", help="The fastest plan that fits; the default.")] = False,
    budget: Annotated[
        float, typer.Option(metavar="FRACTION", help="Share of the resources that may be taken, up to 1.")
    ] = 1.0,
    residue_bits: ResidueBits = 0,
    real_weights: Annotated[
        bool,
        typer.Option(
            "--real-weights",
            help="Sum as many products in the DSPs as these weights allow, not any: fewer look-up tables, but the "
            "Verilog is for these weights alone.",
        ),
    ] = False,
    max_dsp: Annotated[int | None, typer.Option(metavar="N", min=0, help="At most so many DSPs.")] = None,
    max_lut: Annotated[int | None, typer.Option(metavar="N", min=1, help="At most so many look-up tables.")] = None,
) -> None:
    """Decide how every layer is built on a board; writes plan.yaml and the estimates in report/.

    Exit status 1, with the numbers, where nothing fits or nothing is fast enough.
    """
    from boards import load_board

    goals = [
        name
        for name, given in (("--target-fps", target_fps), ("--max-cycles", max_cycles), ("--fastest", fastest or None))
        if given is not None
    ]
    if len(goals) > 1:
        raise UserError(f"{' and '.join(goals)} exclude each other; give one of them")
    for name, value in (("--clock-mhz", clock_mhz), ("--target-fps", target_fps), ("--budget", budget)):
        if value is not None and not math.isfinite(value):
            raise UserError(f"{name} must be a number, not {value!r}")
    if clock_mhz is not None and clock_mhz > MAX_CLOCK_MHZ:
        raise UserError(f"--clock-mhz must be at most {MAX_CLOCK_MHZ}, in MHz, not {clock_mhz:g}")
    folder = BuildFolder(build_dir)
    graph = folder.load_graph()
    made = make_plan(
        folder,
        graph,
        load_board(board),
        clock_mhz=clock_mhz,
        target_fps=target_fps,
        max_cycles=max_cycles,
        budget=budget,
        max_dsp=max_dsp,
        max_lut=max_lut,
        residue_bits=residue_bits,
        real_weights=real_weights,
    )
    _show(folder, made)


def make_plan(
    folder: BuildFolder,
    graph: Graph,
    board: Board,
    *,
    clock_mhz: float | None = None,
    target_fps: float | None = None,
    max_cycles: int | None = None,
    budget: float = 1.0,
    max_dsp: int | None = None,
    max_lut: int | None = None,
    residue_bits: int = 0,
    real_weights: bool = False,
) -> Plan:
    """Plan ``graph`` within the board's resources, less where ``max_dsp`` or ``max_lut`` says so, and save it."""
    limits = board.resources
    if max_dsp is not None:
        limits = replace(limits, dsp=min(limits.dsp, max_dsp))
    if max_lut is not None:
        limits = replace(limits, lut=min(limits.lut, max_lut))
    with progress(f"planning for {board.name}"):
        made = plan_graph(
            graph,
            board,
            clock_mhz=clock_mhz,
            target_fps=target_fps,
            max_cycles=max_cycles,
            limits=limits,
            budget=budget,
            residue_bits=residue_bits,
            real_weights=real_weights,
        )
    made.save(folder.path)
    write_estimates(folder, graph, made)
    return made


def _show(folder: BuildFolder, plan: Plan) -> None:
    rows = []
    for layer in plan.layers:
        folding = layer.folding
        parallel = (folding.pe, folding.simd, folding.packing.pixels) if folding is not None else (None,) * 3
        density = folding.packing.density if folding is not None else None
        used = layer.resources
        rows.append((layer.name, layer.op, layer.cycles, *parallel, density, used.dsp, used.lut, used.bram36))
    show_table(("layer", "op", "cycles", "PE", "SIMD", "pixels", "MACs/DSP", "DSP", "LUT", "BRAM"), rows)
    typer.echo()
    show_usage(plan.resources, plan.limits)
    typer.echo()
    show_facts(
        [
            ("board", plan.board),
            ("speed", f"{plan.fps:,.1f} frames per second at {plan.clock_mhz:g} MHz (assumed)"),
            ("cycles per frame", f"{plan.cycles:,}"),
            ("bottleneck", plan.bottleneck),
            ("plan", folder.plan_file),
            ("next", f"mixq generate {folder}"),
        ]
    )
