"""``mixq init``: a project file to start from; and what all verbs share that take one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mixq.bits import BitAllocation
from mixq.build_folder import BuildFolder
from mixq.cli.progress import progress
from mixq.errors import UserError
from mixq.networks import NetworkTable
from mixq.project import Project
from mixq.project_file import load_project
from mixq.project_template import project_template

if TYPE_CHECKING:
    from mixq.board import Board, Resources
    from mixq.data import Dataset
    from mixq.models import Network

DEFAULT_MODEL = "vgg-tiny"

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="The project file; mixq init writes one.")]
Quick = Annotated[
    bool, typer.Option("--quick", help="A first look: with the changes that the file's section quick makes.")
]
Device = Annotated[str, typer.Option(metavar="D", help="cpu, cuda or cuda:N.")]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Fail unless there is a run to go on with; one that is there goes on anyway."),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Forget what an earlier run left, and start over.")]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="The build folder; build/NAME of the project by default.")
]


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command("init")(init)


def init(
    model: Annotated[str, typer.Option("--model", metavar="NAME", help="The network.")] = DEFAULT_MODEL,
) -> None:
    """Write a project file with comments to standard output: mixq init --model vgg-tiny > project.yaml.

    It loads as it is; what to change first is the path of the data and the budget.
    """
    typer.echo(project_template(model), nl=False)


def read_project(path: Path, *, quick: bool, seed: int | None = None) -> Project:
    """The project of a file, with the board known."""
    project = load_project(path, quick=quick, seed=seed)
    load_project_board(project)
    return project


def load_project_board(project: Project) -> Board:
    """The project's board, with the clock that it is planned for."""
    from boards import load_board

    board = load_board(project.board)
    clock = project.budget.clock_mhz
    return board if clock is None else replace(board, clock_mhz=clock)


def project_limits(project: Project, board: Board) -> Resources:
    """What of the board may be taken."""
    budget, own = project.budget, board.resources
    return replace(
        own,
        lut=_least(int(own.lut * budget.share), budget.lut),
        ff=int(own.ff * budget.share),
        dsp=_least(int(own.dsp * budget.share), budget.dsp),
        bram36=_least(int(own.bram36 * budget.share * 2) / 2, budget.bram),
        uram=int(own.uram * budget.share),
    )


def _least(amount: Any, limit: Any) -> Any:
    return amount if limit is None else min(amount, limit)


def load_project_data(project: Project) -> Dataset[Any]:
    """The project's data, with the progress of reading them."""
    with progress(f"reading {project.data.name}") as update:
        return project.load_data(update)


def build_folder(project: Project, out: Path | None) -> BuildFolder:
    """The folder that is asked for, or the project's own."""
    return BuildFolder(project.folder if out is None else out)


def project_widths(
    project: Project, table: Network, folder: BuildFolder, bits: Path | None = None
) -> tuple[BitAllocation, str]:
    """The widths to train with, and where they come from, for people."""
    source = folder.bits if bits is None else bits
    if bits is None and (project.layers or not source.is_file()):
        return _own_widths(project, table), (
            "the project's layers, the network's own for those that it leaves out"
            if project.layers
            else f"the network's own, as there is no {source}; {_better(table)}"
        )
    found = BitAllocation.load(source)
    try:
        found.check(table)
    except UserError as error:
        raise UserError(f"{source}: {error}; search again, or name another file with --bits") from None
    for name in ("quantizer", "weight_range"):
        theirs, ours = getattr(found, name), getattr(project, name)
        if theirs != ours:
            raise UserError(
                f"{source} has widths for {name} {theirs}, the project says {ours}; "
                f"set {name}: {theirs} in it, or search again"
            )
    return found, f"{source}{' (of a quick search)' if found.found_by.get('quick') else ''}"


def model_settings(project: Project, widths: BitAllocation) -> dict[str, Any]:
    """What a model of the project is built with: keyword arguments of :func:`mixq.models.build_model`."""
    return {
        "weight_bits": widths.weight_bits,
        "act_bits": widths.act_bits,
        "weight_range": project.weight_range,
        "quantizer": project.quantizer,
        "weight_scale": project.weight_scale,
    }


def _own_widths(project: Project, table: Network) -> BitAllocation:
    """The network's own widths, but for those that the project has."""
    weights = dict(zip(table.weighted_names, table.resolve_weight_bits(), strict=True))
    acts = dict(zip(table.weighted_names, table.resolve_act_bits(), strict=True))
    for name, own in project.layers.items():
        weights[name] = own.weight_bits or weights[name]
        acts[name] = own.act_bits or acts[name]
    return BitAllocation(
        network=table.name,
        layers=table.weighted_names,
        weight_bits=tuple(weights.values()),
        act_bits=tuple(acts.values()),
        quantizer=project.quantizer,
        weight_range=project.weight_range,
    )


def _better(table: Network) -> str:
    searched = isinstance(table, NetworkTable)
    return "mixq search finds better ones" if searched else "layers in the project file sets others"


def check_run(run: Path, *, resume: bool, fresh: bool) -> None:
    """UserError where ``--resume`` has nothing to go on with, or excludes ``--fresh``."""
    if resume and fresh:
        raise UserError("--resume and --fresh exclude each other; give one of them")
    if resume and not run.exists():
        raise UserError(f"{run.parent} holds no run that could go on; leave --resume out")
