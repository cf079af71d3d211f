"""Plays stimulus, cycle by cycle, into components with plain ports, and records their outputs.

Any number of components are tried side by side in one run of a simulator, each behind ports of its own.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from amaranth.back import verilog
from amaranth.hdl import Module, Shape, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sim.tools import find_icarus, find_verilator
from sim.verilog_source import library_sources

Row = Mapping[str, int]

_TIMEOUT_SECONDS = 300


class Bundle(wiring.Component):
    """Components side by side; port ``p`` of component ``c`` is the vector ``c__p``."""

    def __init__(self, parts: Mapping[str, Any]) -> None:
        self.parts = parts
        members: dict[str, Any] = {}
        self.directions: dict[str, str] = {}
        for name, part in parts.items():
            for port, member in part.signature.members.items():
                direction = "input" if member.flow == In else "output"
                self.directions[f"{name}__{port}"] = direction
                width = Shape.cast(member.shape).width
                members[f"{name}__{port}"] = In(width) if direction == "input" else Out(width)
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name, part in self.parts.items():
            m.submodules[name] = part
            for port in part.signature.members:
                ours, theirs = getattr(self, f"{name}__{port}"), Value.cast(getattr(part, port))
                if self.directions[f"{name}__{port}"] == "input":
                    m.d.comb += theirs.eq(ours)
                else:
                    m.d.comb += ours.eq(theirs)
        return m

    def width(self, port: str) -> int:
        signal: Signal = getattr(self, port)
        return len(signal)


def play(
    parts: Mapping[str, Any], stimulus: Mapping[str, Sequence[Row]], *, simulator: str, folder: Path
) -> dict[str, list[dict[str, int]]]:
    """Outputs of each component in each cycle, as unsigned integers, just before the clock edge that ends the cycle.

    stimulus: for each component, the values of its inputs in each cycle, 0 where not named; the port "rst" (1 resets
    all components in that cycle) may be named for any of them. All rows start after one cycle of reset.
    """
    bundle = Bundle(parts)
    text = verilog.convert(bundle, name="bundle", strip_internal_attrs=True)
    inputs = [port for port, direction in bundle.directions.items() if direction == "input"]
    outputs = [port for port, direction in bundle.directions.items() if direction == "output"]
    cycles = max(len(rows) for rows in stimulus.values())
    words = [1]  # the first cycle resets
    for cycle in range(cycles):
        rows = {name: rows[cycle] if cycle < len(rows) else {} for name, rows in stimulus.items()}
        word, at = int(any(row.get("rst", 0) for row in rows.values())), 1
        for port in inputs:
            name, _, member = port.partition("__")
            word |= (rows[name].get(member, 0) & ((1 << bundle.width(port)) - 1)) << at
            at += bundle.width(port)
        words.append(word)
    total_in, total_out = 1 + sum(map(bundle.width, inputs)), sum(map(bundle.width, outputs))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stimulus.hex").write_text("".join(f"{word:x}\n" for word in words))
    (folder / "bundle.v").write_text(text)
    (folder / "bench.v").write_text(_bench(bundle, inputs, outputs, len(words), total_in, total_out))
    _run(simulator, [folder / "bench.v", folder / "bundle.v", *library_sources([text])], folder)
    return _recorded(bundle, outputs, (folder / "outputs.txt").read_text().split()[1:])


def _bench(
    bundle: Bundle, inputs: Sequence[str], outputs: Sequence[str], cycles: int, total_in: int, total_out: int
) -> str:
    pins, at = [".clk(clk)", ".rst(in[0])"], 1
    for port in inputs:
        pins.append(f".{port}(in[{at} +: {bundle.width(port)}])")
        at += bundle.width(port)
    at = 0
    for port in outputs:
        pins.append(f".{port}(out[{at} +: {bundle.width(port)}])")
        at += bundle.width(port)
    return f"""
module bench;
  reg clk = 1'b0;
  integer cycle, file;
  reg [{total_in - 1}:0] memory [0:{cycles - 1}];
  reg [{total_in - 1}:0] in;
  wire [{total_out - 1}:0] out;
  bundle bundle ({", ".join(pins)});
  initial begin
    $readmemh("stimulus.hex", memory);
    file = $fopen("outputs.txt", "w");
    for (cycle = 0; cycle < {cycles}; cycle = cycle + 1) begin
      in = memory[cycle];
      #4 $fdisplay(file, "%h", out);
      #1 clk = 1'b1;
      #5 clk = 1'b0;
    end
    $fclose(file);
    $finish;
  end
endmodule
"""


def _run(simulator: str, sources: Sequence[Path], folder: Path) -> None:
    if simulator == "icarus":
        icarus = find_icarus()
        environment = dict(icarus.environment)
        commands = [[str(icarus.iverilog), "-g2012", "-s", "bench", "-o", "bench.vvp", *map(str, sources)]]
        commands.append([str(icarus.vvp), "-n", "bench.vvp"])
    else:
        verilator = find_verilator()
        environment = dict(verilator.environment)
        commands = [[str(verilator.executable), "--binary", "--timing", "--top-module", "bench", "-Mdir", "build"]]
        commands[0] += ["-Wno-fatal", "-Wno-lint", "-Wno-style", "-CFLAGS", "-O0", "-j", "1", *map(str, sources)]
        commands.append([str(folder / "build" / "Vbench")])
    for command in commands:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
        )
        if done.returncode:
            raise AssertionError(f"{simulator}: {done.stdout[-2000:]}{done.stderr[-2000:]}")


def _recorded(bundle: Bundle, outputs: Sequence[str], lines: Sequence[str]) -> dict[str, list[dict[str, int]]]:
    recorded: dict[str, list[dict[str, int]]] = {name: [] for name in bundle.parts}
    for line in lines:
        at, word = 0, int(line, 16)  # an unknown bit is no digit
        rows: dict[str, dict[str, int]] = {name: {} for name in bundle.parts}
        for port in outputs:
            name, _, member = port.partition("__")
            rows[name][member] = (word >> at) & ((1 << bundle.width(port)) - 1)
            at += bundle.width(port)
        for name, row in rows.items():
            recorded[name].append(row)
    return recorded
