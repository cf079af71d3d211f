"""``mixq search``: the widths of every layer, within one budget or for a grid of budgets and seeds."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mixq.bits import BITS_FILE, BitAllocation
from mixq.build_folder import BuildFolder, make_folder
from mixq.cli.models import check_torch
from mixq.cli.options import integers
from mixq.cli.progress import Stages, progress
from mixq.cli.projects import (
    ConfigFile,
    Device,
    Fresh,
    Out,
    Quick,
    Resume,
    build_folder,
    check_run,
    load_project_board,
    load_project_data,
    project_limits,
    read_project,
)
from mixq.cli.tables import Cell, show_facts, show_table
from mixq.cli.training import STATE, check_task
from mixq.errors import UserError
from mixq.files import write_json
from mixq.networks import NetworkTable
from mixq.project import Project, cycles_of
from mixq.project_file import project_of

if TYPE_CHECKING:
    from nas.search import SearchResult

FRONT_FILE = "front.json"

Report = Callable[[str, int, int, Mapping[str, float]], None]

_BUDGET = re.compile(r"([0-9]{1,12})|([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*fps")


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command()(search)


def search(
    config: ConfigFile,
    quick: Quick = False,
    budgets: Annotated[
        str | None,
        typer.Option(
            metavar="B,B,...", help="Cycles of a frame, or frames per second such as 3000fps; the file's by default."
        ),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(metavar="S,S,...", help="One search for each, and each budget; the file's by default.")
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Spread a grid of searches over a Ray cluster; auto joins a running one."),
    ] = None,
    device: Device = "cpu",
    resume: Resume = False,
    fresh: Fresh = False,
    jobs: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            help="Searches of a grid at a time; in one search, processes that list ways.",
        ),
    ] = 1,
    out: Out = None,
) -> None:
    """Find the bit-widths of every layer that lose least within a budget of cycles.

    A supernet with all widths is trained, what each width costs is measured on validation images, and an integer
    program over widths and ways to build them on the board is solved. One search writes bits.yaml into the build
    folder, and its state, log and front.json into search/ there; a search that was cut short goes on. Several budgets
    or seeds are searches of their own, each in search/budget-CYCLES-seed-S/. Exit status 1 where a budget cannot be
    met, with the nearest that can.
    """
    check_torch("mixq search")
    project = read_project(config, quick=quick)
    folder = build_folder(project, out)
    clock = load_project_board(project).clock_mhz
    targets = read_budgets(budgets, clock)
    chosen = read_seeds(seeds)
    if targets and project.search.method == "edmips":
        raise UserError("--budgets is for the method budget; edmips takes none, but decay_c and decay_t in the file")
    grid = len(targets) > 1 or len(chosen) > 1
    if ray is not None and not grid:
        raise UserError("--ray is for several searches; give several --budgets or --seeds, or leave it out")
    if not targets:
        own = project.budget.cycles_at(clock)
        targets = [own] if own is not None and project.search.method == "budget" else []
    if grid:
        check_run(folder.search_run, resume=resume, fresh=fresh)
        _search_grid(
            project, folder, targets, chosen, quick=quick, device=device, jobs=jobs, ray=ray, fresh=fresh, config=config
        )
        return
    check_run(folder.search_run / STATE, resume=resume, fresh=fresh)
    if chosen:
        project = replace(project, seed=chosen[0])
    with Stages() as report:
        result = run_search(
            project, targets, folder.search_run, quick=quick, device=device, jobs=jobs, fresh=fresh, report=report
        )
    save_result(result, folder.path, folder.search_run, clock)
    _show(folder, result, clock, config)


def read_budgets(text: str | None, clock_mhz: float) -> list[int]:
    """Cycles of a frame for each of ``100000,3000fps``, each once; none for no text. UserError for any other text.

    >>> read_budgets("90000, 3000fps", 300.0)
    [90000, 100000]
    """
    if text is None:
        return []
    found = []
    for part in text.split(","):
        match = _BUDGET.fullmatch(part.strip())
        value = float(match[1] or match[2]) if match else 0.0
        if match is None or value <= 0:
            raise UserError(
                f"--budgets must be cycles of a frame or frames per second, such as 100000,3000fps, not {text!r}"
            )
        found.append(int(match[1]) if match[1] else cycles_of(value, clock_mhz))
    return list(dict.fromkeys(found))


def read_seeds(text: str | None) -> list[int]:
    """The seeds of ``0,1,2``, each once; none for no text. UserError for negative ones and any other text."""
    found = integers("--seeds", text) or []
    if any(seed < 0 for seed in found):
        raise UserError(f"--seeds must not be negative, not {text!r}")
    return list(dict.fromkeys(found))


def run_search(
    project: Project,
    budgets: Sequence[int],
    run: Path,
    *,
    quick: bool,
    device: str,
    jobs: int = 1,
    fresh: bool = False,
    report: Report | None = None,
) -> SearchResult:
    """Search the widths of a project, with the run's state in the folder ``run``. budgets: cycles of a frame."""
    from nas.config import Hardware, SearchConfig
    from nas.search import search as search_widths

    board = load_project_board(project)
    table = project.table()
    if not isinstance(table, NetworkTable):
        raise UserError(
            f"{table.name} is a module of your own; the search takes networks of tables, "
            "so give its widths in the project file, as layers, and use mixq train"
        )
    dataset = load_project_data(project)
    check_task(project, table, dataset)
    make_folder(run)
    config = SearchConfig(
        **project.search.settings,
        budgets=tuple(budgets),
        quantizer=project.quantizer,
        weight_range=project.weight_range,
    )
    hardware = Hardware(
        board=board,
        limits=project_limits(project, board),
        residue_bits=project.budget.residue_bits,
        clock_mhz=board.clock_mhz,
    )
    result = search_widths(
        table,
        dataset,
        config,
        project.search.recipe,
        hardware,
        run_dir=run,
        device=device,
        jobs=jobs,
        report=report,
        fresh=fresh,
    )
    if not quick:
        return result
    marked = (replace(own, found_by={**own.found_by, "quick": True}) for own in result.allocations)
    return replace(result, allocations=tuple(marked))


