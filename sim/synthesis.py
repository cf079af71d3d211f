"""Counts look-up tables, flip-flops, DSPs and block RAMs of generated Verilog, with Yosys.

The device is UltraScale+ (family ``xcup``), or where the Verilog instantiates the DSP48E1, 7 series (``xc7``).

Each stage of the accelerator is synthesised on its own, flattened, so that the counts are those of a layer; what
stands around the stages is counted as ``shell``. Stages are shared out among processes. The flow is that of
``synth_xilinx -family <family>`` but for block RAM, whose contents are left out (``yosys/block_ram_map.v``).

The counts are Yosys's, before placement: a device packs some pairs of small look-up tables into one, and optimises
across stages, so that it takes a few less. There is no timing in them; but the depth of the logic between registers is
told for each layer, from the same netlists, see :mod:`sim.depth`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType

from mixq.board import Resources
from mixq.errors import CheckFailed, UserError
from mixq.files import read_json, write_json
from sim import depth, netlist_paths
from sim.depth import LayerDepth
from sim.hierarchy import VerilogModule, modules, size_below
from sim.layer_depths import Netlists
from sim.tools import Yosys, find_yosys
from sim.yosys_process import YosysProcess, relative, share_out, wait

TOP = "mixq_top"

#: Counts of logic that belongs to no stage stand under this name.
SHELL = "shell"

#: How a count maps block RAM, whose contents it leaves out.
BLOCK_RAM_MAP = Path(__file__).resolve().parent / "yosys" / "block_ram_map.v"
_CACHE = "synthesis.json"

#: Look-up tables that a cell takes: logic, distributed RAM (as slices hold it) and shift registers.
LUTS: Mapping[str, int] = MappingProxyType(
    {
        **{f"LUT{inputs}": 1 for inputs in range(1, 7)},
        "INV": 1,
        "RAM32X1S": 1,
        "RAM64X1S": 1,
        "RAM128X1S": 2,
        "RAM256X1S": 4,
        "RAM512X1S": 8,
        "RAM32X1D": 2,
        "RAM64X1D": 2,
        "RAM128X1D": 4,
        "RAM256X1D": 8,
        "RAM32M": 4,
        "RAM64M": 4,
        "RAM32M16": 8,
        "RAM64M8": 8,
        "RAM32X16DR8": 8,
        "RAM64X8SW": 8,
        "SRL16E": 1,
        "SRLC16E": 1,
        "SRLC32E": 1,
    }
)

_FLIP_FLOPS = frozenset({"FDRE", "FDSE", "FDCE", "FDPE", "FDRE_1", "FDSE_1", "FDCE_1", "FDPE_1", "LDCE", "LDPE"})
_DSPS = frozenset({"DSP48E1", "DSP48E2"})
_BLOCK_RAMS = MappingProxyType({"RAMB18E1": 0.5, "RAMB18E2": 0.5, "RAMB36E1": 1.0, "RAMB36E2": 1.0})
_URAMS = frozenset({"URAM288", "URAM288_BASE"})
# Cells that take nothing of what is counted: they come with the look-up tables of their slice.
_FREE = frozenset({"MUXF7", "MUXF8", "MUXF9", "CARRY4", "CARRY8", "VCC", "GND", "BUFG", "$scopeinfo"})

# The memories that the step map_memory of synth_xilinx takes for each family. For 7 series it has two more definitions,
# of cascaded block RAMs and of a limit with two clocks: our map has no cascade, a generated design one clock.
_MEMORIES: Mapping[str, str] = MappingProxyType(
    {
        "xcup": "-lib +/xilinx/lutrams_xcu.txt -lib +/xilinx/brams_xc4v.txt "
        "-D HAS_SIZE_36 -D HAS_MIXWIDTH_SDP -D HAS_ADDRCE -lib +/xilinx/urams.txt",
        "xc7": "-lib +/xilinx/lutrams_xc5v.txt -lib +/xilinx/brams_xc4v.txt -D HAS_SIZE_36 -D HAS_MIXWIDTH_SDP",
    }
)

# The passes of `synth_xilinx`; of the step map_memory all but the map of block RAM.
# Yosys takes rom_style "distributed" for LUT RAM, which no ROM fits; "logic" is a ROM in look-up tables.
_MAP_SCRIPT = """\
design -load all
{prepare}
hierarchy -check -top {module}
proc
flatten -noscopeinfo
opt_clean -purge
setattr -set rom_style "logic" a:rom_style=distributed
synth_xilinx -family {family} -top {module} -noiopad -noclkbuf -run prepare:map_memory
memory_libmap -logic-cost-rom 0.015625 {memories} -no-auto-huge
techmap -map +/xilinx/lutrams_xc5v_map.v
techmap -map {block_ram_map}
techmap -map +/xilinx/urams_map.v
synth_xilinx -family {family} -top {module} -noiopad -noclkbuf -run map_ffram:check
"""
_STAT = "tee -q -o {result} stat -json\n"
_STAGE_SCRIPT = (
    _MAP_SCRIPT
    + """\
