"""Counts what each component of one streaming stage takes, with Yosys.

:func:`sim.synthesis.count` flattens a stage; here the hierarchy is kept at the stage's direct submodules, so that each
of them is counted apart, and a second run flattens all, so that what flattening saves is known. Read-only memories are
components of their own: one level below, in the arrays and units that have them.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth.back import verilog

from mixq.board import Resources
from rtl_gen.rom import verilog_sources
from sim.hierarchy import VerilogModule, modules
from sim.synthesis import BLOCK_RAM_MAP, cell_resources, stage_script
from sim.tools import find_yosys
from sim.yosys_process import run_script

CONTROL = "control"
"""Name of what a stage has beside its components."""

_TOP = "stage"

_HEAD = """\
read_verilog {sources}
read_verilog -lib -specify +/xilinx/cells_sim.v
read_verilog -lib +/xilinx/cells_xtra.v
hierarchy -check -top stage
design -save all
"""

# What no component reads of another, or knows to be constant, is taken out of both, as flattening does: a component
# further up with each round.
_KEEP = (
    """\
setattr -mod -set keep_hierarchy 1 {modules}
proc
flatten -noscopeinfo
opt_clean -purge
"""
    + "opt_hier\nopt_clean -purge\nopt -fast\n" * 6
)


@dataclass(frozen=True)
class StageVerilog:
    """A stage's Verilog, and the memory images that it reads: bare name -> text."""

    text: str
    images: Mapping[str, str]

    @classmethod
    def of(cls, stage: Any) -> StageVerilog:
        """The Verilog of a component, all of whose ports are free."""
        ports = {"__".join(map(str, path)): (value, None) for path, _, value in stage.signature.flatten(stage)}
        text: str = verilog.convert(stage, name=_TOP, ports=ports, strip_internal_attrs=True)
        return cls(text, dict(getattr(stage, "memory_images", {})))

    @property
    def digest(self) -> str:
        """A hash of everything that the counts depend on."""
        # The script of a count, and Yosys's version, as well as the Verilog.
        script = stage_script(self.text, module="", prepare=_KEEP, block_ram_map="", result="")
        digest = hashlib.sha256(f"{find_yosys().version} {script} {self.text}".encode())
        for path in verilog_sources():
            digest.update(path.read_bytes())
        for name, text in sorted(self.images.items()):
            digest.update(f"{name} {len(text)}\n{text}".encode())
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class StageCounts:
    """Counts of a stage: ``components`` by name, :data:`CONTROL` among them, and ``flat``, the stage flattened."""

    components: dict[str, Resources]
    flat: Resources

    @property
    def total(self) -> Resources:
        """Sum over the components."""
        return sum(self.components.values(), Resources())


def measure(source: StageVerilog) -> StageCounts:
    """Count a stage. Raises UserError where Yosys is missing, CheckFailed where it fails."""
    yosys = find_yosys()
    design = modules("\n".join([source.text, *(path.read_text() for path in verilog_sources())]))
    kept = _components(design)
    with tempfile.TemporaryDirectory(prefix="stage-costs-") as scratch:
        folder = Path(scratch)
        for file, text in source.images.items():
            (folder / file).write_text(text)
        (folder / "stage.v").write_text(source.text)
        for path in verilog_sources():
            shutil.copy(path, folder)
        sources = " ".join(path.name for path in sorted(folder.glob("*.v")))
        shutil.copy(BLOCK_RAM_MAP, folder / "block_ram.map")
        keep = _KEEP.format(modules=" ".join(f"\\{module}" for module in kept.values()))
        script = _HEAD.format(sources=sources)
        for prepare, result in ((keep if kept else "", "components.json"), ("", "flat.json")):
            script += stage_script(
                source.text, module=_TOP, prepare=prepare, block_ram_map="block_ram.map", result=result
            )
        (folder / "stage.ys").write_text(script)
        run_script(yosys, folder, "stage.ys")
        apart = json.loads((folder / "components.json").read_text())["modules"]
        flat = json.loads((folder / "flat.json").read_text())["modules"]
    names = {module: name for name, module in kept.items()} | {_TOP: CONTROL}
    components: dict[str, Resources] = {}
    for module, name in names.items():
        cells = apart.get(f"\\{module}", {}).get("num_cells_by_type", {})
        own = {kind: int(count) for kind, count in cells.items() if kind.removeprefix("\\") not in names}
        part, _, memory = name.partition(".")
        component = f"{part}_memory" if memory else part
        components[component] = components.get(component, Resources()) + cell_resources(name, own)
    return StageCounts(components, cell_resources("stage", flat[f"\\{_TOP}"].get("num_cells_by_type", {})))


def _components(design: Mapping[str, VerilogModule]) -> dict[str, str]:
    """Modules that are counted apart: name of the instance, below it with a dot in between -> module."""
    found: dict[str, str] = {}
    for instance, module in design[_TOP].instances.items():
        name = re.sub(r"\$\d+$", "", instance)
        found[name] = module
        for below, memory in design[module].instances.items():
            if "mixq_rom" in design[memory].instances.values():
                found[f"{name}.{below}"] = memory
    return found
