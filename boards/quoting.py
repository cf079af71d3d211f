"""Any text as one word of Tcl or Yosys, or in a comment; the one place that knows their quoting.

XML is escaped by Jinja2, whose environment for it has autoescaping; YAML is written by its library. The makefile has
names in comments alone: all its paths are relative to its folder, and the same for every build.
"""

from __future__ import annotations

import re

_PLAIN = re.compile(r"[A-Za-z0-9_./:+,=@%-]+", flags=re.ASCII)
_TCL_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def tcl_word(text: str) -> str:
    r"""Return a word of a Tcl script, or an element of a Tcl list, whose value is ``text``; it may stand within braces.

    Raises ValueError for what Tcl 8.6 cannot hold: NUL, and characters beyond U+FFFF.

    >>> tcl_word("xczu3eg-sbva484-1-i"), tcl_word("a b"), tcl_word("[exit]; $x {")
    ('xczu3eg-sbva484-1-i', '"a b"', '"\\[exit\\]; \\$x \\{"')
    """
    if _PLAIN.fullmatch(text):
        return text
    return f'"{"".join(map(_tcl_character, text))}"'


def yosys_word(text: str) -> str:
    r"""Return a word of a Yosys script whose value is ``text``.

    Raises ValueError for a quotation mark or a line break, which Yosys' quotes cannot hold, and NUL.

    >>> yosys_word("../rtl/a.v"), yosys_word("../rtl/a b;c.v")
    ('../rtl/a.v', '"../rtl/a b;c.v"')
    """
    if set(text) & set('"\n\r\0'):
        raise ValueError(f"text must be one line without quotation marks, not {text!r}")
    return text if _PLAIN.fullmatch(text) else f'"{text}"'


def comment(text: str) -> str:
    r"""Return ``text`` as it may stand in a comment to the end of its line: what is not printable ASCII is escaped.

    >>> comment("one\nexit"), comment("ends in a \\")
    ('one\\nexit', 'ends in a \\.')
    """
    escaped = "".join(c if c.isascii() and c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    # A backslash at the end of a line would make a comment of the next one.
    return f"{escaped}." if escaped.endswith("\\") else escaped


def _tcl_character(character: str) -> str:
    code = ord(character)
    if not 0 < code < 0x10000 or 0xD800 <= code < 0xE000:
        raise ValueError(f"text must be of characters U+0001 to U+FFFF, not {character!r}")
    if character in _TCL_ESCAPES:
        return _TCL_ESCAPES[character]
    if character in '\\"$[]{}':
        return f"\\{character}"
    return character if character.isascii() and character.isprintable() else f"\\u{code:04x}"
