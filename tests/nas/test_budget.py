"""The augmented Lagrangian: its penalty, its multiplier, and that it leads widths into the budget."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from mixq.networks import network
from nas.budget import BudgetConfig, BudgetExtension
from nas.space import SearchSpace
from nas.supernet import Supernet


class LinearCycles(nn.Module):
    """Cycles that are the product over layers of the expected widths."""

    def __init__(self, space: SearchSpace) -> None:
        super().__init__()
        self.widths = [
            (torch.tensor(c.weight_widths, dtype=torch.float64), torch.tensor(c.act_widths, dtype=torch.float64))
            for c in space.layers
        ]

    def forward(self, probabilities: list[tuple[Tensor, Tensor]]) -> Tensor:
        parts = [
            (w @ own[0].double()).log() + (a @ own[1].double()).log()
            for (w, a), own in zip(self.widths, probabilities, strict=True)
        ]
        return torch.stack(parts).sum()


def extension(cycles: float, **options: float) -> BudgetExtension:
    space = SearchSpace(network("digits_cnn"), weight_widths=(2, 4, 8), act_widths=(2, 4, 8))
    objective = LinearCycles(space)
    return BudgetExtension(Supernet(space), objective, BudgetConfig(cycles=cycles, **options))  # type: ignore[arg-type]


def start_cycles() -> float:
    return (14 / 3) ** 8


def test_the_penalty_is_that_of_the_formula() -> None:
    for multiplier in (0.0, 0.7, 3.0):
        for target in (0.5, 1.0, 4.0, 1e3):
            made = extension(start_cycles() * target, weight=2.0)
            made.multiplier = multiplier
            g = -math.log(target)
            expected = (max(0.0, multiplier + 2 * g) ** 2 - multiplier**2) / 4
            assert float(made.penalty().detach()) == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_the_multiplier_follows_the_excess_and_is_never_negative() -> None:
    made = extension(start_cycles() / 2, rate=0.5)
    for step in range(1, 4):
        made.penalty()
        made.after_step()
        assert made.multiplier == pytest.approx(step * 0.5 * math.log(2), rel=1e-5)
    loose = extension(start_cycles() * 10, rate=0.5)
    loose.penalty()
    loose.after_step()
    assert loose.multiplier == 0.0


def test_widths_are_led_to_the_budget_and_no_further() -> None:
    made = extension(start_cycles() / 8)
    made.supernet.requires_grad_(True)
    optimizer, schedule = made.optimizers(800)[0]
    # A task that wants the largest widths.
    for _ in range(800):
        wish = -sum((own.weight[-1] + own.act[-1]) for own in made.supernet.probabilities()) * 0.2
        optimizer.zero_grad()
        (wish + made.penalty()).backward()
        optimizer.step()
        schedule.step()
        made.after_step()
    cycles = made.facts()["cycles"]
    assert 0.9 < cycles / made.config.cycles < 1.02


def test_the_state_is_taken_over() -> None:
    made, other = extension(100.0), extension(100.0)
    made.multiplier = 1.25
    other.load_state_dict(made.state_dict())
    assert other.multiplier == 1.25
    with pytest.raises(ValueError, match="state must be of the search's configuration"):
        extension(200.0).load_state_dict(made.state_dict())


def test_facts_have_the_expected_widths() -> None:
    facts = extension(100.0).facts()
    assert facts["weight_bits"] == pytest.approx(14 / 3)
    assert facts["act_bits"] == pytest.approx(14 / 3)
    assert facts["cycles"] == pytest.approx(start_cycles(), rel=1e-5)


@pytest.mark.parametrize("value", [0, -1.0, math.nan, math.inf])
def test_wrong_values_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="cycles must be positive and finite, not"):
        BudgetConfig(cycles=value)
    with pytest.raises(TypeError, match="cycles must be a number, not '3'"):
        BudgetConfig(cycles="3")  # type: ignore[arg-type]
