"""``mixq test``: how good the integer network is on its data set."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from mixq.build_folder import BuildFolder
from mixq.cli.models import check_equal, check_torch, converted_outputs, load_build_model
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
    where the build has its checkpoint; for boxes the converted PyTorch model too, which must give the same integers.
    The data are those of the project that mixq train noted in the build; a build of digits_cnn without one is measured
    on scikit-learn's handwritten digits. Writes report/accuracy.json.
    """
    check_torch("mixq test")
    folder = BuildFolder(build_dir)
    graph = folder.load_graph()
    dataset = load_data(folder, graph)
    part = dataset.test if samples is None else dataset.test.take(slice(0, samples))
    of_boxes = isinstance(part, BoxSamples)
    found = write_accuracy(folder, graph, part, converted=of_boxes)
    metric = metric_of(part)

    def words(value: float | None) -> str:
        return "no checkpoint" if value is None else metric_words(metric, value)

    show_facts(
        [
            ("data", f"{dataset.name}, {len(part):,} of {len(dataset.test):,} test images"),
            ("integer network", words(found.value)),
            *([("converted model", words(found.converted_value))] if of_boxes else []),
            ("training model", words(found.float_value)),
            ("report", folder.report / "accuracy.json"),
        ]
    )


def load_data(folder: BuildFolder, graph: Graph, *, first: int | None = None) -> Dataset[Any]:
    """The data set of a build. UserError where there is none for it.

    first: so many test images are enough; of the other images none are read that need not be.
    """
    if folder.project.is_file():
        from mixq.project_file import load_project

        project = load_project(folder.project)
        dataset = load_project_data(project if first is None else project.with_first(first))
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


def integers_metric(graph: Graph, outputs: npt.NDArray[np.int64], samples: Samples | BoxSamples) -> float:
    """Mean of the samples' metric, 0..1, of final integers (N, C, H, W): whoever computed them, the same bits."""
    if isinstance(samples, Samples):
        scales = graph.tensor(graph.output).channel_scales
        if scales is None or len(set(scales)) == 1:
            values: npt.NDArray[Any] = outputs
        else:  # integers of channels of different steps do not compare
            values = outputs * np.array(scales)[:, None, None]
        return float((values.reshape(len(samples), -1).argmax(1) == samples.labels).mean())
    truth = AnchorGrid().pixels(samples.boxes, *outputs.shape[2:])
    return float(iou(found_boxes(graph, outputs), truth).mean())


def found_boxes(graph: Graph, outputs: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The boxes of final integers (N, C, H, W) in pixels, (N, 4); UserError where the graph has no scale for them."""
    scales = graph.tensor(graph.output).channel_scales
    if scales is None:
        raise UserError("the graph does not say what its output's integers are worth; make it with: mixq train")
    return AnchorGrid().predict_integers(outputs, np.array(scales))


def task_of(samples: Samples | BoxSamples) -> Task:
    """What such samples are trained for and measured by."""
    from mixq.training import Classification, Detection

    return Detection() if isinstance(samples, BoxSamples) else Classification()


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """What the forms of a network reach, 0..1.

    value: the integer network in the interpreter. float_value: the training model, converted_value: the converted
    PyTorch model; None for what was not measured.
    """

    value: float
    float_value: float | None = None
    converted_value: float | None = None


def write_accuracy(
    folder: BuildFolder,
    graph: Graph,
    samples: Samples | BoxSamples,
    *,
    split: str = "test",
    converted: bool = False,
) -> Accuracy:
    """Measure the integer network and, where there is a checkpoint, the training model; write ``report/accuracy.json``.

    converted: measure the converted model too, whose integers the interpreter's must equal; CheckFailed where they do
    not.
    """
    with progress(f"measuring the integer network ({split})", len(samples)) as update:
        outputs = run(graph, samples.images, progress=update)
    found = Accuracy(value=integers_metric(graph, outputs, samples))
    if folder.checkpoint.is_file():
        from mixq.training import evaluate

        model = load_build_model(folder, graph)
        found = replace(found, float_value=evaluate(model, samples, task_of(samples)))
        if converted:
            from mixq.converted import ConvertedModel

            others = converted_outputs(ConvertedModel(model), samples.images)
            check_equal(outputs, others)
            found = replace(found, converted_value=integers_metric(graph, others, samples))
    report = {"split": split, "samples": len(samples), "metric": metric_of(samples), **asdict(found)}
    write_json(folder.report_file("accuracy.json"), report)
    return found
