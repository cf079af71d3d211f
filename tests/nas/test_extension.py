"""The published search as an extension: penalty, optimiser, facts, state, and a few steps of a search."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from mixq.networks import network
from nas.edmips import Complexity
from nas.extension import EdmipsConfig, EdmipsExtension
from nas.space import SearchSpace
from nas.supernet import Supernet


def extension(name: str = "digits_cnn", **options: Any) -> EdmipsExtension:
    torch.manual_seed(1)
    return EdmipsExtension(Supernet(SearchSpace(network(name))), EdmipsConfig(**options))


def test_the_penalty_is_the_weighted_sum_of_the_published_terms() -> None:
    # Published values at the start of a search on UltraNet.
    penalty = extension("ultranet", decay_c=1e-5, decay_t=2e-5, decay_b=3e-6, scale=4).penalty()
    assert float(penalty.detach()) == pytest.approx(4 * (1e-5 * 125.04 + 2e-5 * 225.5 + 3e-6 * 557.7), rel=1e-4)
    assert float(extension(decay_c=0).penalty()) == 0


def test_the_balance_for_detection() -> None:
    # loss * batch / 64 + 4 * penalty is, divided by batch / 64, the loss and 256 / batch penalties.
    config = EdmipsConfig.for_detection(32, decay_b=1e-6)
    assert (config.scale, config.decay_c, config.decay_b) == (8, 1e-5, 1e-6)
    assert EdmipsConfig.for_detection(64).scale == 4


def test_the_optimiser_holds_the_architecture_parameters_alone_and_its_rate_falls_along_a_cosine() -> None:
    own = extension(learning_rate=0.2)
    ((optimizer, schedule),) = own.optimizers(10)
    (group,) = optimizer.param_groups
    assert [id(p) for p in group["params"]] == [id(p) for p in own.own_parameters()]
    assert len(own.own_parameters()) == 8
    assert (group["momentum"], group["weight_decay"]) == (0.9, 5e-4)
    for step in range(10):
        assert group["lr"] == pytest.approx(0.1 * (1 + math.cos(math.pi * step / 10)))
        optimizer.step()
        schedule.step()
    assert group["lr"] == pytest.approx(0, abs=1e-12)


def test_nothing_to_search_needs_no_optimiser() -> None:
    supernet = Supernet(SearchSpace(network("vgg_tiny"), weight_widths=(4,), act_widths=(4,)))
    own = EdmipsExtension(supernet, EdmipsConfig())
    assert own.own_parameters() == [] and own.optimizers(5) == []
    # All seven layers at 4 bits: published density 6, 16 multiplications of bits.
    assert own.facts()["C"] == pytest.approx(64 * (1 + 4 * 64 / 3) / 6)
    assert own.facts()["T"] == pytest.approx(16 * (1 + 4 * 64 / 3))


def test_facts_are_the_terms_and_expected_widths() -> None:
    own = extension("ultranet", decay_b=1e-6)
    facts = own.facts()
    assert facts["C"] == pytest.approx(125.04, abs=0.005)
    assert facts["T"] == pytest.approx(225.5, abs=0.05)
    assert facts["B"] == pytest.approx(557.7, abs=0.05)
    assert facts["weight_bits"] == pytest.approx(5) and facts["act_bits"] == pytest.approx(5)
    names = [f"conv{i}" for i in range(1, 10)]
    assert set(facts) == {"C", "T", "B", "weight_bits", "act_bits"} | {
        f"{k}_bits.{n}" for n in names for k in ("weight", "act")
    }
    with torch.no_grad():
        own.supernet.weight_mixture("conv2").choice.alpha[6] += 100
    assert own.facts()["weight_bits.conv2"] == pytest.approx(8)
    assert own.facts()["weight_bits"] == pytest.approx(5 + 3 / 9)
    assert "B" not in extension().facts()


def test_the_state_is_that_of_one_configuration() -> None:
    own = extension(decay_c=1e-4)
    state = own.state_dict()
    own.load_state_dict(state)
    with pytest.raises(ValueError, match=r"^decay_c of the search must be 0\.0001, as the run began, not 0\.0002$"):
        extension(decay_c=2e-4).load_state_dict(state)
    with pytest.raises(ValueError, match=r"^config of the search's state must be a mapping, not None$"):
        own.load_state_dict({})


def test_the_penalty_alone_drives_to_the_densest_widths() -> None:
    own = extension(decay_c=1e-2, weight_decay=0.0)
    ((optimizer, schedule),) = own.optimizers(200)
    before = own.facts()
    for _ in range(200):
        optimizer.zero_grad()
        own.penalty().backward()
        optimizer.step()
        schedule.step()
        own.after_step()
    after = own.facts()
    assert after["C"] < before["C"] / 3
    weight_bits, act_bits = own.supernet.argmax()
    assert weight_bits[:3] == act_bits[:3] == (2, 2, 2)
    # The dense layer at the end does not count, so nothing moved it.
    assert own.supernet.probabilities()[3].weight.tolist() == pytest.approx([1 / 7] * 7)
    densest = Complexity(own.supernet.space).of_widths([2], [2])
    assert float(own.complexity.dsps(densest)) < after["C"]


def searched(own: EdmipsExtension, steps: int) -> tuple[float, float]:
    """Share of the first loss that is left after some steps on random samples, and the terms' C then."""
    generator = torch.Generator().manual_seed(2)
    images = torch.randint(0, 256, (64, 1, 8, 8), generator=generator).float() / 256
    labels = torch.randint(0, 10, (64,), generator=generator)
    weights = torch.optim.SGD(own.supernet.weight_parameters(), lr=0.05, momentum=0.9)
    ((alphas, schedule),) = own.optimizers(steps)
    losses = []
    for _ in range(steps):
        weights.zero_grad()
        alphas.zero_grad()
        loss = F.cross_entropy(own.supernet(images), labels)
        (loss + own.penalty()).backward()
        assert all(parameter.grad is not None for parameter in own.supernet.parameters())
        weights.step()
        alphas.step()
        schedule.step()
        losses.append(loss.item())
    return losses[-1] / losses[0], own.facts()["C"]


def test_a_search_lowers_the_loss_and_a_higher_decay_the_complexity() -> None:
    free, light, heavy = (searched(extension(decay_c=decay), 20) for decay in (0, 3e-3, 3e-2))
    assert max(free[0], light[0], heavy[0]) < 0.6
    assert heavy[1] < light[1] < free[1]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"decay_c": -1.0}, ValueError, "decay_c must be finite and not negative, not -1.0"),
        ({"decay_t": math.nan}, ValueError, "decay_t must be finite and not negative, not nan"),
        ({"scale": math.inf}, ValueError, "scale must be finite and not negative, not inf"),
        ({"momentum": "0.9"}, TypeError, "momentum must be a number, not '0.9'"),
        ({"weight_decay": True}, TypeError, "weight_decay must be a number, not True"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate must be positive, not 0.0"),
    ],
)
def test_wrong_configurations_are_refused(options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as failure:
        EdmipsConfig(**options)
    assert str(failure.value) == message


@pytest.mark.parametrize(("batch", "error"), [(0, ValueError), (1.5, TypeError), (True, TypeError)])
def test_wrong_batches_are_refused(batch: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=rf"^batch must be .*, not {batch}$"):
        EdmipsConfig.for_detection(batch)
