"""A generated build that took no generating: a top level of the right ports, with a graph, a plan and a manifest."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from boards import load_board
from boards.emit import INPUTS
from boards.manifest import BuildManifest
from boards.registers import ADDRESS_BITS
from mixq.build_folder import BuildFolder
from mixq.formats import IntFormat
from mixq.graph import Graph
from mixq.plan import Plan, plan
from tests.mixq.graphs import Chain

_LITE = (
    ("awaddr", ADDRESS_BITS, 1), ("awprot", 3, 1), ("awvalid", 1, 1), ("awready", 1, 0), ("wdata", 32, 1),
    ("wstrb", 4, 1), ("wvalid", 1, 1), ("wready", 1, 0), ("bresp", 2, 0), ("bvalid", 1, 0), ("bready", 1, 1),
    ("araddr", ADDRESS_BITS, 1), ("arprot", 3, 1), ("arvalid", 1, 1), ("arready", 1, 0), ("rdata", 32, 0),
    ("rresp", 2, 0), ("rvalid", 1, 0), ("rready", 1, 1),
)  # fmt: skip


@cache
def planned(board: str) -> tuple[Graph, Plan]:
    """The smallest network there is, planned for a board."""
    chain = Chain((1, 2, 2), IntFormat(2, False), 1 / 4)
    chain.dense(np.ones((2, 4), int), 2)
    graph = chain.graph()
    return graph, plan(graph, load_board(board), max_cycles=1000)


def top_level(*, input_bits: int, output_bits: int, control: bool, fast: bool, image: str) -> str:
    """Verilog of ``mixq_top`` that does nothing."""
    ports = [("input", 1, "ap_clk"), ("input", 1, "ap_rst_n"), *([("input", 1, "ap_clk2x")] if fast else [])]
    for prefix, bits, source in (("s_axis_0", input_bits, True), ("m_axis_0", output_bits, False)):
        widths = {"tdata": bits, "tkeep": bits // 8, "tlast": 1, "tvalid": 1}
        ports += [("input" if source else "output", width, f"{prefix}_{name}") for name, width in widths.items()]
        ports.append(("output" if source else "input", 1, f"{prefix}_tready"))
    if control:
        ports += [("input" if given else "output", width, f"s_axilite_{name}") for name, width, given in _LITE]
    lines = [f"  {way} {f'[{width - 1}:0] ' if width > 1 else ''}{name}" for way, width, name in ports]
    memory = f'  reg [7:0] memory [0:1];\n  initial $readmemh("{image}", memory);\n'
    return "module mixq_top(\n" + ",\n".join(lines) + f"\n);\n{memory}endmodule\n"


def write_build(
    folder: Path,
    *,
    board: str = "ultra96-v2",
    input_bits: int = 8,
    output_bits: int = 32,
    control: bool = True,
    fast: bool = False,
    image: str = "weights.mem",
    target: str | None = None,
    changes: dict[str, object] | None = None,
) -> BuildFolder:
    """Write the build into ``folder``; ``changes`` are to fields of the plan."""
    graph, made = planned(board)
    made = replace(made, **(changes or {}))  # type: ignore[arg-type]
    (folder / "rtl").mkdir(parents=True)
    graph.save(folder)
    made.save(folder)
    text = top_level(input_bits=input_bits, output_bits=output_bits, control=control, fast=fast, image=image)
    for name, content in {"mixq_top.v": text, image: "01\n02\n", "files.f": "mixq_top.v\n"}.items():
        (folder / "rtl" / name).write_text(content)
    build = BuildFolder(folder)
    write_manifest(build, target or made.device)
    return build


def write_manifest(build: BuildFolder, target: str) -> None:
    """Write the manifest of the files as they stand."""
    outputs = [f"rtl/{path.name}" for path in build.rtl.iterdir()]
    BuildManifest.of(build.path, target=target, build_hash=0, inputs=INPUTS, outputs=outputs).save(build.path)
