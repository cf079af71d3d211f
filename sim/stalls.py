"""Stall patterns of stream drivers and sinks: when a beat is offered, when one is taken."""

from __future__ import annotations

import random

#: "none" never stalls; "random" stalls in bursts, half of the time, "seldom" a ninth of it and "often" eight ninths;
#: "slow" goes one cycle in eight; "wait" (sinks only) raises ready for one cycle after it has seen valid, and so hangs
#: on a source that waits for ready.
DRIVER_MODES = ("none", "random", "seldom", "often", "slow")
SINK_MODES = (*DRIVER_MODES, "wait")

#: Of these modes, how much longer than others are the bursts in which a side stalls, and those in which it goes.
_LONGER = {"random": (1, 1), "seldom": (1, 8), "often": (8, 1)}

_SLOW_PERIOD = 8


class StallPattern:
    """Decides cycle by cycle whether a side goes (True) or stalls (False); the same seed gives the same answers.

    Parameters
    ----------
    mode : one of :data:`SINK_MODES`
    seed : anything that names the pattern, e.g. ``"7/sink"``

    Raises
    ------
    ValueError : ``mode`` is none of these.
    """

    def __init__(self, mode: str, seed: str) -> None:
        if mode not in SINK_MODES:
            raise ValueError(f"mode must be one of {', '.join(SINK_MODES)}, not {mode!r}")
        self._mode = mode
        self._random = random.Random(seed)
        self._going = self._random.random() < 0.5
        self._left = 0
        self._until_seen = False

    def step(self, *, other_seen: bool = False) -> bool:
        """Advance by one cycle.

        ``other_seen`` says that the other side was active in the cycle before: a sink passes whether valid was
        high, a driver leaves it out and so never waits for ready.
        """
        if self._mode == "none":
            return True
        if self._mode == "slow":
            self._left = (self._left + 1) % _SLOW_PERIOD
            return self._left == 0
        if self._mode == "wait":
            return other_seen
        return self._burst(other_seen=other_seen)

    def _burst(self, *, other_seen: bool) -> bool:
        if self._until_seen:
            if not other_seen:
                return False
            self._until_seen = False
            self._left = self._random.randint(1, 4)
        if self._left == 0:
            self._going = not self._going
            self._left = self._length() * _LONGER[self._mode][self._going]
        self._left -= 1
        return self._going

    def _length(self) -> int:
        """Mostly short bursts, at times long ones that fill every FIFO on the way."""
        if self._random.random() < 0.15:
            return self._random.randint(16, 64)
        return self._random.randint(1, 6)


class SinkPattern(StallPattern):
    """The pattern of a sink: its random bursts now and then last until valid is seen.

    Such a burst ends only with a source that raises valid by itself, which every source must.
    """

    def _burst(self, *, other_seen: bool) -> bool:
        starts_stall = self._left == 0 and self._going
        if starts_stall and not self._until_seen and self._random.random() < 0.25:
            self._going = False
            self._until_seen = True
            self._left = 1
            return False
        return super()._burst(other_seen=other_seen)
