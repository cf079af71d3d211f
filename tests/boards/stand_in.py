"""What stands in for an accelerator: a stage that gives out what it takes, and its top level as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from amaranth.hdl import Module
from amaranth.lib import wiring

from boards.axis import AxisTop
from boards.emit import render
from mixq.streams import StreamShape
from rtl_gen.fifo import StreamFifo
from rtl_gen.interfaces import Stage


class Identity(Stage):
    """Gives the beats that it takes."""

    def __init__(self, shape: StreamShape, *, images: dict[str, str] | None = None) -> None:
        super().__init__(shape, shape)
        self._images = images or {}

    @property
    def latency(self) -> int:
        return 1

    @property
    def cycles_per_frame(self) -> int:
        return self.input_shape.beats

    @property
    def memory_images(self) -> dict[str, str]:
        return dict(self._images)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.fifo = fifo = StreamFifo(self.input_shape.payload_bits, 2)
        wiring.connect(m, wiring.flipped(self.i), fifo.i)
        wiring.connect(m, fifo.o, wiring.flipped(self.o))
        return m


def write_rtl(top: AxisTop, folder: Path) -> Path:
    """Write the files of a top level into ``folder/rtl``; returns that."""
    rtl = folder / "rtl"
    rtl.mkdir()
    for name, content in render(top, target="generic").items():
        (rtl / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return rtl
