"""Detection: decoding, IoU, loss and metric, against plain Python number by number."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from mixq.data import BoxSamples, Dataset, Samples
from mixq.detection_decode import AnchorGrid, iou
from mixq.models import build_model
from mixq.networks import network
from mixq.training import Detection, TrainConfig, Trainer, evaluate
from mixq.training.detection import complete_iou

ROWS, COLUMNS, ANCHORS = 3, 4, ((20.0, 20.0), (10.0, 30.0))
TASK = Detection(anchors=ANCHORS)
Box = tuple[float, float, float, float]


def outputs(seed: int, images: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(images, 6 * len(ANCHORS), ROWS, COLUMNS, generator=generator, dtype=torch.float64)


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def decoded(raw: torch.Tensor, image: int, anchor: int, row: int, column: int) -> tuple[Box, float]:
    """Box in pixels and logit of one anchor, straight from the definition."""
    x, y, w, h, objectness, _ = raw[image, 6 * anchor : 6 * anchor + 6, row, column].tolist()
    width, height = ANCHORS[anchor]
    box = (
        (sigmoid(x) + column) * 16,
        (sigmoid(y) + row) * 16,
        math.exp(w) * width,
        math.exp(h) * height,
    )
    return box, objectness


def plain_iou(one: Box, other: Box) -> float:
    def overlap(axis: int) -> float:
        low = max(one[axis] - one[axis + 2] / 2, other[axis] - other[axis + 2] / 2)
        high = min(one[axis] + one[axis + 2] / 2, other[axis] + other[axis + 2] / 2)
        return max(0.0, high - low)

    both = overlap(0) * overlap(1)
    return both / (one[2] * one[3] + other[2] * other[3] - both)


def plain_ciou(one: Box, truth: Box) -> float:
    def span(axis: int) -> float:
        low = min(box[axis] - box[axis + 2] / 2 for box in (one, truth))
        high = max(box[axis] + box[axis + 2] / 2 for box in (one, truth))
        return high - low

    distance = (one[0] - truth[0]) ** 2 + (one[1] - truth[1]) ** 2
    v = 4 / math.pi**2 * (math.atan(truth[2] / truth[3]) - math.atan(one[2] / one[3])) ** 2
    value = plain_iou(one, truth)
    alpha = v / (1 - value + v)
    return value - distance / (span(0) ** 2 + span(1) ** 2) - alpha * v


def boxes(seed: int, count: int) -> list[Box]:
    numbers = random.Random(seed)
    return [
        (numbers.uniform(0, 64), numbers.uniform(0, 48), numbers.uniform(5, 50), numbers.uniform(5, 50))
        for _ in range(count)
    ]


def test_complete_iou() -> None:
    ones, others = boxes(1, 300), boxes(2, 300)
    given = torch.tensor(ones, dtype=torch.float64), torch.tensor(others, dtype=torch.float64)
    expected = [plain_ciou(one, other) for one, other in zip(ones, others, strict=True)]
    assert min(expected) < -0.5
    assert complete_iou(*given).tolist() == pytest.approx(expected, abs=1e-9)
    assert complete_iou(given[0], given[0]).tolist() == pytest.approx([1.0] * 300, abs=1e-9)


def test_the_weight_of_the_aspect_passes_no_gradient() -> None:
    # One box inside the other, same centre: the derivative in the width alone, alpha held fixed.
    box = torch.tensor([[0.0, 0.0, 4.0, 6.0]], dtype=torch.float64, requires_grad=True)
    truth = torch.tensor([[0.0, 0.0, 10.0, 8.0]], dtype=torch.float64)
    complete_iou(box, truth).sum().backward()
    value = 24 / 80
    v = 4 / math.pi**2 * (math.atan(10 / 8) - math.atan(4 / 6)) ** 2
    alpha = v / (1 - value + v)
    slope = -8 / math.pi**2 * (math.atan(10 / 8) - math.atan(4 / 6)) * (6 / (4**2 + 6**2))
    assert box.grad is not None
    assert float(box.grad[0, 2]) == pytest.approx(6 / 80 - alpha * slope, rel=1e-6)


def test_decoding() -> None:
    raw = outputs(3)
    found, confidence = TASK.decode(raw)
    assert found.shape == (2, 2, ROWS, COLUMNS, 4)
    for image in range(2):
        for anchor in range(2):
            for row in range(ROWS):
                for column in range(COLUMNS):
                    box, logit = decoded(raw, image, anchor, row, column)
                    assert found[image, anchor, row, column].tolist() == pytest.approx(box, rel=1e-12)
                    assert float(confidence[image, anchor, row, column]) == logit


def test_the_loss_decodes_as_what_is_measured() -> None:
    raw = outputs(4, images=5)
    found, logits = TASK.decode(raw)
    boxes, confidence = TASK.grid.decode(raw.numpy())
    assert found.mean(1).numpy() == pytest.approx(boxes, rel=1e-12)
    assert logits.sigmoid().mean(1).numpy() == pytest.approx(confidence, rel=1e-12)


def test_the_loss() -> None:
    raw = outputs(5, images=4)
    # Centres inside, on the border of two cells, and at the far corner, which belongs to the last cell.
    targets = [(0.3, 0.6, 0.2, 0.25), (0.25, 1 / 3, 0.5, 0.5), (0.99, 0.02, 0.01, 0.03), (1.0, 1.0, 0.1, 0.1)]
    cells = [(1, 1), (1, 1), (0, 3), (2, 3)]
    box_loss = objectness_loss = 0.0
    for image, (target, cell) in enumerate(zip(targets, cells, strict=True)):
        truth = (target[0] * 64, target[1] * 48, target[2] * 64, target[3] * 48)
        for anchor in range(2):
            box_loss += 1 - plain_ciou(decoded(raw, image, anchor, *cell)[0], truth)
            for row in range(ROWS):
                for column in range(COLUMNS):
                    p = sigmoid(decoded(raw, image, anchor, row, column)[1])
                    objectness_loss -= math.log(p if (row, column) == cell else 1 - p)
    expected = 3.54 * box_loss / (4 * 2) + 64.3 * objectness_loss / (4 * 2 * ROWS * COLUMNS)
    found = TASK.loss(raw, torch.tensor(targets, dtype=torch.float64))
    assert float(found) == pytest.approx(expected, rel=1e-9)


def test_the_loss_of_a_batch_is_the_mean_of_its_images() -> None:
    raw, targets = outputs(6, images=3), torch.tensor([[0.5, 0.5, 0.2, 0.2]] * 3, dtype=torch.float64)
    each = [float(TASK.loss(raw[index : index + 1], targets[:1])) for index in range(3)]
    assert float(TASK.loss(raw, targets)) == pytest.approx(sum(each) / 3, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_metric_is_the_decoders_bit_for_bit(dtype: torch.dtype) -> None:
    raw = outputs(7, images=20).to(dtype)
    truth = torch.tensor([(x / 64, y / 48, w / 64, h / 48) for x, y, w, h in boxes(8, 20)])
    found = TASK.measure(raw, truth).tolist()
    grid = AnchorGrid(anchors=ANCHORS)
    predicted = grid.predict(raw.double().numpy())
    assert found == iou(predicted, truth.double().numpy() * [64, 48, 64, 48]).tolist()
    expected = [
        plain_iou(tuple(box), (t[0] * 64, t[1] * 48, t[2] * 64, t[3] * 48))
        for box, t in zip(predicted.tolist(), truth.tolist(), strict=True)
    ]
    assert found == pytest.approx(expected, abs=1e-9) and min(expected) < max(expected)


def test_huge_outputs_give_finite_gradients() -> None:
    raw = torch.full((1, 12, ROWS, COLUMNS), 1e4, requires_grad=True)
    loss = TASK.loss(raw, torch.tensor([[0.5, 0.5, 0.2, 0.2]]))
    loss.backward()
    assert raw.grad is not None and bool(torch.isfinite(raw.grad).all()) and math.isfinite(float(loss.detach()))


def test_half_precision_is_computed_in_single() -> None:
    raw = outputs(9).bfloat16()
    targets = torch.tensor([[0.5, 0.5, 0.2, 0.2]] * 2)
    assert float(TASK.loss(raw, targets)) == float(TASK.loss(raw.float(), targets))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"anchors": ()}, r"anchors must be pairs of positive numbers, not \(\)"),
        ({"anchors": ((1.0, 0.0),)}, "anchors must be pairs of positive numbers, not"),
        ({"stride": 0}, "stride must be positive, not 0"),
        ({"box_gain": -1.0}, "box_gain must be positive, not -1.0"),
    ],
)
def test_wrong_values(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Detection(**options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"outputs must be of shape \(N, 36, rows, columns\), not \(1, 12, 3, 4\)"):
        Detection().decode(outputs(1, 1))
    with pytest.raises(TypeError, match="samples must be BoxSamples, not 'Samples'"):
        Detection().targets(Samples(np.zeros((1, 1, 4, 4), np.uint8), np.zeros(1, np.int64)))


def bright_boxes(count: int) -> BoxSamples:
    """Dark images of 32 x 64, each with a bright rectangle."""
    numbers = np.random.default_rng(3)
    images = numbers.integers(0, 60, (count, 3, 32, 64)).astype(np.uint8)
    found = np.zeros((count, 4), np.float32)
    for image, box in zip(images, found, strict=True):
        width, height = numbers.integers(12, 28), numbers.integers(10, 24)
        left, top = numbers.integers(0, 64 - width + 1), numbers.integers(0, 32 - height + 1)
        image[:, top : top + height, left : left + width] += 150
        box[:] = (left + width / 2) / 64, (top + height / 2) / 32, width / 64, height / 32
    return BoxSamples(images, found)


def test_a_detector_learns_where_boxes_are() -> None:
    samples = bright_boxes(64)
    data = Dataset(
        name="boxes", train=samples, validation=samples.take(slice(0, 16)), test=samples, class_names=("box",)
    )
    table = replace(network("ultranet"), input_shape=(3, 32, 64))
    model = build_model(table)
    config = TrainConfig(epochs=6, batch=16, learning_rate=0.05, shift=2, flip=True, seed=1, threads=1)
    result = Trainer(model, data, config).run()
    assert result.metric == "iou"
    assert result.epochs[-1].loss < 0.5 * result.epochs[0].loss
    assert result.kept.validation_metric == pytest.approx(evaluate(model, data.validation, Detection()))
    assert isinstance(model, nn.Module) and not model.training
