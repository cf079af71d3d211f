"""UltraNet on a ZU3EG, planned in several ways: ``python -m scripts.ultranet > docs/ultranet.md``.

Everything is kept in ``build/ultranet``: what is there and still right is not done again.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from boards import load_board
from mixq.board import Resources
from mixq.build_folder import BuildFolder
from mixq.cli.estimating import count_resources
from mixq.cli.generating import generate_rtl
from mixq.cli.importing import import_network
from mixq.cli.verification import Performance, verify_frames
from mixq.graph import Conv, Graph
from mixq.plan import Plan
from mixq.plan.planner import plan
from scripts.packing_tables import table
from sim.depth import Depth, worst

BOARD = "ultra96-v2"
FOLDER = Path("build/ultranet")
WEIGHT_BITS, ACT_BITS = "4,4,4,4,4,4,4,4,4", "8,4,4,4,4,4,4,4,4"
FRAMES = 4
"""Whole frames that are simulated, back to back."""


@dataclass(frozen=True)
class Design:
    """A way to build the network.

    name: of its folder. title: for the table. packings: the restriction that the planner is held to. max_cycles: how
    fast it must be, the fastest that fits where None. dsp, lut: the most that it may take. built: whether it is
    generated, counted and simulated.
    """

    name: str
    title: str
    packings: str | None = None
    max_cycles: int | None = None
    dsp: int | None = None
    lut: float = 1.0
    built: bool = False

    def plan(self, graph: Graph) -> Plan:
        """The smallest design that is fast enough, or the fastest that fits."""
        board = load_board(BOARD)
        limits = replace(board.resources, lut=int(board.resources.lut * self.lut))
        if self.dsp is not None:
            limits = replace(limits, dsp=self.dsp)
        return plan(graph, board, limits=limits, max_cycles=self.max_cycles, packings=self.packings)


DESIGNS = (
    Design("original", "(a) the original's densities, at its cycles", packings="original", max_cycles=153_600),
    Design("finn", "(b) FINN's lanes, the fastest that fits", packings="finn"),
    Design("seuer", "(c) the cycles of 2022's second, its first layer in LUTs", packings="seuer", max_cycles=102_400),
    # Less than the board has: room for what the estimates are off by, and for place and route.
    Design("half", "(d) MixQ, a pixel in two cycles", max_cycles=102_400, dsp=150, lut=0.50, built=True),
    Design("full", "(d) MixQ, a pixel in each cycle", max_cycles=51_200, dsp=300, lut=0.75, built=True),
)


@dataclass(frozen=True)
class Measured:
    """Of a generated design: what Yosys counts, and a simulation of whole frames.

    generating, building: seconds that the Verilog and its simulator took; deepest: worst path between registers.
    """

    counted: Resources
    deepest: Depth
    seen: Performance
    generating: float
    building: float


INTRODUCTION = """\
# UltraNet on a ZU3EG

UltraNet (DAC-SDC 2020: 3x160x320 images, nine convolutions, 199.5 M multiplications a frame) with weights and
activations of 4 bits and an 8-bit image, all layers on the chip at once, on the XCZU3EG of the Ultra96-V2: {lut:,}
LUTs, {ff:,} flip-flops, {bram:g} block RAMs of 36 Kb, {dsp} DSPs. The weights are random ones, -7 to 7: layers that
are built as constant matrices depend on them, others hardly. All designs are of the same integer network and by the
same planner, with the same cost model; (a), (b) and (c) hold it to fewer packings.

This page is made by `python -m scripts.ultranet > docs/ultranet.md`, which takes about a quarter of an hour where
nothing is built yet.
"""

PUBLISHED = """\
## What was published

Of the same network, for comparison; cycles follow from what the designs compute in a cycle.

