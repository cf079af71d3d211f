# amaranth: UnusedElaboratable=no
"""The credited output behind pipelines of several lengths, at several depths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Fragment, Module

from mixq.formats import IntFormat
from mixq.streams import StreamShape
from rtl_gen.credits import CreditedOutput
from rtl_gen.interfaces import Stage
from rtl_gen.pipeline import delayed
from sim.stage import Scenario, StageBench
from tests.rtl_gen.stages import STALLS, random_frames

SHAPE = StreamShape(1, 4, 12, IntFormat(6, False))


class Pipeline(Stage):
    """Adds 1 to every code, in a pipeline without a clock enable."""

    def __init__(self, cycles: int, depth: int | None) -> None:
        super().__init__(SHAPE, SHAPE)
        self.cycles = cycles
        self.output = CreditedOutput(SHAPE.payload_bits, latency=cycles, depth=depth)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.output = output = self.output
        m.d.comb += [
            self.i.ready.eq(output.can_issue),
            output.issue.eq(self.i.valid & self.i.ready),
            output.result.eq(delayed(m, (self.i.payload + 1)[:6], self.cycles, name="data")),
            output.result_valid.eq(delayed(m, output.issue, self.cycles, name="valid", reset=True)),
            self.o.payload.eq(output.o.payload),
            self.o.valid.eq(output.o.valid),
            output.o.ready.eq(self.o.ready),
        ]
        return m


@pytest.mark.cocotb
@pytest.mark.parametrize("cycles, depth, whole_rate", [(0, None, True), (5, None, True), (5, 7, False), (3, 2, False)])
def test_pipeline(cycles: int, depth: int | None, whole_rate: bool, tmp_path: Path) -> None:
    frames = random_frames(SHAPE, 3, seed=cycles)
    inputs, expected = SHAPE.pack(frames), SHAPE.pack((frames + 1) % 64)
    stage = Pipeline(cycles, depth)
    stalled = [
        Scenario(inputs, expected, frames=3, stalls=stalls, seed=seed, resets=seed)
        for seed, stalls in enumerate(STALLS)
    ]
    free, *_ = StageBench(stage, work_dir=tmp_path).run_all([Scenario(inputs, expected, frames=3), *stalled])
    assert free.latency == stage.output.latency
    # One place less than the default is one too few for a result every cycle.
    assert (free.cycles_per_frame == SHAPE.beats) == whole_rate


def test_default_depth() -> None:
    output = CreditedOutput(8, latency=5)
    Fragment.get(output, None)  # what is built must be elaborated
    assert (output.depth, output.latency, output.fifo_latency) == (8, 7, 2)


def test_refuses() -> None:
    with pytest.raises(ValueError, match=r"^latency must be at least 0, not -1$"):
        CreditedOutput(8, latency=-1)
    with pytest.raises(ValueError, match=r"^depth must be at least 2, not 1$"):
        CreditedOutput(8, latency=1, depth=1)
    with pytest.raises(ValueError, match=r"^width must be at least 1, not 0$"):
        CreditedOutput(0, latency=1)
