"""What the two implementations of requantisation share: ports, valid bit, choice of memory."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from mixq.formats import IntFormat
from rtl_gen.checks import checked_int
from rtl_gen.names import checked_name
from rtl_gen.pipeline import delayed
from rtl_gen.requantise_values import RequantiseValues
from rtl_gen.threshold_values import ThresholdValues

Values = RequantiseValues | ThresholdValues
"""Numbers that tell the codes of accumulators."""


def amaranth_shape(format: IntFormat) -> Any:
    """Return the Amaranth shape of a format."""
    return signed(format.width) if format.signed else unsigned(format.width)


class RequantiseUnit(wiring.Component):
    """Free-running requantisation of ``pixels`` x ``lanes`` accumulators a cycle; it never stalls.

    Formula: that of its values, :class:`rtl_gen.requantise_values.RequantiseValues` or
    :class:`rtl_gen.threshold_values.ThresholdValues`.

    Parameters: ``values``; ``name``, an identifier that starts the names of its memory files; ``pixels`` and
    ``lanes`` of a beat: lane ``l`` of group ``g`` is channel ``g * lanes + l``, and ``lanes`` divides the
    channels.

    Members: ``x``: the accumulators, pixel then lane, least significant first; ``group``: their channel
    group, 0 to channels / lanes - 1; ``valid``; ``y``: the codes in the same order, and ``y_valid``, both
    ``latency`` cycles later. ``x`` and ``group`` are read in the cycle of ``valid``.

    Raises: TypeError, ValueError for wrong parameters.
    """

    def __init__(self, values: Values, *, name: str, pixels: int = 1, lanes: int = 1) -> None:
        if not isinstance(values, Values):
            raise TypeError(f"values must be RequantiseValues or ThresholdValues, not {values!r}")
        self._values = values
        self._name = checked_name("name", name)
        self._pixels = checked_int("pixels", pixels, low=1)
        self._lanes = checked_int("lanes", lanes, low=1)
        if values.channels % self._lanes:
            raise ValueError(f"lanes must divide the {values.channels} channels, not {lanes!r}")
        self._groups = values.channels // self._lanes
        count = self._pixels * self._lanes
        super().__init__(
            {
                "x": In(unsigned(count * values.input_format.width)),
                "group": In(max(1, ceil_log2(self._groups))),
                "valid": In(1),
                "y": Out(unsigned(count * values.output_format.width)),
                "y_valid": Out(1),
            }
        )

    @property
    def values(self) -> Values:
        """The numbers."""
        return self._values

    @property
    def groups(self) -> int:
        """Channel groups: channels / lanes."""
        return self._groups

    @property
    def latency(self) -> int:
        """Cycles from ``valid`` to ``y_valid``."""
        raise NotImplementedError

    @property
    def memory_images(self) -> dict[str, str]:
        """Memory files: bare file name -> text."""
        return {}

    def accumulator(self, x: Any, pixel: int, lane: int) -> Any:
        """Return the accumulator of a pixel and a lane in ``x``, with its sign."""
        part = x.word_select(pixel * self._lanes + lane, self._values.input_format.width)
        return part.as_signed() if self._values.input_format.signed else part

    def place(self, m: Module, pixel: int, lane: int, code: Any) -> None:
        """Drive the code of a pixel and a lane at the output."""
        m.d.comb += self.y.word_select(pixel * self._lanes + lane, self._values.output_format.width).eq(code)

    def drive_valid(self, m: Module) -> None:
        """Drive ``y_valid``."""
        m.d.comb += self.y_valid.eq(delayed(m, self.valid, self.latency, name="valid", reset=True))
