"""Foldings: cycle counts against loops that are walked, and what is refused."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from mixq.packing import Packing, candidates, solve
from mixq.plan import estimate
from mixq.plan.folding import Folding
from mixq.plan.layer_shape import LayerShape

P44 = solve(4, 4, accumulate=9)


def outputs_of_a_row(shape: LayerShape) -> list[int]:
    """Left edges of the windows of a row: the first, and every stride-th after it, that the padded image holds."""
    left, edges = -shape.padding, []
    while left + shape.kernel <= shape.width + shape.padding:
        edges.append(left)
        left += shape.stride
    return edges


def walked(folding: Folding) -> tuple[int, int]:
    """Cycles of one row's group of outputs, and of the whole frame, by walking every loop of same padding."""
    shape, packing = folding.shape, folding.packing
    block = 0
    first_tap = 0
    while first_tap < shape.kernel:  # passes over the taps
        for _row in range(0, shape.kernel, folding.rows):
            for _channel in range(0, shape.in_channels, folding.lanes):
                block += 1
        first_tap += packing.taps
    frame = 0
    for _ in outputs_of_a_row(replace(shape, width=shape.height)):  # rows follow the same rule as columns
        for _group in range(0, shape.width, packing.pixels):
            for _fold in range(0, shape.out_channels, folding.pe):
                frame += block
    return block, frame


