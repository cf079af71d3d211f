"""The older slice under the newer one's name, ports and parameters, so that the same benches drive both."""

from __future__ import annotations

import re

from tests.sim.dsp48_checks import yosys_cells
from tests.sim.dsp48e2_bench import MODEL
from tests.sim.dsp48e2_reference import Attributes

#: Parameters that only the newer slice has.
_NEWER = ("AMULTSEL", "RND")


def as_newer(older: str) -> str:
    """Verilog text of module DSP48E1 and of a DSP48E2 that consists of it; W of OPMODE and RND go nowhere."""
    text = MODEL.read_text()
    ports = re.findall(r"^\s*(?:input|output) .*?(\w+),?$", text, re.MULTILINE)
    parameters = [name for name in Attributes().parameters() if name not in _NEWER]
    header = text[text.index("module DSP48E2") : text.index(");\n", text.index(") (")) + 2]
    newer_only = {"OPMODE": "OPMODE[6:0]", "D": "D[24:0]", "XOROUT": None}
    pins = {port: newer_only.get(port, port) for port in ports}
    connections = [f".{port}({net})" for port, net in pins.items() if net is not None]
    values = [f".{name}({name})" for name in parameters]
    values.append('.USE_DPORT(AMULTSEL == "AD" ? "TRUE" : "FALSE")')
    body = f"DSP48E1 #({', '.join(values)}) older ({', '.join(connections)});\nendmodule\n"
    # Verilator takes two strings of different length for a mistake.
    return f"{older}\n/* verilator lint_off WIDTH */\n{header}\n{body}/* verilator lint_on WIDTH */\n"


def yosys_dsp48e1() -> str:
    """Verilog text of Yosys's simulation model of the DSP48E1."""
    found = re.search(r"^module DSP48E1 .*?^endmodule", yosys_cells("cells_sim.v"), re.MULTILINE | re.DOTALL)
    assert found is not None
    return found.group()
