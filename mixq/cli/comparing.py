"""``mixq report --compare``: what changed from one build to another."""

from __future__ import annotations

import typer

from mixq.bits import BITS_FILE
from mixq.build_folder import GRAPH_FILES, PROJECT_FILE, BuildFolder
from mixq.cli.tables import Cell, show_table
from mixq.errors import UserError
from mixq.plan.values import PLAN_FILE
from mixq.report import Side, compare, gather, write_comparison
from mixq.report.compare import Comparison
from mixq.report.compare_files import SUBJECTS, value_words

#: Files of a build that are compared, beside those in rtl/.
_FILES = (PROJECT_FILE, BITS_FILE, *GRAPH_FILES, PLAN_FILE, "checkpoints/model.pt")
#: Rows of a table on the terminal; the files have all.
_MOST_ROWS = 24


def check_other(folder: BuildFolder, other: BuildFolder) -> None:
    """UserError where the other build is none, or the same folder."""
    other.load_graph()
    if folder.path.resolve() == other.path.resolve():
        raise UserError(f"--compare must name another build than {folder}; give the folder of the earlier one")


def show_comparison(folder: BuildFolder, other: BuildFolder) -> None:
    """Compare from ``other`` to ``folder``: tables on standard output, compare.json and compare.html in report/."""
    found = compare(_side(other), _side(folder))
    page = write_comparison(folder.path, found)
    typer.echo(f"\ncompared    from {other} to {folder}")
    if found.same:
        typer.echo("nothing changed")
    for line in found.missing:
        typer.echo(line)
    _show_sections(found)
    typer.echo(f"\ncomparison  {page}")


def _show_sections(found: Comparison) -> None:
    for name, changes in found.sections.items():
        rows: list[tuple[Cell, ...]] = [
            (change.subject, change.what, value_words(change.before), value_words(change.after), change.share)
            for change in changes[:_MOST_ROWS]
        ]
        typer.echo(f"\n{name}")
        show_table((SUBJECTS[name].lower(), "what", "before", "after", "change"), rows)
        if len(changes) > _MOST_ROWS:
            typer.echo(f"and {len(changes) - _MOST_ROWS} more")


def _side(folder: BuildFolder) -> Side:
    from boards.manifest import file_digest

    names = [name for name in _FILES if (folder.path / name).is_file()]
    if folder.rtl.is_dir():
        names += sorted(f"rtl/{path.name}" for path in folder.rtl.iterdir() if path.is_file())
    return Side(gather(folder.path), {name: file_digest(folder.path / name) for name in names})
