"""Depths of small netlists, written cell by cell, so that they can be told by looking at them."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from mixq.errors import CheckFailed
from sim.depth import Depth, LogicPath
from sim.netlist_paths import Paths, paths
from sim.tools import find_yosys

PREFIX = "input clk, input [7:0] i, output z"

#: Modules from a register ``a`` (or port) to a register ``q``; names of wires are those of the paths.
DESIGN = f"""
module ff (input clk, input d, output q);
  FDRE r (.C(clk), .D(d), .Q(q), .CE(1'b1), .R(1'b0));
endmodule
module levels ({PREFIX});
  wire a, b, c, d, q;
  ff fa (clk, i[0], a);
  LUT2 #(.INIT(4'h6)) l1 (.I0(a), .I1(i[1]), .O(b));
  LUT6 #(.INIT(64'h6)) l2 (.I0(b), .I1(a), .I2(a), .I3(a), .I4(a), .I5(a), .O(c));
  LUT2 #(.INIT(4'h6)) l3 (.I0(a), .I1(c), .O(d));
  FDRE fq (.C(clk), .D(d), .Q(q), .CE(b), .R(1'b0));
  LUT1 #(.INIT(2'h2)) l4 (.I0(q), .O(z));
endmodule
module inverters ({PREFIX});
  wire a, b, c, d, p, q;
  ff fa (clk, i[0], a);
  INV n (.I(a), .O(b));
  LUT2 #(.INIT(4'h6)) l1 (.I0(b), .I1(1'b1), .O(c));
  ff fp (clk, c, p);
  ff fq (clk, b, q);
  assign z = q;
endmodule
module chain ({PREFIX});
  wire a, b, c, d, q;
  wire [3:0] co, s;
  ff fa (clk, i[0], a);
  LUT2 #(.INIT(4'h6)) before (.I0(a), .I1(i[1]), .O(b));
  LUT2 #(.INIT(4'h6)) propagate (.I0(b), .I1(i[2]), .O(c));
  CARRY4 low (.CI(1'b0), .CYINIT(1'b0), .DI(4'b0), .S({{2'b0, c, 1'b0}}), .CO(co), .O());
  CARRY4 high (.CI(co[3]), .CYINIT(1'b0), .DI(4'b0), .S(4'b0), .CO(), .O(s));
  ff fq (clk, s[2], q);
  assign z = q;
endmodule
module late_carry ({PREFIX});
  wire a, b, d, q;
  wire [3:0] co;
  ff fa (clk, i[0], a);
  CARRY4 low (.CI(1'b0), .CYINIT(a), .DI(4'b0), .S(4'b0), .CO(co), .O());
  LUT2 #(.INIT(4'h6)) behind (.I0(co[2]), .I1(i[1]), .O(d));
  ff fq (clk, d, q);
  assign z = q;
endmodule
module two_chains ({PREFIX});
  wire a, q;
  wire [3:0] s, t;
  ff fa (clk, i[0], a);
  CARRY4 first (.CI(1'b0), .CYINIT(1'b0), .DI({{3'b0, a}}), .S(4'b0), .CO(), .O(s));
  CARRY4 second (.CI(1'b0), .CYINIT(1'b0), .DI(4'b0), .S({{3'b0, s[1]}}), .CO(), .O(t));
  ff fq (clk, t[1], q);
  assign z = q;
endmodule
module gates ({PREFIX});
  wire a, b, n, p, q, r;
  wire [3:0] s, t, u;
  ff fa (clk, i[0], a);
  LUT2 #(.INIT(4'h6)) l1 (.I0(a), .I1(i[1]), .O(b));
  INV invert (.I(a), .O(n));
  CARRY4 first (.CI(1'b0), .CYINIT(1'b0), .DI(4'b0), .S({{3'b0, b}}), .CO(), .O(s));
  CARRY4 second (.CI(1'b0), .CYINIT(1'b0), .DI(4'b0), .S({{3'b0, a}}), .CO(), .O(t));
  CARRY4 third (.CI(1'b0), .CYINIT(1'b0), .DI(4'b0), .S({{3'b0, n}}), .CO(), .O(u));
  ff fp (clk, s[0], p);
  ff fq (clk, t[0], q);
  ff fr (clk, u[1], r);
  assign z = q;
endmodule
module multiplexer ({PREFIX});
  wire a, b, c, d, e, p, q;
  ff fa (clk, i[0], a);
  LUT2 #(.INIT(4'h6)) l1 (.I0(a), .I1(i[1]), .O(b));
  LUT2 #(.INIT(4'h6)) l2 (.I0(a), .I1(i[2]), .O(c));
  MUXF7 m1 (.I0(b), .I1(c), .S(1'b0), .O(d));
  ff fp (clk, d, p);
  MUXF7 m2 (.I0(1'b0), .I1(1'b0), .S(b), .O(e));
  ff fq (clk, e, q);
  assign z = q;
endmodule
module lut_ram ({PREFIX});
  wire a, b, c, d, q;
  ff fa (clk, i[0], a);
  RAM32X1D ram (.WCLK(clk), .D(a), .WE(b), .A0(1'b0), .A1(1'b0), .A2(1'b0), .A3(1'b0), .A4(1'b0),
                .DPRA0(b), .DPRA1(1'b0), .DPRA2(1'b0), .DPRA3(1'b0), .DPRA4(1'b0), .DPO(c), .SPO());
  LUT2 #(.INIT(4'h6)) l1 (.I0(a), .I1(i[1]), .O(b));
  LUT2 #(.INIT(4'h6)) l2 (.I0(c), .I1(1'b1), .O(d));
  ff fq (clk, d, q);
  assign z = q;
endmodule
module written ({PREFIX});
  wire c, d, q;
  RAM32X1D ram (.WCLK(clk), .D(i[0]), .WE(i[1]), .A0(i[2]), .A1(i[3]), .A2(i[4]), .A3(i[5]), .A4(i[6]),
                .DPRA0(1'b0), .DPRA1(1'b0), .DPRA2(1'b0), .DPRA3(1'b0), .DPRA4(1'b0), .DPO(c), .SPO());
  LUT2 #(.INIT(4'h6)) l1 (.I0(c), .I1(1'b1), .O(d));
  ff fq (clk, d, q);
  assign z = q;
endmodule
module blocks ({PREFIX});
  wire a, b, d, q;
  wire [47:0] p;
  ff fa (clk, i[0], a);
  LUT2 #(.INIT(4'h6)) l1 (.I0(a), .I1(i[1]), .O(b));
  DSP48E2 dsp (.CLK(clk), .A({{29'b0, b}}), .P(p));
  LUT2 #(.INIT(4'h6)) l2 (.I0(p[3]), .I1(p[4]), .O(d));
  ff fq (clk, d, q);
  assign z = q;
endmodule
module ports ({PREFIX});
  wire b, c, d, q;
  LUT2 #(.INIT(4'h6)) l1 (.I0(i[0]), .I1(i[1]), .O(b));
  LUT2 #(.INIT(4'h6)) l2 (.I0(b), .I1(i[1]), .O(c));
  ff fq (clk, c, q);
  LUT2 #(.INIT(4'h6)) l3 (.I0(b), .I1(q), .O(z));
endmodule
module looped ({PREFIX});
  wire b, c;
  LUT2 #(.INIT(4'h6)) l1 (.I0(c), .I1(i[1]), .O(b));
  LUT2 #(.INIT(4'h6)) l2 (.I0(b), .I1(i[1]), .O(c));
  assign z = c;
endmodule
module odd ({PREFIX});
  IBUF unknown (.I(i[0]), .O(z));
endmodule
(* blackbox *) module stage (input clk, input x, output y);
endmodule
module around ({PREFIX});
  wire a, b, c;
  stage one (.clk(clk), .x(i[0]), .y(a));
  LUT2 #(.INIT(4'h6)) l1 (.I0(a), .I1(i[1]), .O(b));
  stage two (.clk(clk), .x(b), .y(z));
endmodule
"""

TOPS = [name.split()[1] for name in DESIGN.splitlines() if name.startswith("module")][1:]


@pytest.fixture(scope="module")
def netlists(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Each module as Yosys writes it, not a cell changed."""
    folder = tmp_path_factory.mktemp("netlists")
    (folder / "design.v").write_text(DESIGN)
    script = "read_verilog -lib +/xilinx/cells_sim.v\nread_verilog -lib +/xilinx/cells_xtra.v\nread_verilog design.v\n"
    script += "design -save all\n"
    for name in TOPS:
        script += f"design -load all\nhierarchy -top {name}\nproc\nflatten -noscopeinfo\n"
        script += f"select {name}\nwrite_json -selected {name}.json\nselect -clear\n"
    (folder / "run.ys").write_text(script)
    yosys = find_yosys()
    done = subprocess.run(
        [*yosys.command, "-q", "-s", "run.ys"],
        cwd=folder,
        env=dict(yosys.environment),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {name: json.loads((folder / f"{name}.json").read_text())["modules"][name] for name in TOPS}


def between(found: Paths, start: str, end: str) -> Depth:
    """Depth of the one path between two signals."""
    (path,) = [path for path in found.registers if (path.start, path.end) == (start, end)]
    return path.depth


def test_levels_are_counted_to_each_pin(netlists: dict[str, Any]) -> None:
    found = paths(netlists["levels"])
    assert between(found, "a", "q.D") == Depth(3)
    assert between(found, "a", "q.CE") == Depth(1)
    assert found.registers[0].depth == Depth(3)
    assert found.starts == {"z": (LogicPath(Depth(1), "q", "z"),)}


def test_an_inverter_is_taken_into_the_table_behind_it(netlists: dict[str, Any]) -> None:
    found = paths(netlists["inverters"])
    assert between(found, "a", "p.D") == Depth(1)
    assert between(found, "a", "q.D") == Depth(1)


def test_a_chain_is_counted_from_entry_to_exit(netlists: dict[str, Any]) -> None:
    # In at bit 1 of the lower block, out at bit 2 of the upper one; its own look-up table is no level, that before is.
    assert between(paths(netlists["chain"]), "a", "q.D") == Depth(1, 1, 6)


def test_a_carry_in_crosses_all_bits_below_the_exit(netlists: dict[str, Any]) -> None:
    assert between(paths(netlists["late_carry"]), "a", "q.D") == Depth(1, 1, 3)


def test_a_sum_that_enters_another_chain_is_a_second_one(netlists: dict[str, Any]) -> None:
    # DI of bit 0 to O of bit 1 are two bits, and so are S of bit 0 to O of bit 1.
    assert between(paths(netlists["two_chains"]), "a", "q.D") == Depth(0, 2, 2)


def test_the_gate_behind_a_table_belongs_to_its_level(netlists: dict[str, Any]) -> None:
    found = paths(netlists["gates"])
    # S to O of the same bit crosses no carry; where no look-up table drives S, one lets the signal through.
    assert between(found, "a", "p.D") == Depth(1)
    assert between(found, "a", "q.D") == Depth(1)
    # An inverter in front of a chain is the chain's look-up table.
    assert between(found, "a", "r.D") == Depth(0, 1, 2)


def test_a_multiplexer_belongs_to_the_level_in_front(netlists: dict[str, Any]) -> None:
    found = paths(netlists["multiplexer"])
    assert between(found, "a", "p.D") == Depth(1)
    assert between(found, "a", "q.D") == Depth(2)


def test_lut_ram_is_a_level_from_its_address(netlists: dict[str, Any]) -> None:
    found = paths(netlists["lut_ram"])
    assert between(found, "a", "q.D") == Depth(3)
    assert between(found, "a", "ram.D") == Depth(0)
    assert between(found, "a", "ram.WE") == Depth(1)
    # What was written comes out of the same table.
    assert between(paths(netlists["written"]), "c", "q.D") == Depth(2)


def test_a_dsp_is_a_register(netlists: dict[str, Any]) -> None:
    found = paths(netlists["blocks"])
    assert between(found, "a", "dsp.A") == Depth(1)
    assert between(found, "dsp.P", "q.D") == Depth(1)


def test_ports_are_ends_of_paths_of_their_own(netlists: dict[str, Any]) -> None:
    found = paths(netlists["ports"])
    assert found.registers == ()
    assert found.ends == {"i": (LogicPath(Depth(2), "i", "q.D"),)}
    assert found.starts == {"z": (LogicPath(Depth(1), "q", "z"),)}
    assert found.through == {("i", "z"): (LogicPath(Depth(2), "i", "z"),)}


def test_paths_go_on_from_one_black_box_to_another(netlists: dict[str, Any]) -> None:
    stage = Paths(
        starts={"y": (LogicPath(Depth(2), "r", "y"), LogicPath(Depth(0, 1, 9), "s", "y"))},
        ends={"x": (LogicPath(Depth(1), "x", "t.D"),)},
        through={("x", "y"): (LogicPath(Depth(1, 1, 4), "x", "y"),)},
    )
    found = paths(netlists["around"], {"stage": stage})
    assert between(found, "one.r", "two.t.D") == Depth(4)
    assert between(found, "one.s", "two.t.D") == Depth(2, 1, 9)
    assert set(found.starts) == {"z"}
    # Of the four ways to the port those directly from the second stage's registers are less in all numbers.
    assert {path.depth for path in found.starts["z"]} == {Depth(4, 1, 4), Depth(2, 2, 9)}


def test_a_loop_without_a_register_is_refused(netlists: dict[str, Any]) -> None:
    with pytest.raises(CheckFailed, match=r"^[bc] depends on itself without a register$"):
        paths(netlists["looped"])


def test_a_cell_that_is_not_known_is_refused(netlists: dict[str, Any]) -> None:
    with pytest.raises(CheckFailed, match=r"^unknown is a cell IBUF, whose depth is not known$"):
        paths(netlists["odd"])
