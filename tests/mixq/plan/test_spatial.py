"""Stages without weights in plans: ways, cycles, and bursts that pass through."""

from __future__ import annotations

from fractions import Fraction

import pytest

from mixq.formats import IntFormat
from mixq.graph import Threshold
from mixq.plan import estimate
from mixq.plan.choices import Stage, link, simple_stage
from mixq.plan.options import scale_of
from mixq.plan.spatial import passed_on
from mixq.plan.units import units
from mixq.streams import StreamShape
from tests.mixq.dags import Dag

U4 = IntFormat(4, False)


def stages(dag: Dag, output: str) -> list[Stage]:
    found = units(dag.graph(output))
    nodes, reads = [unit.node for unit in found], [unit.reads for unit in found]
    return passed_on(nodes, [simple_stage(unit) for unit in found], reads)


def test_each_way_takes_and_gives_as_many_channels() -> None:
    dag = Dag((6, 4, 8), U4)
    pool, blocks, larger = stages(dag, dag.upsample(dag.space_to_depth(dag.sum_pool("x", (1, 2)), 2), 3))
    assert [choice.lanes for choice in pool.choices] == [1, 2, 3, 6]
    assert pool.cycles.tolist() == [4 * 8 * 6 // lanes for lanes in (1, 2, 3, 6)]
    # 4 x 4 pixels come in beats of divisors of 6 channels, and leave as 2 x 2 of 24.
    assert blocks.cycles.tolist() == [4 * 4 * 6 // lanes for lanes in (1, 2, 3, 6)]
    assert {shape.shape for shape in blocks.targets} == {(24, 2, 2)}
    # 6 x 6 pixels leave: more than come in.
    assert larger.cycles.tolist() == [6 * 6 * 24 // choice.lanes for choice in larger.choices]
    for stage in (pool, blocks, larger):
        assert (stage.costs[:, :2] > 0).all() and (stage.costs[:, 2] == 0).all()


def test_bursts_pass_through_stages_that_keep_no_row() -> None:
    dag = Dag((4, 8, 8), U4)
    found = stages(dag, dag.upsample(dag.max_pool(dag.requantise(dag.max_pool("x")))))
    assert [stage.share for stage in found] == [Fraction(1, 2), Fraction(1, 2), Fraction(1, 4), 1]
    assert [stage.bursts for stage in found] == [True, True, True, False]


def test_sums_and_blocks_leave_evenly() -> None:
    dag = Dag((4, 8, 8), U4)
    found = stages(dag, dag.space_to_depth(dag.requantise(dag.sum_pool("x", 2))))
    assert not any(stage.bursts for stage in found)
    dag = Dag((4, 8, 8), U4)
    assert [stage.share for stage in stages(dag, dag.space_to_depth(dag.max_pool("x")))] == [Fraction(1, 2), 1]


def test_blocks_as_wide_as_the_image_keep_no_row() -> None:
    dag = Dag((4, 8, 4), U4)
    found = stages(dag, dag.space_to_depth(dag.max_pool("x")))
    assert found[1].share == Fraction(1, 2)


def test_converters_behind_a_burst_have_less_time() -> None:
    dag = Dag((4, 8, 8), U4)
    _, scaled, last = stages(dag, dag.requantise(dag.requantise(dag.max_pool("x"))))
    between = link(scaled, last, {})
    wide = [shape.lanes for shape in scaled.targets].index(4)
    narrow = [shape.lanes for shape in last.sources].index(1)
    # 16 pixels of 4 channels, one by one, in half of the time.
    assert between.cycles[wide, narrow] == 2 * 16 * 4


def test_thresholds_are_compared_alone() -> None:
    dag = Dag((4, 3, 3), IntFormat(8, False))
    (unit,) = units(dag.graph(dag.threshold("x", 3)))
    scale = scale_of(unit, unit.source.format, 1, 2)
    assert isinstance(unit.node, Threshold)
    assert scale.levels == 3 and scale.explicit and not scale.bases
    assert estimate.requantise_methods(scale) == ["threshold"]
    assert {choice.method for choice in simple_stage(unit).choices} == {"threshold"}


def test_narrow_formats_take_fewer_comparisons() -> None:
    dag = Dag((4, 3, 3), IntFormat(8, False))
    dag.requantise("x")
    narrow = IntFormat(4, False, 0, 5)
    output = dag.nodes[-1].output
    dag.tensors[output] = type(dag.tensors[output])(output, (4, 3, 3), narrow)
    (unit,) = units(dag.graph(output))
    assert scale_of(unit, unit.source.format, 1, 2).levels == 3


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_estimates_grow_with_the_image(lanes: int) -> None:
    small, large = (StreamShape(4, size, size, U4, lanes=lanes) for size in (8, 64))
    for stage in (lambda s: estimate.sum_pool(s, (2, 2)), lambda s: estimate.space_to_depth(s, 2)):
        assert stage(small).ff < stage(large).ff
    assert estimate.upsample(small, 2).bram36 <= estimate.upsample(large, 2).bram36
