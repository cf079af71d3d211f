"""The Tcl is run against a stand-in of Vivado that knows its commands, options, IPs and properties by tables."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from boards import board_names, load_board
from boards.registers import REGISTERS
from boards.vivado_design import vivado_design
from boards.vivado_files import vivado_files, write_vivado
from mixq.board import VivadoBoard
from mixq.build_folder import BuildFolder
from tests.boards.stand_in_build import write_build
from tests.boards.vivado.model import Vivado
from tests.boards.vivado.session import run_script

_HOSTILE = "a b [exit] {c $d; \"e' #f\\"


def packaged(folder: BuildFolder, board: str) -> Path:
    write_vivado(folder, vivado_files(vivado_design(folder, load_board(board))))
    return folder.vivado


def run(script: Path, vivado: Vivado | None = None, *arguments: str) -> Vivado:
    session = vivado or Vivado()
    status, said = run_script(script, session, arguments)
    assert status == 0, said
    return session


def refusal(script: Path, vivado: Vivado | None = None) -> str:
    status, said = run_script(script, vivado or Vivado())
    assert status == 1, said
    return said


def project(scripts: Path) -> Vivado:
    run(scripts / "package_ip.tcl")
    return run(scripts / "project.tcl")


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("control", [False, True])
@pytest.mark.parametrize("board", board_names())
def test_the_design_of_every_board_is_whole(board: str, control: bool, fast: bool, tmp_path: Path) -> None:
    scripts = packaged(write_build(tmp_path / "b", board=board, control=control, fast=fast), board)
    design = project(scripts).design
    assert design is not None and design.faults() == []
    for pin in ("ap_rst_n", "ap_clk", *(["ap_clk2x"] if fast else [])):
        assert design.net(f"accelerator/{pin}")
    assert ("s_axilite" in design.cells["accelerator"].entry["interfaces"]) is control
    assert "clocks/clk_out1" in design.net("accelerator/ap_clk")
    assert "reset/peripheral_aresetn" in design.net("accelerator/ap_rst_n")
    if fast:
        assert "clocks/clk_out2" in design.net("accelerator/ap_clk2x")
        frequencies = [float(design.cells["clocks"].config[f"CLKOUT{n}_REQUESTED_OUT_FREQ"]) for n in (1, 2)]
        assert frequencies == [load_board(board).clock_mhz, 2 * load_board(board).clock_mhz]
    if board == "u250":
        assert "ps" not in design.cells and "dma" not in design.cells
        assert design.cells["xdma"].config["xdma_axi_intf_mm"] == "AXI_Stream"
    else:
        (irq,) = [pin for pin in design.cells["ps"].pins() if "irq" in pin.lower()]
        assert "interrupts/dout" in design.net(f"ps/{irq}")
        for number, channel in enumerate(("mm2s", "s2mm")):
            assert f"interrupts/In{number}" in design.net(f"dma/{channel}_introut")
        dma = design.cells["dma"].config
        assert (dma["c_include_sg"], dma["c_sg_length_width"]) == ("0", "26")
        assert (dma["c_m_axis_mm2s_tdata_width"], dma["c_s_axis_s2mm_tdata_width"]) == ("8", "32")
        assert dma["c_m_axi_mm2s_data_width"] == str(load_board(board).vivado.dma_bits)  # type: ignore[union-attr]
        spaces = {space for space, _ in design.assigned}
        assert spaces == {"ps/Data", "dma/Data_MM2S", "dma/Data_S2MM"}


def test_the_registers_are_in_the_packaged_ip(tmp_path: Path) -> None:
    scripts = packaged(write_build(tmp_path / "b"), "ultra96-v2")
    run(scripts / "package_ip.tcl")
    core = json.loads((scripts / "ip" / "component.xml").read_text())
    assert core["vlnv"] == ["mixq", "mixq", "mixq_top", "1.0"]
    found = {path.rpartition("/")[2]: int(text, 16) for path, text in core["offset"].items()}
    assert found == {register.name: register.offset for register in REGISTERS}
    access = {path.rpartition("/")[2]: text for path, text in core["access"].items() if path.startswith("register:")}
    assert (access["ID"], access["CONTROL"], access["STATUS"]) == ("read-only", "read-write", "read-write")
    assert core["interfaces"]["ap_rst_n"]["parameters"] == {"POLARITY": "ACTIVE_LOW"}


@pytest.mark.parametrize("board", ["ultra96-v2", "u250"])
@pytest.mark.parametrize(("taken", "given"), [(24, 40), (128, 2048)])
def test_widths_that_a_dma_cannot_take_are_converted(board: str, taken: int, given: int, tmp_path: Path) -> None:
    build = write_build(tmp_path / "b", board=board, input_bits=taken, output_bits=given)
    design = project(packaged(build, board)).design
    assert design is not None and design.faults() == []
    assert ("input_width" in design.cells) is (board == "u250" or taken == 24)
    assert design.bits_of("accelerator/s_axis_0") == taken
    assert design.bits_of(design.links["accelerator/m_axis_0"]) == given


def test_interfaces_that_vivado_has_found_itself_are_left_alone(tmp_path: Path) -> None:
    scripts = packaged(write_build(tmp_path / "b"), "ultra96-v2")
    session = run(scripts / "package_ip.tcl", Vivado(infers=True))
    inferred = [words[0].partition(" ")[0] for name, words in session.log if name == "ipx::infer_bus_interface"]
    assert inferred[0].startswith("s_axilite_") and inferred[1:] == ["ap_rst_n", "ap_clk"]


#: Script, what stands in it, what is put there instead, and what is said then.
_TYPOS = [
    ("package_ip.tcl", "ipx::add_register ", "ipx::add_registers ", "invalid command name"),
    ("package_ip.tcl", "-taxonomy", "-taxonomie", "no option -taxonomie"),
    ("package_ip.tcl", "axis_rtl", "axi4s_rtl", "no abstraction"),
    ("package_ip.tcl", "infer ap_rst_n {ap_rst_n}", "infer ap_rst_n {ap_rstn}", "no port ap_rstn"),
    ("package_ip.tcl", "address_offset", "addres_offset", "no property addres_offset"),
    ("package_ip.tcl", "parameter ap_rst_n POLARITY ACTIVE_LOW $core", "", "no polarity"),
    ("package_ip.tcl", "add_files -norecurse $images", "", "memory images are not among the files"),
    ("block_design.tcl", "axi_dma:7.1", "axi_dma:7.2", "no IP"),
    ("block_design.tcl", "c_sg_length_width", "c_sg_len_width", "no property CONFIG.c_sg_len_width"),
    ("block_design.tcl", "c_sg_length_width 26", "c_sg_length_width 27", "cannot be 27"),
    ("block_design.tcl", "dma/M_AXIS_MM2S", "dma/M_AXIS_MM2S_0", "no object"),
    ("block_design.tcl", "-target_address_space", "-address_space", "no option -address_space"),
    ("block_design.tcl", "0xA0000000", "0x00000000", "cannot be at 0x0"),
    ("block_design.tcl", "0xA0010000", "0xA0000000", "overlap at 0xa0000000"),
    ("block_design.tcl", "-range 64K", "-range 128K", "is smaller than 128K"),
    ("block_design.tcl", " dma/m_axi_s2mm_aclk", "", "dma/m_axi_s2mm_aclk is not connected"),
    ("block_design.tcl", " [get_bd_pins dma/axi_resetn]", "", "dma/axi_resetn is not connected"),
    ("block_design.tcl", "CONFIG.NUM_PORTS 2", "CONFIG.NUM_PORTS 3", "interrupts/In2 is not connected"),
    ("block_design.tcl", "mm2s_tdata_width 8", "mm2s_tdata_width 16", "of 16 bits is connected to 8 bits"),
    ("block_design.tcl", "[get_bd_pins reset/peripheral_aresetn]", "[get_bd_pins clocks/clk_out1]", "cannot drive"),
    ("block_design.tcl", 'apply_board_preset "1"', 'apply_board_preset "0"', "no preset of the board"),
    ("block_design.tcl", "PSU__USE__M_AXI_GP1 0", "PSU__USE__M_AXI_GP1 1", "M_AXI_HPM1_FPD is not connected"),
    ("project.tcl", "get_board_parts", "get_boards_parts", "invalid command name"),
    ("project.tcl", "mixq.bd", "mixed.bd", "no file matches"),
    ("project.tcl", "set_property top", "set_property tops", "no property tops"),
    ("ooc.tcl", "out_of_context", "out_of_kontext", "no mode"),
    ("ooc.tcl", "place_design\n", "", "out of order"),
]


@pytest.mark.parametrize(("script", "old", "new", "message"), _TYPOS)
def test_a_mistake_in_a_script_is_found(script: str, old: str, new: str, message: str, tmp_path: Path) -> None:
    scripts = packaged(write_build(tmp_path / "b"), "ultra96-v2")
    text = (scripts / script).read_text()
    assert old in text
    if script == "package_ip.tcl" or script == "ooc.tcl":
        (scripts / script).write_text(text.replace(old, new))
        assert re.search(message, refusal(scripts / script))
        return
    run(scripts / "package_ip.tcl")
    (scripts / script).write_text(text.replace(old, new))
    assert re.search(message, refusal(scripts / "project.tcl"))


@pytest.mark.parametrize("fast", [False, True])
def test_constraints_are_commands_of_vivado(fast: bool, tmp_path: Path) -> None:
    scripts = packaged(write_build(tmp_path / "b", fast=fast), "ultra96-v2")
    run(scripts / "mixq_top.xdc")
    if fast:
        session = run(scripts / "clocks.xdc")
        assert session.values == {("net:clocks", "CLOCK_DELAY_GROUP"): "mixq_clocks"}


def test_names_of_a_board_file_are_only_names(tmp_path: Path) -> None:
    board_part, part = 'a[exit]:b$c;d\\:part0:"{', "xc7\n[error no]} $x"
    build = write_build(tmp_path / "b")
    board = load_board("ultra96-v2")
    design = vivado_design(build, replace(board, part=part, vivado=VivadoBoard("zynq-7000", board_part, 64)))
    write_vivado(build, vivado_files(design))
    for script in ("package_ip.tcl", "project.tcl", "ooc.tcl"):
        (build.vivado / "reports").mkdir(exist_ok=True)
        session = run(build.vivado / script, Vivado(board_parts=("a:b:part0:1", board_part)))
        (words,) = [words for name, words in session.log if name == "create_project"]
        assert words[words.index("-part") + 1] == part
        if script == "project.tcl":
            assert session.values["project:mixq", "board_part"] == board_part


def test_a_board_that_vivado_does_not_know_is_named(tmp_path: Path) -> None:
    scripts = packaged(write_build(tmp_path / "b"), "ultra96-v2")
    run(scripts / "package_ip.tcl")
    said = refusal(scripts / "project.tcl", Vivado(board_parts=()))
    assert "no board files for avnet.com:ultra96v2:part0:1.2" in said


@pytest.mark.parametrize(("slack", "met"), [("0.000", True), ("-0.001", False)])
def test_the_bitstream_comes_where_timing_is_met(slack: str, met: bool, tmp_path: Path) -> None:
    build = write_build(tmp_path / "b")
    scripts = packaged(build, "ultra96-v2")
    project(scripts)
    status, said = run_script(scripts / "bitstream.tcl", Vivado(slack=slack), ("2",))
    assert (status == 0) is met, said
    assert ("timing is not met" in said) is not met
    assert sorted(path.name for path in (scripts / "reports").iterdir()) == [
        "accelerator_utilization.rpt",
        "timing.rpt",
        "utilization.rpt",
    ]
    driver = build.path / "driver"
    assert sorted(path.name for path in driver.glob("*")) == (["mixq.bit", "mixq.hwh"] if met else [])


def test_make_does_all_of_it_in_a_folder_of_any_name(tmp_path: Path, root: Path) -> None:
    board = tmp_path / "board.yaml"
    text = (root / "boards" / "data" / "ultra96-v2.yaml").read_text()
    board.write_text(text.replace("name: ultra96-v2", 'name: "x$(shell exit)\\nexit `"'))
    build = write_build(tmp_path / _HOSTILE, fast=True, image="a b;[c]{$d.mem")
    scripts = packaged(build, str(board))
    stand_in = f"{sys.executable} -m tests.boards.vivado.session"
    environment = os.environ | {"PYTHONPATH": str(root)}

    def make(target: str) -> str:
        words = ["make", "-C", str(scripts), target, f"VIVADO={stand_in}", "JOBS=3"]
        done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, shlex.join(words) + done.stdout + done.stderr
        return done.stdout

    make("bitstream")
    assert (build.path / "driver" / "mixq.bit").read_text() == "bits"
    assert (build.path / "driver" / "mixq.hwh").is_file()
    assert "-source" not in make("bitstream"), "what is made is made again"
    later = (build.path / "driver" / "mixq.bit").stat().st_mtime + 10
    os.utime(build.rtl / "mixq_top.v", (later, later))
    assert "-source package_ip.tcl" in make("ip"), "other Verilog is another IP"
    make("ooc")
    assert (scripts / "reports" / "ooc_timing.rpt").is_file()
    make("clean")
    assert not (scripts / "reports").exists() and (scripts / "Makefile").is_file()
