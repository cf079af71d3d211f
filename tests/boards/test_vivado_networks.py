"""The quickstart's network and UltraNet, packaged for every board; planned once for each kind of DSP."""

from __future__ import annotations

from pathlib import Path

import pytest

from boards import board_names, load_board
from boards.emit import generate
from boards.vivado_design import vivado_design
from boards.vivado_files import vivado_files, write_vivado
from mixq.build_folder import BuildFolder
from mixq.checkpoints import load_source
from mixq.lowering import lower
from mixq.plan import plan
from tests.boards.vivado.model import Vivado
from tests.boards.vivado.session import run_script
from tests.mixq.plan.holds import on_dsps

_SMALLEST = {"dsp48e2": "ultra96-v2", "dsp48e1": "pynq-z2"}
#: Network -> the most cycles a frame: slow enough for the smallest board, at the network's own widths or 4 bits.
_NETWORKS = {"digits_cnn": 1000, "ultranet": 1_300_000}


@pytest.mark.slow
@pytest.mark.parametrize("device", _SMALLEST)
@pytest.mark.parametrize("network", _NETWORKS)
def test_networks_are_packaged_for_every_board(network: str, device: str, tmp_path: Path) -> None:
    widths = [4] * 9 if network == "ultranet" else None
    graph = lower(load_source("random:1", network, weight_bits=widths, act_bits=widths))
    graph.save(tmp_path)
    planned = load_board(_SMALLEST[device])
    made = plan(graph, planned, max_cycles=_NETWORKS[network], foldings=on_dsps(graph), constant_weights=False)
    made.save(tmp_path)
    assert made.device == device and made.resources.dsp > 0
    generate(tmp_path)
    build = BuildFolder(tmp_path)
    boards = [name for name in board_names() if load_board(name).device == device]
    assert len(boards) == (5 if device == "dsp48e2" else 1)
    for name in boards:
        design = vivado_design(build, load_board(name))
        write_vivado(build, vivado_files(design))
        for script in ("package_ip.tcl", "project.tcl", "ooc.tcl"):
            (build.vivado / "reports").mkdir(exist_ok=True)
            status, said = run_script(build.vivado / script, Vivado())
            assert status == 0, f"{name}: {said}"
        assert design.clock_mhz == made.clock_mhz
        assert (
            f"CONFIG.CLKOUT1_REQUESTED_OUT_FREQ {made.clock_mhz:g}" in (build.vivado / "block_design.tcl").read_text()
        )
