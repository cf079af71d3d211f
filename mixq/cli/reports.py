"""The reports of a build: what verbs write beside their own results, and ``mixq report``."""

from __future__ import annotations

import typer

from mixq.board import Board
from mixq.build_folder import BuildFolder
from mixq.cli.options import BuildDir
from mixq.errors import UserError
from mixq.files import write_json
from mixq.graph import Graph
from mixq.plan import Plan

COUNTS = "op_and_param_counts.json"


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command()(report)


def report(build_dir: BuildDir) -> None:
    """Write the reports of a build: JSON files, and one HTML page from all that has been measured so far.

    What has not been measured yet is left out of the page, with the command that measures it. Of a detector with its
    data the page shows some test images, with the true box and the one that the integer network finds.
    """
    folder = BuildFolder(build_dir)
    for line in write_page(folder):
        typer.echo(line)


def write_page(folder: BuildFolder) -> list[str]:
    """Write ``report/index.html`` from what there is; return the summary's lines, the last of which names the page."""
    from mixq.cli.box_pictures import write_box_pictures
    from mixq.report import summary, write_html, write_vivado_report

    graph, plan = folder.load_graph(), folder.load_plan()
    write_estimates(folder, graph, plan)
    write_vivado_report(folder.path)
    missing = write_box_pictures(folder, graph)
    write_html(folder.path, board=_board(plan.board))
    *lines, last = summary(folder.path)
    return [*lines, *([] if missing is None else [f"{'images':<12}left out: {missing}"]), last]


def _board(name: str) -> Board | None:
    """The board of a plan; None for one that came from a file of the user's."""
    from boards import load_board

    try:
        return load_board(name)
    except UserError:
        return None


def write_estimates(folder: BuildFolder, graph: Graph, plan: Plan) -> None:
    """Write the reports that follow from graph and plan alone."""
    from mixq.report import write_json_reports

    folder.report_file("")
    try:
        write_json_reports(folder.path, graph, plan)
    except ValueError as error:
        raise UserError(f"{folder.plan_file} is the plan of another graph ({error}); run mixq plan again") from None


def write_counts(folder: BuildFolder, graph: Graph) -> None:
    """Write ``report/op_and_param_counts.json``: multiplications a frame and weights of every layer that has some."""
    from mixq.report.json_files import op_and_param_counts

    write_json(folder.report_file(COUNTS), op_and_param_counts(graph))
