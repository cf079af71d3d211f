"""Foldings: cycle counts against loops that are walked, and what is refused."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from mixq.packing import Packing, candidates, solve
from mixq.plan import estimate
from mixq.plan.folding import Folding
from mixq.plan.layer_shape import LayerShape, Sides

P44 = solve(4, 4, accumulate=9)


def outputs_of_a_row(shape: LayerShape) -> list[int]:
    """Left edges of the windows of a row: the first, and every stride-th after it, that the padded image holds."""
    left, edges = -shape.sides[1], []
    while left + shape.dilation * (shape.kernel - 1) + 1 <= shape.width + shape.sides[3]:
        edges.append(left)
        left += shape.stride
    return edges


def walked(folding: Folding) -> tuple[int, int]:
    """Cycles of a group of pixels and one share of its outputs, and of the frame, by walking the loops of same padding.

    Of a convolution in groups, a share is some outputs of one group, or all of several.
    """
    shape, packing = folding.shape, folding.packing
    block = 0
    first_tap = 0
    while first_tap < shape.kernel:  # passes over the taps
        for _row in range(0, shape.kernel, folding.rows):
            for _channel in range(0, shape.in_channels // shape.groups, folding.lanes):
                block += 1
        first_tap += packing.taps
    frame = 0
    for _ in outputs_of_a_row(turned(shape)):
        for _group in range(0, shape.width, packing.pixels):
            for _fold in range(0, shape.out_channels, folding.pe):
                frame += block
    return block, frame


def turned(shape: LayerShape) -> LayerShape:
    """The shape with rows for columns, which follow the same rule."""
    top, left, bottom, right = shape.sides
    return replace(shape, height=shape.width, width=shape.height, padding=(left, top, right, bottom))


def shape_groups(folding: Folding) -> int:
    return -(-folding.shape.width // folding.packing.pixels)


def random_padding(rng: random.Random, kernel: int) -> int | Sides:
    top, left, bottom, right = (rng.randint(0, kernel - 1) for _ in range(4))
    return top if rng.random() < 0.5 else (top, left, bottom, right)


def random_shape(rng: random.Random) -> LayerShape:
    kernel, groups = rng.choice([1, 3, 5]), rng.choice([1, 1, 2, 3, 4])
    return LayerShape(
        groups * rng.choice([1, 2, 3, 4]),
        groups * rng.choice([1, 2, 4]),
        rng.randint(kernel, 12),
        rng.randint(kernel, 12),
        kernel,
        rng.choice([1, 2]),
        random_padding(rng, kernel),
        groups,
    )


def random_folding(rng: random.Random, shape: LayerShape) -> Folding:
    packing = rng.choice(candidates(rng.randint(2, 8), rng.randint(2, 8), shape.kernel))

    def divisor(value: int) -> int:
        return rng.choice([d for d in range(1, value + 1) if value % d == 0])

    side_by_side = divisor(shape.groups)
    pe, lanes = side_by_side * shape.group_outputs, side_by_side * shape.group_inputs
    if side_by_side == 1:
        pe, lanes = divisor(pe), divisor(lanes)
    in_pixels = rng.choice([1, packing.pixels])
    rows = rng.choice([1, shape.kernel])
    return Folding(shape, packing, pe, rows, lanes, in_pixels, divisor(pe))


def foldings(count: int, seed: int, **fixed: Any) -> list[Folding]:
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
    assert shape.out_height == len(outputs_of_a_row(turned(shape)))
    assert shape.dense_width == len(outputs_of_a_row(replace(shape, stride=1)))
    products = sum(
        shape.kernel**2 * shape.in_channels * (shape.out_channels // shape.groups)
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
        side_by_side = max(1, folding.lanes * folding.shape.groups // folding.shape.in_channels)
        assert folding.chains * folding.cascade == folding.simd == folding.rows * folding.lanes // side_by_side
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
        ({"kernel": 5, "padding": 5}, "padding must be from 0 to 4 on each side, not 5"),
        ({"kernel": 1, "padding": 1}, "padding must be from 0 to 0 on each side, not 1"),
        ({"padding": -1}, "padding must be from 0 to 2 on each side, not -1"),
        ({"padding": (0, 0, 1, 3)}, "padding must be from 0 to 2 on each side, not (0, 0, 1, 3)"),
        ({"padding": (0, 1)}, "padding must be (top, left, bottom, right), not (0, 1)"),
        ({"groups": 4}, "groups must divide 4 and 6 channels, not 4"),
        ({"groups": 0}, "groups must divide 4 and 6 channels, not 0"),
        ({"dilation": 3}, "dilation must be 1 or 2, not 3"),
        ({"width": 2, "padding": 0}, "kernel must not exceed the padded image, not 3"),
    ],
)
def test_shape_refuses(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        replace(SHAPE, **fields)
    assert str(error.value) == message


def test_the_same_layer_is_the_same_shape() -> None:
    assert replace(SHAPE, padding=(1, 1, 1, 1)) == SHAPE
    assert replace(SHAPE, kernel=1, padding=0, dilation=2) == replace(SHAPE, kernel=1, padding=0)
    wrong: Any = (0, 0, 1, "1")
    with pytest.raises(TypeError, match=r"^padding must be whole numbers, not \(0, 0, 1, '1'\)$"):
        replace(SHAPE, padding=wrong)


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


WHOLE = "lanes and pe must be multiples of the 2 and 4 channels of a group by the same number"
SHARES = "lanes and pe must divide the 2 and 4 channels of a group, or be those of several"


@pytest.mark.parametrize(
    "pe, lanes, message",
    [
        (4, 4, f"{WHOLE}, not (4, 4)"),
        (8, 5, f"{WHOLE}, not (5, 8)"),
        (8, 2, f"{SHARES}, not (2, 8)"),
        (8, 3, f"{SHARES}, not (3, 8)"),
        (3, 1, f"{SHARES}, not (1, 3)"),
    ],
)
def test_folds_have_shares_of_a_group_or_whole_groups(pe: int, lanes: int, message: str) -> None:
    shape = LayerShape(6, 12, 5, 7, 3, 1, 1, groups=3)
    for fitting in ((4, 2), (2, 1), (8, 4), (12, 6)):
        assert Folding(shape, P44, fitting[0], 1, fitting[1], out_lanes=fitting[0] // 2).dsps == fitting[0] * min(
            fitting[1], 2
        )
    with pytest.raises(ValueError) as error:
        Folding(shape, P44, pe=pe, rows=1, lanes=lanes)
    assert str(error.value) == message


def test_packings_hold_channels_of_one_group() -> None:
    three = next(p for p in candidates(4, 4, 1) if p.channels == 3)
    with pytest.raises(ValueError, match=r"^packing must have channels that divide the 2 of a group, not Packing"):
        Folding(LayerShape(6, 6, 4, 4, groups=3), three, pe=6, rows=1, lanes=6)


def test_dilated_layers_multiply_a_tap_at_a_time() -> None:
    with pytest.raises(ValueError, match=r"^packing must be of DSPs and hold one tap for dilation 2, not Packing"):
        Folding(LayerShape(2, 2, 8, 8, 3, 1, 2, dilation=2), P44, pe=2, rows=1, lanes=2)


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
