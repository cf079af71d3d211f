"""Why nothing moves any more: which join waits for which part, and which full FIFO keeps it from getting anything.

Branches part at forks and meet again at joins. A fork gives a beat to all of its branches or to none. Where the FIFO in
front of a join is full while the join waits for another input, the fork that fills the FIFO stops; if what the join
waits for must come through the same fork, it never comes. That circle is read from the handshakes of the simulated
streams, which the Verilog names (:mod:`rtl_gen.handshakes`): no plan and no graph is asked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mixq.errors import CheckFailed
from rtl_gen.handshakes import (
    ATTRIBUTE,
    INPUT,
    PAYLOAD_ATTRIBUTE,
    READY,
    ROOM,
    VALID,
    PayloadLabel,
    StreamLabel,
    payload_name,
)

SIGNALS = {"valid": VALID, "ready": READY, "room": ROOM}
"""The fields of :class:`Handshakes` and the signals that they are read from."""

_LABELS = re.compile(rf'\(\* {ATTRIBUTE} = "([^"]*)" \*\)\s*wire\s*(?:\[[^\]]*\])?\s*{VALID}\b')
_PAYLOADS = re.compile(rf'\(\* {PAYLOAD_ATTRIBUTE} = "([^"]*)" \*\)\s*wire\s*(?:\[[^\]]*\])?\s*(stream\d+_\w+)\s*;')
_MODULE = re.compile(r"^\s*module\s+(\w+)", flags=re.MULTILINE)


class Hang(CheckFailed):
    """A simulation in which nothing moves any more."""


class Deadlock(Hang):
    """A simulation that stands still for good because of a full FIFO.

    ``what`` stands where and waits for what; ``hang``: how the simulation stood. ``node``: the join that starves.
    ``number``: of its input in front of which the FIFO is full. ``depth``: beats that this FIFO holds. ``advice`` ends
    the sentence.
    """

    def __init__(
        self, what: str, hang: str, *, node: str, number: int, depth: int, advice: str = "make it deeper in the plan"
    ) -> None:
        super().__init__(f"deadlock: {what}: {advice} ({hang})")
        self.what, self.hang = what, hang
        self.node, self.number, self.depth = node, number, depth

    def advised(self, advice: str) -> Deadlock:
        """The same with other advice."""
        return Deadlock(self.what, self.hang, node=self.node, number=self.number, depth=self.depth, advice=advice)


@dataclass(frozen=True)
class Streams:
    """The streams that a text of Verilog names.

    ``labels`` in the order of the bits; ``module`` that has the signals; ``path`` of instances from the top to it;
    ``payloads``, what each stream carries, none where the Verilog does not say it.
    """

    labels: tuple[StreamLabel, ...]
    module: str
    path: tuple[str, ...]
    payloads: tuple[PayloadLabel, ...] = ()

    @property
    def payload_names(self) -> tuple[str, ...]:
        """The signals of the payloads."""
        return tuple(payload_name(number, self.labels[number].source) for number in range(len(self.payloads)))


@dataclass(frozen=True)
class Handshakes:
    """What the named signals are at one moment: "0" and "1" for each stream, that of the first label first."""

    valid: str
    ready: str
    room: str


@dataclass(frozen=True)
class _Full:
    """A full FIFO (its stream's place) in front of a join, an input for which the join waits, and its giver's name."""

    fifo: int
    waits: int
    giver: str


def find_streams(text: str, top: str) -> Streams | None:
    """The named streams in the Verilog of module ``top``, in it or one level below; None where there are none."""
    found = _LABELS.search(text)
    if found is None:
        return None
    labels = tuple(StreamLabel.parse(label) for label in found[1].split())
    module = _MODULE.findall(text, 0, found.start())[-1]
    carried = {name: carries for carries, name in _PAYLOADS.findall(text)}
    names = [payload_name(number, label.source) for number, label in enumerate(labels)]
    payloads = tuple(PayloadLabel.parse(carried[name]) for name in names) if carried.keys() >= set(names) else ()
    if module == top:
        return Streams(labels, module, (), payloads)
    instance = re.search(rf"^\s*{module}\s+(\w+)\s*\(", text, flags=re.MULTILINE)
    return None if instance is None else Streams(labels, module, (instance[1],), payloads)


class _Trace:
    """Follows full FIFOs forward to the join that does not take, and what that waits for back to the fork."""

    def __init__(self, labels: Sequence[StreamLabel], seen: Handshakes) -> None:
        self._labels = labels
        self._seen = seen
        self._inputs: dict[str, list[int]] = {}
        self._outputs: dict[str, list[int]] = {}
        for place, label in enumerate(labels):
            self._inputs.setdefault(label.target, []).append(place)
            self._outputs.setdefault(label.source, []).append(place)

    def circle(self) -> list[_Full]:
        """Full FIFOs each of which stops the fork that the join behind the one before waits for; empty without any."""
        for start in self._stopped_forks():
            passed: list[str] = []
            blames: list[_Full] = []
            fork: str | None = start
            while fork is not None and fork not in passed:
                passed.append(fork)
                blame, fork = self._blame(fork)
                blames += [blame] if blame else []
            if fork is not None:
                return blames[passed.index(fork) :]
        return []

    def number(self, place: int) -> int:
        """Which input of its reader a stream is."""
        return self._inputs[self._labels[place].target].index(place)

    def join_input(self, place: int) -> int:
        """The stream into the join behind the converters that a FIFO's stream leads through."""
        while True:
            target = self._labels[place].target
            if len(self._inputs[target]) > 1 or target not in self._outputs:
                return place
            [place] = self._outputs[target]

    def _stopped_forks(self) -> list[str]:
        return [
            part
            for part, places in self._outputs.items()
            if self._labels[places[0]].depth and any(self._blocked(place) for place in self._inputs[part])
        ]

    def _blocked(self, place: int) -> bool:
        return self._seen.valid[place] == "1" and self._seen.ready[place] == "0"

    def _blame(self, fork: str) -> tuple[_Full | None, str | None]:
        """Which full FIFO stops a fork, and the fork that what its join waits for would come from."""
        for place in self._outputs[fork]:
            if self._seen.room[place] == "0":
                for blame in self._forward(place, place):
                    back = self._back(blame.waits)
                    if back is not None:
                        return blame, back
        return None, None

    def _forward(self, place: int, fifo: int) -> list[_Full]:
        """The joins that do not take what waits in a stream, directly or behind parts that are blocked themselves."""
        part = self._labels[place].target
        others = [own for own in self._inputs.get(part, []) if own != place and self._seen.valid[own] == "0"]
        if others:
            return [_Full(fifo, own, self._giver(own)) for own in others]
        found = []
        for own in self._outputs.get(part, []):
            if self._labels[own].depth and self._seen.room[own] == "0":
                found += self._forward(own, own)
            elif not self._labels[own].depth and self._blocked(own):
                found += self._forward(own, fifo)
        return found

    def _back(self, place: int) -> str | None:
        """The stopped fork from which a stream that gives nothing would be fed; None where that is the input."""
        part = self._labels[place].source
        for own in self._inputs.get(part, []):
            if self._labels[place].depth and self._blocked(own):
                return part
            if self._seen.valid[own] == "0":
                found = self._back(own)
                if found is not None:
                    return found
        return None

    def _giver(self, place: int) -> str:
        """The stage that gives a stream, in front of converters and FIFOs."""
        label = self._labels[place]
        if label.source == INPUT or not (label.depth or label.converter):
            return "the input" if label.source == INPUT else label.source
        return self._giver(self._inputs[label.source][0])

    def sentence(self, full: _Full) -> str:
        """What one full FIFO does."""
        fifo = self._labels[full.fifo]
        place = self.join_input(full.fifo)
        return (
            f"{self._labels[place].target} waits for {full.giver}, and the FIFO from {self._giver(full.fifo)} to "
            f"{self._labels[place].target} is full, which holds {fifo.depth} beats"
        )


def deadlock(labels: Sequence[StreamLabel], seen: Handshakes, hang: str) -> Deadlock | None:
    """What the handshakes of a simulation that stands still say; None where no full FIFO is the reason.

    ``hang``: what is known besides; the message ends with it. Raises ValueError for handshakes of other streams.
    """
    for bits in (seen.valid, seen.ready, seen.room):
        if len(bits) != len(labels):
            raise ValueError(f"seen must hold a bit for each of {len(labels)} streams, not {bits!r}")
    trace = _Trace(labels, seen)
    circle = trace.circle()
    if not circle:
        return None
    place = trace.join_input(circle[0].fifo)
    return Deadlock(
        "; ".join(trace.sentence(full) for full in circle),
        hang,
        node=labels[place].target,
        number=trace.number(place),
        depth=labels[circle[0].fifo].depth,
    )
