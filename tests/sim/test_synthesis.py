from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mixq.board import Resources
from mixq.errors import CheckFailed, UserError
from mixq.files import write_json
from rtl_gen.rom import verilog_sources
from sim import synthesis
from sim.depth import NO_PATH, Depth, LayerDepth, LogicPath
from sim.synthesis import SHELL, Synthesis, count
from sim.tools import Yosys, find_yosys
from sim.yosys_process import share_out

NONE = LayerDepth(NO_PATH)

#: One stage of each kind of resource, named as Amaranth names modules, and two flip-flops around them.
DESIGN = r"""
module \mixq_top.accelerator.conv (input clk, input [7:0] a, output [47:0] p, output reg [7:0] q);
  \mixq_top.accelerator.conv.part part (.clk(clk), .a(a), .p(p));
  always @(posedge clk) q <= a;
endmodule
module \mixq_top.accelerator.conv.part (input clk, input [7:0] a, output [47:0] p);
  DSP48E2 #(.AREG(1)) dsp (.CLK(clk), .A({22'd0, a}), .B({10'd0, a}), .P(p));
endmodule
module \mixq_top.accelerator.conv_converter_0 (input clk, input [7:0] a, output reg [7:0] q);
  always @(posedge clk) q <= a;
endmodule
module \mixq_top.accelerator.table$5 (input clk, input [11:0] a, output [15:0] q, output [7:0] r);
  mixq_rom #(.WIDTH(16), .DEPTH(4096), .ADDR_WIDTH(12), .FILE("big.mem"), .STYLE("block"))
    big (.clk(clk), .en(1'b1), .addr(a), .data(q));
  (* ram_style = "block" *) reg [35:0] buffer [0:511];
  reg [35:0] from_buffer;
  always @(posedge clk) begin
    if (a[11]) buffer[a[8:0]] <= {a, a, a};
    from_buffer <= buffer[a[11:3]];
  end
  reg [7:0] ram [0:31];
  reg [7:0] read;
  always @(posedge clk) begin
    if (a[11]) ram[a[4:0]] <= a[7:0];
    read <= ram[a[9:5]];
  end
  assign r = read ^ from_buffer[35:28];
endmodule
module \mixq_top.accelerator.input_stage (input clk, input [5:0] a, output q, output reg s);
  mixq_rom #(.WIDTH(1), .DEPTH(64), .ADDR_WIDTH(6), .FILE("small.mem"), .STYLE("distributed"))
    small (.clk(clk), .en(1'b1), .addr(a), .data(q));
  (* rom_style = "distributed" *) reg words [0:63];
  initial $readmemh("small.mem", words);
  always @(posedge clk) s <= words[~a];
endmodule
module \mixq_top.accelerator (input clk, input [11:0] a, output [80:0] y);
  \mixq_top.accelerator.conv conv (.clk(clk), .a(a[7:0]), .p(y[47:0]), .q(y[55:48]));
  \mixq_top.accelerator.conv_converter_0 conv_converter_0 (.clk(clk), .a(a[8:1]), .q(y[63:56]));
  \mixq_top.accelerator.table$5 \table$5 (.clk(clk), .a(a), .q(y[79:64]), .r());
  \mixq_top.accelerator.input_stage input_stage (.clk(clk), .a(a[5:0]), .q(y[80]), .s());
endmodule
module mixq_top (input ap_clk, input [1:0] d, output reg [1:0] e, input [11:0] a, output [80:0] y);
  \mixq_top.accelerator accelerator (.clk(ap_clk), .a(a), .y(y));
  always @(posedge ap_clk) e <= d;
endmodule
"""