setattr -unset src w:* c:*
select {module}
write_json -selected {netlist}
select -clear
"""
    + _STAT
)


@dataclass(frozen=True)
class Synthesis:
    """Counts of a design: ``layers`` by name of the layer, in the Verilog's order, with :data:`SHELL` last.

    The converters in front of a layer are counted with it, as in the plan.

    ``carry8``: carry blocks of eight bits, two of Yosys's CARRY4 each. ``seconds``: wall time, 0 from the cache.
    ``depths``: deepest paths of each layer, those that come from other layers included.
    """

    layers: dict[str, Resources]
    carry8: dict[str, int]
    yosys_version: str
    seconds: float = field(compare=False)
    depths: dict[str, LayerDepth] = field(default_factory=dict)

    @property
    def total(self) -> Resources:
        """Sum over all stages and the shell."""
        return sum(self.layers.values(), Resources())

    def report(self) -> dict[str, dict[str, float]]:
        """The counts under the names of the report files, "total" last."""
        return {**{name: counts.report() for name, counts in self.layers.items()}, "total": self.total.report()}

    def write(self, build_dir: str | os.PathLike[str]) -> Path:
        """Write ``report/synth_resources.json`` in a build folder, and return its path; and ``logic_depth.json``."""
        depth.write_depths(build_dir, self.depths)
        path = Path(build_dir) / "report" / "synth_resources.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, self.report())
        return path


def count(
    rtl_dir: str | os.PathLike[str],
    top: str = TOP,
    *,
    work_dir: Path | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Synthesis:
    """Count what the Verilog of a folder takes, stage by stage.

    Parameters
    ----------
    rtl_dir : folder with ``files.f`` and what it names, and the memory images
    top : top module; stages are the instances in its instance ``accelerator``; without one all is the shell's
    work_dir : folder that keeps the result for the next call with the same input; ``sim`` beside ``rtl_dir`` by default
    workers : Yosys processes at a time, one for each processor by default
    progress : called with the number of stages that are done, and of all

    Raises
    ------
    UserError : Yosys or a file is missing.
    CheckFailed : Yosys refuses the Verilog, or leaves a cell that is not one of the device's; with its first error.
    """
    yosys = find_yosys()
    folder = Path(rtl_dir).resolve()
    sources = _sources(folder)
    text = "\n".join(path.read_text() for path in sources)
    design = modules(text)
    stages = _stage_modules(design, top)
    key = _digest(folder, sources, {**stages, SHELL: top}, yosys.version)
    cache = (folder.parent / "sim" if work_dir is None else Path(work_dir)) / _CACHE
    kept = _from_cache(cache, key, yosys.version)
    if kept is not None:
        return kept
    started = time.monotonic()
    # Yosys's view of /tmp is not the system's: it writes beside the Verilog, by relative path.
    with tempfile.TemporaryDirectory(prefix=".synthesis-", dir=folder.parent) as scratch:
        sizes = {name: size_below(design, module) for name, module in stages.items()} | {SHELL: 1}
        shares = share_out(sizes, max(1, min(workers or os.cpu_count() or 1, len(sizes))))
        script = partial(_STAGE_SCRIPT.format, family=_family(text), memories=_MEMORIES[_family(text)])
        runs = {**stages, SHELL: top}
        counts, depths = _run_all(yosys, folder, Path(scratch), sources, runs, shares, script, progress)
    found = _synthesis(counts, depths, yosys.version, time.monotonic() - started)
    cache.parent.mkdir(parents=True, exist_ok=True)
    write_json(cache, {"key": key, "cells": counts, "depths": {name: at.report() for name, at in depths.items()}})
    return found


def _sources(folder: Path) -> list[Path]:
    listing = folder / "files.f"
    if not listing.is_file():
        raise UserError(f"{folder} must hold files.f; generate the build again")
    lines = (line.split("//")[0].strip() for line in listing.read_text().splitlines())
    sources = [folder / line for line in lines if line]
    missing = [path.name for path in sources if not path.is_file()]
    if missing or not sources:
        raise UserError(f"{folder} must hold {', '.join(missing) or 'the files of files.f'}; generate the build again")
    return sources


def _stage_modules(design: Mapping[str, VerilogModule], top: str) -> dict[str, str]:
    """Name of a stage -> its module: the instances in the top module's instance ``accelerator``."""
    accelerator = design[top].instances.get("accelerator") if top in design else None
    stages: dict[str, str] = {}
    for instance, module in design[accelerator].instances.items() if accelerator is not None else ():
        # A name that was taken already has a dollar sign and a number behind it.
        name = re.sub(r"\$\d+$", "", instance)
        stages[name if name not in stages else instance] = module
    return stages


