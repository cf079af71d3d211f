"""Names that go into Verilog and into file names: refused unless they are plain identifiers."""

from __future__ import annotations

import hashlib
import re

_LONGEST = 63
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
    """Return the parts joined by underscores, an identifier of 63 characters at most.

    Where the whole is longer, the end of the first part gives way to a hash of all of it, so that names which
    differ stay different.

    >>> joined_name("conv1", "level0")
    'conv1_level0'

    Raises: ValueError when no identifier results.
    """
    first, *rest = (str(part) for part in parts)
    tail = "".join(f"_{part}" for part in rest)
    if len(first) + len(tail) > _LONGEST:
        digest = hashlib.sha256(first.encode()).hexdigest()[:8]
        first = f"{first[: max(1, _LONGEST - len(tail) - len(digest) - 1)]}_{digest}"
    return checked_name("name", first + tail)
