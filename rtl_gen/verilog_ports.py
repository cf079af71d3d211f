"""The ports of a module in Verilog text."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mixq.errors import UserError


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
