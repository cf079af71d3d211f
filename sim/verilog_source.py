"""What the simulation has to know of Verilog text: the ports of a module, and the models that it instantiates."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mixq.errors import UserError

_ROOT = Path(__file__).resolve().parent.parent

#: Folders of hand-written modules, one a file, named like the file.
LIBRARY_FOLDERS = (_ROOT / "rtl_gen" / "verilog", _ROOT / "sim" / "verilog")


@dataclass(frozen=True)
class Port:
    """A port: ``direction`` is "input" or "output", ``width`` in bits."""

    name: str
    direction: str
    width: int


def module_ports(text: str, module: str) -> dict[str, Port]:
    """Ports of ``module`` as declared in ``text``, in either style of declaration; widths must be literal.

    >>> module_ports("module t(input a, output reg [7:0] b); endmodule", "t")["b"].width
    8

    Raises:
        UserError: there is no such module.
    """
    plain = re.sub(r"//[^\n]*|/\*.*?\*/|\(\*.*?\*\)", " ", text, flags=re.DOTALL)
    body = re.search(rf"\bmodule\s+{re.escape(module)}\b(.*?)\bendmodule\b", plain, flags=re.DOTALL)
    if body is None:
        raise UserError(f"the Verilog must hold module {module}; generate it again")
    declaration = r"\b(input|output)\b\s*(?:wire|reg|logic)?\s*(?:signed)?\s*(?:\[\s*(\d+)\s*:\s*(\d+)\s*\])?\s*(\w+)"
    ports = {}
    for direction, high, low, name in re.findall(declaration, body.group(1)):
        width = int(high) - int(low) + 1 if high else 1
        ports[name] = Port(name, direction, width)
    return ports


def library_sources(texts: Iterable[str]) -> list[Path]:
    """Files of :data:`LIBRARY_FOLDERS` whose modules the texts instantiate, and those that these need in turn.

    A module that one of the texts defines itself is left out.
    """
    texts = list(texts)
    known = {path.stem: path for folder in LIBRARY_FOLDERS for path in sorted(folder.glob("*.v"))}
    defined = {name for text in texts for name in re.findall(r"^\s*module\s+(\w+)", text, flags=re.MULTILINE)}
    found: dict[str, Path] = {}
    while texts:
        text = texts.pop()
        for name, path in known.items():
            if name not in defined and name not in found and re.search(rf"\b{name}\b", text):
                found[name] = path
                texts.append(path.read_text())
    return [found[name] for name in sorted(found)]
