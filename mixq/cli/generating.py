"""``mixq generate``: the Verilog of a planned network."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from mixq.build_folder import BuildFolder
from mixq.cli.options import BuildDir, Target
from mixq.cli.progress import progress
from mixq.cli.tables import show_facts
from mixq.errors import UserError

if TYPE_CHECKING:
    from boards.manifest import Stage

#: What the generator says it does, one after another.
_STEPS = 4


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command()(generate)


def generate(
    build_dir: BuildDir,
    target: Annotated[
        Target | None,
        typer.Option(help="Which primitive DSPs are instances of, or plain Verilog; by default the planned board's."),
    ] = None,
) -> None:
    """Write the Verilog and the memory images of a planned network into rtl/, and manifest.json.

    The folder is replaced as a whole. The same network and plan give the same bytes, anywhere.
    """
    from boards.manifest import BuildManifest

    folder = BuildFolder(build_dir)
    changed = generate_rtl(folder, target)
    files = sorted(folder.rtl.iterdir())
    images = [path for path in files if path.suffix == ".mem"]
    show_facts(
        [
            ("Verilog", f"{folder.rtl / 'mixq_top.v'} ({(folder.rtl / 'mixq_top.v').stat().st_size:,} bytes)"),
            ("memory images", len(images)),
            ("target", BuildManifest.load(folder.path).target),
            ("since the last time", "changed" if changed else "the same bytes"),
            ("next", f"mixq verify {folder}"),
        ]
    )


def generate_rtl(folder: BuildFolder, target: Target | None = None) -> bool:
    """Generate, and forget what was measured on other Verilog; returns whether any file is not as it was."""
    from boards.emit import generate as emit
    from mixq.cli.recording import record_sources

    folder.load_graph()
    folder.load_plan()
    before, stages = _noted(folder)
    done = -1
    with progress("generating Verilog", _STEPS) as update:

        def tell(step: str) -> None:
            nonlocal done
            done += 1
            update(done)

        made = emit(folder.path, None if target is None else target.value, progress=tell)
    changed = made.outputs != before
    if changed:
        folder.forget_results_of_rtl()
    else:
        replace(made, stages=stages).save(folder.path)
    record_sources(folder)
    return changed


def _noted(folder: BuildFolder) -> tuple[dict[str, str], dict[str, Stage]]:
    """Hashes of the generated files as they stand, and what later stages noted.

    Both are empty where files are missing, or not as they were generated.
    """
    from boards.manifest import BuildManifest

    try:
        manifest = BuildManifest.load(folder.path)
    except UserError:
        return {}, {}
    if set(manifest.changed(folder.path)) & set(manifest.outputs):
        return {}, {}
    return manifest.outputs, manifest.stages
