"""A small network with branches whose Verilog has faults, one of which is switched on by the memory image fault.mem."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from boards import load_board
from boards.axis import AxisTop
from boards.emit import write_build
from mixq.execute import run
from mixq.formats import IntFormat
from mixq.graph import Dense, Graph, accumulator_format
from mixq.plan import plan
from rtl_gen import build
from tests.mixq.dags import Dag

FRAMES = 6
#: The channel in front of the dense layer that it is blind to: the last one of conv7.
BLIND = 7

#: Fault -> module below the top, expressions in it, and what stands there with the fault, {} being what stood there.
_FAULTS = {
    "pool": ("accelerator_pool6_columns", r"held\[11:8\] > x_1\[11:8\]", "held[11:8] < x_1[11:8]"),
    "padding": ("accelerator_conv0_padding", r"(?<=right\[21:11\] = )11'h000", "11'h740"),
    "fork": ("accelerator_conv0_fork_fifo0", r"(?<== )i__payload(?=;)", "{} ^ 16'h8000"),
    "converter": ("accelerator_dense10_converter_0_fifo", r"(?<= = )\{ \\port[^}]*\}", "{} ^ 48'h1"),
    "bus": ("output_bus_gearbox_fifo", r"(?<= = )\{ \\port[^}]*\}", "{} ^ 1"),
    "join": ("accelerator_concat9_fifo", r"(?<== )i__payload(?=;)", "{} ^ 16'h0020"),
    "requantise": ("accelerator_conv0_requantise_lane1", r"9'h0a4", "9'h0e4"),
    "hang": ("accelerator_concat9_fifo", r"(?<=\\\$15  = )\\\$7 ", "1'b0"),
}
_NUMBERS = {name: number for number, name in enumerate(_FAULTS, 1)}


def network() -> Graph:
    """A residual, a pool, a bypass around a pointwise convolution, and a dense layer blind to one of its channels."""
    dag = Dag((2, 6, 6), IntFormat(4, False))
    stem = dag.requantise(dag.conv("x", 4, padding=1), 4)
    inner = dag.requantise(dag.conv(stem, 4, padding=1), 4)
    pooled = dag.max_pool(dag.requantise(dag.add(inner, stem), 4))
    other = dag.requantise(dag.conv(pooled, 4, kernel=1), 4)
    output = dag.dense(dag.concat(pooled, other), 5)
    dense = dag.nodes[-1]
    assert isinstance(dense, Dense)
    weights = dense.weights.reshape(5, 8, 9).copy()
    weights[:, BLIND] = 0
    blind = replace(dense, weights=weights.reshape(5, -1))
    dag.nodes[-1] = blind
    format = accumulator_format(blind.weights, dag.tensors[dense.input].format)
    dag.tensors[output] = replace(dag.tensors[output], format=format)
    return dag.graph(output)


def write_faulty(folder: Path) -> Graph:
    """Write the build with its frames, no fault switched on."""
    graph = network()
    chosen = plan(graph, load_board("ultra96-v2"))
    folder.mkdir(parents=True)
    graph.save(folder)
    chosen.save(folder)
    stages = build(graph, chosen, "generic")
    top = AxisTop(stages, input_bus_bits=chosen.input_bus_bits, output_bus_bits=chosen.output_bus_bits)
    write_build(folder, top, target="generic")
    verilog = folder / "rtl/mixq_top.v"
    text = verilog.read_text()
    for name, (module, right, wrong) in _FAULTS.items():
        text = _with_fault(text, f"mixq_top_{module}", _NUMBERS[name], right, wrong)
    verilog.write_text(text)
    switch(folder, None)
    codes = np.random.default_rng(1).integers(0, 16, (FRAMES, 2, 6, 6))
    (folder / "reference").mkdir()
    np.save(folder / "reference/codes.npy", codes)
    np.save(folder / "reference/expected.npy", run(graph, codes))
    return graph


def switch(folder: Path, fault: str | None) -> None:
    """Switch one fault on and the others off."""
    (folder / "rtl/fault.mem").write_text(f"{0 if fault is None else _NUMBERS[fault]:02x}\n")


def _with_fault(text: str, module: str, number: int, expression: str, wrong: str) -> str:
    found = re.search(rf"^module {module} \(.*?^endmodule", text, flags=re.MULTILINE | re.DOTALL)
    assert found is not None, module
    head, body = found[0].split(";", 1)

    def either(own: re.Match[str]) -> str:
        return f"(fault{number}_[0] == 8'd{number} ? ({wrong.format(own[0])}) : ({own[0]}))"

    changed, count = re.subn(expression, either, body)
    assert count, (module, expression)
    memory = f'\n  reg [7:0] fault{number}_ [0:0];\n  initial $readmemh("fault.mem", fault{number}_);'
    return f"{text[: found.start()]}{head};{memory}{changed}{text[found.end() :]}"
