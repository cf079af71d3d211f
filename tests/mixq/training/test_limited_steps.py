"""Learned steps of quantisers move little at a time, and never across zero."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mixq.data import Dataset, Samples
from mixq.models import build_model
from mixq.networks import network
from mixq.quantizers import parameters_without_decay
from mixq.training import TrainConfig, Trainer
from mixq.training.optimizer import STEP_RATIO, limited_steps


@pytest.mark.parametrize(
    ("before", "wanted", "after"),
    [
        (0.5, 0.501, 0.501),
        (0.5, 0.9, 0.5 * STEP_RATIO),
        (0.5, 0.1, 0.5 / STEP_RATIO),
        (0.5, -0.5, 0.5 / STEP_RATIO),
        (-0.5, -0.9, -0.5 * STEP_RATIO),
        (-0.5, 0.5, -0.5 / STEP_RATIO),
    ],
)
def test_a_change_is_limited(before: float, wanted: float, after: float) -> None:
    steps = [nn.Parameter(torch.tensor(before, dtype=torch.float64)), nn.Parameter(torch.ones((), dtype=torch.float64))]
    with limited_steps(steps), torch.no_grad():
        steps[0].fill_(wanted)
    assert float(steps[0].detach()) == pytest.approx(after, rel=1e-6)
    assert float(steps[1].detach()) == 1.0


def test_nothing_to_limit() -> None:
    with limited_steps([]):
        pass


def test_training_at_a_high_rate_keeps_steps_in_place() -> None:
    random = np.random.default_rng(0)

    def samples(count: int) -> Samples:
        images = random.integers(0, 256, (count, 1, 8, 8), np.uint8)
        return Samples(images, random.integers(0, 10, count, np.int64))

    names = tuple(str(label) for label in range(10))
    data = Dataset(name="noise", train=samples(64), validation=samples(8), test=samples(8), class_names=names)
    model = build_model(network("digits_cnn"), weight_bits=[2], act_bits=[2], quantizer="lsq")
    seen: list[list[float]] = []

    def watch(*_: object) -> None:
        seen.append([float(step.detach()) for step in parameters_without_decay(model)])

    model.register_forward_pre_hook(watch)
    Trainer(model, data, TrainConfig(epochs=2, batch=8, learning_rate=5.0, seed=1)).run()
    trained = np.array(seen[1:17])  # of the first pass the steps have no values yet
    ratios = trained[1:8] / trained[:7]
    assert (ratios > 0).all()
    assert ratios.max() <= STEP_RATIO * (1 + 1e-6) and ratios.min() >= (1 - 1e-6) / STEP_RATIO
    assert (np.abs(np.log(ratios)) > np.log(STEP_RATIO) * 0.99).any(), (
        "the rate must be high enough for the limit to matter"
    )
