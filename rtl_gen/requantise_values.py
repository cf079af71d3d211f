"""The numbers of a requantisation and the exact tables that its two implementations need."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mixq.formats import IntFormat
from rtl_gen.checks import checked_int

_MAX_SHIFT = 63


@dataclass(frozen=True)
class RequantiseValues:
    """Parameters of ``y = clamp(((x + offset) * multiplier + bias + half) >> shift, low, high)``.

    ``half`` is 2^(shift - 1), 0 when the shift is 0; the shift is arithmetic, so halves round up.

    Parameters: ``multiplier`` and ``bias``, one integer a channel, of any sign; ``shift``, 0 to 63;
    ``input_format`` of x (its ``low``..``high`` are the range that is computed exactly) and
    ``output_format`` of y (its ``low`` and ``high`` clamp); ``offset``, one integer a channel that is added
    to x first, or None for zeros.

    Raises: TypeError, ValueError for a wrong type, a shift out of range, no channel or unequal lengths.
    """

    multiplier: tuple[int, ...]
    bias: tuple[int, ...]
    shift: int
    input_format: IntFormat
    output_format: IntFormat
    offset: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "multiplier", integers("multiplier", self.multiplier))
        channels = len(self.multiplier)
        if not channels:
            raise ValueError(f"multiplier must have one value a channel, not {self.multiplier!r}")
        object.__setattr__(self, "bias", integers("bias", self.bias))
        offset = (0,) * channels if self.offset is None else integers("offset", self.offset)
        object.__setattr__(self, "offset", offset)
        for name in ("bias", "offset"):
            if len(getattr(self, name)) != channels:
                raise ValueError(f"{name} must have {channels} values, one a channel, not {getattr(self, name)!r}")
        object.__setattr__(self, "shift", checked_int("shift", self.shift, low=0, high=_MAX_SHIFT))
        for name in ("input_format", "output_format"):
            if not isinstance(getattr(self, name), IntFormat):
                raise TypeError(f"{name} must be an IntFormat, not {getattr(self, name)!r}")

    @property
    def channels(self) -> int:
        """Channels."""
        return len(self.multiplier)

    @property
    def steps(self) -> int:
        """Output codes less one: thresholds of a channel."""
        return self.output_format.high - self.output_format.low

    @property
    def scale(self) -> int:
        """What a threshold that is reached adds to the code."""
        return 1

    def base(self, channel: int) -> int:
        """Return the code of a channel where no threshold is reached."""
        return self.output_format.low

    def falls(self, channel: int) -> bool:
        """Return whether the complement of the input is compared: y falls as x rises."""
        return self.multiplier[channel] < 0

    def constant(self, channel: int) -> int:
        """Return B of ``y = clamp((x * multiplier + B) >> shift)``: bias, half and offset * multiplier."""
        half = 1 << (self.shift - 1) if self.shift else 0
        assert self.offset is not None
        return self.bias[channel] + half + self.offset[channel] * self.multiplier[channel]

    def lane_channels(self, lane: int, lanes: int) -> range:
        """Return the channels that lane ``lane`` of ``lanes`` sees, one for each channel group."""
        return range(lane, self.channels, lanes)

    def thresholds(self, channel: int, low: int, high: int) -> tuple[bool, tuple[int, ...]]:
        """Return (complement, thresholds) of a channel: y = low of the output + how many are reached.

        A threshold t is reached when ``u >= t``, with u = x, or u = ~x where ``complement`` is True (the
        multiplier is negative: y falls as x rises, and rises with ~x = -x - 1). Thresholds do not fall from
        one to the next. They are clipped to ``low`` (always reached) and ``high + 1`` (never), where
        ``low``..``high`` is the range of u; one beyond the range is a value that must be representable.

        Source: y >= v exactly when x * m + B >= v * 2^shift; divided by m > 0 this is x >= ceil((v * 2^shift
        - B) / m); for m < 0 it is x <= floor((B - v * 2^shift) / -m), hence ~x >= ~floor(...).
        """
        multiplier, constant = self.multiplier[channel], self.constant(channel)
        result = []
        for step in range(1, self.steps + 1):
            needed = ((self.output_format.low + step) << self.shift) - constant
            if multiplier > 0:
                threshold = -(-needed // multiplier)
            elif multiplier < 0:
                threshold = ~(-needed // -multiplier)
            else:
                threshold = low if needed <= 0 else high + 1
            result.append(min(max(threshold, low), high + 1))
        return self.falls(channel), tuple(result)


def integers(name: str, values: Iterable[int]) -> tuple[int, ...]:
    """Return values of any size as Python integers. Raises: TypeError for others, naming the parameter."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a sequence of integers, not {values!r}")
    # Python integers: products of 48-bit accumulators with 32-bit multipliers do not fit in 64 bits.
    return tuple(checked_int(name, value, low=-(1 << 127), high=1 << 127) for value in values)
