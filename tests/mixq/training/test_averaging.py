"""The running average of weights, against the sum written out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mixq.training.averaging import AveragedWeights


def test_the_average_is_that_of_the_formula() -> None:
    model = nn.Linear(1, 1, bias=False).double()
    values = [3.0, -1.0, 4.0, 1.5, -9.0]
    with torch.no_grad():
        model.weight.fill_(2.0)
    average = AveragedWeights(model, decay=0.3)
    expected = 2.0
    for step, value in enumerate(values, 1):
        with torch.no_grad():
            model.weight.fill_(value)
        average.update(model)
        decay = min(0.3, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    with average.applied(model):
        assert float(model.weight.detach()) == pytest.approx(expected, rel=1e-12)
    assert float(model.weight.detach()) == -9.0
    average.copy_to(model)
    assert float(model.weight.detach()) == pytest.approx(expected, rel=1e-12)


def test_counters_and_skipped_parameters_are_left_out() -> None:
    dense, norm = nn.Linear(2, 2), nn.BatchNorm1d(2)
    model = nn.Sequential(dense, norm)
    average = AveragedWeights(model, 0.5, skip=[dense.weight])
    assert set(average.values) == {"0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var"}
    model.train()(torch.randn(4, 2))
    with torch.no_grad():
        dense.weight.fill_(7.0)
    average.update(model)
    average.copy_to(model)
    assert bool((dense.weight == 7).all())
    assert norm.state_dict()["num_batches_tracked"] == 1
