"""What stands where in a build folder; the one place that knows its paths."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from mixq.bits import BITS_FILE
from mixq.errors import UserError
from mixq.files import read_json
from mixq.graph import Graph
from mixq.graph.files import FORMAT_NAME
from mixq.plan import Plan
from mixq.plan.folding_file import FOLDING_FILE

GRAPH_FILES = ("graph.json", "graph.npz")
PROJECT_FILE = "project.yaml"


@dataclass(frozen=True)
class BuildFolder:
    """The folder of one network on its way from weights to Verilog, ``build/<name>`` by custom.

    ::

        graph.json, graph.npz     the integer network                  plan.yaml    how it is built
        checkpoints/model.pt      the training model                   rtl/         Verilog and memory images
        reference/codes.npy       input frames, uint8 (N, C, H, W)     sim/         compiled simulations
        reference/expected.npy    the integers that must come out      report/      JSON files and one HTML page
        manifest.json             hashes of rtl/ and what it is made of
        vivado/                   scripts for a Vivado project, what Vivado made of them, and its reports
        steps.json                what the quickstart need not do again
        folding.json              the plan's foldings, to hold another plan to them
        project.yaml              what the network was made from, with absolute paths; mixq test finds the data by it
        bits.yaml                 the widths that mixq search found, which mixq train takes
        search/, train/           their runs: saved states and logs, to go on from; search/front.json
    """

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def __str__(self) -> str:
        return str(self.path)

    @property
    def checkpoint(self) -> Path:
        """State of the training model."""
        return self.path / "checkpoints" / "model.pt"

    @property
    def codes(self) -> Path:
        """Input frames of the reference."""
        return self.path / "reference" / "codes.npy"

    @property
    def expected(self) -> Path:
        """What must come out for :attr:`codes`, as the converted PyTorch model computed it."""
        return self.path / "reference" / "expected.npy"

    @property
    def plan_file(self) -> Path:
        """The plan."""
        return self.path / "plan.yaml"

    @property
    def rtl(self) -> Path:
        """Folder of Verilog and memory images."""
        return self.path / "rtl"

    @property
    def vivado(self) -> Path:
        """Folder of the Vivado project."""
        return self.path / "vivado"

    @property
    def sim(self) -> Path:
        """Folder of compiled simulations."""
        return self.path / "sim"

    @property
    def report(self) -> Path:
        """Folder of reports."""
        return self.path / "report"

    @property
    def steps(self) -> Path:
        """Which steps were done with which inputs; see :mod:`mixq.cli.steps`."""
        return self.path / "steps.json"

    @property
    def bits(self) -> Path:
        """The widths that a search found."""
        return self.path / BITS_FILE

    @property
    def project(self) -> Path:
        """What the network was made from; see :mod:`mixq.project_file`."""
        return self.path / PROJECT_FILE

    @property
    def train_run(self) -> Path:
        """Folder of the training's states and log."""
        return self.path / "train"

    @property
    def search_run(self) -> Path:
        """Folder of the search's states and log, or of the grid of searches."""
        return self.path / "search"

    def report_file(self, name: str) -> Path:
        """Path of the report ``name``, in a folder that is made where missing."""
        make_folder(self.report)
        return self.report / name

    def load_graph(self) -> Graph:
        """The graph; UserError where the folder holds none."""
        if not (self.path / GRAPH_FILES[0]).is_file():
            raise UserError(f"{self} is no build folder (it has no graph.json); make one with: mixq import")
        return Graph.load(self.path)

    def load_plan(self) -> Plan:
        """The plan; UserError where there is none."""
        return Plan.load(self.path)

    def check_rtl(self) -> None:
        """UserError where no Verilog has been generated."""
        if not (self.rtl / "mixq_top.v").is_file():
            raise UserError(f"{self.rtl} holds no Verilog; make it with: mixq generate {self}")

    def start(self, graph: Graph) -> bool:
        """Make the folder ready for ``graph``: what followed from another graph goes. Returns whether it was another.

        The graph itself is not written; until it is, the folder is none that other verbs take. What MixQ did not write
        stays, but for files in ``rtl/``, ``vivado/`` and ``report/``. UserError where graph.json is some other
        program's.
        """
        make_folder(self.path)
        present = [name for name in GRAPH_FILES if (self.path / name).is_file()]
        if not present or self._holds(graph):
            return False
        self._check_ours()
        for folder in (self.rtl, self.vivado, self.report):
            shutil.rmtree(folder, ignore_errors=True)
        for path in (self.codes, self.expected, self.checkpoint):
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # missing, or it holds files of the user's
                path.parent.rmdir()
        # The graph goes last: while it stands, whoever was cut short here finds the rest to be another graph's.
        for name in (PROJECT_FILE, "steps.json", "manifest.json", FOLDING_FILE, "plan.yaml", *reversed(GRAPH_FILES)):
            (self.path / name).unlink(missing_ok=True)
        return True

    def forget_results_of_rtl(self) -> None:
        """Remove the reports that were measured on Verilog which is no longer there."""
        counted = (self.report / name for name in ("synth_resources.json", "logic_depth.json", "vivado.json"))
        reported = (self.vivado / "reports").glob("*.rpt")
        for path in (*self.report.glob("rtlsim_performance*.json"), *counted, *reported):
            path.unlink(missing_ok=True)

    def _check_ours(self) -> None:
        """UserError where graph.json is sound JSON, but no graph: then the folder is no build of ours to clear."""
        path = self.path / GRAPH_FILES[0]
        try:
            document = read_json(path)
        except UserError:
            return
        if not isinstance(document, dict) or document.get("format") != FORMAT_NAME:
            raise UserError(f"{path} is no graph of MixQ's, so {self} is not cleared; choose another folder")

    def _holds(self, graph: Graph) -> bool:
        try:
            return Graph.load(self.path) == graph
        except UserError:
            return False


def make_folder(path: Path) -> None:
    """Make a folder and its parents where missing; UserError where the system refuses."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {path}: {error.strerror or error}") from error
