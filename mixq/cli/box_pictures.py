"""Pictures of what a detector finds, for ``mixq report``."""

from __future__ import annotations

from mixq.build_folder import BuildFolder
from mixq.cli.accuracy import found_boxes, load_data
from mixq.cli.progress import progress
from mixq.data import BoxSamples
from mixq.detection_decode import AnchorGrid, iou
from mixq.errors import UserError
from mixq.execute import run
from mixq.graph import Graph
from mixq.report.boxes import BOXES_FILE, write_boxes, write_missing

IMAGES = 8
"""Of the test part, from its start."""


def write_box_pictures(folder: BuildFolder, graph: Graph) -> str | None:
    """Write ``report/boxes.json`` of a build that finds boxes, from the interpreter's integers.

    Returns why there are no pictures, None where there are some or where the build is for something else.
    """
    path = folder.report_file(BOXES_FILE)
    path.unlink(missing_ok=True)
    if not AnchorGrid().covers(graph.tensor(graph.input).shape, graph.tensor(graph.output).shape):
        return None
    try:
        dataset = load_data(folder, graph, first=IMAGES)
        samples = dataset.test
        if not isinstance(samples, BoxSamples):
            return None
        samples = samples.take(slice(0, IMAGES))
        with progress("finding boxes for the report", len(samples)) as update:
            outputs = run(graph, samples.images, progress=update)
        found = found_boxes(graph, outputs)
        truth = AnchorGrid().pixels(samples.boxes, *outputs.shape[2:])
        images = samples.images if dataset.channel_order == "rgb" else samples.images[:, ::-1]
        write_boxes(path, images, truth, found, iou(found, truth))
    except UserError as error:
        write_missing(path, str(error))
        return str(error)
    return None
