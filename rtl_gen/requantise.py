"""Requantisation stage: accumulators in, codes out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from amaranth.hdl import Module, Signal

from mixq.plan.values import METHODS
from mixq.streams import StreamShape
from rtl_gen.checks import checked_choice
from rtl_gen.counters import loop_counter
from rtl_gen.credits import CreditedOutput
from rtl_gen.interfaces import Stage
from rtl_gen.requantise_multiply import MultiplyUnit
from rtl_gen.requantise_threshold import ThresholdUnit
from rtl_gen.requantise_unit import RequantiseUnit, Values
from rtl_gen.requantise_values import RequantiseValues
from rtl_gen.threshold_values import ThresholdValues

__all__ = ["METHODS", "RequantiseStage", "RequantiseUnit", "RequantiseValues", "ThresholdValues", "requantise_unit"]


def requantise_unit(values: Values, *, name: str, method: str, pixels: int = 1, lanes: int = 1) -> RequantiseUnit:
    """Return the free-running unit of a method, "multiply" or "threshold"; both give the same codes.

    Explicit thresholds are not multiplied: ValueError. For the other parameters and the ports see
    :class:`rtl_gen.requantise_unit.RequantiseUnit`.
    """
    if checked_choice("method", method, METHODS) == "threshold":
        return ThresholdUnit(values, name=name, pixels=pixels, lanes=lanes)
    if not isinstance(values, RequantiseValues):
        raise ValueError(f"method must be threshold for explicit thresholds, not {method!r}")
    return MultiplyUnit(values, name=name, pixels=pixels, lanes=lanes)


class RequantiseStage(Stage):
    """Requantise a stream of accumulators beat by beat; the order of beats and codes is kept.

    Formula: ``y = clamp(((x + offset) * multiplier + bias + half) >> shift, low, high)``, see
    :class:`rtl_gen.requantise_values.RequantiseValues`, or a staircase of explicit thresholds, see
    :class:`rtl_gen.threshold_values.ThresholdValues`.

    Parameters: ``values``; ``input_shape`` with the values' input format and channels;
    ``method``, "multiply" or "threshold"; ``name``, an identifier that starts the names of memory files.

    Latency: the unit's and that of the output FIFO. Throughput: a beat a cycle, ``cycles_per_frame`` =
    beats.

    Raises: TypeError, ValueError for wrong parameters or a shape that does not go with the values.
    """

    def __init__(self, values: Values, input_shape: StreamShape, *, name: str, method: str) -> None:
        if not isinstance(values, Values):
            raise TypeError(f"values must be RequantiseValues or ThresholdValues, not {values!r}")
        if not isinstance(input_shape, StreamShape):
            raise TypeError(f"input_shape must be a StreamShape, not {input_shape!r}")
        if input_shape.format != values.input_format:
            raise ValueError(f"input_shape must have the format {values.input_format}, not {input_shape.format!r}")
        if input_shape.channels != values.channels:
            raise ValueError(f"input_shape must have {values.channels} channels, not {input_shape.channels!r}")
        super().__init__(input_shape, replace(input_shape, format=values.output_format))
        self._unit = requantise_unit(
            values, name=name, method=method, pixels=input_shape.pixels, lanes=input_shape.lanes
        )
        self._output = CreditedOutput(self.output_shape.payload_bits, latency=self._unit.latency)

    @property
    def latency(self) -> int:
        """Cycles from a frame's first accepted input beat to its first output beat, when nothing stalls."""
        return self._output.latency

    @property
    def cycles_per_frame(self) -> int:
        """Beats of a frame."""
        return self.input_shape.beats

    @property
    def memory_images(self) -> dict[str, str]:
        """Memory files: bare file name -> text."""
        return self._unit.memory_images

    def elaborate(self, platform: Any) -> Module:
        """Join the input, the unit and the output, and count channel groups."""
        m = Module()
        m.submodules.unit = unit = self._unit
        m.submodules.output = output = self._output
        group = Signal.like(unit.group)
        m.d.comb += [
            self.i.ready.eq(output.can_issue),
            output.issue.eq(self.i.valid & output.can_issue),
            unit.x.eq(self.i.payload),
            unit.group.eq(group),
            unit.valid.eq(output.issue),
            output.result.eq(unit.y),
            output.result_valid.eq(unit.y_valid),
            self.o.payload.eq(output.o.payload),
            self.o.valid.eq(output.o.valid),
            output.o.ready.eq(self.o.ready),
        ]
        loop_counter(m, output.issue, group, unit.groups)
        return m
