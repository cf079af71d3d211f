"""``mixq plan``: how the layers share a board's resources."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from mixq.board import REPORT_KEYS, Board
from mixq.build_folder import BuildFolder
from mixq.cli.options import BuildDir, ResidueBits
from mixq.cli.progress import progress
from mixq.cli.reports import write_estimates
from mixq.cli.tables import show_facts, show_table, show_usage
from mixq.errors import UserError
from mixq.graph import Graph
from mixq.plan import FrontierPoint, Plan, Planner
from mixq.plan.folding_file import Hold, load_foldings, save_foldings
from mixq.plan.values import WISH
from mixq.report.frontier import remove_frontier, write_frontier

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
    residue_bits: ResidueBits = 2,
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
    packings: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Hold layers to the packings of a published system: original, finn or seuer."
        ),
    ] = None,
    folding: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSON file of foldings, PE and SIMD by layer, that layers are held to."),
    ] = None,
    double_pump: Annotated[
        bool,
        typer.Option(
            "--double-pump",
            help="Let DSPs of layers run at twice the clock, where that pays: half as many do the same, and the design "
            "has a second clock, ap_clk2x.",
        ),
    ] = False,
    frontier: Annotated[
        bool,
        typer.Option("--frontier", help="Show the smallest designs for a series of speeds, too; in report/frontier.*."),
    ] = False,
) -> None:
    """Decide how every layer is built on a board; writes plan.yaml, folding.json and the estimates in report/.

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
    made, points = make_plan(
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
        packings=packings,
        foldings=None if folding is None else load_foldings(folding),
        double_pump=double_pump,
        frontier=frontier,
    )
    if points:
        _show_frontier(points)
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
    residue_bits: int = 2,
    real_weights: bool = False,
    packings: str | None = None,
    foldings: Mapping[str, Hold] | None = None,
    double_pump: bool = False,
    frontier: bool = False,
) -> tuple[Plan, list[FrontierPoint]]:
    """Plan ``graph`` within the board's resources, less where ``max_dsp`` or ``max_lut`` says so, and save it.

    With it come the points of the frontier, none where it is not asked for.
    """
    limits = board.resources
    if max_dsp is not None:
        limits = replace(limits, dsp=min(limits.dsp, max_dsp))
    if max_lut is not None:
        limits = replace(limits, lut=min(limits.lut, max_lut))
    with progress(f"planning for {board.name}"):
        planner = Planner(
            graph,
            board,
            clock_mhz=clock_mhz,
            limits=limits,
            budget=budget,
            residue_bits=residue_bits,
            packings=packings,
            foldings=foldings,
            double_pump=double_pump,
        )
        made = planner.plan(target_fps=target_fps, max_cycles=max_cycles, real_weights=real_weights)
        points = planner.frontier() if frontier else []
    made.save(folder.path)
    save_foldings(made, folder.path)
    write_estimates(folder, graph, made)
    if points:
        write_frontier(folder.path, points, made.limits)
    else:
        remove_frontier(folder.path)
    return made, points


def limit_words(plan: Plan) -> str:
    """What keeps a plan from being faster, for people."""
    kinds = [name for name in plan.limited_by if set(name.split(" and ")) <= set(REPORT_KEYS.values())]
    if not plan.limited_by:
        return "not known"
    if plan.limited_by == (WISH,):
        return "the speed that was asked for"
    if not kinds:
        return f"{plan.limited_by[0]}, which no way of building it makes faster"
    return f"{', '.join(kinds)}{': each alone would' if len(kinds) > 1 else ', which would'} let a faster design in"


def gap_words(plan: Plan) -> str:
    """What is proved of a plan, for people."""
    if plan.gap:
        return f"{100 * plan.gap:.1f} %: fewer than {plan.least_cycles:,} cycles are proved impossible"
    speed = "" if plan.limited_by == (WISH,) else "no design that fits is faster"
    size = (
        f"one as fast may be cheaper by {100 * plan.price_gap:.2f} %" if plan.price_gap else "none as fast is cheaper"
    )
    return f"0 %: proved that {speed}{' and ' if speed else ''}{size}"


def pump_words(plan: Plan) -> str:
    """What the second clock of a plan with double-pumped layers is for, for people."""
    return f"ap_clk2x, {2 * plan.clock_mhz:g} MHz, for the DSPs of {', '.join(plan.pumped)}"


def _show_frontier(points: list[FrontierPoint]) -> None:
    headings = ("cycles", "frames/s", "DSP", "LUT", "FF", "BRAM")
    used = [(point, point.resources) for point in points]
    show_table(headings, [(p.cycles, round(p.fps, 1), r.dsp, r.lut, r.ff, r.bram36) for p, r in used])
    typer.echo()


def _show(folder: BuildFolder, plan: Plan) -> None:
    rows = []
    for layer in plan.layers:
        folding = layer.folding
        parallel = (folding.pe, folding.simd, folding.packing.pixels) if folding is not None else (None,) * 3
        density = folding.density if folding is not None else None
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
            *([("second clock", pump_words(plan))] if plan.pumped else []),
            ("cycles per frame", f"{plan.cycles:,}"),
            ("bottleneck", plan.bottleneck),
            ("limited by", limit_words(plan)),
            ("gap", gap_words(plan)),
            ("plan", folder.plan_file),
            ("next", f"mixq generate {folder}"),
        ]
    )
