"""Names that go into Verilog and into file names: refused unless they are plain identifiers."""

from __future__ import annotations

import re

_LEGAL = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}", re.ASCII)


def checked_name(name: str, value: object) -> str:
    """Return ``value``, an identifier: a letter, then letters, digits and underscores, 63 at most.

    ``name`` is the parameter that the message names. Raises: TypeError when ``value`` is no string,
    ValueError when it is no identifier.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {value!r}")
    if not _LEGAL.fullmatch(value):
        raise ValueError(f"{name} must be a letter and up to 62 letters, digits or underscores, not {value!r}")
    return value


def joined_name(*parts: str | int) -> str:
    """Return the parts joined by underscores, cut in the first part where the whole exceeds 63 characters.

    Distinct first parts can meet only when they are cut, so what names memory files starts from layer names
    of at most 40 characters or makes its own names distinct. Raises: ValueError when no identifier results.
    """
    first, *rest = (str(part) for part in parts)
    tail = "".join(f"_{part}" for part in rest)
    return checked_name("name", first[: 63 - len(tail)] + tail)