def shape_groups(folding: Folding) -> int:
    return -(-folding.shape.width // folding.packing.pixels)


def random_shape(rng: random.Random) -> LayerShape:
    kernel = rng.choice([1, 3, 5])
    return LayerShape(
        rng.choice([1, 2, 3, 4, 6, 12]),
        rng.choice([1, 2, 4, 6, 12]),
        rng.randint(kernel, 12),
        rng.randint(kernel, 12),
        kernel,
        rng.choice([1, 2]),
        rng.randint(0, min(2, kernel - 1)),
    )


def random_folding(rng: random.Random, shape: LayerShape) -> Folding:
    packing = rng.choice(candidates(rng.randint(2, 8), rng.randint(2, 8), shape.kernel))

    def divisor(value: int) -> int:
        return rng.choice([d for d in range(1, value + 1) if value % d == 0])

    pe = divisor(shape.out_channels)
    in_pixels = rng.choice([1, packing.pixels])
    rows = rng.choice([1, shape.kernel])
    return Folding(shape, packing, pe, rows, divisor(shape.in_channels), in_pixels, divisor(pe))


def foldings(count: int, seed: int, **fixed: int) -> list[Folding]:
    rng = random.Random(seed)
    found: list[Folding] = []
    while len(found) < count:
        try:
            found.append(random_folding(rng, replace(random_shape(rng), **fixed)))
        except ValueError:
            continue
    return found


@pytest.mark.parametrize("folding", foldings(200, seed=1), ids=lambda _: "")
def test_shapes_of_windows(folding: Folding) -> None:
    shape = folding.shape
    assert shape.out_width == len(outputs_of_a_row(shape))
    assert shape.out_height == len(outputs_of_a_row(replace(shape, width=shape.height)))
    assert shape.dense_width == len(outputs_of_a_row(replace(shape, stride=1)))
    products = sum(
        shape.kernel**2 * shape.in_channels * shape.out_channels
        for _row in range(shape.out_height)
        for _column in range(shape.out_width)
    )
    assert shape.macs == products


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_cycles_of_same_padding_are_the_loops(kernel: int, stride: int) -> None:
    for folding in foldings(100, seed=kernel, kernel=kernel, stride=stride, padding=kernel // 2):
        block, frame = walked(folding)
        assert folding.steps == block
        if folding.packing.pixels >= kernel // 2:
            assert folding.compute_cycles == frame
        else:  # 5x5, one pixel at a time: two outputs wait at the end of a row, and only one leaves with the next row
            assert folding.compute_cycles == frame // shape_groups(folding) * (shape_groups(folding) + 1)


def test_no_padding_never_takes_fewer_cycles_than_its_groups() -> None:
    for folding in foldings(200, seed=7, padding=0):
        rows, groups = folding.shape.out_height, -(-folding.shape.width // folding.packing.pixels)
        assert folding.compute_cycles == rows * groups * folding.folds * folding.steps


def test_wide_padding_adds_groups_only_where_outputs_need_them() -> None:
    # 5 pixels, 7 outputs of a row, 2 at a time: 4 groups of outputs from 3 of pixels.
    folding = Folding(LayerShape(1, 1, 5, 5, 3, 1, 2), P44, pe=1, rows=1, lanes=1)
    assert (folding.packing.pixels, folding.groups, folding.out_groups) == (2, 3, 4)
    assert folding.row_steps == 4


@pytest.mark.parametrize("seed", range(4))
def test_beats_are_counted(seed: int) -> None:
    for folding in foldings(100, seed=seed):
        shape, beats, out_beats = folding.shape, 0, 0
        for _row in range(shape.height):
            for _column in range(0, shape.width, folding.in_pixels):
                for _channels in range(0, shape.in_channels, folding.lanes):
                    beats += 1
        out_pixels = -(-folding.packing.pixels // shape.stride)
        for _row in range(shape.out_height):
            for _column in range(0, shape.out_width, out_pixels):
                for _channels in range(0, shape.out_channels, folding.out_lanes):
                    out_beats += 1
        assert (folding.input_beats, folding.output_beats) == (beats, out_beats)
        assert folding.cycles_per_frame == max(folding.compute_cycles, beats, out_beats)


def test_multipliers_hold_every_product() -> None:
    for folding in foldings(300, seed=11):
        packing = folding.packing
        assert folding.dsps * packing.channels == folding.pe * folding.simd * packing.dsps
        assert folding.chains * folding.cascade == folding.simd == folding.rows * folding.lanes
        assert folding.columns * packing.channels * folding.folds == folding.shape.out_channels
        # Never more products summed than the lanes hold, and never another read than needed.
        assert 1 <= folding.cascade * folding.accumulate <= packing.accumulate_max
        assert folding.accumulate * (folding.reads_per_pass - 1) < folding.steps_per_pass
        assert folding.accumulate * folding.reads_per_pass >= folding.steps_per_pass
        longer = [n for n in range(folding.cascade + 1, folding.simd + 1) if folding.simd % n == 0]
        assert all(n > packing.accumulate_max for n in longer)
        # Work of all multipliers in all cycles is at least the products of the layer.
        done = folding.dsps // packing.dsps * packing.macs * folding.compute_cycles
        assert done >= folding.shape.macs
        assert folding.weight_depth == folding.folds * folding.steps


SHAPE = LayerShape(4, 6, 5, 7, 3, 1, 1)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"in_channels": 0}, "in_channels must be at least 1, not 0"),
        ({"out_channels": -1}, "out_channels must be at least 1, not -1"),
        ({"height": 0}, "height must be at least 1, not 0"),
        ({"width": 0}, "width must be at least 1, not 0"),
        ({"kernel": 2}, "kernel must be 1, 3 or 5, not 2"),
        ({"stride": 3}, "stride must be 1 or 2, not 3"),
        ({"kernel": 5, "padding": 3}, "padding must be from 0 to 2 and less than the kernel, not 3"),
        ({"kernel": 1, "padding": 1}, "padding must be from 0 to 2 and less than the kernel, not 1"),
        ({"padding": -1}, "padding must be from 0 to 2 and less than the kernel, not -1"),
        ({"width": 2, "padding": 0}, "kernel must not exceed the padded image, not 3"),
    ],
)
def test_shape_refuses(fields: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError) as error:
        replace(SHAPE, **fields)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"packing": solve(4, 4, kernel=5)}, "packing must be for kernel 3, not 5"),
        ({"pe": 7}, "pe must be a multiple of 1 and at most 6, not 7"),
        ({"pe": 0}, "pe must be a multiple of 1 and at most 6, not 0"),
        ({"packing": solve(8, 8, pixels=1), "pe": 3}, "pe must be a multiple of 2 and at most 6, not 3"),
        ({"rows": 2}, "rows must be 1 or 3, not 2"),
        ({"lanes": 5}, "lanes must be from 1 to 4, not 5"),
        ({"lanes": 0}, "lanes must be from 1 to 4, not 0"),
        ({"in_pixels": 3}, "in_pixels must be 1 or 2, not 3"),
        ({"pe": 4, "out_lanes": 4}, "out_lanes must divide 2 and leave within 12 cycles, not 4"),
        ({"out_lanes": 4}, "out_lanes must divide 6 and leave within 12 cycles, not 4"),
        ({"rows": 3, "lanes": 4}, "out_lanes must divide 6 and leave within 1 cycles, not 1"),
    ],
)
def test_folding_refuses(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        replace(Folding(SHAPE, P44, pe=6, rows=1, lanes=1), **fields)
    assert str(error.value) == message


def test_stride_2_refuses_an_odd_number_of_pixels() -> None:
    odd: Packing = next(p for p in candidates(4, 4, 3) if p.pixels == 5)
    with pytest.raises(ValueError) as error:
        Folding(replace(SHAPE, stride=2), odd, pe=6, rows=1, lanes=1)
    assert str(error.value) == "packing must hold 1 or an even number of pixels for stride 2, not 5"


@pytest.mark.parametrize("memory, style", [("auto", "distributed"), ("block", "block"), ("distributed", "distributed")])
def test_weight_memories_are_of_the_kind_asked_for(memory: str, style: str) -> None:
    auto = Folding(LayerShape(16, 8, 9, 9, 3, 1, 1), P44, pe=4, rows=3, lanes=2, out_lanes=4)
    folding = replace(auto, weight_memory=memory)
    assert folding.weight_depth < 65
    assert folding.weight_style == style
    blocks = estimate.convolution(folding).bram36 - estimate.convolution(auto).bram36
    # Half a block RAM holds 36 bits in a row.
    assert blocks == (folding.cascade * -(-folding.weight_width // 36) / 2 if style == "block" else 0)
    with pytest.raises(ValueError, match="weight_memory must be auto, block or distributed, not 'ultra'"):
        replace(auto, weight_memory="ultra")
