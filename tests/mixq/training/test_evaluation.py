"""Measuring a model."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from mixq.data import Samples
from mixq.training import Classification, accuracy, evaluate, real_images


class Brightest(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)


def test_accuracy_counts_right_answers() -> None:
    images = np.zeros((5, 1, 1, 3), dtype=np.uint8)
    images[np.arange(5), 0, 0, [0, 1, 2, 1, 0]] = 255
    samples = Samples(images, np.array([0, 1, 2, 0, 2]))
    assert accuracy(Brightest(), samples, batch=2) == 0.6
    assert evaluate(Brightest(), samples, Classification(), batch=3) == 0.6
    assert real_images(samples).max() == 255 / 256
