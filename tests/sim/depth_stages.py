# amaranth: UnusedElaboratable=no
"""Stages of every kind, and a design that has several of them side by side, to be synthesised together."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from amaranth.back import verilog
from amaranth.hdl import Module, Value

from mixq.formats import IntFormat
from mixq.streams import StreamShape
from rtl_gen.channel_groups import ChannelGather, ChannelSplit
from rtl_gen.gearbox import BeatsToCodes, CodesToBeats
from rtl_gen.interfaces import memory_images
from rtl_gen.max_pool import MaxPoolStage
from rtl_gen.pixel_groups import Group, Ungroup
from rtl_gen.requantise import RequantiseStage, RequantiseValues, ThresholdValues
from rtl_gen.rom import verilog_sources
from rtl_gen.space_to_depth import SpaceToDepthStage
from rtl_gen.sum_pool import SumPoolStage
from rtl_gen.upsample import UpsampleStage
from tests.rtl_gen.convolution_cases import CASES, graph_of, stage_of
from tests.rtl_gen.grouped_cases import CASES as GROUPED

U8, S22 = IntFormat(8, False), IntFormat(22, True)
SHAPE = StreamShape(24, 30, 52, U8, pixels=1, lanes=4)
#: Eight beats of a bus take several positions in its buffer.
ODD = StreamShape(3, 32, 32, U8, pixels=1, lanes=3)


def rescale(method: str) -> RequantiseStage:
    """Requantisation of sums of 22 bits, with numbers of each channel's own."""
    dice = random.Random(3)
    values = RequantiseValues(
        tuple(dice.randrange(1, 60_000) for _ in range(24)),
        tuple(dice.randrange(-(10**8), 10**8) for _ in range(24)),
        24,
        S22,
        U8 if method == "multiply" else IntFormat(4, False),
    )
    shape = StreamShape(24, 30, 52, S22, pixels=1, lanes=4)
    return RequantiseStage(values, shape, name=f"rescale_{method}", method=method)


def stairs() -> RequantiseStage:
    """Explicit thresholds of sums of 22 bits, rising and falling, with first codes far apart."""
    dice = random.Random(4)
    bounds = tuple(tuple(sorted(dice.randrange(-(10**6), 10**6) for _ in range(15))) for _ in range(24))
    first = tuple(dice.randrange(60, 200) for _ in range(24))
    values = ThresholdValues(bounds, first, tuple(dice.choice([-2, -1, 1, 2]) for _ in range(24)), S22, U8)
    return RequantiseStage(values, StreamShape(24, 30, 52, S22, pixels=1, lanes=4), name="stairs", method="threshold")


OTHERS: Mapping[str, Callable[[], Any]] = {
    "pool_2": lambda: MaxPoolStage(SHAPE, kernel=2, stride=2),
    "pool_3": lambda: MaxPoolStage(SHAPE, kernel=3, stride=2),
    "pool_3_stride_1": lambda: MaxPoolStage(SHAPE, kernel=3, stride=1),
    "channel_split": lambda: ChannelSplit(SHAPE, lanes=1),
    "channel_gather": lambda: ChannelGather(SHAPE, lanes=24),
    "ungroup": lambda: Ungroup(SHAPE.with_beat(pixels=4, lanes=4)),
    "ungroup_5": lambda: Ungroup(SHAPE.with_beat(pixels=5, lanes=1)),
    "group": lambda: Group(SHAPE, pixels=4),
    "group_3": lambda: Group(SHAPE.with_beat(pixels=1, lanes=1), pixels=3),
    "codes_to_beats": lambda: CodesToBeats(8, SHAPE),
    "codes_to_odd_beats": lambda: CodesToBeats(8, ODD),
    "beats_to_codes": lambda: BeatsToCodes(8, SHAPE),
    "odd_beats_to_codes": lambda: BeatsToCodes(8, ODD),
    "multiply": lambda: rescale("multiply"),
    "threshold": lambda: rescale("threshold"),
    "stairs": lambda: stairs(),
    "sum_pool": lambda: SumPoolStage(SHAPE, kernel=(3, 2)),
    "sum_pool_whole": lambda: SumPoolStage(SHAPE, kernel=(30, 52)),
    "sum_pool_columns_first": lambda: SumPoolStage(ODD, kernel=(2, 2)),
    "space_to_depth": lambda: SpaceToDepthStage(SHAPE, block=2),
    "upsample": lambda: UpsampleStage(SHAPE, factor=2),
}


def stage(name: str) -> Any:
    """A stage by its name: of a convolution case, or one of :data:`OTHERS`."""
    if name in OTHERS:
        return OTHERS[name]()
    case = (CASES | GROUPED)[name]
    return stage_of(case, graph_of(case))


def write_design(rtl: Path, name: str) -> Path:
    """Write a design whose only stage is the named one, and whose ports are the stage's; returns the folder."""
    found = stage(name)
    top, accelerator = Module(), Module()
    top.submodules.accelerator = accelerator
    accelerator.submodules[f"the_{name}"] = found
    ports = {"__".join(map(str, path)): (Value.cast(value), None) for path, _, value in found.signature.flatten(found)}
    rtl.mkdir(parents=True)
    text = verilog.convert(top, name="mixq_top", ports=ports, strip_internal_attrs=True)
    (rtl / "mixq_top.v").write_text(text)
    sources = verilog_sources()
    for path in sources:
        shutil.copy(path, rtl)
    (rtl / "files.f").write_text("\n".join(["mixq_top.v", *(path.name for path in sources)]) + "\n")
    for file, content in memory_images(found).items():
        (rtl / file).write_text(content)
    return rtl
