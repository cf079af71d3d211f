"""Counts what packed units take in look-up tables, flip-flops and DSPs, many of them in one run of Yosys.

Each unit is a module of its own, flattened inside. What is counted is the logic between its ports, none of which is
constant or left open, so that nothing is optimised away. :data:`sim.synthesis.LUTS` says what counts as a look-up
table: logic, shift registers (SRL16E, SRLC32E) and distributed RAM. The counts are those of
:func:`sim.synthesis.count`, which takes some seconds for each module where this takes them once.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from amaranth.back import verilog
from amaranth.hdl import Module
from amaranth.lib import wiring

from mixq.board import Resources
from mixq.packing import Packing, solve
from mixq.packing.cost import ChainCost, counter_bits, tracked_dsp_cost, unit_chain_cost
from mixq.plan.folding import Folding
from mixq.plan.layer_shape import LayerShape
from rtl_gen.lane_accumulator import LaneAccumulator
from rtl_gen.mac_array import MacArray
from rtl_gen.packed_chain import PackedChain
from rtl_gen.rom import verilog_sources
from rtl_gen.tracked_chain import TrackedChain, TrackedDsp
from sim.synthesis import LUTS
from sim.tools import find_yosys
from sim.yosys_process import run_script

COUNTER_BITS = 8
"""Width of the carry counters that are measured."""

LENGTH = 4
"""Units in a chain that is measured, or as many as its lanes sum."""

READ_TOGETHER = 8
"""Carry-tracked DSPs that share what reads them, where that is measured."""

COLUMNS = (4, 8, 16)
"""Chains side by side, where layers are measured that sum in the cascade."""

ACCUMULATOR = 16
"""Bits of an accumulator of a lane in these layers."""

_TOP = "units"

# As in sim.synthesis, with the hierarchy kept at the units; memories are not counted, so that their map matters little.
_SCRIPT = """\
read_verilog {sources}
read_verilog -lib -specify +/xilinx/cells_sim.v
read_verilog -lib +/xilinx/cells_xtra.v
hierarchy -check -top {top}
setattr -mod -set keep_hierarchy 1 {units}
proc
flatten -noscopeinfo
opt_clean -purge
setattr -set rom_style "logic" a:rom_style=distributed
synth_xilinx -family xcup -top {top} -noiopad -noclkbuf -run prepare:check
tee -q -o units.json stat -json
"""


def measure(units: Mapping[str, wiring.Component]) -> dict[str, Resources]:
    """What each unit takes, by its name, a plain identifier.

    Raises ValueError for a name that is none, UserError where Yosys is missing, CheckFailed where it fails.
    """
    for name in units:
        if not name.isidentifier():
            raise ValueError(f"units must be named by plain identifiers, not {name!r}")
    yosys = find_yosys()
    with tempfile.TemporaryDirectory(prefix="packing-costs-") as scratch:
        folder = Path(scratch)
        for component in units.values():
            for file, text in getattr(component, "memory_images", {}).items():
                (folder / file).write_text(text)
        (folder / "units.v").write_text(_verilog(units))
        for path in verilog_sources():
            shutil.copy(path, folder)
        sources = " ".join(path.name for path in sorted(folder.glob("*.v")))
        (folder / "units.ys").write_text(
            _SCRIPT.format(sources=sources, top=_TOP, units=" ".join(f"\\{_module(name)}" for name in units))
        )
        run_script(yosys, folder, "units.ys")
        found = json.loads((folder / "units.json").read_text())["modules"]
    return {name: _resources(found[f"\\{_module(name)}"]["num_cells_by_type"]) for name in units}


def _module(name: str) -> str:
    """The module of a unit in the Verilog; the prefix tells its name from those of signals."""
    return f"{_TOP}.unit_{name}"


def _verilog(units: Mapping[str, wiring.Component]) -> str:
    """A module with the units in it; all their ports are its own."""
    top = Module()
    ports = {}
    for name, component in units.items():
        setattr(top.submodules, f"unit_{name}", component)
        for path, _, value in component.signature.flatten(component):
            ports["__".join([name, *map(str, path)])] = (value, None)
    text: str = verilog.convert(top, name=_TOP, ports=ports, strip_internal_attrs=True)
    return text


def _resources(cells: Mapping[str, int]) -> Resources:
    return Resources(
        lut=sum(number * LUTS.get(kind, 0) for kind, number in cells.items()),
        ff=sum(number for kind, number in cells.items() if kind in ("FDRE", "FDSE")),
        dsp=cells.get("DSP48E2", 0),
    )


# -- any packing -------------------------------------------------------------------------------------


def tracked_cycles(packing: Packing, bits: int = COUNTER_BITS) -> int:
    """Most products of a carry-tracked sum whose counters have at most so many bits."""
    low, high = 1, 1 << 20
    while low < high:
        middle = (low + high + 1) // 2
        if max(counter_bits(packing.product, middle)) <= bits:
            low = middle
        else:
            high = middle - 1
    return low


def chain_size(packing: Packing) -> tuple[int, int]:
    """Units in the chain that is measured, and its cycles: as many as its lanes sum."""
    if packing.tracked:
        return 1, tracked_cycles(packing)
    length = 1 if packing.split else min(packing.accumulate_max, LENGTH)
    return length, packing.accumulate_max // length


def unit(packing: Packing) -> PackedChain | TrackedDsp:
    """What is measured of a packing.

    A chain with all that reads its lanes; of a carry-tracked packing one DSP with its counters, without what reads
    them once for a sum.
    """
    length, cycles = chain_size(packing)
    if packing.tracked:
        return TrackedDsp(packing.product, cycles=cycles)
    return PackedChain(packing, length=length, accumulate=cycles)


def estimated(packing: Packing) -> ChainCost:
    """The estimate of what :func:`unit` gives."""
    length, cycles = chain_size(packing)
    if packing.tracked:
        return tracked_dsp_cost(packing.product, cycles)
    return unit_chain_cost(packing, None, length, cycles)


# -- w4 a4 in detail ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrackedCost:
    """Cost for each DSP of the densest carry-tracked packing, of so many multiplications.

    bits, cycles: of the counters, and of the longest sum. dsp: residues, comparison and counters. reading,
    reading_shared: what reads them, for one DSP alone, and for each of :data:`READ_TOGETHER` that hand on their sums.
    """

    macs: int
    bits: int
    cycles: int
    dsp: ChainCost
    reading: ChainCost
    reading_shared: ChainCost


def tracked_units() -> dict[str, wiring.Component]:
    """What :func:`tracked_cost` takes the counts of."""
    packing = solve(4, 4, residue_bits=2)
    product, cycles = packing.product, tracked_cycles(packing)
    return {
        "dsp": TrackedDsp(product, cycles=cycles),
        "alone": TrackedChain(product, length=1, cycles=cycles),
        "together": TrackedChain(product, length=READ_TOGETHER, cycles=cycles // READ_TOGETHER),
    }


def tracked_cost(counts: Mapping[str, Resources]) -> TrackedCost:
    """Shares of a DSP, from the counts of :func:`tracked_units`."""
    packing = solve(4, 4, residue_bits=2)
    cycles = tracked_cycles(packing)
    dsp, alone, together = counts["dsp"], counts["alone"], counts["together"]
    return TrackedCost(
        packing.macs,
        max(counter_bits(packing.product, cycles)),
        cycles,
        ChainCost(dsp.lut, dsp.ff),
        ChainCost(alone.lut - dsp.lut, alone.ff - dsp.ff),
        ChainCost(together.lut / READ_TOGETHER - dsp.lut, together.ff / READ_TOGETHER - dsp.ff),
    )


@dataclass(frozen=True)
class CascadeCost:
    """Look-up tables of a layer whose products are summed in the cascade and then in accumulators.

    columns: chains side by side, each for an output channel. macs: multiplications in a cycle. bits, cycles: of the
    accumulators. shared: adders that join activations, and delays along the chain, for all columns.
    """

    columns: int
    macs: int
    bits: int
    cycles: int
    chains: int
    accumulators: int
    shared: int

    @property
    def own_per_multiplication(self) -> float:
        """Chains and accumulators alone, which each column has."""
        return (self.chains + self.accumulators) / self.macs

    @property
    def per_multiplication(self) -> float:
        """All together."""
        return (self.chains + self.accumulators + self.shared) / self.macs


def cascade_folding(columns: int) -> Folding:
    """Nine products summed in a chain of nine DSPs, 16 cycles for each output."""
    return Folding(LayerShape(48, 64, 16, 16, 3, 1, 1), solve(4, 4, accumulate=9), columns, 3, 3, out_lanes=columns)


def cascade_units() -> dict[str, wiring.Component]:
    """What :func:`cascade_costs` takes the counts of; the weights lie in block RAM."""
    units: dict[str, wiring.Component] = {}
    for columns in COLUMNS:
        folding = cascade_folding(columns)
        shape = folding.shape
        weights = np.ones(shape.weight_shape, np.int64)
        units[f"array_{columns}"] = MacArray(folding, weights, name=f"array_{columns}")
        units[f"sums_{columns}"] = LaneAccumulator(folding, ACCUMULATOR)
    units["chain"] = PackedChain(folding.dsp_packing, length=folding.cascade, accumulate=folding.accumulate)
    return units


def cascade_costs(counts: Mapping[str, Resources]) -> list[CascadeCost]:
    """Shares of a layer with each number of columns, from the counts of :func:`cascade_units`."""
    found = []
    for columns in COLUMNS:
        folding = cascade_folding(columns)
        chains = columns * counts["chain"].lut
        found.append(
            CascadeCost(
                columns,
                columns * folding.simd * folding.packing.macs,
                ACCUMULATOR,
                folding.steps,
                chains,
                counts[f"sums_{columns}"].lut,
                counts[f"array_{columns}"].lut - chains,
            )
        )
    return found