def stage_script(text: str, *, module: str, prepare: str, block_ram_map: str, result: str) -> str:
    """The commands that synthesise one module of a design that was saved as ``all``, and write its ``stat -json``.

    text: the design's Verilog, which tells the family. prepare: a command before. block_ram_map: where
    :data:`BLOCK_RAM_MAP` lies. result: the file with the counts.
    """
    family = _family(text)
    return (_MAP_SCRIPT + _STAT).format(
        module=module,
        prepare=prepare,
        family=family,
        memories=_MEMORIES[family],
        block_ram_map=block_ram_map,
        result=result,
    )


def _family(text: str) -> str:
    """The family of devices that a design is for, from the DSP that it instantiates."""
    return "xc7" if re.search(r"^\s*DSP48E1\b", text, flags=re.MULTILINE) else "xcup"


def _digest(folder: Path, sources: Sequence[Path], runs: Mapping[str, str], version: str) -> str:
    digest = hashlib.sha256(repr((list(runs.items()), version, _STAGE_SCRIPT, dict(_MEMORIES))).encode())
    rules = (Path(depth.__file__), Path(netlist_paths.__file__))
    for path in [*sources, *sorted(folder.glob("*.mem")), BLOCK_RAM_MAP, *rules]:
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _from_cache(cache: Path, key: str, version: str) -> Synthesis | None:
    """The kept counts, None where there are none or those of other input."""
    try:
        kept = read_json(cache)
        if kept["key"] != key:
            return None
        depths = {name: LayerDepth.of(entry) for name, entry in kept["depths"].items()}
        return _synthesis(kept["cells"], depths, version, 0.0)
    except (UserError, CheckFailed, OSError, KeyError, TypeError, AttributeError):
        return None


def _synthesis(
    counts: Mapping[str, Mapping[str, int]], depths: Mapping[str, LayerDepth], version: str, seconds: float
) -> Synthesis:
    layers: dict[str, Resources] = {}
    carry8: dict[str, int] = {}
    deepest: dict[str, LayerDepth] = {}
    for name, cells in counts.items():
        layer = _layer(name, counts)
        layers[layer] = layers.get(layer, Resources()) + cell_resources(name, cells)
        carry8[layer] = carry8.get(layer, 0) + (cells.get("CARRY4", 0) + 1) // 2
        deepest[layer] = depths[name] + deepest[layer] if layer in deepest else depths[name]
    return Synthesis({**layers, SHELL: layers.pop(SHELL)}, carry8, version, seconds, deepest)


