"""``mixq test``: how good the integer network is on its data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from mixq.build_folder import BuildFolder
from mixq.cli.models import check_torch, load_build_model
from mixq.cli.options import BuildDir
from mixq.cli.progress import progress
from mixq.cli.projects import load_project_data
from mixq.cli.tables import show_facts
from mixq.data import BoxSamples, Dataset, Samples
from mixq.detection_decode import AnchorGrid, iou
from mixq.errors import UserError
from mixq.execute import run
from mixq.files import write_json
from mixq.graph import Graph

if TYPE_CHECKING:
    from mixq.training import Task

#: Network -> the data set that a build without a project is for.
DATA_SETS = {"digits_cnn": "digits"}


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command()(test)


def test(
    build_dir: BuildDir,
    samples: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Take the first N test images; all of them by default.")
    ] = None,  # noqa: PT028 - a verb of the command line, no test
) -> None:
    """Measure a build on the test split of its data set: top1 of classes, iou of boxes.

    The integer network runs in the interpreter, exactly as the hardware computes, and the training model beside it
    where the build has its checkpoint. The data are those of the project that mixq train noted in the build; a build
    of digits_cnn without one is measured on scikit-learn's handwritten digits. Writes report/accuracy.json.
    """
    folder = BuildFolder(build_dir)
    graph = folder.load_graph()
    dataset = load_data(folder, graph)
    part = dataset.test if samples is None else dataset.test.take(slice(0, samples))
    value, float_value = write_accuracy(folder, graph, part)
    metric = metric_of(part)
    show_facts(
        [
            ("data", f"{dataset.name}, {len(part):,} of {len(dataset.test):,} test images"),
            ("integer network", metric_words(metric, value)),
            ("training model", "no checkpoint" if float_value is None else metric_words(metric, float_value)),
            ("report", folder.report / "accuracy.json"),
        ]
    )


def load_data(folder: BuildFolder, graph: Graph) -> Dataset[Any]:
    """The data set of a build. UserError where there is none for it."""
    check_torch("mixq test")
    if folder.project.is_file():
        from mixq.project_file import load_project

        dataset = load_project_data(load_project(folder.project))
    else:
        dataset = _usual_data(folder, graph)
    shape = graph.tensor(graph.input).shape
    if dataset.test.images.shape[1:] != shape:
        own = ",".join(map(str, dataset.test.images.shape[1:]))
        raise UserError(
            f"the images of {dataset.name} have the shape {own}, not {','.join(map(str, shape))}; "
            f"import the network with --input-shape {own}"
        )
    return dataset


def _usual_data(folder: BuildFolder, graph: Graph) -> Dataset[Samples]:
    network = graph.metadata.get("network", graph.name)
    if network not in DATA_SETS:
        raise UserError(
            f"{folder} does not say what data {network} is for (it has no project.yaml); make it with: mixq train"
        )
    from mixq.data.digits import load_digits

    return load_digits()


def metric_of(samples: Samples | BoxSamples) -> str:
    """Name of the metric that such samples are measured by."""
    return "iou" if isinstance(samples, BoxSamples) else "top1"


def metric_words(metric: str, value: float) -> str:
    """A metric for people.

    >>> metric_words("top1", 0.9875), metric_words("iou", 0.61234)
    ('98.75 % right', 'mean IoU 0.6123')
    """
    return f"mean IoU {value:.4f}" if metric == "iou" else f"{100 * value:.2f} % right"


def integer_metric(graph: Graph, samples: Samples | BoxSamples, *, what: str = "testing the integer network") -> float:
    """Mean of the samples' metric, 0..1, of the final integers, in units of their step where there are boxes."""
    with progress(what, len(samples)) as update:
        outputs = run(graph, samples.images, progress=update)
    return integers_metric(graph, outputs, samples)


def integers_metric(graph: Graph, outputs: npt.NDArray[np.int64], samples: Samples | BoxSamples) -> float:
    """The same of final integers (N, C, H, W) that something computed, in whatever way."""
    if isinstance(samples, Samples):
        return float((outputs.reshape(len(samples), -1).argmax(1) == samples.labels).mean())
    scales = graph.tensor(graph.output).channel_scales
    if scales is None:
        raise UserError("the graph does not say what its output's integers are worth; make it with: mixq train")
    grid = AnchorGrid()
    truth = grid.pixels(samples.boxes, *outputs.shape[2:])
    return float(iou(grid.predict_integers(outputs, np.array(scales)), truth).mean())


def task_of(samples: Samples | BoxSamples) -> Task:
    """What such samples are trained for and measured by."""
    from mixq.training import Classification, Detection

    return Detection() if isinstance(samples, BoxSamples) else Classification()


def write_accuracy(
    folder: BuildFolder, graph: Graph, samples: Samples | BoxSamples, *, split: str = "test"
) -> tuple[float, float | None]:
    """Measure both models, write ``report/accuracy.json``, and return what they reach, the integer network first."""
    value = integer_metric(graph, samples, what=f"measuring the integer network ({split})")
    float_value = None
    if folder.checkpoint.is_file():
        from mixq.training import evaluate

        float_value = evaluate(load_build_model(folder, graph), samples, task_of(samples))
    report = {
        "split": split,
        "samples": len(samples),
        "metric": metric_of(samples),
        "value": value,
        "float_value": float_value,
    }
    write_json(folder.report_file("accuracy.json"), report)
    return value, float_value
