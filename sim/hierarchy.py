"""Which module instantiates which, read from the text of generated Verilog."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_MODULE = re.compile(r"^\s*module\s+(\\\S+|\w+)", flags=re.MULTILINE)
# Parentheses within parentheses: those of the list, of a value, and of an expression in it.
_INNER = r"\([^()]*\)"
_VALUE = rf"\((?:[^()]|{_INNER})*\)"
_PARAMETERS = rf"#\s*\((?:[^()]|{_VALUE})*\)"
_INSTANCE = re.compile(rf"^\s*(\\\S+|\w+)\s+(?:{_PARAMETERS}\s*)?(\\\S+|\w+)\s*\(", flags=re.MULTILINE)


@dataclass(frozen=True)
class VerilogModule:
    """A module: ``size``, the characters of its text, and ``instances``, instance name -> name of its module."""

    name: str
    size: int
    instances: Mapping[str, str]


def modules(text: str) -> dict[str, VerilogModule]:
    """The modules of a text by name, and their instances of each other; escaped names stand without the backslash.

    >>> found = modules("module a;\\n b x ();\\nendmodule\\nmodule b;\\nendmodule")
    >>> dict(found["a"].instances)
    {'x': 'b'}
    """
    starts = list(_MODULE.finditer(text))
    ends = [start.start() for start in starts[1:]] + [len(text)]
    bodies = {start[1].removeprefix("\\"): text[start.start() : end] for start, end in zip(starts, ends, strict=True)}
    found = {}
    for name, body in bodies.items():
        instances = {
            instance.removeprefix("\\"): kind.removeprefix("\\")
            for kind, instance in _INSTANCE.findall(body)
            if kind.removeprefix("\\") in bodies
        }
        found[name] = VerilogModule(name, len(body), instances)
    return found


def size_below(design: Mapping[str, VerilogModule], name: str) -> int:
    """Characters of a module and all that it instantiates, each as often as it is instantiated."""
    module = design[name]
    return module.size + sum(size_below(design, below) for below in module.instances.values())
