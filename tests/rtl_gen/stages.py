"""The scenarios that every streaming stage must stand, in a simulator, against expected beats."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from amaranth.hdl import Module
from amaranth.lib import wiring

from mixq.streams import StreamShape
from rtl_gen.interfaces import Stage
from sim.stage import Scenario, StageBench

STALLS = (("random", "random"), ("none", "slow"), ("slow", "none"), ("none", "wait"))


def random_frames(shape: StreamShape, frames: int, seed: int) -> npt.NDArray[np.int64]:
    """Random codes (F, C, H, W) of a stream's tensor, with the ends of the range among them."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(shape.format.low, shape.format.high + 1, (frames, *shape.shape))
    ends = rng.choice([shape.format.low, shape.format.high], codes.shape)
    return np.where(rng.random(codes.shape) < 0.2, ends, codes)


def masks_of(shape: StreamShape) -> list[int]:
    """The payload bits that matter, beat by beat of a frame."""
    return [shape.mask(beat) for beat in range(shape.beats)]


def with_noise(shape: StreamShape, beats: Sequence[int]) -> list[int]:
    """The same beats with ones where a payload does not matter: nothing may depend on them."""
    ones = (1 << shape.payload_bits) - 1
    masks = masks_of(shape)
    return [beat | (ones & ~masks[at % shape.beats]) for at, beat in enumerate(beats)]


def hold(
    component: Any,
    inputs: Sequence[int],
    expected: Sequence[int],
    *,
    frames: int,
    work_dir: Path,
    simulator: str = "icarus",
    masks: Sequence[int] | None = None,
    resets: int = 2,
    known_latency: bool = True,
) -> None:
    """Run a stage without stalls, with stalls of every kind and with resets amid frames.

    Every beat must be right and, where nothing stalls, ``latency`` and ``cycles_per_frame`` must be what is
    seen: the latter between the last beats of all frames of the second half.
    """
    bench = StageBench(component, work_dir=work_dir, simulator=simulator)
    free = Scenario(inputs, expected, masks, frames, probe=False)
    stalled = [
        Scenario(inputs, expected, masks, frames, stalls=stalls, seed=seed, resets=resets if seed == 0 else 0)
        for seed, stalls in enumerate(STALLS)
    ]
    seen, *_ = bench.run_all([free, *stalled])
    if known_latency:
        assert seen.latency == component.latency
    ends = seen.last_output_cycles[frames // 2 :]
    assert len(ends) >= 2
    assert {later - earlier for earlier, later in pairwise(ends)} == {component.cycles_per_frame}


class StageChain(Stage):
    """Stages one behind the other."""

    def __init__(self, stages: list[Stage]) -> None:
        self.stages = stages
        super().__init__(stages[0].input_shape, stages[-1].output_shape)

    @property
    def cycles_per_frame(self) -> int:
        return max(stage.cycles_per_frame for stage in self.stages)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        before = wiring.flipped(self.i)
        for at, stage in enumerate(self.stages):
            m.submodules[f"stage{at}"] = stage
            wiring.connect(m, before, stage.i)
            before = stage.o
        wiring.connect(m, before, wiring.flipped(self.o))
        return m
