# amaranth: UnusedElaboratable=no
"""What all stages share."""

from __future__ import annotations

import pytest

from mixq.formats import IntFormat
from mixq.streams import StreamShape
from rtl_gen.interfaces import Stage, memory_images

SHAPE = StreamShape(4, 2, 3, IntFormat(5, True), pixels=2, lanes=4)


def test_ports_of_a_stage() -> None:
    stage = Stage(SHAPE, SHAPE.with_beat(pixels=1, lanes=2))
    assert (len(stage.i.payload), len(stage.o.payload)) == (40, 10)
    assert stage.input_shape == SHAPE
    assert stage.output_shape.lanes == 2
    assert memory_images(stage) == {}


def test_refuses_no_shape() -> None:
    with pytest.raises(TypeError, match=r"^output_shape must be a StreamShape, not 10$"):
        Stage(SHAPE, 10)  # type: ignore[arg-type]