@pytest.fixture(scope="module")
def design(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder ``rtl`` with the design of :data:`DESIGN`."""
    folder = tmp_path_factory.mktemp("build") / "rtl"
    folder.mkdir()
    (folder / "mixq_top.v").write_text(DESIGN)
    names = ["mixq_top.v"]
    for path in verilog_sources():
        shutil.copy(path, folder)
        names.append(path.name)
    (folder / "files.f").write_text("\n".join(names) + "\n")
    (folder / "big.mem").write_text("\n".join(f"{(7919 * i) % 65536:04x}" for i in range(4096)) + "\n")
    (folder / "small.mem").write_text("\n".join(str((i * i // 3) % 2) for i in range(64)) + "\n")
    return folder


@pytest.fixture(scope="module")
def counted(design: Path) -> Synthesis:
    seen: list[tuple[int, int]] = []
    found = count(design, workers=2, progress=lambda done, of: seen.append((done, of)))
    assert seen[0] == (0, 5)
    assert seen[-1] == (5, 5)
    assert seen == sorted(seen)
    return found


def test_every_layer_has_its_own_counts(counted: Synthesis) -> None:
    assert list(counted.layers) == ["conv", "table", "input", SHELL]
    # The converter's eight flip-flops stand with the layer's own.
    assert counted.layers["conv"] == Resources(lut=0, ff=16, dsp=1)
    assert counted.layers[SHELL] == Resources(lut=0, ff=2)


def test_block_ram_is_counted_in_blocks_of_36_kilobits(counted: Synthesis) -> None:
    # 4096 words of 16 bits take two blocks of 32 Kb without the parity bits; 512 words of 36 bits take half a block.
    assert counted.layers["table"].bram36 == 2.5


def test_a_rom_of_64_bits_is_one_look_up_table(counted: Synthesis) -> None:
    # However it is asked for: by the ROM module, and by an attribute that Yosys alone takes for LUT RAM.
    assert counted.layers["input"] == Resources(lut=2, ff=2)


def test_total_is_the_sum(counted: Synthesis) -> None:
    report = counted.report()
    assert list(report) == [*counted.layers, "total"]
    total = report.pop("total")
    assert total == {key: sum(layer[key] for layer in report.values()) for key in total}
    assert list(total) == ["LUT", "FF", "DSP", "BRAM_36K", "URAM"]


def test_result_is_kept_until_the_input_changes(
    counted: Synthesis, design: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert (design.parent / "sim" / "synthesis.json").is_file()

    def fail(*_: object) -> dict[str, dict[str, int]]:
        raise AssertionError("Yosys was started")

    monkeypatch.setattr(synthesis, "_run_all", fail)
    again = count(design)
    assert again == counted
    assert again.seconds == 0.0
    other = tmp_path / "rtl"
    shutil.copytree(design, other)
    shutil.copytree(design.parent / "sim", tmp_path / "sim")
    assert count(other) == counted
    (other / "big.mem").write_text("0000\n" * 4096)
    with pytest.raises(AssertionError, match="Yosys was started"):
        count(other)


def test_a_damaged_cache_is_no_result(counted: Synthesis, design: Path, tmp_path: Path) -> None:
    for text in ("", "{", "[]", '{"key": 1}', json.dumps({"cells": {}})):
        (tmp_path / "synthesis.json").write_text(text)
        assert synthesis._from_cache(tmp_path / "synthesis.json", "key", "0") is None


def test_nothing_is_left_beside_the_verilog(counted: Synthesis, design: Path) -> None:
    assert sorted(path.name for path in design.parent.iterdir()) == ["rtl", "sim"]


def test_written_report_is_the_result(counted: Synthesis, tmp_path: Path) -> None:
    path = counted.write(tmp_path)
    assert path == tmp_path / "report" / "synth_resources.json"
    assert json.loads(path.read_text()) == counted.report()


def test_counts_of_block_ram_equal_those_of_the_stock_flow(design: Path, counted: Synthesis, tmp_path: Path) -> None:
    """Our map of block RAM leaves contents out; the counts are those of plain ``synth_xilinx``."""
    rtl = tmp_path / "rtl"
    shutil.copytree(design, rtl)
    assert stock(rtl, r"mixq_top.accelerator.table$5", "xcup") == counted.layers["table"]


#: A DSP48E1, and memories whose cells differ from UltraScale+'s: 14 bits of LUT RAM, and a block RAM.
SEVEN_SERIES = """
module mixq_top (input ap_clk, input [29:0] a, input [47:0] c, output [47:0] p, output reg [13:0] q,
                 output reg [35:0] r);
  DSP48E1 #(.AREG(1), .USE_DPORT("TRUE")) dsp (.CLK(ap_clk), .A(a), .B(a[17:0]), .C(c), .P(p));
  (* ram_style = "distributed" *) reg [13:0] ram [0:31];
  (* ram_style = "block" *) reg [35:0] buffer [0:511];
  always @(posedge ap_clk) begin
    if (a[29]) ram[a[4:0]] <= a[18:5];
    if (a[29]) buffer[a[8:0]] <= c[35:0];
    q <= ram[a[23:19]];
    r <= buffer[a[28:20]];
  end
endmodule
"""


def test_a_design_with_the_older_dsp_is_counted_for_its_family(tmp_path: Path) -> None:
    rtl = tmp_path / "rtl"
    rtl.mkdir()
    found = count(small_design(rtl, SEVEN_SERIES))
    # A RAM32M holds six bits in four look-up tables, UltraScale+'s RAM32M16 fourteen in eight.
    assert found.total == Resources(lut=12, ff=14, dsp=1, bram36=0.5)
    assert stock(rtl, "mixq_top", "xc7") == found.total
    newer = tmp_path / "newer"
    newer.mkdir()
    text = SEVEN_SERIES.replace("DSP48E1", "DSP48E2").replace("USE_DPORT", "AMULTSEL").replace("TRUE", "AD")
    assert count(small_design(newer, text)).total == replace(found.total, lut=8)


def stock(rtl: Path, module: str, family: str) -> Resources:
    """The counts of plain ``synth_xilinx``."""
    sources = " ".join((rtl / "files.f").read_text().split())
    (rtl.parent / "stock.ys").write_text(
        f"read_verilog {sources}\nsynth_xilinx -family {family} -noiopad -noclkbuf -flatten -top {module} -run :check\n"
        "tee -q -o ../stock.json stat -json\n"
    )
    _run(find_yosys(), rtl)
    found = json.loads((rtl.parent / "stock.json").read_text())["modules"]["\\" + module]["num_cells_by_type"]
    cells = {kind: number for kind, number in found.items() if not kind.startswith("$")}
    return synthesis.cell_resources(module, cells)


def _run(yosys: Yosys, folder: Path) -> None:
    done = subprocess.run(
        [*yosys.command, "-q", "-s", "../stock.ys"],
        cwd=folder,
        env=dict(yosys.environment),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def small_design(folder: Path, text: str) -> Path:
    (folder / "mixq_top.v").write_text(text)
    (folder / "files.f").write_text("mixq_top.v\n")
    return folder


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("module mixq_top(input a; endmodule", "Yosys ended with mixq_top.v:1: ERROR: syntax error"),
        ("module mixq_top(input a); other x(.a(a)); endmodule", "Yosys ended with ERROR: Module `\\other' referenced"),
        (
            'module mixq_top(input [3:0] a, output b); reg m [0:15]; initial $readmemh("no.mem", m); '
            "assign b = m[a]; endmodule",
            "Yosys ended with mixq_top.v:1: ERROR:Can not open file `no.mem`",
        ),
    ],
)
def test_refused_verilog_is_reported_with_the_first_error(tmp_path: Path, text: str, message: str) -> None:
    folder = tmp_path / "rtl"
    folder.mkdir()
    with pytest.raises(CheckFailed) as caught:
        count(small_design(folder, text))
    assert str(caught.value).startswith(message)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rtl"]


def test_a_cell_that_no_device_has_is_refused() -> None:
    with pytest.raises(CheckFailed) as caught:
        synthesis.cell_resources("conv", {"LUT6": 4, "$mem_v2": 3})
    assert str(caught.value) == "synthesis of conv leaves 3 cells $mem_v2, which the device has not"


def test_cells_count_as_the_slices_hold_them() -> None:
    cells = {"LUT6": 3, "INV": 1, "RAM32M16": 2, "SRL16E": 5, "FDRE": 7, "FDSE": 1, "CARRY4": 9, "MUXF7": 2}
    assert synthesis.cell_resources("x", cells) == Resources(lut=3 + 1 + 16 + 5, ff=8)
    cells = {"RAMB18E2": 3, "RAMB36E2": 2, "URAM288": 4, "DSP48E2": 6}
    assert synthesis.cell_resources("x", cells) == Resources(dsp=6, bram36=3.5, uram=4)


def test_carry_blocks_are_of_eight_bits() -> None:
    found = synthesis._synthesis({"a": {"CARRY4": 5}, SHELL: {"CARRY4": 2}}, {"a": NONE, SHELL: NONE}, "0", 0.0)
    assert found.carry8 == {"a": 3, SHELL: 1}


@pytest.mark.parametrize(
    ("stage", "layer"),
    [
        ("conv", "conv"),
        ("conv_converter_0", "conv"),
        ("conv_converter_12", "conv"),
        ("odd_converter_0", "odd_converter_0"),
        ("input_stage", "input"),
        ("input_converter_0", "input_converter_0"),
        ("my_input_stage", "my_input_stage"),
    ],
)
def test_stages_belong_to_layers(stage: str, layer: str) -> None:
    assert synthesis._layer(stage, {"conv", "Input_stage", "my_input_stage"}) == layer


def test_work_is_shared_out_evenly() -> None:
    shares = share_out({"a": 5, "b": 4, "c": 3, "d": 2, "e": 2}, 2)
    assert shares == [["a", "d", "e"], ["b", "c"]] or shares == [["a", "d"], ["b", "c", "e"]]
    assert share_out({"a": 1}, 4) == [["a"]]


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        count(tmp_path)
    assert str(caught.value) == f"{tmp_path} must hold files.f; generate the build again"
    (tmp_path / "files.f").write_text("mixq_top.v\n")
    with pytest.raises(UserError) as caught:
        count(tmp_path)
    assert str(caught.value) == f"{tmp_path} must hold mixq_top.v; generate the build again"


def test_a_process_that_dies_silently_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "rtl"
    folder.mkdir()
    dying = replace(find_yosys(), command=(sys.executable, "-c", "raise SystemExit(3)"))
    monkeypatch.setattr(synthesis, "find_yosys", lambda: dying)
    with pytest.raises(CheckFailed) as caught:
        count(small_design(folder, "module mixq_top; endmodule"))
    assert str(caught.value) == "Yosys ended with exit status 3"


def test_equality_leaves_the_time_out() -> None:
    one = Synthesis({SHELL: Resources()}, {SHELL: 0}, "1", 2.0)
    assert one == replace(one, seconds=0.0)
    assert one != replace(one, yosys_version="2")


def test_keys_of_the_cache_are_json(tmp_path: Path) -> None:
    depth = LayerDepth(LogicPath(Depth(2, 1, 8), "a", "b.D"), to_output=LogicPath(Depth(1), "c", "o"))
    entry = {"key": "k", "cells": {SHELL: {"LUT2": 4}}, "depths": {SHELL: depth.report()}}
    write_json(tmp_path / "synthesis.json", entry)
    found = synthesis._from_cache(tmp_path / "synthesis.json", "k", "1")
    assert found is not None
    assert found.total == Resources(lut=4)
    assert found.depths == {SHELL: depth}
