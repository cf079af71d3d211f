"""What widths cost: against a plain recomputation, and the supernet untouched by it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mixq.networks import network
from nas.sensitivity import Sensitivities, batch_loss, batch_statistics, falling, measure, widest
from nas.space import SearchSpace
from nas.supernet import Supernet

WIDTHS = (2, 4, 8)


def made() -> tuple[Supernet, torch.Tensor, torch.Tensor]:
    torch.manual_seed(5)
    space = SearchSpace(network("digits_cnn"), weight_widths=WIDTHS, act_widths=WIDTHS)
    images = torch.randint(0, 256, (30, 1, 8, 8), dtype=torch.uint8)
    return Supernet(space), images, torch.randint(0, 10, (30,))


def plain_loss(net: Supernet, images: torch.Tensor, labels: torch.Tensor, widths: tuple[list[int], list[int]]) -> float:
    """By the extracted network, in training mode, so that batch norm takes the batch's statistics."""
    model = net.extract(*widths).train()
    return float(F.cross_entropy(model(images.float() / 256), labels).detach())


def test_each_width_is_measured_by_itself() -> None:
    net, images, labels = made()
    reference = [4, 8, 2, 8], [8, 4, 4, 8]
    evaluate = batch_loss(net, images, labels, F.cross_entropy, batch=30)
    calls: list[tuple[int, int]] = []
    found = measure(net, evaluate, (tuple(reference[0]), tuple(reference[1])), progress=lambda *a: calls.append(a))
    assert calls[-1] == (17, 17)
    base = plain_loss(net, images, labels, reference)
    assert found.reference == pytest.approx(base, rel=1e-6)
    for kind, rows in enumerate((found.weights, found.acts)):
        for layer, row in enumerate(rows):
            losses = []
            for bits in WIDTHS:
                widths = [list(reference[0]), list(reference[1])]
                widths[kind][layer] = bits
                losses.append(plain_loss(net, images, labels, (widths[0], widths[1])) - base)
            smallest = [min(losses[: place + 1]) for place in range(len(WIDTHS))]
            assert row == pytest.approx(smallest, rel=1e-4, abs=1e-6)


def test_batches_are_weighted_by_their_size() -> None:
    net, images, labels = made()
    with net.fixed([4] * 4, [4] * 4):
        whole = batch_loss(net, images, labels, F.cross_entropy, batch=20)()
        parts = [
            batch_loss(net, images[part], labels[part], F.cross_entropy, batch=20)()
            for part in (slice(0, 20), slice(20, 30))
        ]
    assert whole == pytest.approx((20 * parts[0] + 10 * parts[1]) / 30)


def test_measuring_changes_nothing() -> None:
    net, images, labels = made()
    net.train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    measure(net, batch_loss(net, images, labels, F.cross_entropy, batch=30), widest(net.space))
    assert net.training
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_batch_norm_is_as_before_after_an_error() -> None:
    net, *_ = made()
    net.eval()
    with pytest.raises(KeyError), batch_statistics(net):
        raise KeyError
    assert not any(module.training for module in net.modules())
    assert all(getattr(module, "track_running_stats", True) for module in net.modules())


def test_losses_are_sums_of_both() -> None:
    found = Sensitivities(reference=1.0, weights=(np.array([3.0, 1.0]),), acts=(np.array([20.0, 10.0, 0.0]),))
    assert found.losses()[0].tolist() == [[23.0, 13.0, 3.0], [21.0, 11.0, 1.0]]


def test_no_width_costs_more_than_a_smaller_one() -> None:
    assert falling(np.array([0.2, 0.3, 0.1, 0.4])).tolist() == [0.2, 0.2, 0.1, 0.1]


def test_widest() -> None:
    net, *_ = made()
    assert widest(net.space) == ((8, 8, 8, 8), (8, 8, 8, 8))
