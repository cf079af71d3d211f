"""Explicit thresholds as the hardware looks them up: counts of thresholds that are reached, and codes for the counts.

Every channel is turned to rise: a falling one counts what the complement of its input reaches. Where the channels'
first codes differ a little, thresholds that are always reached make up for it; else each channel has its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Staircase:
    """What is the same in all channels, and what is not.

    scale: 1 or 2, by which a count is multiplied. steps: thresholds of a channel. bases: the code of no step, a channel
    each. reached: thresholds in front of a channel's own that are always reached.
    """

    scale: int
    steps: int
    bases: tuple[int, ...]
    reached: tuple[int, ...]

    @classmethod
    def of(cls, count: int, first: Sequence[int], step: Sequence[int]) -> Staircase:
        """That of :class:`mixq.graph.Threshold`: ``count`` thresholds a channel, and (C,) first codes and steps.

        >>> Staircase.of(3, [0, 3], [1, -1])
        Staircase(scale=1, steps=3, bases=(0, 0), reached=(0, 0))
        >>> Staircase.of(2, [0, 1], [1, 1])
        Staircase(scale=1, steps=3, bases=(0, 0), reached=(0, 1))
        """
        scale = 2 if all(abs(one) == 2 for one in step) else 1
        bases = tuple(min(start, start + one * count) for start, one in zip(first, step, strict=True))
        own = [count * abs(one) // scale for one in step]
        least = min(bases)
        ahead = tuple((base - least) // scale for base in bases)
        joined = max(number + more for number, more in zip(own, ahead, strict=True))
        # As deep a search as without: then a base of each channel would be for nothing.
        if joined.bit_length() == max(own).bit_length() and all((base - least) % scale == 0 for base in bases):
            return cls(scale, joined, (least,) * len(bases), ahead)
        return cls(scale, max(own), bases, (0,) * len(bases))

    @property
    def levels(self) -> int:
        """Comparisons one after the other."""
        return self.steps.bit_length()

    @property
    def shared(self) -> bool:
        """Whether all channels begin with the same code."""
        return len(set(self.bases)) == 1

    def rising(self, thresholds: Sequence[int], step: int) -> tuple[int, ...]:
        """A channel's thresholds of the input, or of its complement where ``step`` is negative, without those in front.

        x >= t fails exactly when x <= t - 1, that is ``~x >= ~(t - 1)`` = -t.
        """
        own = [-threshold for threshold in reversed(thresholds)] if step < 0 else list(thresholds)
        return tuple(threshold for threshold in own for _ in range(abs(step) // self.scale))
