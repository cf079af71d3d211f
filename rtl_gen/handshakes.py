"""Names for the handshakes and payloads of all streams of an accelerator, for whoever looks into its simulation.

:data:`VALID` and :data:`READY` have a bit for each stream; that of :data:`ROOM` is 0 while the FIFO that the stream
comes out of is full. The attribute :data:`ATTRIBUTE` of the first names the streams, lowest bit first, so that the
Verilog alone says what stands in front of what. The payload of stream 3 that ``conv4`` gives is ``stream3_conv4``; its
attribute :data:`PAYLOAD_ATTRIBUTE` says which tensor it carries and how. Nothing reads them: they take no hardware.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value

from mixq.streams import StreamShape

VALID, READY, ROOM = "stream_valid", "stream_ready", "stream_room"
ATTRIBUTE = "streams"
PAYLOAD_ATTRIBUTE = "carries"

INPUT, OUTPUT = "input", "output"
"""Stand for the accelerator's own streams; no part is called so."""


@dataclass(frozen=True)
class StreamLabel:
    """Which part gives a stream and which one takes it.

    ``depth``: beats of the FIFO that it comes out of, 0 where it comes out of a stage. ``converter``: whether it comes
    out of a converter, which belongs to no node.

    >>> StreamLabel.parse("conv0_fork/14>add5")
    StreamLabel(source='conv0_fork', target='add5', depth=14, converter=False)
    >>> str(StreamLabel("add5_converter_0", "add5", converter=True))
    '~add5_converter_0>add5'
    """

    source: str
    target: str
    depth: int = 0
    converter: bool = False

    def __str__(self) -> str:
        depth = f"/{self.depth}" if self.depth else ""
        return f"{'~' if self.converter else ''}{self.source}{depth}>{self.target}"

    @classmethod
    def parse(cls, text: str) -> StreamLabel:
        """The label that is written so. Raises ValueError for what is none."""
        given, _, target = text.partition(">")
        source, _, depth = given.removeprefix("~").partition("/")
        if not source or not target:
            raise ValueError(f"text must be the label of a stream, not {text!r}")
        return cls(source, target, int(depth or 0), given.startswith("~"))


@dataclass(frozen=True)
class PayloadLabel:
    """Which tensor of the graph a stream carries, in which beats: ``pixels`` x ``lanes`` codes of ``width`` bits.

    >>> PayloadLabel.parse("t4:1x8xs5")
    PayloadLabel(tensor='t4', pixels=1, lanes=8, width=5, signed=True)
    >>> str(PayloadLabel("pixels", 2, 3, 8))
    'pixels:2x3xu8'
    """

    tensor: str
    pixels: int
    lanes: int
    width: int
    signed: bool = False

    def __str__(self) -> str:
        return f"{self.tensor}:{self.pixels}x{self.lanes}x{'s' if self.signed else 'u'}{self.width}"

    @property
    def bits(self) -> int:
        """Bits of a beat."""
        return self.pixels * self.lanes * self.width

    @classmethod
    def of(cls, tensor: str, shape: StreamShape) -> PayloadLabel:
        """The label of a tensor in beats of a shape."""
        return cls(tensor, shape.pixels, shape.lanes, shape.format.width, shape.format.signed)

    @classmethod
    def parse(cls, text: str) -> PayloadLabel:
        """The label that is written so. Raises ValueError for what is none."""
        found = re.fullmatch(r"(\w+):(\d+)x(\d+)x([us])(\d+)", text)
        if found is None:
            raise ValueError(f"text must be the label of a payload, not {text!r}")
        return cls(found[1], int(found[2]), int(found[3]), int(found[5]), found[4] == "s")


def payload_name(number: int, source: str) -> str:
    """The name of a stream's payload; ``source`` is the part that gives it."""
    return f"stream{number}_{source}"


def name_handshakes(m: Module, labels: Sequence[StreamLabel], streams: Sequence[Any], room: Sequence[Value]) -> None:
    """Give the three names to the handshakes of ``streams``, with a label and a bit of ``room`` for each."""
    attributes = {ATTRIBUTE: " ".join(str(label) for label in labels)}
    valid = Signal(len(labels), name=VALID, attrs=attributes)
    ready, free = Signal(len(labels), name=READY), Signal(len(labels), name=ROOM)
    m.d.comb += [
        valid.eq(Cat(own.valid for own in streams)),
        ready.eq(Cat(own.ready for own in streams)),
        free.eq(Cat(room)),
    ]


def name_payloads(
    m: Module, labels: Sequence[StreamLabel], streams: Sequence[Any], payloads: Sequence[PayloadLabel]
) -> None:
    """Give a name to the payload of each of ``streams``, with what it carries."""
    for number, (label, own, carried) in enumerate(zip(labels, streams, payloads, strict=True)):
        name = payload_name(number, label.source)
        signal = Signal(carried.bits, name=name, attrs={PAYLOAD_ATTRIBUTE: str(carried)})
        m.d.comb += signal.eq(own.payload)
