"""A published network of the UltraNet family, in the DoReFa format: its boxes, in float and in integers."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from mixq.checkpoints import load_checkpoint
from mixq.converted import ConvertedModel
from mixq.data.images import decode_image
from mixq.data.resizing import resize_bilinear
from mixq.detection_decode import AnchorGrid
from mixq.execute import run
from mixq.graph import Concat, Graph
from mixq.lowering import lower
from mixq.models import TrainingModel


@pytest.fixture(scope="module")
def model(shared: Path) -> TrainingModel:
    path = shared / "data" / "ultranet_bypass_4w4a_sjtu.npz"
    return load_checkpoint(path, "ultranet_bypass", quantizer="dorefa", weight_bits=[4], act_bits=[8] + [4] * 8)


@pytest.fixture(scope="module")
def graph(model: TrainingModel) -> Graph:
    return lower(model)


def published(shared: Path, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images as the network reads them, the boxes it is known to find, their IoU, and the true boxes."""
    known = np.load(shared / "data" / "ultranet_bypass_4w4a_sjtu_boxes300.npz")
    images, truth = [], []
    with zipfile.ZipFile(shared / "data" / "dacsdc_sample300.zip") as archive:
        rows = {row["image"]: row for row in csv.DictReader(io.TextIOWrapper(archive.open("boxes.csv")))}
        for number in known["image"][:count].tolist():
            image = np.asarray(decode_image(archive.read(f"images/{number}.jpg"), f"{number}.jpg"))
            # Blue first, as OpenCV reads images.
            images.append(resize_bilinear(image, (320, 160))[:, :, ::-1].transpose(2, 0, 1))
            truth.append([int(rows[str(number)][key]) for key in ("xmin", "xmax", "ymin", "ymax")])
    return np.stack(images), known["box"][:count], known["iou"][:count], np.array(truth)


def found_boxes(outputs: torch.Tensor) -> np.ndarray:
    """Boxes (xmin, xmax, ymin, ymax) in whole pixels of the 640 x 360 images."""
    x, y, width, height = AnchorGrid().predict(outputs.numpy()).T
    edges = [(x - width / 2) * 2, (x + width / 2) * 2, (y - height / 2) * 2.25, (y + height / 2) * 2.25]
    return np.stack(edges, axis=1).astype(np.int64)


def contest_iou(boxes: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """IoU of boxes of whole pixels, edges included, as the contest counts it."""
    low, high = np.maximum(boxes, truth), np.minimum(boxes, truth)
    overlap = (high[:, 1] - low[:, 0] + 1).clip(0) * (high[:, 3] - low[:, 2] + 1).clip(0)
    areas = [(b[:, 1] - b[:, 0] + 1) * (b[:, 3] - b[:, 2] + 1) for b in (boxes, truth)]
    result: np.ndarray = overlap / (areas[0] + areas[1] - overlap)
    return result


def float_outputs(model: TrainingModel, images: np.ndarray) -> torch.Tensor:
    with torch.no_grad():
        parts = [torch.from_numpy(images[i : i + 4].copy()).float() / 256 for i in range(0, len(images), 4)]
        return torch.cat([model(part) for part in parts])


def integer_outputs(graph: Graph, images: np.ndarray) -> torch.Tensor:
    scale = graph.tensor(graph.output).scale
    assert isinstance(scale, float)
    return torch.from_numpy(run(graph, images) * scale)


def test_the_graph_is_the_networks(graph: Graph) -> None:
    assert graph.tensor("pixels").scale == 1 / 255
    assert graph.nodes[0].name == "conv1"
    assert {graph.tensor(node.reads[0]).format.width for node in graph.nodes if node.op == "conv"} == {4, 8}
    (join,) = [node for node in graph.nodes if isinstance(node, Concat)]
    assert graph.tensor(join.output).shape == (320, 10, 20)
    weights = np.concatenate([node.weights.ravel() for node in graph.nodes if node.op == "conv"])  # type: ignore[attr-defined]
    assert (weights.min(), weights.max()) == (-7, 7)


def test_boxes_of_some_images(model: TrainingModel, graph: Graph, shared: Path) -> None:
    images, boxes, iou, truth = published(shared, 6)
    assert np.array_equal(found_boxes(float_outputs(model, images)), boxes)
    assert contest_iou(boxes, truth) == pytest.approx(iou, abs=1e-6)
    integers = found_boxes(integer_outputs(graph, images))
    assert np.abs(contest_iou(integers, truth) - iou).mean() < 0.01
    expected = ConvertedModel(model)(torch.from_numpy(images[:1].astype(np.int64))).numpy()
    assert np.array_equal(run(graph, images[:1]), expected)


@pytest.mark.slow
def test_boxes_of_all_images(model: TrainingModel, graph: Graph, shared: Path) -> None:
    images, boxes, iou, truth = published(shared, 300)
    found = found_boxes(float_outputs(model, images))
    assert np.array_equal(found, boxes)
    assert round(float(contest_iou(found, truth).mean()), 4) == round(float(iou.mean()), 4) == 0.7286
    integers = float(contest_iou(found_boxes(integer_outputs(graph, images)), truth).mean())
    assert abs(integers - 0.7286) < 0.002
