"""What every stage has in common: its two streams, its figures, and its memory images."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from amaranth.hdl import unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from mixq.streams import StreamShape


def stage_signature(input_bits: int, output_bits: int) -> wiring.Signature:
    """Return the signature of a stage: streams ``i`` and ``o`` of plain unsigned payloads of these widths."""
    return wiring.Signature(
        {
            "i": In(stream.Signature(unsigned(input_bits))),
            "o": Out(stream.Signature(unsigned(output_bits))),
        }
    )


def memory_images(component: Any) -> dict[str, str]:
    """Return the memory files that a component's Verilog reads: bare file name -> text.

    A component with read-only memories, its own or its parts', has a property ``memory_images``; one
    without the property has none.
    """
    return dict(getattr(component, "memory_images", {}))


def merged_images(components: Iterable[Any]) -> dict[str, str]:
    """Return the memory files of several components, in order of file name.

    Raises: ValueError when two components want different contents under one name.
    """
    merged: dict[str, str] = {}
    for component in components:
        for name, text in memory_images(component).items():
            if merged.setdefault(name, text) != text:
                raise ValueError(f"memory images must have one content for each name, not two for {name!r}")
    return dict(sorted(merged.items()))


class Stage(wiring.Component):
    """Base of the streaming stages: streams ``i`` and ``o`` whose beats follow two :class:`StreamShape`.

    A stage obeys the stream rules: payload and valid hold until ready, valid never waits for ready. There
    is no combinational path from ``o.ready`` to ``i.ready``. Frames follow each other without a gap and a
    frame's last beat leaves without any input of the next one.

    Parameters: ``input_shape``, ``output_shape``. Raises: TypeError when one is no StreamShape.
    """

    def __init__(self, input_shape: StreamShape, output_shape: StreamShape) -> None:
        for name, shape in (("input_shape", input_shape), ("output_shape", output_shape)):
            if not isinstance(shape, StreamShape):
                raise TypeError(f"{name} must be a StreamShape, not {shape!r}")
        self._input_shape = input_shape
        self._output_shape = output_shape
        super().__init__(stage_signature(input_shape.payload_bits, output_shape.payload_bits))

    @property
    def input_shape(self) -> StreamShape:
        """Shape of the tensor and of the beats at the input."""
        return self._input_shape

    @property
    def output_shape(self) -> StreamShape:
        """Shape of the tensor and of the beats at the output."""
        return self._output_shape

    @property
    def latency(self) -> int:
        """Cycles from a frame's first accepted input beat to its first output beat, when nothing stalls."""
        raise NotImplementedError

    @property
    def cycles_per_frame(self) -> int:
        """Cycles between the same beat of two frames in steady state, when nothing stalls."""
        raise NotImplementedError

    @property
    def fast_clock(self) -> bool:
        """Whether the stage has a second clock domain, "fast", see :class:`rtl_gen.pumped_array.PumpedArray`."""
        return False

    @property
    def memory_images(self) -> dict[str, str]:
        """Memory files that the stage's Verilog reads: bare file name -> text."""
        return {}