| design | cycles / frame | DSPs of convolutions | clock in its project |
|---|---|---|---|
| BJUT, DAC-SDC 2020, first | 460,800 | | 167 MHz |
| iSmart 2021, six multiplications in a DSP | 168,960 | | 100 MHz |
| DeepBurning-MixQ (ICCAD 2023), 4 bits, first and last layer 8 bits | 153,600 | 284 | 250 MHz, assumed |
| SEUer, DAC-SDC 2022, second; its first layer in LUTs | 102,400 | 288 | 300 MHz |
"""


def main() -> None:
    """Build what is missing, and print the page."""
    with redirect_stdout(sys.stderr):
        graph = imported(BuildFolder(FOLDER / "network"))
        plans = {design: design.plan(graph) for design in DESIGNS}
        built = {design: _built(design, made) for design, made in plans.items() if design.built}
    sys.stdout.write("\n".join(pages(graph, plans, built)))


def pages(graph: Graph, plans: Mapping[Design, Plan], built: Mapping[Design, Measured]) -> Iterator[str]:
    """The page, piece by piece."""
    resources = load_board(BOARD).resources
    yield INTRODUCTION.format(lut=resources.lut, ff=resources.ff, bram=resources.bram36, dsp=resources.dsp)
    yield "## Planned\n"
    yield table(
        ("design", "cycles / frame", "frames / s", "DSP", "LUT", "FF", "BRAM", "multiplications / DSP / cycle"),
        [_planned(graph, design, made) for design, made in plans.items()],
    )
    yield (
        f"Frames per second are at an assumed {next(iter(plans.values())).clock_mhz:g} MHz. Multiplications are those "
        "of the whole frame, over all DSPs and cycles.\n"
    )
    yield "## Built\n"
    yield (
        "Counted by Yosys in the emitted Verilog, and whole frames of 160x320 simulated by Verilator through the model "
        "of the DSP48E2, every integer compared with the converted PyTorch model.\n"
    )
    yield table(
        ("design", "DSP", "LUT", "of the part", "FF", "BRAM", "deepest path"),
        [_counted(design, found) for design, found in built.items()],
    )
    yield table(
        ("design", "frames", "integers that differ", "cycles / frame", "s / frame", "building, s", "generating, s"),
        [_simulated(design, found) for design, found in built.items()],
    )
    yield (
        f"Seconds are of one run on {len(os.sched_getaffinity(0))} cores, with as many compilers at a time as there "
        "are cores. A simulator that was built before is kept, and objects that a compiler cache knows.\n"
    )
    for design, made in plans.items():
        if design.built:
            yield f"## {design.title}: layers\n"
            yield table(
                ("layer", "cycles", "PE", "SIMD", "pixels", "multiplications / DSP", "DSP", "LUT", "BRAM"),
                list(_layers(made)),
            )
    yield PUBLISHED


def multiplications(graph: Graph) -> int:
    """Multiplications of a frame."""
    return sum(node.macs(graph.tensor(node.output).shape) for node in graph.nodes if isinstance(node, Conv))


def imported(folder: BuildFolder) -> Graph:
    """The network, in a folder of its own; the same in each."""
    import_network(
        "random:1",
        folder.path,
        network="ultranet",
        weight_bits=WEIGHT_BITS,
        act_bits=ACT_BITS,
        weight_range="narrow",
    )
    return folder.load_graph()


def _planned(graph: Graph, design: Design, made: Plan) -> tuple[str, ...]:
    used = made.resources
    density = multiplications(graph) / made.cycles / used.dsp
    return (
        design.title,
        f"{made.cycles:,}",
        f"{made.fps:,.0f}",
        f"{used.dsp:,}",
        f"{used.lut:,}",
        f"{used.ff:,}",
        f"{used.bram36:g}",
        f"{density:.2f}",
    )


def _built(design: Design, made: Plan) -> Measured:
    """What Yosys counts and what simulation shows; what is there already and still right is kept."""
    folder = BuildFolder(FOLDER / design.name)
    graph = imported(folder)
    made.save(folder.path)
    started = time.perf_counter()
    generate_rtl(folder)
    generated = time.perf_counter()
    codes, expected = np.load(folder.codes)[:FRAMES], np.load(folder.expected)[:FRAMES]
    found = verify_frames(folder, graph, codes, expected, simulator="verilator", stalls="none", seed=0)
    found.check()
    building = time.perf_counter() - generated - found.performance.sim_seconds
    synthesis = count_resources(folder)
    deepest = worst(depth.registers for depth in synthesis.depths.values()).depth
    return Measured(synthesis.total, deepest, found.performance, generated - started, building)


def _counted(design: Design, measured: Measured) -> tuple[str, ...]:
    counted = measured.counted
    return (
        design.title,
        f"{counted.dsp:,}",
        f"{counted.lut:,}",
        f"{counted.lut / load_board(BOARD).resources.lut:.1%}",
        f"{counted.ff:,}",
        f"{counted.bram36:g}",
        str(measured.deepest),
    )


def _simulated(design: Design, measured: Measured) -> tuple[str, ...]:
    seen = measured.seen
    return (
        design.title,
        f"{seen.frames}",
        f"{seen.mismatches}",
        f"{seen.cycles_per_frame:,}",
        f"{seen.sim_seconds / seen.frames:.1f}",
        f"{measured.building:.0f}" if measured.building >= 1 else "kept",
        f"{measured.generating:.0f}",
    )


def _layers(made: Plan) -> Iterator[tuple[str, ...]]:
    for layer in made.layers:
        folding, used = layer.folding, layer.resources
        shape: tuple[object, ...] = ("", "", "", "")
        if folding is not None:
            density = f"{folding.packing.density:g}" if folding.dsps else "no DSP"
            shape = (folding.pe, folding.simd, folding.packing.pixels, density)
        yield (
            layer.name,
            f"{layer.cycles:,}",
            *map(str, shape),
            f"{used.dsp:,}",
            f"{used.lut:,}",
            f"{used.bram36:g}",
        )


if __name__ == "__main__":
    main()
