"""Line buffer and sequencer together: in every step the codes of the window that the loops ask for."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator

from mixq.formats import IntFormat
from mixq.plan.folding import Folding
from mixq.streams import StreamShape
from rtl_gen.line_buffer import LINE_BUFFER_LATENCY, LineBuffer
from rtl_gen.sequencer import Sequencer
from tests.rtl_gen.convolution_cases import CASES
from tests.rtl_gen.grouped_cases import CASES as GROUPED
from tests.rtl_gen.stages import with_noise

NAMES = ["same_rows", "same_serial", "full_padding", "column", "stride_2", "passes_5x5", "1x1", "1x1_stride_2", "dense"]
NAMES += ["depthwise_alone", "depthwise_side_by_side", "depthwise_times_two_serial", "groups_shares", "groups_serial"]
NAMES += ["groups_1x1", "padding_same_stride_2", "padding_5x5_left", "padding_bottom", "dilated_rows", "dilated_same"]
FRAMES = 3


def wanted(folding: Folding, frames: np.ndarray) -> Iterator[tuple[int, int]]:
    """Codes and weight address of every step, by the loops that :class:`Folding` documents."""
    shape, packing, lanes = folding.shape, folding.packing, folding.lanes
    inputs, outputs = shape.in_channels // shape.groups, shape.out_channels // shape.groups
    # Padding that makes rows longer is the only thing that adds groups, and they hold zeros.
    groups = -(-max(shape.width, shape.dense_width) // packing.pixels)
    for frame in frames:
        for out_row in range(shape.out_height):
            for group in range(groups):
                address = 0
                for first in range(0, shape.out_channels, folding.pe):
                    # The first input channel that an output channel's group reads.
                    start = first // outputs * inputs
                    for _pass in range(packing.passes):
                        for kernel_row in range(0, shape.kernel, folding.rows):
                            for word in range(start, start + max(inputs, lanes), lanes):
                                codes = at = 0
                                for row in range(folding.rows):
                                    y = out_row * shape.stride - shape.sides[0] + (kernel_row + row) * shape.dilation
                                    for channel in range(word, word + lanes):
                                        for x in range(group * packing.pixels, (group + 1) * packing.pixels):
                                            if 0 <= y < shape.height and x < shape.width:
                                                codes |= int(frame[channel, y, x]) << at
                                            at += packing.act_bits
                                yield codes, address
                                address += 1


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", NAMES)
def test_reads_the_windows_in_order(name: str, seed: int) -> None:
    folding = (CASES | GROUPED)[name].folding
    shape, packing = folding.shape, folding.packing
    stream = StreamShape(
        shape.in_channels,
        shape.height,
        shape.width,
        IntFormat(packing.act_bits, False),
        pixels=folding.in_pixels,
        lanes=folding.lanes,
    )
    frames = np.random.default_rng(seed).integers(0, 1 << packing.act_bits, (FRAMES, *stream.shape))
    # What lies beyond the row's end must not come through, but for 1x1, where it meets no other pixel.
    beats = stream.pack(frames) if folding.merged_rows else with_noise(stream, stream.pack(frames))
    expected = list(wanted(folding, frames))

    m = Module()
    m.submodules.buffer = buffer = LineBuffer(folding)
    m.submodules.sequencer = sequencer = Sequencer(folding)
    for name in ("step", "ends", "row", "group", "kernel_row"):
        m.d.comb += getattr(buffer, name).eq(getattr(sequencer, name))
    m.d.comb += sequencer.granted.eq(buffer.granted)
    rng = random.Random(seed)
    codes: list[int] = []
    positions: list[tuple[bool, int]] = []
    taken = emitted = 0
    computed = folding.row_steps * shape.out_height * FRAMES  # groups, those of padding alone included

    async def bench(ctx: Any) -> None:
        nonlocal taken, emitted
        sent = steps = idle = 0
        # The longest wait is a whole row of beats.
        while steps < computed * folding.folds * folding.steps or idle < 64:
            ctx.set(buffer.i.valid, sent < len(beats) and (seed == 0 or rng.random() < 0.6))
            ctx.set(buffer.i.payload, beats[min(sent, len(beats) - 1)])
            ctx.set(sequencer.credit, seed == 0 or rng.random() < 0.5)
            step, control = ctx.get(sequencer.step), sequencer.control
            steps += step
            idle = 0 if step or sent < len(beats) else idle + 1
            taken += ctx.get(sequencer.take)
            emitted += ctx.get(control.emit) + ctx.get(control.flush)
            positions.append((bool(step), ctx.get(sequencer.weight)))
            codes.append(ctx.get(buffer.codes))
            sent += ctx.get(buffer.i.valid) & ctx.get(buffer.i.ready)
            await ctx.tick()
            assert len(positions) < 20_000
        assert sent == len(beats)

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    seen = [
        (codes[cycle + LINE_BUFFER_LATENCY], weight)
        for cycle, (step, weight) in enumerate(positions[:-LINE_BUFFER_LATENCY])
        if step
    ]
    assert seen == expected
    # Every group of outputs takes one place and leaves once.
    groups = folding.scan.out_rows if folding.merged_rows else shape.out_height * folding.out_groups
    if folding.drops_groups:
        groups = shape.out_height * shape.out_width
    assert taken == emitted == FRAMES * groups * folding.folds
