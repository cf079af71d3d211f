"""Classification: loss, metric and distillation, against plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mixq.data import BoxSamples
from mixq.training import Classification
from mixq.training.task import distillation_loss

SCORES = [[0.5, -1.0, 2.0], [1.0, 1.5, -0.5], [0.0, 0.25, 0.125]]
LABELS = [2, 0, 1]


def softmax(scores: list[float], temperature: float = 1.0) -> list[float]:
    powers = [math.exp(score / temperature) for score in scores]
    return [power / sum(powers) for power in powers]


def scores() -> torch.Tensor:
    return torch.tensor(SCORES, dtype=torch.float64)[:, :, None, None]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy(smoothing: float) -> None:
    losses = []
    for row, label in zip(SCORES, LABELS, strict=True):
        wanted = [smoothing / 3 + (1 - smoothing) * (index == label) for index in range(3)]
        losses.append(-sum(share * math.log(p) for share, p in zip(wanted, softmax(row), strict=True)))
    found = Classification(label_smoothing=smoothing).loss(scores(), torch.tensor(LABELS))
    assert float(found) == pytest.approx(sum(losses) / 3, rel=1e-12)


def test_top1() -> None:
    assert Classification().measure(scores(), torch.tensor(LABELS)).tolist() == [1, 0, 1]


def test_distillation() -> None:
    teacher = [[1.0, 0.0, 0.0], [0.0, 2.0, -2.0], [3.0, 0.0, 1.0]]
    expected = 0.0
    for ours, theirs in zip(SCORES, teacher, strict=True):
        p, q = softmax(theirs, 2.0), softmax(ours, 2.0)
        expected += 4 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) / 3
    found = distillation_loss(scores(), torch.tensor(teacher, dtype=torch.float64), 2.0)
    assert float(found) == pytest.approx(expected, rel=1e-12)


def test_wrong_values() -> None:
    with pytest.raises(ValueError) as raised:
        Classification(label_smoothing=1.0)
    assert str(raised.value) == "label_smoothing must be in 0..1, below 1, not 1.0"
    boxes = BoxSamples(np.zeros((1, 1, 4, 4), np.uint8), np.full((1, 4), 0.5, np.float32))
    with pytest.raises(TypeError, match="samples must be Samples, with labels, not 'BoxSamples'"):
        Classification().targets(boxes)
