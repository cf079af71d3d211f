"""Driver and monitor of valid/ready streams for cocotb benches: plain streams and AXI4-Stream.

Both are stepped by the bench once per clock cycle, in this order, so that one coroutine serves a whole bench::

    clock falls -> drive() of each -> the design settles -> sample() of each -> clock rises

All reads happen in the settled low phase just before the rising edge, all writes just after the falling edge:
nothing depends on how a simulator orders events at an edge. The monitor checks every rule that a source of a
stream has to keep; the driver keeps them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cocotb.handle import Immediate

from sim.stalls import DRIVER_MODES, SinkPattern, StallPattern

#: A stream that breaks its rules does so in every cycle: the first errors tell all.
MOST_ERRORS = 20


@dataclass(frozen=True)
class StreamPorts:
    """Names of the ports of one stream; ``last`` and ``keep`` only where it has them."""

    payload: str
    valid: str
    ready: str
    last: str | None = None
    keep: str | None = None

    @classmethod
    def plain(cls, prefix: str) -> StreamPorts:
        """Ports of an Amaranth stream member: ``i__payload``, ``i__valid``, ``i__ready``."""
        return cls(payload=f"{prefix}__payload", valid=f"{prefix}__valid", ready=f"{prefix}__ready")

    @classmethod
    def axi(cls, prefix: str) -> StreamPorts:
        """Ports of an AXI4-Stream: ``s_axis_0_tdata``, ``tvalid``, ``tready``, ``tlast``, ``tkeep``."""
        return cls(*(f"{prefix}_{name}" for name in ("tdata", "tvalid", "tready", "tlast", "tkeep")))


@dataclass(frozen=True)
class Beats:
    """The beats of some frames.

    ``frames`` holds the beats of each frame, ``payloads`` those of all frames one after the other, or is None
    where the data are not known beforehand. ``keeps`` holds a TKEEP for each payload, or is None.
    """

    frames: tuple[int, ...]
    payloads: Sequence[int] | None = None
    keeps: Sequence[int] | None = None

    def __post_init__(self) -> None:
        total = sum(self.frames)
        if min(self.frames, default=1) < 1:
            raise ValueError(f"frames must hold at least one beat each, not {self.frames!r}")
        for name, values in (("payloads", self.payloads), ("keeps", self.keeps)):
            if values is not None and len(values) != total:
                raise ValueError(f"{name} must hold {total} values, not {len(values)!r}")

    @property
    def lasts(self) -> frozenset[int]:
        """Indices of the beats that end a frame."""
        ends, end = set(), -1
        for beats in self.frames:
            end += beats
            ends.add(end)
        return frozenset(ends)


class StreamDriver:
    """Offers beats to an input stream of the design.

    Once offered, a beat stands until it is taken. Between beats the payload is noise, so that a design that
    looks at it without valid computes something wrong.

    Members: ``accepted_cycles``, the cycle in which each beat was taken; ``errors``.
    """

    def __init__(self, dut: Any, ports: StreamPorts, beats: Beats, *, mode: str, seed: str) -> None:
        if mode not in DRIVER_MODES:
            raise ValueError(f"mode must be one of {', '.join(DRIVER_MODES)}, not {mode!r}")
        if beats.payloads is None:
            raise ValueError("beats must have payloads to drive, not None")
        self._beats, self._payloads, self._lasts = beats, beats.payloads, beats.lasts
        self._ports = ports
        self._payload, self._valid, self._ready = (
            getattr(dut, name) for name in (ports.payload, ports.valid, ports.ready)
        )
        self._last = getattr(dut, ports.last) if ports.last else None
        self._keep = getattr(dut, ports.keep) if ports.keep else None
        self._width = len(self._payload)
        self._pattern = StallPattern(mode, f"{seed}/driver")
        self._noise = random.Random(f"{seed}/noise")
        self._offered = False
        self._idle = False
        self._next = 0
        self.accepted_cycles: list[int] = []
        self.errors: list[str] = []
        self.idle()

    @property
    def done(self) -> bool:
        """Whether every beat has been taken."""
        return self._next == len(self._payloads)

    def idle(self) -> None:
        """Offer nothing in this cycle."""
        if self._idle:
            return
        self._offered, self._idle = False, True
        self._valid.value = Immediate(0)
        self._payload.value = Immediate(self._noise.getrandbits(self._width))
        if self._last is not None:
            self._last.value = Immediate(self._noise.getrandbits(1))
        if self._keep is not None:
            self._keep.value = Immediate(self._noise.getrandbits(len(self._keep)))

    def drive(self) -> None:
        """Offer the next beat, hold the one that stands, or stall."""
        if self._offered:
            return
        go = self._pattern.step()
        if self.done or not go:
            self.idle()
            return
        if self._idle:
            self._valid.value = Immediate(1)
        self._offered, self._idle = True, False
        self._payload.value = Immediate(self._payloads[self._next])
        if self._last is not None:
            self._last.value = Immediate(int(self._next in self._lasts))
        if self._keep is not None and self._beats.keeps is not None:
            self._keep.value = Immediate(self._beats.keeps[self._next])

    @property
    def offering(self) -> bool:
        """Whether a beat is offered in this cycle."""
        return self._offered

    def sample(self, cycle: int) -> bool:
        """See whether the offered beat is taken at the coming rising edge; returns that."""
        ready = str(self._ready.value)
        if ready not in "01":
            self.errors.append(f"cycle {cycle}: {self._ports.ready} is {ready}")
            return False
        if not (self._offered and ready == "1"):
            return False
        self.accepted_cycles.append(cycle)
        self._next += 1
        self._offered = False
        return True


class StreamMonitor:
    """Takes the beats of an output stream of the design, with stalls, and checks the rules of streams.

    Checked: no X on valid, nor on payload, last and keep while valid · a beat that is offered stands unchanged
    until it is taken · valid does not follow ready within a cycle (:meth:`probe`) · payloads equal the expected
    ones under the mask · last on the last beat of a frame and nowhere else · keep as expected · no beat beyond
    the last frame. That valid does not wait for ready, and that stalls are bounded, shows as a hang.

    Parameters
    ----------
    beats : frames, and payloads where they are known
    masks : payload bits that matter, for each beat of a frame; None where all do. X is allowed in the others.
    mode, seed : stalls of the sink, see :mod:`sim.stalls`

    Members: ``payloads`` and ``accepted_cycles`` of the beats taken, ``frames`` ended, ``errors``, and
    ``handshakes``, how many beats found ready high before them ("ready first"), were offered first ("valid
    first"), or met ready in their first cycle ("same cycle").
    """

    def __init__(
        self,
        dut: Any,
        ports: StreamPorts,
        beats: Beats,
        *,
        masks: Sequence[int] | None = None,
        mode: str,
        seed: str,
    ) -> None:
        self._ports, self._beats, self._lasts = ports, beats, beats.lasts
        self._total = sum(beats.frames)
        self._masks = masks
        self._payload, self._valid, self._ready_port = (
            getattr(dut, name) for name in (ports.payload, ports.valid, ports.ready)
        )
        self._last = getattr(dut, ports.last) if ports.last else None
        self._keep = getattr(dut, ports.keep) if ports.keep else None
        self._all = (1 << len(self._payload)) - 1
        self._pattern = SinkPattern(mode, f"{seed}/sink")
        self._in_frame = 0
        self.frames = 0
        self._ready = self._ready_before = self._valid_before = False
        self._ready_port.value = Immediate(0)
        self._standing: str | None = None
        self.payloads: list[int] = []
        self.accepted_cycles: list[int] = []
        self.errors: list[str] = []
        self.handshakes = {"ready first": 0, "valid first": 0, "same cycle": 0}

    @property
    def done(self) -> bool:
        """Whether every expected beat has been taken."""
        return len(self.accepted_cycles) >= self._total

    def drive(self) -> None:
        """Raise or lower ready."""
        self._ready_before = self._ready
        self._ready = self._pattern.step(other_seen=self._valid_before)
        if self._ready != self._ready_before:
            self._ready_port.value = Immediate(int(self._ready))

    def begin_probe(self) -> None:
        """Turn ready over for a moment; the bench lets the design settle before :meth:`end_probe`."""
        self._probed = self._read()
        self._ready_port.value = Immediate(int(not self._ready))

    def end_probe(self, cycle: int) -> None:
        """Compare with what stood before, and turn ready back."""
        now = self._read()
        if now[0] != self._probed[0]:
            self._error(cycle, f"{self._ports.valid} follows {self._ports.ready} within the cycle")
        elif now != self._probed and now[0] == "1":
            self._error(cycle, f"{self._ports.payload} follows {self._ports.ready} within the cycle")
        self._ready_port.value = Immediate(int(self._ready))

    def in_reset(self, cycle: int, when: str) -> None:
        """Check that valid is low, in reset or just after it."""
        valid = str(self._valid.value)
        if valid != "0":
            self._error(cycle, f"{self._ports.valid} is {valid} {when}")

    def sample(self, cycle: int) -> bool:
        """Check the settled cycle; returns whether an expected beat is taken at the coming edge."""
        valid = str(self._valid.value)
        if valid not in "01":
            self._error(cycle, f"{self._ports.valid} is {valid}")
            return False
        if valid == "0":
            if self._standing is not None:
                self._error(cycle, f"{self._ports.valid} fell before {self._ports.ready} took the beat")
            self._standing = None
            self._valid_before = False
            return False
        offered = self._offer()
        if self._standing is not None and offered != self._standing:
            self._error(cycle, "the beat changed while it waited for ready")
        first_cycle = self._standing is None
        self._standing = None if self._ready else offered
        # A sink that waits for valid waits anew for each beat.
        self._valid_before = not self._ready
        if not self._ready:
            return False
        self._count_handshake(first_cycle=first_cycle)
        return self._take(cycle)

    def _offer(self) -> str:
        sidebands = (port for port in (self._last, self._keep) if port is not None)
        return " ".join([str(self._payload.value), *(str(port.value) for port in sidebands)])

    def _read(self) -> tuple[str, str]:
        return str(self._valid.value), self._offer()

    def _count_handshake(self, *, first_cycle: bool) -> None:
        if not first_cycle:
            self.handshakes["valid first"] += 1
        elif self._ready_before:
            self.handshakes["ready first"] += 1
        else:
            self.handshakes["same cycle"] += 1

    def _take(self, cycle: int) -> bool:
        """Check a beat against what is known of it; returns whether it was one of those expected."""
        index = len(self.accepted_cycles)
        if index >= self._total:
            self._error(cycle, f"a beat more than the {self._total} expected")
            return False
        mask = self._all if self._masks is None else self._masks[self._in_frame % len(self._masks)]
        payload = self._known(cycle, self._ports.payload, str(self._payload.value), mask)
        self.accepted_cycles.append(cycle)
        self.payloads.append(payload)
        if self._beats.payloads is not None and (payload ^ self._beats.payloads[index]) & mask:
            self._error(
                cycle,
                f"beat {self._in_frame} of frame {self.frames} is {payload & mask:#x}, "
                f"expected {self._beats.payloads[index] & mask:#x}",
            )
        ends = index in self._lasts
        if self._last is not None and self._ports.last is not None:
            last = self._known(cycle, self._ports.last, str(self._last.value), 1)
            if last != ends:
                self._error(cycle, f"{self._ports.last} is {last} on beat {self._in_frame} of a frame")
        if self._keep is not None and self._ports.keep is not None and self._beats.keeps is not None:
            every = (1 << len(self._keep)) - 1
            keep = self._known(cycle, self._ports.keep, str(self._keep.value), every)
            if keep != self._beats.keeps[index]:
                self._error(cycle, f"{self._ports.keep} is {keep:#x}, expected {self._beats.keeps[index]:#x}")
        self.frames += ends
        self._in_frame = 0 if ends else self._in_frame + 1
        return True

    def _known(self, cycle: int, name: str, bits: str, mask: int) -> int:
        """The value of a port; X where the mask wants a bit is an error, elsewhere it reads 0."""
        try:
            return int(bits, 2)
        except ValueError:
            pass
        unknown = int("".join("0" if bit in "01" else "1" for bit in bits), 2)
        if unknown & mask:
            self._error(cycle, f"{name} is {bits} on beat {self._in_frame} of a frame")
        return int("".join(bit if bit in "01" else "0" for bit in bits), 2)

    def _error(self, cycle: int, message: str) -> None:
        if len(self.errors) < MOST_ERRORS:
            self.errors.append(f"cycle {cycle}: {message}")
