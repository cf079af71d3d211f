"""Explicit thresholds and the codes between them: what :class:`rtl_gen.requantise_threshold.ThresholdUnit` searches."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from mixq.formats import IntFormat
from mixq.plan.staircase import Staircase
from rtl_gen.requantise_values import integers


@dataclass(frozen=True)
class ThresholdValues:
    """Parameters of ``y = first + step * (number of bounds t with x + offset >= t)``, a channel at a time.

    Parameters: ``bounds``, rising thresholds, equally many for each channel; ``first`` and ``step`` (-2, -1, 1 or 2),
    one a channel; ``input_format`` of x and ``output_format`` of y; ``offset``, one integer a channel that is added to
    x first, or None for zeros.

    Raises: TypeError, ValueError for a wrong type, no channel or unequal lengths, thresholds that fall, another step,
    or a code outside the output's format.
    """

    bounds: tuple[tuple[int, ...], ...]
    first: tuple[int, ...]
    step: tuple[int, ...]
    input_format: IntFormat
    output_format: IntFormat
    offset: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "bounds", tuple(integers("bounds", row) for row in self.bounds))
        channels = len(self.bounds)
        if not channels or not self.bounds[0]:
            raise ValueError(f"bounds must have a threshold for every channel, not {self.bounds!r}")
        offset = (0,) * channels if self.offset is None else self.offset
        for name, values in (("first", self.first), ("step", self.step), ("offset", offset)):
            object.__setattr__(self, name, integers(name, values))
            if len(getattr(self, name)) != channels:
                raise ValueError(f"{name} must have {channels} values, one a channel, not {getattr(self, name)!r}")
        for name in ("input_format", "output_format"):
            if not isinstance(getattr(self, name), IntFormat):
                raise TypeError(f"{name} must be an IntFormat, not {getattr(self, name)!r}")
        for row in self.bounds:
            if len(row) != len(self.bounds[0]):
                raise ValueError(f"bounds must be {len(self.bounds[0])} for every channel, not {row!r}")
            if list(row) != sorted(row):
                raise ValueError(f"bounds must rise, not {row!r}")
        for start, step in zip(self.first, self.step, strict=True):
            if step not in (-2, -1, 1, 2):
                raise ValueError(f"step must be -2, -1, 1 or 2, not {step!r}")
            if not self.output_format.contains([start, start + step * len(self.bounds[0])]):
                last = start + step * len(self.bounds[0])
                raise ValueError(f"output_format must hold {start}..{last}, not {self.output_format!r}")

    @cached_property
    def staircase(self) -> Staircase:
        """Counts and codes."""
        return Staircase.of(len(self.bounds[0]), self.first, self.step)

    @property
    def channels(self) -> int:
        """Channels."""
        return len(self.bounds)

    @property
    def steps(self) -> int:
        """Thresholds of a channel, as they are searched."""
        return self.staircase.steps

    @property
    def scale(self) -> int:
        """What a threshold that is reached adds to the code."""
        return self.staircase.scale

    def lane_channels(self, lane: int, lanes: int) -> range:
        """Return the channels that lane ``lane`` of ``lanes`` sees, one for each channel group."""
        return range(lane, self.channels, lanes)

    def base(self, channel: int) -> int:
        """Return the code of a channel where no threshold is reached."""
        return self.staircase.bases[channel]

    def falls(self, channel: int) -> bool:
        """Return whether the complement of the input is compared."""
        return self.step[channel] < 0

    def thresholds(self, channel: int, low: int, high: int) -> tuple[bool, tuple[int, ...]]:
        """Return (complement, thresholds) of a channel: y = base + scale * how many are reached.

        See :meth:`rtl_gen.requantise_values.RequantiseValues.thresholds`.
        """
        assert self.offset is not None
        own = [bound - self.offset[channel] for bound in self.bounds[channel]]
        rising = self.staircase.rising(own, self.step[channel])
        clipped = tuple(min(max(threshold, low), high + 1) for threshold in rising)
        found = (low,) * self.staircase.reached[channel] + clipped
        return self.falls(channel), found + (high + 1,) * (self.steps - len(found))
