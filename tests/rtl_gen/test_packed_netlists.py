"""Packed multipliers as Yosys synthesises them for the device, against the same sums as their Verilog."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from mixq.packing import Packing, candidates
from sim.tools import find_yosys
from sim.verilog_source import library_sources
from tests.rtl_gen.binary_bench import Joined, converted, play_verilog
from tests.rtl_gen.geometry_sweep import Geometry, mismatches, vectors
from tests.sim.dsp48_checks import yosys_cells

OPERANDS = 2000

DEVICE_CELLS = {"DSP48E2", "LUT1", "LUT2", "LUT3", "LUT4", "LUT5", "LUT6", "INV", "CARRY4", "MUXF7", "MUXF8"}
DEVICE_CELLS |= {"FDRE", "FDSE", "SRL16E", "SRLC32E"}
XOR, XNOR = ".INIT(4'h6)", ".INIT(4'h9)"

_SCRIPT = """\
read_verilog top.v
hierarchy -top top
flatten -noscopeinfo
synth_xilinx -family xcup -noiopad -noclkbuf -top top
tee -q -o cells.json stat -json
write_verilog -noattr netlist.v
"""


# name: weight and activation bits, kernel, known bits, which of the candidates, length, accumulate.
CASES: dict[str, tuple[tuple[int, int, int, int], Callable[[Packing], bool], int, int]] = {
    "plain": ((4, 4, 3, 0), lambda p: _is_single(p) and p.density == 6, 3, 3),
    "residues": ((4, 4, 3, 2), lambda p: _is_single(p) and p.residue_bits == 2, 2, 2),
    "tracked": ((4, 4, 3, 2), lambda p: p.tracked and p.density == 12, 2, 16),
    "pair_wide": ((4, 4, 3, 0), lambda p: _is_pair(p) and p.product.act_on_wide, 1, 3),
    "pair_narrow": ((8, 8, 3, 0), lambda p: _is_pair(p) and not p.product.act_on_wide, 2, 2),
    "split": ((7, 5, 1, 0), lambda p: p.split, 1, 1),
}


def _is_single(packing: Packing) -> bool:
    return not packing.split and not packing.tracked and not packing.product.pair


def _is_pair(packing: Packing) -> bool:
    return not packing.split and packing.product.pair


def geometry_of(name: str) -> Geometry:
    request, is_wanted, length, accumulate = CASES[name]
    return Geometry(next(filter(is_wanted, candidates(*request))), length, accumulate)


def synthesised(top: str, folder: Path) -> Counter[str]:
    """Leave ``netlist.v`` in the folder, and return its cells by type."""
    (folder / "top.v").write_text(top)
    (folder / "synthesis.ys").write_text(_SCRIPT)
    yosys = find_yosys()
    subprocess.run(
        [*yosys.command, "-q", "-s", "synthesis.ys"],
        cwd=folder,
        env=dict(yosys.environment),
        check=True,
        timeout=600,
        capture_output=True,
    )
    modules = json.loads((folder / "cells.json").read_text())["modules"]
    return Counter({kind.lstrip("\\"): number for kind, number in modules["\\top"]["num_cells_by_type"].items()})


@pytest.mark.slow
@pytest.mark.parametrize("simulator", ["verilator"])
@pytest.mark.parametrize("name", CASES)
def test_netlist_computes_the_same(name: str, simulator: str, tmp_path: Path) -> None:
    geometry = geometry_of(name)
    mac = geometry.build()
    wanted = vectors(geometry, mac, OPERANDS)
    top = Joined({"mac": mac})
    cells = synthesised(converted(top), tmp_path)
    assert cells["DSP48E2"] == geometry.dsps
    assert set(cells) <= DEVICE_CELLS
    (tmp_path / "cells.v").write_text(yosys_cells("cells_sim.v"))
    sources = [tmp_path / "netlist.v", tmp_path / "cells.v", *library_sources(["DSP48E2"])]
    outputs = play_verilog(top, sources, {"mac": wanted.rows}, tmp_path).outputs["mac"]
    assert not mismatches(mac, wanted, outputs)

    # One look-up table that computes something else is seen.
    netlist = (tmp_path / "netlist.v").read_text()
    assert netlist.count(XOR) > 0
    # In a folder of its own, so that nothing is taken from what was built before.
    folder = tmp_path / "altered"
    folder.mkdir()
    (folder / "netlist.v").write_text(netlist.replace(XOR, XNOR, 1))
    sources = [folder / "netlist.v", *sources[1:]]
    outputs = play_verilog(top, sources, {"mac": wanted.rows}, folder).outputs["mac"]
    assert mismatches(mac, wanted, outputs)
