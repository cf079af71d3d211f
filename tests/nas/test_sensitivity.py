"""What widths cost: against a plain recomputation, and the supernet untouched by it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mixq.networks import network
from mixq.quantizers import make_activation_quantizer, make_weight_quantizer
from nas.noise import act_noise, image_noise, weight_noise
from nas.sensitivity import (
    LEAST_SLOPE,
    Sensitivities,
    batch_loss,
    batch_statistics,
    measure,
    predicted_losses,
)
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
            assert row == pytest.approx(losses, rel=1e-4, abs=1e-6)
    assert found.widths == (tuple(reference[0]), tuple(reference[1]))


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
    measure(net, batch_loss(net, images, labels, F.cross_entropy, batch=30), ((8,) * 4, (8,) * 4))
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


SPACE = SearchSpace(network("digits_cnn"), weight_widths=WIDTHS, act_widths=WIDTHS)
NOISES = [(weight_noise(WIDTHS), act_noise(WIDTHS) if index else image_noise(WIDTHS)) for index in range(4)]


def around(widths: tuple[int, int], slopes: list[tuple[float, float]]) -> Sensitivities:
    """What is measured around the same widths in all layers where the loss rises by a slope for each share of noise."""
    places = [WIDTHS.index(bits) for bits in widths]
    rows = [
        [
            slope[kind] * (noises[kind] - noises[kind][places[kind]])
            for slope, noises in zip(slopes, NOISES, strict=True)
        ]
        for kind in range(2)
    ]
    return Sensitivities(
        widths=((widths[0],) * 4, (widths[1],) * 4), reference=1.0, weights=tuple(rows[0]), acts=tuple(rows[1])
    )


def by_slopes(slopes: list[tuple[float, float]]) -> list[np.ndarray]:
    return [
        slope[0] * (weight - weight[-1])[:, None] + slope[1] * (act - act[-1])[None, :]
        for slope, (weight, act) in zip(slopes, NOISES, strict=True)
    ]


@pytest.mark.parametrize("references", [[(8, 8)], [(2, 4)], [(8, 8), (2, 2), (4, 8)]])
def test_a_slope_that_all_tensors_have_is_found(references: list[tuple[int, int]]) -> None:
    same = [(0.7, 0.7)] * 4
    found = predicted_losses(SPACE, [around(widths, same) for widths in references])
    for loss, expected in zip(found, by_slopes(same), strict=True):
        assert loss == pytest.approx(expected, rel=1e-9)


def test_slopes_are_drawn_half_way_to_the_common_one() -> None:
    slopes = [(0.5, 0.1), (1.0, 0.2), (0.25, 0.3), (0.0, -2.0)]
    squares = [[float(((noise - noise[1]) ** 2).sum()) for noise in noises] for noises in NOISES]
    common = sum(s * q for own, row in zip(slopes, squares, strict=True) for s, q in zip(own, row, strict=True))
    common /= sum(map(sum, squares))
    expected = [tuple((max(s, 0.0) + common) / 2 for s in own) for own in slopes]
    for loss, own in zip(predicted_losses(SPACE, [around((4, 4), slopes)]), by_slopes(expected), strict=True):  # type: ignore[arg-type]
        assert loss == pytest.approx(own, rel=1e-9)


@pytest.mark.parametrize("slope", [0.0, -1.0])
def test_where_nothing_is_seen_noise_decides(slope: float) -> None:
    found = predicted_losses(SPACE, [around((4, 4), [(slope, slope)] * 4)])
    # Half of the least, as the tensors' own slopes count as 0.
    for loss, expected in zip(found, by_slopes([(LEAST_SLOPE / 2, LEAST_SLOPE / 2)] * 4), strict=True):
        assert loss == pytest.approx(expected, rel=1e-9)


def test_a_wider_pair_is_always_better() -> None:
    random = np.random.default_rng(3)
    noisy = [(float(a), float(b)) for a, b in random.normal(0, 1, (4, 2))]
    for loss in predicted_losses(SPACE, [around((4, 2), noisy)]):
        assert (np.diff(loss, axis=0) < 0).all() and (np.diff(loss, axis=1) < 0).all()
        assert loss[-1, -1] == 0


def test_noise_of_weights_is_that_of_the_quantiser() -> None:
    torch.manual_seed(1)
    weight = torch.randn(400_000, dtype=torch.float64)
    for bits, share in zip(WIDTHS, weight_noise(WIDTHS), strict=True):
        error = make_weight_quantizer("hwgq", bits)(weight) - weight
        assert float(error.var() / weight.var()) == pytest.approx(share, rel=0.05)


def test_noise_of_activations_is_that_of_the_quantiser() -> None:
    torch.manual_seed(2)
    value = torch.randn(400_000, dtype=torch.float64).relu()
    for bits, share in zip(WIDTHS, act_noise(WIDTHS), strict=True):
        error = make_activation_quantizer("hwgq", bits)(value) - value
        assert float(error.var() / value.var()) == pytest.approx(share, rel=0.05)


def test_noise_of_images_is_that_of_evenly_spread_pixels() -> None:
    pixels = np.arange(256)
    for bits, share in zip(WIDTHS, image_noise(WIDTHS), strict=True):
        lost = pixels % 2 ** (8 - bits)
        # A pixel stands for a whole 256th, of which a twelfth of its square is the variance.
        assert lost.var() / (pixels.var() + 1 / 12) == pytest.approx(share, rel=1e-9, abs=1e-12)
