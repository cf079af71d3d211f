"""What the buses of ``mixq_top`` promise, as a model in plain Python, and random packets to try it with.

Written from the docstrings of :mod:`boards` and from :mod:`boards.registers`; it shares nothing with the hardware.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple


class Beat(NamedTuple):
    """One beat of an AXI4-Stream: its bytes, the lowest first, ``tkeep`` and ``tlast``."""

    data: bytes
    keep: int
    last: bool


@dataclass(frozen=True)
class Sizes:
    """Bytes of a frame and of a beat, at both streams."""

    input_bytes: int
    input_bus: int
    output_bytes: int
    output_bus: int

    @property
    def input_beats(self) -> int:
        """Beats of an input frame."""
        return -(-self.input_bytes // self.input_bus)

    @property
    def output_beats(self) -> int:
        """Beats of an output frame."""
        return -(-self.output_bytes // self.output_bus)

    def own(self, beat: int) -> int:
        """Bytes that beat ``beat`` of an input frame has of it."""
        return min(self.input_bus, self.input_bytes - beat * self.input_bus)


@dataclass
class Contract:
    """Takes the beats that go in, says which beats come out and how the counters stand.

    ``work``: bytes of an input frame -> bytes of its output frame. ``batch`` may be changed between packets.
    """

    sizes: Sizes
    work: Callable[[bytes], bytes]
    batch: int = 1
    frames_in: int = 0
    short: int = 0
    long: int = 0
    frames_out: int = 0
    expected: list[Beat] = field(default_factory=list)
    _frame: list[Beat] = field(default_factory=list)
    _in_packet: int = 0
    _dropping: bool = False
    _short_cleared: int = 0
    _long_cleared: int = 0
    _out_packet: int = 0
    _out_batch: int = 1

    def take(self, beat: Beat) -> None:
        """A beat goes in."""
        if self._dropping:
            self._dropping = not beat.last
            return
        self._frame.append(beat)
        whole = len(self._frame) == self.sizes.input_beats
        if not whole and not beat.last:
            return
        frame, self._frame = self._frame, []
        packet_ends = self._in_packet + 1 >= self.batch
        self._in_packet = 0 if packet_ends or beat.last else self._in_packet + 1
        if whole and packet_ends and not beat.last:
            self.long += 1
            self._dropping = True
        elif not whole or not self._kept(frame):
            self.short += 1
        else:
            self.short += beat.last and not packet_ends
            self._good(b"".join(beat.data for beat in frame)[: self.sizes.input_bytes])

    @property
    def amid(self) -> bool:
        """Whether some of a frame went in, but not all, or beats of a long one are dropped."""
        return bool(self._frame) or self._dropping

    @property
    def idle(self) -> bool:
        """Whether the next beat begins a packet."""
        return not self.amid and not self._in_packet

    @property
    def status(self) -> int:
        """Bits 0 and 1 of ``STATUS``."""
        return (self.short > self._short_cleared) | (self.long > self._long_cleared) << 1

    def clear(self, bits: int) -> None:
        """``bits`` are written to ``STATUS`` while nothing moves."""
        if bits & 1:
            self._short_cleared = self.short
        if bits & 2:
            self._long_cleared = self.long

    def restarted(self) -> Contract:
        """The model after a soft reset."""
        return Contract(self.sizes, self.work, self.batch)

    def _kept(self, frame: list[Beat]) -> bool:
        """Whether no byte of the frame itself is marked as none."""
        return all(beat.keep & (own := (1 << self.sizes.own(at)) - 1) == own for at, beat in enumerate(frame))

    def _good(self, frame: bytes) -> None:
        """A good frame: its output, which is its packet's last or not."""
        self.frames_in += 1
        self.frames_out += 1
        if self._out_packet == 0:
            self._out_batch = max(1, self.batch)
        self._out_packet = (self._out_packet + 1) % self._out_batch
        bus, result = self.sizes.output_bus, self.work(frame)
        for start in range(0, len(result), bus):
            part = result[start : start + bus]
            ends = start + bus >= len(result) and self._out_packet == 0
            kept = len(part) if ends else bus
            self.expected.append(Beat(part.ljust(bus, b"\0"), (1 << kept) - 1, ends))


def random_packet(rng: random.Random, sizes: Sizes, batch: int) -> list[Beat]:
    """Beats up to ``tlast``: mostly a right packet, else of another length, with bytes that are not kept, or both."""
    whole, bus = sizes.input_beats, sizes.input_bus
    beats = whole * max(1, batch)
    if rng.random() < 0.4:
        near = rng.randrange(1, 2 + max(1, batch)) * whole + rng.choice((-2, -1, -1, 0, 0, 0, 1, 1, 2))
        beats = max(1, rng.choice((near, near, rng.randint(1, beats + 2 * whole))))
    keeps = []
    for at in range(beats):
        keep = (1 << sizes.own(at % whole)) - 1
        # Bytes beyond the frame may be kept or not.
        keeps.append(keep | rng.choice((0, rng.getrandbits(bus), (1 << bus) - 1)) & ~keep & ((1 << bus) - 1))
    if rng.random() < 0.25:
        for _ in range(rng.choice((1, 1, 2))):
            at = rng.choice((0, beats - 1, rng.randrange(beats)))
            keeps[at] &= rng.choice((~(1 << rng.randrange(bus)), rng.getrandbits(bus), 0))
    return [Beat(rng.randbytes(bus), keep, at == beats - 1) for at, keep in enumerate(keeps)]


def right_packet(rng: random.Random, sizes: Sizes, batch: int) -> list[Beat]:
    """A packet of ``batch`` good frames."""
    beats = sizes.input_beats * max(1, batch)
    every = (1 << sizes.input_bus) - 1
    return [Beat(rng.randbytes(sizes.input_bus), every, at == beats - 1) for at in range(beats)]
