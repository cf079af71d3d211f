# amaranth: UnusedElaboratable=no
"""Overlap-add against a row of sums laid out pixel by pixel, padding included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from mixq.plan.folding import Folding
from rtl_gen.convolution_constants import ConvolutionConstants
from rtl_gen.overlap_add import OverlapAdd
from tests.rtl_gen.convolution_cases import CASES, graph_of
from tests.rtl_gen.grouped_cases import CASES as GROUPED

NAMES = ["same_rows", "same_serial", "valid", "full_padding", "column", "wider_than_group", "5x5_same", "passes_5x5"]
NAMES += ["depthwise_side_by_side", "groups_shares", "padding_left", "padding_right", "padding_5x5_left"]
NAMES += ["padding_5x5_right", "padding_narrow", "dilated_same", "dilated_rows", "dilated_5x5"]
ROWS = 3


def padding_share(folding: Folding, weights: np.ndarray) -> np.ndarray:
    """What a pixel on padding gives to each tap (C_out, taps): all its products, recentred and lifted."""
    packing = folding.packing
    terms = folding.chains * folding.cascade * folding.accumulate * folding.reads_per_pass
    lowest = min(x * w for x in (-packing.recentre, packing.recentre - 1) for w in packing.weight_bounds)
    taps = packing.passes * packing.taps
    share = np.full((len(weights), taps), -lowest * terms)
    for tap in range(folding.shape.kernel):
        # Lanes count from the last tap.
        share[:, tap] -= packing.recentre * weights[:, :, :, folding.shape.kernel - 1 - tap].sum((1, 2))
    return share


def expected_outputs(folding: Folding, sums: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Outputs (C_out, out_groups * pixels) of a row from the sums (groups, C_out, positions) of its groups."""
    shape, pixels = folding.shape, folding.packing.pixels
    groups, channels, positions = sums.shape
    margin = shape.dilation * (shape.kernel + share.shape[1]) + 4 * pixels
    row = np.zeros((channels, groups * pixels + positions + 3 * margin), np.int64)
    for group in range(groups):
        at = margin + group * pixels
        row[:, at : at + positions] += sums[group]
    for pixel in [*range(-margin, 0), *range(groups * pixels, groups * pixels + margin)]:
        for tap in range(share.shape[1]):
            row[:, margin + pixel + tap * shape.dilation] += share[:, tap]
    # Output 0 is complete with the last tap on its last pixel.
    first = margin + shape.dilation * (shape.kernel - 1) - shape.sides[1]
    return row[:, first : first + folding.out_groups * pixels]


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_joined(name: str) -> None:
    case = (CASES | GROUPED)[name]
    folding = case.folding
    weights = graph_of(case).nodes[0].weights  # type: ignore[attr-defined]
    constants = ConvolutionConstants.of(folding, weights)
    bits, pixels, pe = constants.sum_bits, folding.packing.pixels, folding.pe
    share = padding_share(folding, weights)
    rng = np.random.default_rng(1)
    rows = [
        rng.integers(0, 64, (folding.row_steps, folding.shape.out_channels, folding.positions)) for _ in range(ROWS)
    ]
    dut = OverlapAdd(folding, constants.sum_bits)
    seen: list[tuple[int, list[int]]] = []

    def word(values: np.ndarray) -> int:
        return sum(int(value) << (i * bits) for i, value in enumerate(values.reshape(-1)))

    async def clock(ctx: Any, next_fold: int) -> None:
        ctx.set(dut.next_fold, next_fold)
        await ctx.tick()
        if ctx.get(dut.valid):
            outputs = ctx.get(dut.outputs)
            values = [outputs >> (i * bits) & ((1 << bits) - 1) for i in range(pe * pixels)]
            seen.append((ctx.get(dut.group), values))

    async def bench(ctx: Any) -> None:
        for number, sums in enumerate(rows):
            for group in range(folding.row_steps):
                for fold in range(folding.folds):
                    ctx.set(dut.fold, fold)
                    ctx.set(dut.left, word(constants.left[fold * pe : (fold + 1) * pe]))
                    ctx.set(dut.right, word(constants.right[fold * pe : (fold + 1) * pe]))
                    ctx.set(dut.sums, word(sums[group, fold * pe : (fold + 1) * pe]))
                    ctx.set(dut.update, 1)
                    ctx.set(dut.start, group == 0)
                    ctx.set(dut.emit, folding.delay <= group < folding.delay + folding.out_groups)
                    # The second row takes the first's last outputs along, the others' leave alone.
                    ctx.set(dut.flush, folding.flush and number == 1 and group == 0)
                    await clock(ctx, fold)
                    ctx.set(dut.update, 0)
                    ctx.set(dut.emit, 0)
                    ctx.set(dut.flush, 0)
                    ctx.set(dut.sums, (1 << len(dut.sums)) - 1)
                    await clock(ctx, (fold + 1) % folding.folds)
            if folding.flush and number != 0:
                for fold in range(folding.folds):
                    ctx.set(dut.fold, fold)
                    ctx.set(dut.left, word(constants.left[fold * pe : (fold + 1) * pe]))
                    ctx.set(dut.right, word(constants.right[fold * pe : (fold + 1) * pe]))
                    ctx.set(dut.flush, 1)
                    await clock(ctx, fold)
                    ctx.set(dut.flush, 0)
                    await clock(ctx, (fold + 1) % folding.folds)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    wanted: list[tuple[int, list[int]]] = []
    for sums in rows:
        outputs = expected_outputs(folding, sums, share)
        for group in range(folding.out_groups):
            for fold in range(folding.folds):
                part = outputs[fold * pe : (fold + 1) * pe, group * pixels : (group + 1) * pixels]
                wanted.append((fold, [int(value) for value in part.reshape(-1)]))
    assert len(seen) == len(wanted)
    # Pixels beyond the row's end are nobody's.
    beyond = folding.out_groups * pixels - folding.shape.dense_width
    per_row = folding.out_groups * folding.folds
    for at, ((fold, values), (wanted_fold, wanted_values)) in enumerate(zip(seen, wanted, strict=True)):
        assert fold == wanted_fold
        last = at % per_row >= per_row - folding.folds
        matters = [i for i in range(pe * pixels) if not last or i % pixels < pixels - beyond]
        mask = (1 << bits) - 1
        assert [values[i] for i in matters] == [wanted_values[i] & mask for i in matters], at
