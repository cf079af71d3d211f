# amaranth: UnusedElaboratable=no
"""No stage lets the output's ready through to the input's ready within a cycle."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth.sim import Simulator

from mixq.formats import IntFormat
from mixq.streams import StreamShape
from rtl_gen.channel_groups import ChannelGather, ChannelSplit
from rtl_gen.fifo import StreamFifo
from rtl_gen.gearbox import BeatsToCodes, CodesToBeats
from rtl_gen.max_pool import MaxPoolStage
from rtl_gen.pixel_groups import Group, Ungroup
from rtl_gen.requantise import RequantiseStage, RequantiseValues
from rtl_gen.space_to_depth import SpaceToDepthStage
from rtl_gen.sum_pool import SumPoolStage
from rtl_gen.upsample import UpsampleStage

U4 = IntFormat(4, False)
SHAPE = StreamShape(4, 4, 4, U4, pixels=1, lanes=2)
SHARED = RequantiseValues((3,) * 4, (1,) * 4, 2, U4, IntFormat(2, False))

STAGES = [
    lambda: StreamFifo(4, 2),
    lambda: StreamFifo(4, 5),
    lambda: MaxPoolStage(SHAPE, kernel=2, stride=1),
    lambda: ChannelSplit(SHAPE, lanes=1),
    lambda: ChannelGather(SHAPE, lanes=4),
    lambda: Ungroup(SHAPE.with_beat(pixels=2, lanes=2)),
    lambda: Group(SHAPE, pixels=3),
    lambda: CodesToBeats(5, SHAPE),
    lambda: BeatsToCodes(5, SHAPE),
    lambda: SumPoolStage(SHAPE, kernel=(1, 2)),
    lambda: SumPoolStage(SHAPE, kernel=(1, 1)),
    lambda: SpaceToDepthStage(SHAPE, block=2),
    lambda: SpaceToDepthStage(SHAPE, block=4),
    lambda: UpsampleStage(SHAPE, factor=3),
    lambda: RequantiseStage(SHARED, SHAPE, name="rescale", method="multiply"),
]


@pytest.mark.parametrize("make", STAGES)
def test_ready_to_ready(make: Any) -> None:
    stage = make()
    rng = random.Random(1)
    seen = set()

    async def bench(ctx) -> None:  # type: ignore[no-untyped-def]
        # The rate of the sink changes, so that the stage is full for a while and empty for a while.
        for cycle in range(400):
            ctx.set(stage.i.valid, rng.random() < 0.8)
            answers = []
            for ready in (0, 1, int(rng.random() < (0.9 if cycle // 40 % 2 else 0.1))):
                ctx.set(stage.o.ready, ready)
                answers.append((ctx.get(stage.i.ready), ctx.get(stage.o.valid)))
            assert len(set(answers)) == 1
            seen.add(answers[0][0])
            await ctx.tick()

    simulator = Simulator(stage)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen == {0, 1}
