# amaranth: UnusedElaboratable=no
"""Counts of a stage's components, and of the stage as a whole."""

from __future__ import annotations

import pytest

from mixq.board import Resources
from mixq.formats import IntFormat
from mixq.streams import StreamShape
from rtl_gen.converters import converter
from rtl_gen.requantise import RequantiseStage, RequantiseValues
from sim.stage_costs import CONTROL, StageVerilog, measure

BEATS = StreamShape(4, 4, 4, IntFormat(8, False), pixels=1, lanes=2)


def requantise(multiplier: tuple[int, ...]) -> RequantiseStage:
    values = RequantiseValues(multiplier, (0,) * 4, 8, IntFormat(8, False), IntFormat(4, False))
    return RequantiseStage(values, BEATS, name="scale", method="multiply")


def test_the_digest_tells_verilog_and_memories_apart() -> None:
    one, same, other = (StageVerilog.of(requantise(m)) for m in ((3, 5, 7, 9), (3, 5, 7, 9), (3, 5, 7, 11)))
    assert one.digest == same.digest != other.digest
    # The widths are the same: only the contents of the memory differ.
    assert one.text == other.text and one.images != other.images


@pytest.mark.slow
def test_components_are_counted_apart() -> None:
    counts = measure(StageVerilog.of(requantise((3, 5, 7, 9))))
    assert set(counts.components) == {"unit", "unit_memory", "output", CONTROL}
    assert counts.components["unit_memory"].ff > 0
    assert all(found.dsp == found.bram36 == 0 for found in counts.components.values())
    assert counts.total == sum(counts.components.values(), Resources())
    assert 0 < counts.flat.ff <= counts.total.ff


@pytest.mark.slow
def test_registers_of_a_converter_are_all_counted() -> None:
    # A beat of 4 codes is held while its halves leave through two registers; a bit each for the part, for its being the
    # last, and for the beat held, and two for the level of the buffer.
    before = BEATS.with_beat(pixels=1, lanes=4)
    counts = measure(StageVerilog.of(converter(before, BEATS)))
    assert counts.flat.ff == 32 + 2 * 16 + 1 + 1 + 1 + 2
