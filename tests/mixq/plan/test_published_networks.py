"""The planner with all its choices against itself, held to the packings of published systems, on whole networks."""

from __future__ import annotations

import pytest

from boards import load_board
from mixq.checkpoints import random_model
from mixq.graph import Graph
from mixq.lowering import lower
from mixq.plan import Plan, plan

#: Each on a board where it fits.
NETWORKS = {"vgg-tiny": "ultra96-v2", "ultranet": "ultra96-v2", "vgg-small": "zcu104"}


@pytest.fixture(scope="module")
def free(request: pytest.FixtureRequest) -> tuple[Graph, Plan]:
    graph = lower(random_model(request.param, 1, weight_range="narrow"))
    return graph, plan(graph, load_board(NETWORKS[request.param]))


@pytest.mark.slow
@pytest.mark.parametrize("packings", ["original", "finn"])
@pytest.mark.parametrize("free", NETWORKS, indirect=True)
def test_all_choices_are_faster(free: tuple[Graph, Plan], packings: str) -> None:
    graph, made = free
    board = load_board(made.board)
    held = plan(graph, board, packings=packings)
    assert made.cycles < held.cycles
    assert not made.resources.excess(board.resources)
    # As fast as the held one, it is no dearer.
    same = plan(graph, board, max_cycles=held.cycles)
    assert same.cycles <= held.cycles
    assert price(same) <= price(held) + 1e-9


def price(made: Plan) -> float:
    """Shares of the board, flip-flops a quarter: what the planner makes small."""
    used, limits = made.resources, made.limits
    return used.lut / limits.lut + used.ff / limits.ff / 4 + used.dsp / limits.dsp + used.bram36 / limits.bram36
