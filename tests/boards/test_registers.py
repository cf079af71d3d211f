"""The table of registers: sound in itself, and the one that the documentation shows."""

from __future__ import annotations

import re
from pathlib import Path

from boards.registers import ADDRESS_BITS, OFFSETS, REGISTERS


def test_offsets_are_distinct_words_within_the_address() -> None:
    offsets = [register.offset for register in REGISTERS]
    assert offsets == sorted(set(offsets))
    assert all(offset % 4 == 0 and offset < 1 << ADDRESS_BITS for offset in offsets)
    assert len(OFFSETS) == len(REGISTERS)


def test_the_page_has_every_register(root: Path) -> None:
    page = (root / "docs/streams.md").read_text().split("## Registers")[1].split("## ")[0]
    rows = re.findall(r"^\| `0x([0-9A-F]{2})` \| `(\w+)` \| (.*?) \| (.*) \|$", page, flags=re.MULTILINE)
    assert rows == [(f"{own.offset:02X}", own.name, own.access, own.description) for own in REGISTERS]
