# amaranth: UnusedElaboratable=no
"""The two clocks of double-pumped multipliers in the netlist that Yosys makes of them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mixq.plan.layer_shape import LayerShape
from rtl_gen.pumped_array import PumpedArray
from rtl_gen.rom import verilog_sources
from sim.stage_costs import StageVerilog
from sim.tools import find_yosys
from tests.rtl_gen.convolution_cases import CASES, P44, PAIR_WIDE, Case, weights_of

ARRAYS = {
    "chains": Case(LayerShape(8, 4, 8, 8, 3, 1, 1), P44, 2, 1, 8, 1, 1, pump=2),
    "pair": Case(LayerShape(4, 2, 8, 8, 3, 1, 1), PAIR_WIDE, 1, 1, 4, 1, 1, pump=2),
    "constant weights": CASES["pumped_odd_chain"],
}


def netlist(array: PumpedArray, folder: Path) -> Mapping[str, Any]:
    """The array alone, flattened and mapped to cells of the device."""
    source = StageVerilog.of(array)
    (folder / "stage.v").write_text(source.text)
    for name, text in source.images.items():
        (folder / name).write_text(text)
    for path in verilog_sources():
        shutil.copy(path, folder)
    files = " ".join(path.name for path in sorted(folder.glob("*.v")))
    script = (
        f"read_verilog {files}; synth_xilinx -family xcup -top stage -flatten -noiopad -noclkbuf; write_json out.json"
    )
    yosys = find_yosys()
    subprocess.run([*yosys.command, "-q", "-p", script], cwd=folder, env=dict(yosys.environment), check=True)
    module: Mapping[str, Any] = json.loads((folder / "out.json").read_text())["modules"]["stage"]
    return module


@pytest.mark.slow
@pytest.mark.parametrize("name", ARRAYS)
def test_between_registers_of_the_fast_clock_is_a_multiplexer_at_most(name: str, tmp_path: Path) -> None:
    case = replace(ARRAYS[name], target="dsp48e2")
    module = netlist(PumpedArray(case.folding, weights_of(case), name="layer"), tmp_path)
    [fast], [slow] = (module["ports"][port]["bits"] for port in ("fast_clk", "clk"))
    cells = module["cells"].values()
    driver = {
        bit: cell
        for cell in cells
        for pin, bits in cell["connections"].items()
        if cell["port_directions"][pin] == "output"
        for bit in bits
    }

    def clock_pin(cell: Mapping[str, Any]) -> str | None:
        # A DSP has an operand of the name that a flip-flop's clock has.
        return next((pin for pin in ("CLK", "C") if pin in cell["connections"]), None)

    def clock(cell: Mapping[str, Any]) -> Any:
        pin = clock_pin(cell)
        return None if pin is None else cell["connections"][pin][0]

    def inputs(cell: Mapping[str, Any]) -> set[Any]:
        found = set()
        for pin, bits in cell["connections"].items():
            if cell["port_directions"][pin] == "input" and pin != clock_pin(cell):
                found |= {bit for bit in bits if bit in driver and driver[bit]["type"] not in ("GND", "VCC")}
        return found

    registers = {"fast": 0, "slow": 0, "dsp": 0}
    for cell in cells:
        if clock(cell) != fast:
            continue
        registers["dsp" if cell["type"] == "DSP48E2" else "fast"] += 1
        for bit in inputs(cell):
            before = driver[bit]
            if clock(before) is None:
                # A look-up table of two terms and the phase, each of them a register.
                assert before["type"] in ("INV", "LUT1", "LUT2", "LUT3"), before["type"]
                assert all(clock(driver[term]) in (fast, slow) for term in inputs(before))
    for cell in cells:
        if clock(cell) != slow:
            continue
        taken = {bit for bit in inputs(cell) if clock(driver[bit]) == fast}
        registers["slow"] += len(taken)
        # Nothing reads the fast domain through logic: what is read of it goes straight into a register.
        for bit in inputs(cell) - taken:
            assert clock(driver[bit]) == slow or all(clock(driver[term]) != fast for term in inputs(driver[bit]))
    assert registers["dsp"] == case.folding.dsps
    assert registers["fast"] > 0 and registers["slow"] > 0
