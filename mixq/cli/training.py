"""``mixq train``: from a project file to a trained network of integers in a build folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from mixq.bits import BitAllocation
from mixq.build_folder import BuildFolder, make_folder
from mixq.cli.accuracy import metric_of, metric_words, write_accuracy
from mixq.cli.models import check_torch, write_model
from mixq.cli.progress import facts_note, progress
from mixq.cli.projects import (
    ConfigFile,
    Device,
    Fresh,
    Out,
    Quick,
    Resume,
    build_folder,
    check_run,
    load_project_data,
    model_settings,
    project_widths,
    read_project,
)
from mixq.cli.reports import write_counts
from mixq.cli.tables import show_facts, show_table
from mixq.data import BoxSamples, Dataset, Samples
from mixq.errors import UserError
from mixq.graph import Graph
from mixq.networks import NetworkTable
from mixq.project import Project
from mixq.project_file import save_project

if TYPE_CHECKING:
    from mixq.models import Network, TrainingModel
    from mixq.training import Progress, TrainResult

#: Multiplications that the reference's frames, and those that are compared with the training model, may take.
REFERENCE_MACS, COMPARED_MACS = 3_000_000_000, 20_000_000_000
FRAMES, MOST_FRAMES = 10, 360
STATE = "last.pt"


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command()(train)


def train(
    config: ConfigFile,
    quick: Quick = False,
    device: Device = "cpu",
    resume: Resume = False,
    fresh: Fresh = False,
    bits: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Widths of the layers; by default bits.yaml of the build, if it is there."),
    ] = None,
    out: Out = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Instead of the file's seed.")] = None,
) -> None:
    """Train the network of a project and turn it into integers.

    The widths are those that mixq search found, in bits.yaml of the build folder, or else the network's own. A training
    that was cut short goes on where it was. Writes graph.json and graph.npz, the checkpoint, reference/,
    report/conversion.json and report/accuracy.json, the last of validation images: the test images are mixq test's.
    """
    check_torch("mixq train")
    project = read_project(config, quick=quick, seed=seed)
    folder = build_folder(project, out)
    check_run(folder.train_run / STATE, resume=resume, fresh=fresh)
    table = project.table()
    widths, origin = project_widths(project, table, folder, bits)
    dataset = load_project_data(project)
    check_task(project, table, dataset)
    model, result = _trained(project, table, widths, dataset, folder, device=device, fresh=fresh)
    graph = _write(folder, project, model, dataset)
    found = write_accuracy(folder, graph, dataset.validation, split="validation")
    _show(folder, project, widths, origin, result, dataset, found.value)


def check_task(project: Project, table: Network, dataset: Dataset[Any]) -> None:
    """UserError where the network's outputs cannot be what the data ask for."""
    outputs = channels, rows, columns = table.shapes()[-1]
    if isinstance(dataset.train, BoxSamples):
        from mixq.training import Detection

        grid = Detection().grid
        height, width = table.image_shape[1:]
        if not grid.covers(table.image_shape, outputs):
            raise UserError(
                f"{table.name} has an output of {channels} x {rows} x {columns}; boxes in images of {height} x {width} "
                f"take {grid.channels} x {height // grid.stride} x {width // grid.stride}; take ultranet, or other data"
            )
        if project.train.label_smoothing or project.search.label_smoothing:
            raise UserError("label_smoothing is for classes, not for boxes; remove it from the project file")
    elif channels * rows * columns != len(dataset.class_names):
        raise UserError(
            f"{table.name} has {channels * rows * columns} outputs, {dataset.name} has {len(dataset.class_names)} "
            "classes; take another network or other data"
        )


def _trained(
    project: Project,
    table: Network,
    widths: BitAllocation,
    dataset: Dataset[Any],
    folder: BuildFolder,
    *,
    device: str,
    fresh: bool,
) -> tuple[TrainingModel, TrainResult]:
    """Train, or finish what was begun."""
    from mixq.models import build_model
    from mixq.training import Trainer

    settings = {"network": table.name, "weight_bits": list(widths.weight_bits), "act_bits": list(widths.act_bits)}
    settings |= {"quantizer": project.quantizer, "weight_range": project.weight_range}
    if project.weight_scale != "tensor":
        settings["weight_scale"] = project.weight_scale
    model = build_model(table, **model_settings(project, widths))
    cycles = widths.predicted.get("cycles")
    known = {"cycles": float(cycles)} if isinstance(cycles, int | float) else {}
    metric = metric_of(dataset.train)
    make_folder(folder.path)
    with progress(f"training {table.name}") as update:

        def tell(state: Progress) -> None:
            facts = {"epoch": state.epoch, "loss": state.loss, metric: state.metric, **known}
            update(state.step, state.steps, note=facts_note(facts))

        trainer = Trainer(
            model,
            dataset,
            project.train,
            run_dir=folder.train_run,
            device=device,
            progress=tell,
            settings=settings,
            # A module of the user's own starts with the weights that the function gave it.
            initialise=isinstance(table, NetworkTable),
            fresh=fresh,
        )
        return model, trainer.run()


def _write(folder: BuildFolder, project: Project, model: TrainingModel, dataset: Dataset[Any]) -> Graph:
    """Everything that other verbs need, from the trained model."""
    macs = sum(layer.macs for layer in model.table.counts())
    validation = dataset.validation
    classify = isinstance(validation, Samples)
    frames = min(len(validation), max(FRAMES, min(MOST_FRAMES, REFERENCE_MACS // macs)))
    compared = validation.take(slice(0, max(FRAMES, COMPARED_MACS // macs)))
    labels = compared.labels if isinstance(compared, Samples) else np.zeros(len(compared), np.int64)
    graph = write_model(
        folder,
        model,
        origin=f"mixq train, seed {project.seed}",
        pixels=np.asarray(validation.images[:frames]),
        samples=Samples(np.asarray(compared.images), labels),
        classify=classify,
    )
    save_project(project, folder.path)
    write_counts(folder, graph)
    return graph


def _show(
    folder: BuildFolder,
    project: Project,
    widths: BitAllocation,
    origin: str,
    result: TrainResult,
    dataset: Dataset[Any],
    value: float,
) -> None:
    names = project.table().weighted_names
    show_table(("layer", "weight bits", "act bits"), list(zip(names, widths.weight_bits, widths.act_bits, strict=True)))
    typer.echo()
    metric = metric_of(dataset.train)
    cycles = widths.predicted.get("cycles")
    show_facts(
        [
            ("widths", origin),
            *([("predicted", f"{cycles:,} cycles a frame")] if isinstance(cycles, int | float) else []),
            (
                "data",
                f"{dataset.name}, {len(dataset.train):,} images, {len(dataset.validation):,} to validate",
            ),
            ("training model", f"{metric_words(metric, result.kept.validation_metric)}, in validation"),
            ("integer network", f"{metric_words(metric, value)}, in validation"),
            ("log", folder.train_run / "log.jsonl"),
            ("conversion", folder.report / "conversion.json"),
            ("next", f"mixq test {folder}; mixq plan {folder} --board {project.board}"),
        ]
    )
