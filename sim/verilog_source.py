"""What the simulation has to know of Verilog text: the ports of a module, and the models that it instantiates."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from rtl_gen.verilog_ports import Port, module_ports

__all__ = ["LIBRARY_FOLDERS", "Port", "library_sources", "module_ports"]

_ROOT = Path(__file__).resolve().parent.parent

#: Folders of hand-written modules, one a file, named like the file.
LIBRARY_FOLDERS = (_ROOT / "rtl_gen" / "verilog", _ROOT / "sim" / "verilog")


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