def _layer(stage: str, stages: Collection[str]) -> str:
    """The layer that a stage is counted with, from the names that :mod:`rtl_gen.accelerator` gives."""
    layer = re.sub(r"_converter_\d+$", "", stage)
    if layer != stage and not {layer, f"{layer}_stage"} & set(stages):
        return stage
    return re.sub(r"^(input|output)_stage$", r"\1", layer, flags=re.IGNORECASE)


def _run_all(
    yosys: Yosys,
    folder: Path,
    scratch: Path,
    sources: Sequence[Path],
    runs: Mapping[str, str],
    shares: Sequence[Sequence[str]],
    script: Callable[..., str],
    progress: Callable[[int, int], None] | None,
) -> tuple[dict[str, dict[str, int]], dict[str, LayerDepth]]:
    """Cells by type, and depths, of every run: name -> module, each process with its share of the names.

    ``script`` makes a run's script of the five values that differ between runs.
    """
    stages = [module for name, module in runs.items() if name != SHELL]
    results = {name: scratch / f"{index}.json" for index, name in enumerate(runs)}
    netlists = Netlists(runs, {name: path.with_suffix(".netlist.json") for name, path in results.items()}, shell=SHELL)
    scripts = {
        name: script(
            module=module,
            prepare="blackbox " + " ".join(stages) if name == SHELL and stages else "",
            block_ram_map=relative(BLOCK_RAM_MAP, folder),
            result=relative(results[name], folder),
            netlist=relative(netlists.files[name], folder),
        )
        for name, module in runs.items()
    }
    head = (
        f"read_verilog {' '.join(relative(path, folder) for path in sources)}\n"
        "read_verilog -lib -specify +/xilinx/cells_sim.v\nread_verilog -lib +/xilinx/cells_xtra.v\n"
        f"hierarchy -check -top {runs[SHELL]}\ndesign -save all\n"
    )
    # The first run ever compiles Yosys for this machine: once, not in every process.
    subprocess.run([*yosys.command, "-V"], env=dict(yosys.environment), capture_output=True, check=False)
    processes: list[YosysProcess] = []
    try:
        for index, names in enumerate(shares):
            share = head + "".join(scripts[name] for name in names)
            processes.append(YosysProcess(yosys, folder, scratch / f"worker{index}", share))
        wait(processes, list(results.values()), arrived=lambda at: netlists.walk([*runs][at]), progress=progress)
    finally:
        for process in processes:
            process.stop()
    counts = {name: _cells(results[name], module, set(stages)) for name, module in runs.items()}
    return counts, netlists.depths()


def _cells(result: Path, module: str, stages: set[str]) -> dict[str, int]:
    """Cells by type of one run, the black boxes of the stages left out."""
    found = json.loads(result.read_text())["modules"]
    cells = found[f"\\{module}"].get("num_cells_by_type", {})
    return {kind: int(number) for kind, number in sorted(cells.items()) if kind.removeprefix("\\") not in stages}


def cell_resources(name: str, cells: Mapping[str, int]) -> Resources:
    """Cells of something of that name as resources; CheckFailed for a cell that is not one of the device's."""
    unknown = [kind for kind in cells if not _is_known(kind)]
    if unknown:
        raise CheckFailed(
            f"synthesis of {name} leaves {cells[unknown[0]]} cells {unknown[0]}, which the device has not"
        )
    return Resources(
        lut=sum(number * LUTS.get(kind, 0) for kind, number in cells.items()),
        ff=sum(number for kind, number in cells.items() if kind in _FLIP_FLOPS),
        dsp=sum(number for kind, number in cells.items() if kind in _DSPS),
        bram36=sum((number * _BLOCK_RAMS.get(kind, 0.0) for kind, number in cells.items()), 0.0),
        uram=sum(number for kind, number in cells.items() if kind in _URAMS),
    )


def _is_known(kind: str) -> bool:
    return any(kind in kinds for kinds in (LUTS, _FLIP_FLOPS, _DSPS, _BLOCK_RAMS, _URAMS, _FREE))