def save_result(result: SearchResult, folder: Path, run: Path, clock_mhz: float) -> None:
    """Write ``bits.yaml`` into ``folder`` and ``front.json`` into ``run``."""
    make_folder(folder)
    make_folder(run)
    front = [
        {
            "cycles": point.cycles,
            "fps": clock_mhz * 1e6 / point.cycles,
            "loss": point.loss,
            "bound": point.bound,
            "gap": point.gap,
            "weight_bits": list(point.weight_bits),
            "act_bits": list(point.act_bits),
        }
        for point in result.front
    ]
    write_json(run / FRONT_FILE, front)
    result.allocations[0].save(folder)


def search_task(
    *, folder: Path, project: Mapping[str, Any], budget: int | None, seed: int, quick: bool, device: str
) -> dict[str, Any]:
    """One search of a grid, as `nas.sweep` calls it: everything into ``folder``, the figures returned.

    project: as `Project.document` gives it. budget: cycles of a frame, None for the search's own choice.
    """
    from mixq.cli.models import check_torch

    check_torch("mixq search")
    own = project_of(project, seed=seed)
    clock = load_project_board(own).clock_mhz
    with Stages() as report:
        found = run_search(own, [] if budget is None else [budget], folder, quick=quick, device=device, report=report)
    save_result(found, folder, folder, clock)
    allocation = found.allocations[0]
    return {
        "budget": budget,
        "seed": seed,
        "weight_bits": list(allocation.weight_bits),
        "act_bits": list(allocation.act_bits),
        "predicted": dict(allocation.predicted),
    }


def _search_grid(
    project: Project,
    folder: BuildFolder,
    budgets: Sequence[int],
    seeds: Sequence[int],
    *,
    quick: bool,
    device: str,
    jobs: int,
    ray: str | None,
    fresh: bool,
    config: Path,
) -> None:
    """Every budget with every seed, each in a folder of its own."""
    from nas.sweep import Task, sweep

    document = project.document()
    tasks = [
        Task(
            name=f"budget-{'none' if budget is None else budget}-seed-{seed}",
            function="mixq.cli.searching:search_task",
            arguments={"project": document, "budget": budget, "seed": seed, "quick": quick, "device": device},
        )
        for budget in (budgets or (None,))
        for seed in (seeds or [project.seed])
    ]
    make_folder(folder.search_run)
    with progress("searching", len(tasks)) as update:
        results = sweep(tasks, folder=folder.search_run, jobs=jobs, ray=ray, progress=update, fresh=fresh)
    rows: list[tuple[Cell, ...]] = []
    for name, found in results.items():
        predicted = found["predicted"]
        widths = zip(found["weight_bits"], found["act_bits"], strict=True)
        loss = predicted.get("loss")
        figures = (predicted.get("cycles"), None if loss is None else round(loss, 4))
        rows.append((name, *figures, _share(predicted.get("gap")), " ".join(f"{w}/{a}" for w, a in widths)))
    show_table(("search", "cycles", "supernet's loss", "gap", "weight/act bits"), rows)
    typer.echo()
    first = folder.search_run / next(iter(results))
    show_facts(
        [
            ("searches", folder.search_run),
            ("next", f"mixq train {config} --bits {first / BITS_FILE} --out {folder}-{first.name}"),
        ]
    )


def _show(folder: BuildFolder, result: SearchResult, clock_mhz: float, config: Path) -> None:
    allocation = result.allocations[0]
    _show_widths(allocation)
    typer.echo()
    if result.front:
        rows: list[tuple[Cell, ...]] = []
        for point in result.front:
            widths = zip(point.weight_bits, point.act_bits, strict=True)
            bits = " ".join(f"{w}/{a}" for w, a in widths)
            fps = round(clock_mhz * 1e6 / point.cycles)
            rows.append((point.cycles, fps, round(point.loss, 4), _share(point.gap), bits))
        show_table(("cycles", "frames/s", "rise of the loss", "gap", "weight/act bits"), rows)
        typer.echo()
    predicted = allocation.predicted
    facts: list[tuple[str, object]] = []
    cycles, loss = predicted.get("cycles"), predicted.get("loss")
    if isinstance(cycles, int | float):
        speed = f"{clock_mhz * 1e6 / cycles:,.1f} frames per second at {clock_mhz:g} MHz (assumed)"
        facts.append(("predicted", f"{cycles:,} cycles a frame, {speed}"))
    if isinstance(loss, int | float):
        facts.append(("supernet's loss", f"{loss:.4f}"))
    if isinstance(predicted.get("gap"), int | float):
        facts.append(("gap", _share(predicted["gap"])))
    show_facts(
        [
            *facts,
            ("widths", folder.bits),
            ("front", folder.search_run / FRONT_FILE),
            ("log", folder.search_run / "log.jsonl"),
            ("next", f"mixq train {config}{'' if not allocation.found_by.get('quick') else ' --quick'}"),
        ]
    )


def _show_widths(allocation: BitAllocation) -> None:
    layers = allocation.document()["layers"]
    show_table(
        ("layer", "weight bits", "act bits"),
        [(name, own["weight_bits"], own["act_bits"]) for name, own in layers.items()],
    )


def _share(gap: object) -> str | None:
    """A proved gap for people, None where nothing is proved."""
    return f"{100 * gap:.2f} %" if isinstance(gap, int | float) else None
