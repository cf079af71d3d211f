"""Depths of the layers of a design, from the netlists of its stages and of what stands around them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sim.depth import LayerDepth, LogicPath, worst
from sim.netlist_paths import Paths, paths, worst_at


class Netlists:
    """Netlists that come one by one and are kept no longer than it takes to walk through them.

    A path from one stage to the next, by its data and valid or back by its ready, counts with the stage where it ends.

    Parameters: runs: name of a stage -> its module; files: where its netlist comes to lie; shell: name of the run of
    the module around the stages, which are black boxes there.
    """

    def __init__(self, runs: Mapping[str, str], files: Mapping[str, Path], *, shell: str) -> None:
        self.files = files
        self._runs = runs
        self._shell = shell
        self._paths: dict[str, Paths] = {}

    def walk(self, name: str) -> None:
        """Walk through the netlist of a stage, which is there, and delete it: some have hundreds of megabytes."""
        if name != self._shell:
            self._paths[name] = paths(self._taken(name))

    def depths(self) -> dict[str, LayerDepth]:
        """Depths of all runs, when all stages have been walked through."""
        stages = {module: name for name, module in self._runs.items() if name != self._shell}
        around = self._taken(self._shell)
        found = paths(around, {module: self._paths[name] for module, name in stages.items()}, most=None)
        instances = {
            f"{name}.": stages[cell["type"]] for name, cell in around["cells"].items() if cell["type"] in stages
        }
        ending: dict[str, list[LogicPath]] = {}
        for path in found.registers:
            at = next((stage for prefix, stage in instances.items() if path.end.startswith(prefix)), self._shell)
            ending.setdefault(at, []).append(path)
        walked = {**self._paths, self._shell: Paths((), found.starts, found.ends, found.through)}
        return {
            name: LayerDepth(
                worst([*parts.registers, *ending.get(name, [])]),
                worst_at(parts.ends),
                worst_at(parts.starts),
                worst_at(parts.through),
            )
            for name, parts in walked.items()
        }

    def _taken(self, name: str) -> dict[str, Any]:
        """The module of a run, whose file is deleted."""
        document = json.loads(self.files[name].read_text())
        self.files[name].unlink()
        module: dict[str, Any] = document["modules"][self._runs[name]]
        return module
