"""``mixq test``: accuracy of the integer network on its data set."""

from __future__ import annotations

import typer

from mixq.build_folder import BuildFolder
from mixq.cli.models import check_torch, load_build_model
from mixq.cli.options import BuildDir
from mixq.cli.progress import progress
from mixq.cli.tables import show_facts
from mixq.data import Dataset, Samples
from mixq.errors import UserError
from mixq.execute import run
from mixq.files import write_json
from mixq.graph import Graph

#: Network -> the data set that it is for.
DATA_SETS = {"digits_cnn": "digits"}


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command()(test)


def test(build_dir: BuildDir) -> None:
    """Measure the accuracy of a build on the test split of its data set.

    The integer network runs in the interpreter, the training model beside it where the build has its checkpoint. There
    is a data set for digits_cnn: scikit-learn's handwritten digits. Writes report/accuracy.json.
    """
    folder = BuildFolder(build_dir)
    graph = folder.load_graph()
    dataset = load_data(graph)
    value, float_value = write_accuracy(folder, graph, dataset.test)
    show_facts(
        [
            ("data", f"{dataset.name}, {len(dataset.test)} test images"),
            ("integer network", f"{100 * value:.2f} % right"),
            ("training model", "no checkpoint" if float_value is None else f"{100 * float_value:.2f} % right"),
            ("report", folder.report / "accuracy.json"),
        ]
    )


def load_data(graph: Graph) -> Dataset:
    """The data set of a build. UserError where there is none for the network."""
    network = graph.metadata.get("network", graph.name)
    if network not in DATA_SETS:
        raise UserError(f"there is no data set for {network}; mixq test knows {', '.join(DATA_SETS)} alone")
    check_torch("mixq test")
    from mixq.data.digits import load_digits

    dataset = load_digits()
    shape = graph.tensor(graph.input).shape
    if dataset.test.images.shape[1:] != shape:
        own = ",".join(map(str, dataset.test.images.shape[1:]))
        raise UserError(
            f"the images of {dataset.name} have the shape {own}, not {','.join(map(str, shape))}; "
            f"import the network with --input-shape {own}"
        )
    return dataset


def integer_accuracy(graph: Graph, samples: Samples) -> float:
    """Share of ``samples`` whose largest final integer stands at their label."""
    with progress("testing the integer network", len(samples)) as update:
        scores = run(graph, samples.images, progress=update)
    right = scores.reshape(len(samples), -1).argmax(1) == samples.labels
    return float(right.mean())


def write_accuracy(folder: BuildFolder, graph: Graph, samples: Samples) -> tuple[float, float | None]:
    """Measure both models, write ``report/accuracy.json``, and return their accuracies, integer first."""
    value = integer_accuracy(graph, samples)
    float_value = None
    if folder.checkpoint.is_file():
        from mixq.training import accuracy

        float_value = accuracy(load_build_model(folder, graph), samples)
    report = {
        "split": "test",
        "samples": len(samples),
        "metric": "top1",
        "value": value,
        "float_value": float_value,
    }
    write_json(folder.report_file("accuracy.json"), report)
    return value, float_value
