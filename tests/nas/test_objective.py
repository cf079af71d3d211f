"""Predicted cycles: near those that the planner finds, smooth, and with a gradient that finite differences confirm."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch import Tensor

from boards import load_board
from mixq.board import Resources
from mixq.networks import network
from mixq.plan.planner import Planner
from mixq.plan.untrained import untrained_graph
from mixq.plan.width_network import WidthNetwork, WidthSettings, width_network
from nas.objective import CycleObjective

BOARD = load_board("ultra96-v2")
LIMITS = Resources(lut=9000, ff=30000, dsp=40, bram36=30)
WIDTHS = (2, 4, 8)


@pytest.fixture(scope="module")
def ways() -> WidthNetwork:
    return width_network(
        WidthSettings(
            table=network("digits_cnn"),
            weight_widths=(WIDTHS,) * 4,
            act_widths=(WIDTHS,) * 4,
            board=BOARD,
            limits=LIMITS,
            cycles=(64, 2048),
        ),
        jobs=2,
    )


@pytest.fixture(scope="module")
def objective(ways: WidthNetwork) -> CycleObjective:
    return CycleObjective(ways)


def one_hot(weights: list[int], acts: list[int]) -> list[tuple[Tensor, Tensor]]:
    eye = torch.eye(len(WIDTHS), dtype=torch.float64)
    return [(eye[WIDTHS.index(w)], eye[WIDTHS.index(a)]) for w, a in zip(weights, acts, strict=True)]


def mixed(seed: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    alphas = torch.randn(4, 2, len(WIDTHS), generator=generator, dtype=torch.float64)
    return [(w, a) for w, a in torch.softmax(alphas, 2)]


@pytest.mark.parametrize(
    ("weights", "acts"),
    [([b] * 4, [b] * 4) for b in WIDTHS] + [([8, 2, 4, 8], [4, 2, 2, 8]), ([2, 4, 8, 2], [8, 4, 2, 4])],
)
def test_near_the_plan_of_the_same_widths(objective: CycleObjective, weights: list[int], acts: list[int]) -> None:
    graph = untrained_graph(network("digits_cnn"), weight_bits=weights, act_bits=acts)
    cycles = Planner(graph, BOARD, limits=LIMITS, constant_weights=False).plan().cycles
    predicted = float(objective(one_hot(weights, acts)).exp())
    # A prediction is no plan: what beats have to agree on is left out, and between numbers of cycles it is smooth.
    assert 0.6 < predicted / cycles < 1.35


def test_the_gradient_is_that_of_finite_differences(objective: CycleObjective) -> None:
    for seed in range(3):
        probabilities = [(w.requires_grad_(), a.requires_grad_()) for w, a in mixed(seed)]
        flat = [tensor for pair in probabilities for tensor in pair]
        gradients = torch.autograd.grad(objective(probabilities), flat)
        for tensor, gradient in zip(flat, gradients, strict=True):
            for place in range(len(WIDTHS)):
                values = []
                for step in (1e-6, -1e-6):
                    with torch.no_grad():
                        tensor[place] += step
                        values.append(float(objective(probabilities)))
                        tensor[place] -= step
                difference = (values[0] - values[1]) / 2e-6
                assert float(gradient[place]) == pytest.approx(difference, rel=1e-4, abs=1e-6)


def test_smaller_widths_are_no_slower(objective: CycleObjective) -> None:
    for seed in range(5):
        before = mixed(seed)
        value = float(objective(before))
        for layer, kind in product(range(4), range(2)):
            changed = [list(pair) for pair in before]
            changed[layer][kind] = torch.eye(len(WIDTHS), dtype=torch.float64)[0]
            assert float(objective([(w, a) for w, a in changed])) <= value + 1e-3


def test_fewer_resources_are_slower(ways: WidthNetwork, objective: CycleObjective) -> None:
    from dataclasses import replace

    half = Resources(lut=LIMITS.lut // 2, ff=LIMITS.ff // 2, dsp=LIMITS.dsp // 2, bram36=LIMITS.bram36 / 2)
    tight = CycleObjective(replace(ways, settings=replace(ways.settings, limits=half)))
    for seed in range(3):
        assert float(tight(mixed(seed))) > float(objective(mixed(seed))) + math.log(1.3)
