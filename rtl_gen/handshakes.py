"""The handshakes of all streams of an accelerator under three names, for whoever looks into its simulation.

:data:`VALID` and :data:`READY` have a bit for each stream; that of :data:`ROOM` is 0 while the FIFO that the stream
comes out of is full. The attribute :data:`ATTRIBUTE` of the first names the streams, lowest bit first, so that the
Verilog alone says what stands in front of what. Nothing reads them: they take no hardware.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value

VALID, READY, ROOM = "stream_valid", "stream_ready", "stream_room"
ATTRIBUTE = "streams"

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
