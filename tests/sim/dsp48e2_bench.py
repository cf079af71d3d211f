"""Verilog testbench that plays stimulus into DSP48E2 instances and records their outputs."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sim.tools import find_icarus, find_verilator
from tests.sim.dsp48e2_reference import INPUTS, OUTPUTS, Attributes, Pins

MODEL = Path(__file__).parents[2] / "sim" / "verilog" / "DSP48E2.v"

_TIMEOUT_SECONDS = 240


@dataclass(frozen=True)
class Case:
    """A chain of slices and what is played into it: for each cycle, the inputs of each slice."""

    name: str
    stages: tuple[Attributes, ...]
    stimulus: list[list[Pins]]


def _pack(values: Mapping[str, int], widths: Mapping[str, int]) -> int:
    """Concatenate named values, first name in the least significant bits."""
    word = shift = 0
    for name, width in widths.items():
        word |= values[name] << shift
        shift += width
    return word


def _unpack(word: int, widths: Mapping[str, int]) -> Pins:
    values: Pins = {}
    for name, width in widths.items():
        values[name] = word & ((1 << width) - 1)
        word >>= width
    return values


#: Outputs that no case reads.
_UNREAD = (
    *("CARRYCASCOUT", "CARRYOUT", "MULTSIGNOUT", "OVERFLOW", "UNDERFLOW", "PATTERNDETECT", "PATTERNBDETECT"),
    *("XOROUT", *OUTPUTS),
)

INPUT_BITS = sum(INPUTS.values())
OUTPUT_BITS = sum(OUTPUTS.values())


def instance(
    name: str, parameters: Mapping[str, str], connections: Mapping[str, str], primitive: str = "DSP48E2"
) -> str:
    """Verilog text of one instance of a slice; outputs that are not connected are left open."""
    lines = ",\n".join(f"    .{key}({value})" for key, value in parameters.items())
    every_pin = dict.fromkeys(_UNREAD, "") | dict(connections)
    if primitive == "DSP48E1":
        del every_pin["XOROUT"]
    pins = ",\n".join(f"    .{key}({value})" for key, value in every_pin.items())
    return f"{primitive} #(\n{lines}\n) {name} (\n{pins}\n);\n"


def _case_text(number: int, case: Case) -> str:
    """Stimulus memory and instances of one case; its outputs are the vector ``out_<number>``."""
    count = len(case.stages)
    text = [
        f"reg [{count * INPUT_BITS - 1}:0] memory_{number} [0:{len(case.stimulus) - 1}];",
        f"reg [{count * INPUT_BITS - 1}:0] in_{number};",
        f"wire [{count * OUTPUT_BITS - 1}:0] out_{number};",
        f'initial $readmemh("case_{number}.hex", memory_{number});',
    ]
    for stage, attributes in enumerate(case.stages):
        connections = {"CLK": "clk", "CARRYCASCIN": "1'b0", "MULTSIGNIN": "1'b0"}
        low = stage * INPUT_BITS
        for name, width in INPUTS.items():
            connections[name] = f"in_{number}[{low} +: {width}]"
            low += width
        low = stage * OUTPUT_BITS
        for name, width in OUTPUTS.items():
            connections[name] = f"out_{number}[{low} +: {width}]"
            if stage and name != "P":
                neighbour = f"out_{number}[{low - OUTPUT_BITS} +: {width}]"
                connections[name.replace("OUT", "IN")] = neighbour
            low += width
        text.append(instance(f"case_{number}_stage_{stage}", attributes.parameters(), connections))
    return "\n".join(text)


def write_bench(cases: list[Case], folder: Path) -> Path:
    """Write the testbench and its memories; all cases run side by side, for as many cycles each."""
    cycles = len(cases[0].stimulus)
    for number, case in enumerate(cases):
        if len(case.stimulus) != cycles:
            raise ValueError(f"stimulus must have {cycles} cycles, not {len(case.stimulus)!r}")
        widths = {f"{s}.{name}": width for s in range(len(case.stages)) for name, width in INPUTS.items()}
        words = [
            _pack({f"{s}.{name}": v for s, pins in enumerate(row) for name, v in pins.items()}, widths)
            for row in case.stimulus
        ]
        (folder / f"case_{number}.hex").write_text("".join(f"{word:x}\n" for word in words))
    numbers = range(len(cases))
    # Outputs are read just before the rising edge, inputs being stable: combinational paths too.
    bench = "\n".join(
        [
            "module bench;",
            "reg clk = 1'b0;",
            "integer cycle, file;",
            *(_case_text(number, case) for number, case in enumerate(cases)),
            "initial begin",
            '    file = $fopen("outputs.txt", "w");',
            "    #1;",
            f"    for (cycle = 0; cycle < {cycles}; cycle = cycle + 1) begin",
            *(f"        in_{n} = memory_{n}[cycle];" for n in numbers),
            "        #4;",
            *(f'        $fdisplay(file, "%h", out_{n});' for n in numbers),
            "        #1 clk = 1'b1;",
            "        #5 clk = 1'b0;",
            "    end",
            "    $fclose(file);",
            "    $finish;",
            "end",
            "endmodule",
        ]
    )
    path = folder / "bench.v"
    path.write_text(bench + "\n")
    return path


def run_bench(simulator: str, sources: list[Path], folder: Path) -> str:
    """Compile and run module ``bench`` in ``folder``; returns what it printed."""
    if simulator == "icarus":
        icarus = find_icarus()
        environment = dict(icarus.environment)
        build = [str(icarus.iverilog), "-g2001", "-Wall", "-Wno-timescale", "-s", "bench", "-o", "bench.vvp"]
        run = [str(icarus.vvp), "-n", "bench.vvp"]
    else:
        verilator = find_verilator()
        environment = dict(verilator.environment)
        build = [str(verilator.executable), "--binary", "--timing", "--top-module", "bench", "-Mdir", "build"]
        build += ["-CFLAGS", "-O0", "-j", "1"]
        run = [str(folder / "build" / "Vbench")]
    for command in (build + [str(source) for source in sources], run):
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
        # Warnings of a compiler count as failures: the model is to be clean.
        if command is not run and (done.returncode or "arning" in done.stderr or "error" in done.stderr):
            raise AssertionError(f"{simulator} does not compile: {done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def play(simulator: str, cases: list[Case], folder: Path, model: Path = MODEL) -> dict[str, list[list[Pins]]]:
    """Outputs of each slice in each cycle for each case, by its name; unknown bits raise ValueError."""
    bench = write_bench(cases, folder)
    printed = run_bench(simulator, [bench, model], folder)
    lines = (folder / "outputs.txt").read_text().split()
    if len(lines) != len(cases) * len(cases[0].stimulus):
        raise ValueError(f"outputs must have a line for each case and cycle, not {len(lines)}: {printed}")
    outputs: dict[str, list[list[Pins]]] = {case.name: [] for case in cases}
    for index, line in enumerate(lines):
        case = cases[index % len(cases)]
        word = int(line, 16)
        row = [
            _unpack(word >> (stage * OUTPUT_BITS) & ((1 << OUTPUT_BITS) - 1), OUTPUTS)
            for stage in range(len(case.stages))
        ]
        outputs[case.name].append(row)
    return outputs
