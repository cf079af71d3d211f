"""Plans of branched networks: the cheapest of all by brute force, FIFOs, reports of what is too shallow."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from boards import load_board
from mixq.errors import UserError
from mixq.formats import IntFormat
from mixq.graph import Graph
from mixq.plan import Plan, plan
from mixq.plan.choices import Link, Stage
from mixq.plan.elimination import Factor, least, margin
from mixq.plan.fifos import CYCLES_OF_STAGE, edge_depths, last_pixel, origins, shallow
from mixq.plan.search import PRICE, Search
from mixq.plan.units import INPUT, units
from mixq.streams import StreamShape
from tests.mixq.dags import Dag
from tests.mixq.plan.token_game import TokenGame, random_branches

BOARD = load_board("ultra96-v2")
U4 = IntFormat(4, False)


def residual() -> Graph:
    dag = Dag((2, 6, 6), U4)
    stem = dag.requantise(dag.conv("x", 4, padding=1), 4)
    inner = dag.conv(dag.requantise(dag.conv(stem, 4, padding=1), 4), 4, padding=1)
    return dag.graph(dag.requantise(dag.add(inner, stem), 4))


def random_factors(rng: np.random.Generator, variables: int) -> tuple[list[Factor], list[int]]:
    sizes = rng.integers(1, 4, variables).tolist()
    pairs = [pair for pair in itertools.combinations(range(variables), 2) if rng.random() < 0.5]
    pairs += [(v, v + 1) for v in range(variables - 1)]
    factors = []
    for one, other in pairs:
        table = rng.integers(0, 9, (sizes[one], sizes[other])).astype(float)
        table[rng.random(table.shape) < 0.15] = np.inf
        factors.append(Factor((one, other), table))
    return factors, sizes


@pytest.mark.parametrize("seed", range(60))
def test_least_sums_by_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    factors, sizes = random_factors(rng, int(rng.integers(2, 7)))

    def total(values: tuple[int, ...]) -> float:
        return sum(float(own.table[tuple(values[v] for v in own.variables)]) for own in factors)

    everything = {values: total(values) for values in itertools.product(*map(range, sizes))}
    best = min(everything.values())
    found = least(factors)
    if not np.isfinite(best):
        assert found is None
    else:
        assert found is not None and found.value == best
        assert everything[tuple(found.values[v] for v in range(len(sizes)))] == best
    table = margin(factors, (0, 1), sizes[:2])
    for one, other in itertools.product(range(sizes[0]), range(sizes[1])):
        rest = min(value for values, value in everything.items() if values[:2] == (one, other))
        assert table[one, other] == rest


def random_stage(rng: np.random.Generator, name: str, beats: int) -> Stage:
    count = int(rng.integers(2, 5))
    shapes = tuple(StreamShape(2, 1, 1, U4, pixels=1, lanes=lanes) for lanes in (1, 2)[:beats])
    entry, exit_ = rng.integers(0, beats, count), rng.integers(0, beats, count)
    costs = rng.integers(0, 6, (count, 5)).astype(float)
    return Stage(name, shapes, shapes, entry, exit_, rng.integers(1, 9, count), costs, [])


@pytest.mark.parametrize("seed", range(25))
def test_the_search_finds_the_best_design_of_a_network_with_branches(seed: int) -> None:
    rng = np.random.default_rng(seed)
    edges = [(0, 1), (1, 2), (2, 4), (1, 3), (3, 4), (0, 4), (4, 5)]
    stages = [random_stage(rng, f"s{index}", 2) for index in range(6)]
    links = [
        Link(rng.integers(0, 9, (2, 2)), rng.integers(0, 3, (2, 2, 5)).astype(float), rng.random((2, 2)) < 0.9)
        for _ in edges
    ]
    limits = np.full(5, 22.0)
    designs = []
    for numbers in itertools.product(*(range(stage.size) for stage in stages)):
        cycles = [int(stage.cycles[number]) for stage, number in zip(stages, numbers, strict=True)]
        total = sum((stage.costs[number] for stage, number in zip(stages, numbers, strict=True)), np.zeros(5))
        fits = True
        for (before, after), link in zip(edges, links, strict=True):
            pair = stages[before].exit[numbers[before]], stages[after].entry[numbers[after]]
            fits = fits and bool(link.open[pair])
            cycles.append(int(link.cycles[pair]))
            total = total + link.costs[pair]
        if fits and (total <= limits).all():
            designs.append((max(cycles), float(total / limits @ PRICE)))
    found = Search(stages, links, limits, 30.0, edges).fastest()
    if not designs:
        assert found is None
        return
    fewest = min(cycles for cycles, _ in designs)
    assert found is not None and found.cycles == fewest
    assert found.price == pytest.approx(min(price for cycles, price in designs if cycles <= fewest), rel=1e-9)


def test_units_know_what_they_read() -> None:
    found = units(residual())
    assert [unit.node.name for unit in found] == ["conv0", "conv2", "conv4", "add5"]
    assert [unit.reads for unit in found] == [(INPUT,), (0,), (1,), (2, 0)]
    assert [unit.requantise.name if unit.requantise else None for unit in found] == [
        *("requantise1", "requantise3", None, "requantise6"),
    ]


def test_pixels_that_must_have_come() -> None:
    dag = Dag((2, 5, 6), U4)
    dag.conv("x", 2, 3, padding=1)
    dag.max_pool("x")
    dag.upsample("x")
    nodes = dag.nodes
    conv = last_pixel(nodes[0], (2, 5, 6), (2, 5, 6)).reshape(5, 6)
    assert conv[0].tolist() == [7, 8, 9, 10, 11, 11] and conv[4].tolist() == [25, 26, 27, 28, 29, 29]
    assert last_pixel(nodes[1], (2, 5, 6), (2, 2, 3)).tolist() == [7, 9, 11, 19, 21, 23]
    assert last_pixel(nodes[2], (2, 5, 6), (2, 10, 12))[:14].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 0, 0]


def test_least_depths_by_counting() -> None:
    # The join's pixel (r, c) needs the stem's (r + 2, c + 2), which comes 14 pixels later in rows of 6: these wait, and
    # the pixel itself.
    found = units(residual())
    least_depths = edge_depths(found, (2, 6, 6), slack=False)
    assert least_depths[:3] == [[None], [0], [None]]
    inner, stem = least_depths[3]
    assert (inner, stem) == (0, 15)
    wide = edge_depths(found, (2, 6, 6))[3][1]
    assert wide is not None and wide > 15


@pytest.mark.parametrize("stages", [0, 1, 5])
def test_stages_before_the_fork_change_no_depth(stages: int) -> None:
    dag = Dag((2, 6, 6), U4)
    tensor = "x"
    for _ in range(stages):
        tensor = dag.requantise(dag.conv(tensor, 2, 1), 4)
    inner = dag.conv(dag.requantise(dag.conv(tensor, 2, padding=1), 4), 2, padding=1)
    found = units(dag.graph(dag.requantise(dag.add(inner, tensor), 4)))
    # Pixel (r, c) needs (r + 2, c + 2): 15 wait, and what two stages of 64 cycles let through.
    assert edge_depths(found, (2, 6, 6))[-1][1] == 15 + 2 * CYCLES_OF_STAGE + 1


def test_rows_count_where_pixels_come_unevenly() -> None:
    dag = Dag((2, 8, 8), U4)
    pooled = dag.max_pool("x")
    inner = dag.conv(dag.requantise(dag.conv(pooled, 2, padding=1), 4), 2, padding=1)
    found = units(dag.graph(dag.requantise(dag.add(inner, pooled), 4)))
    # Pooled pixel (r, c) comes with the image's (2r + 1, 2c + 1). Two stages have a row each, 16 pixels of the image,
    # and 64 cycles: 160 pixels or 20 rows, in which 40 pixels come. The join's pixel (0, 0) needs (2, 2), the 11th.
    assert edge_depths(found, (2, 8, 8))[-1][1] == 11 + 40 + 1


def test_the_nearest_tensor_that_all_passes_through() -> None:
    dag = Dag((2, 8, 8), U4)
    stem = dag.requantise(dag.conv("x", 2), 4)
    first = dag.requantise(dag.conv(stem, 2, 1), 4)
    inner = dag.requantise(dag.add(dag.requantise(dag.conv(first, 2, 1), 4), first), 4)
    outer = dag.requantise(dag.add(inner, stem), 4)
    found = units(dag.graph(dag.requantise(dag.conv(dag.concat(outer, first), 2), 4)))
    names = [unit.node.name for unit in found]
    origin = {name: "x" if at == INPUT else names[at] for name, at in zip(names, origins(found), strict=True)}
    assert origin == {
        "conv0": "x",
        "conv2": "conv0",
        "conv4": "conv2",
        "add6": "conv2",
        "add8": "conv0",
        "concat10": "conv0",
        "conv11": "concat10",
    }


@pytest.mark.parametrize("seed", range(40))
def test_the_least_depths_let_every_frame_through_and_one_less_does_not(seed: int) -> None:
    graph = random_branches(seed)
    found, shape = units(graph), graph.tensor(graph.input).shape
    least_depths, planned = edge_depths(found, shape, slack=False), edge_depths(found, shape)
    assert TokenGame(found, shape, least_depths).ends(3) and TokenGame(found, shape, planned).ends(3)
    for at, (unit, origin) in enumerate(zip(found, origins(found), strict=True)):
        for number, depth in enumerate(least_depths[at]):
            if unit.joins and unit.reads[number] == origin and depth is not None and depth > 1:
                odd = [list(own) for own in planned]
                odd[at][number] = depth - 1
                assert not TokenGame(found, shape, odd).ends(3), (unit.node.name, number)


def changed(chosen: Plan, name: str, fifos: tuple[int, ...]) -> Plan:
    layers = tuple(replace(own, fifos=fifos) if own.name == name else own for own in chosen.layers)
    return replace(chosen, layers=layers)


def test_shallow_fifos_are_reported_and_refused() -> None:
    from rtl_gen import build

    graph = residual()
    chosen = plan(graph, BOARD)
    assert shallow(units(graph), graph, chosen) == []
    inner, stem = chosen.layer("add5").fifos
    stem_lanes = chosen.layer("requantise1").lanes
    least_beats = 15 * 4 // stem_lanes
    assert stem >= least_beats
    build(graph, changed(chosen, "add5", (inner, least_beats)))
    odd = changed(chosen, "add5", (inner, least_beats - 1))
    line = (
        f"node add5 starves: it waits for t4 from conv4 while the FIFO of t1 in front of it is full, which holds "
        f"{least_beats - 1} beats and needs {least_beats}; plan again"
    )
    assert shallow(units(graph), graph, odd) == [line]
    with pytest.raises(UserError) as failure:
        build(graph, odd)
    assert str(failure.value) == line
    with pytest.raises(ValueError, match="plan must have FIFOs at 2 inputs of add5"):
        build(graph, changed(chosen, "add5", ()))


def test_plans_with_fifos_come_back_from_their_file(tmp_path) -> None:  # type: ignore[no-untyped-def]
    chosen = plan(residual(), BOARD)
    chosen.save(tmp_path)
    assert Plan.load(tmp_path) == chosen
    assert chosen.layer("add5").fifos != () and chosen.layer("conv0").fifos == ()


def test_layers_stand_in_the_graphs_order() -> None:
    # The second requantisation stands behind a node that reads neither it nor what it reads.
    dag = Dag((2, 4, 4), U4)
    one = dag.conv("x", 2)
    other = dag.max_pool("x", 3, 1)
    graph = dag.graph(dag.add(dag.requantise(one), other))
    assert [layer.name for layer in plan(graph, BOARD).layers] == [node.name for node in graph.nodes]
