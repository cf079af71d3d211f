"""The parts of an accelerator and the streams between them, while they are put together."""

from __future__ import annotations

from typing import Any

from mixq.plan.conversion import bridge
from mixq.streams import StreamShape
from rtl_gen.converters import converter
from rtl_gen.handshakes import PayloadLabel

End = tuple[str, str] | None
"""A part's name and the name of one of its streams; None for the accelerator's own."""


class Wires:
    """Parts by name, in the order of the data, which of them are converters, and which stream feeds which.

    ``payloads``: what each stream carries that another is fed from.
    """

    def __init__(self) -> None:
        self.parts: list[tuple[str, Any]] = []
        self.ends: list[tuple[End, End]] = []
        self.converters: set[str] = set()
        self.payloads: dict[End, PayloadLabel] = {}

    def free_name(self, name: str) -> str:
        """The name, with underscores behind it where another part is called so."""
        taken = {other for other, _ in self.parts}
        while name in taken:
            name += "_"
        return name

    def add(self, name: str, part: Any) -> None:
        """Put a part behind the others; the name must be free."""
        self.parts.append((name, part))

    def join(self, source: End, target: End) -> None:
        """Feed one stream from another."""
        self.ends.append((source, target))

    def converted(self, source: End, given: StreamShape, needed: StreamShape, name: str) -> End:
        """Put the converters between two shapes of beats behind a stream; returns the last one's output."""
        for number, (before, after) in enumerate(bridge(given, needed)):
            own = self.free_name(f"{name}_converter_{number}")
            self.add(own, converter(before, after))
            self.converters.add(own)
            self.join(source, (own, "i"))
            carried = PayloadLabel.of(self.payloads[source].tensor, after)
            source = (own, "o")
            self.payloads[source] = carried
        return source
