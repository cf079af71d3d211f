"""Tcl lists, read as Tcl reads them."""

from __future__ import annotations

_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def split_list(text: str) -> list[str]:
    r"""The elements of a list.

    >>> split_list('a {b c} "d e" \\{ {}')
    ['a', 'b c', 'd e', '{', '']
    """
    elements: list[str] = []
    at = 0
    while True:
        while at < len(text) and text[at].isspace():
            at += 1
        if at == len(text):
            return elements
        if text[at] == "{":
            element, at = _braced(text, at + 1)
        else:
            quoted = text[at] == '"'
            element, at = _bare(text, at + quoted, quoted)
        elements.append(element)


def _braced(text: str, at: int) -> tuple[str, int]:
    start, depth = at, 1
    while depth:
        if text[at] == "\\":
            at += 1
        elif text[at] in "{}":
            depth += 1 if text[at] == "{" else -1
        at += 1
    return text[start : at - 1], at


def _bare(text: str, at: int, quoted: bool) -> tuple[str, int]:
    element = ""
    while at < len(text) and not (text[at] == '"' if quoted else text[at].isspace()):
        if text[at] == "\\":
            at += 1
            element += _ESCAPES.get(text[at], text[at])
        else:
            element += text[at]
        at += 1
    return element, at + quoted
