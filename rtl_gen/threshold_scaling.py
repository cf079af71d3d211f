"""Explicit thresholds behind the sums of a convolution or dense layer."""

from __future__ import annotations

from dataclasses import dataclass

from mixq.formats import IntFormat
from rtl_gen.threshold_values import ThresholdValues


@dataclass(frozen=True)
class ThresholdScaling:
    """How finished sums become output codes: ``first + step * (number of thresholds t with sum >= t)``.

    A bias of the sums is in the thresholds. The fields are those of :class:`rtl_gen.threshold_values.ThresholdValues`.
    """

    bounds: tuple[tuple[int, ...], ...]
    first: tuple[int, ...]
    step: tuple[int, ...]
    output_format: IntFormat

    @property
    def method(self) -> str:
        """See :func:`rtl_gen.requantise.requantise_unit`."""
        return "threshold"

    def values(self, sum_format: IntFormat, offset: tuple[int, ...]) -> ThresholdValues:
        """The numbers for sums that come in a format, each less than the true one by a channel's offset."""
        return ThresholdValues(self.bounds, self.first, self.step, sum_format, self.output_format, offset)
