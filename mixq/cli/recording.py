"""What verbs note in a build's manifest, beside what ``mixq generate`` does."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

from mixq.bits import BITS_FILE
from mixq.build_folder import PROJECT_FILE, BuildFolder
from mixq.doctor import Versioned
from mixq.errors import UserError

_CHECKPOINT = "checkpoints/model.pt"
#: What a graph was made from, where the build has it.
_SOURCES = (PROJECT_FILE, BITS_FILE, _CHECKPOINT)
#: Reports that follow from the build alone: no times of this machine are in them.
_REPORTS = (
    "accuracy.json",
    "activity.json",
    "conversion.json",
    "estimate_layer_cycles.json",
    "estimate_layer_resources.json",
    "estimate_network_performance.json",
    "frontier.json",
    "logic_depth.json",
    "op_and_param_counts.json",
    "synth_resources.json",
)


def record_sources(folder: BuildFolder) -> None:
    """Note what the graph was made from: project, widths, checkpoint, and PyTorch's version where it has one."""
    from boards.manifest import record

    found = [name for name in _SOURCES if (folder.path / name).is_file()]
    record(folder.path, "sources", found, {"torch": version("torch")} if _CHECKPOINT in found else {})


def record_reports(folder: BuildFolder) -> None:
    """Note the reports that are there, and the versions of the simulators and of Yosys where they made one.

    Nothing is noted in a build without a manifest, which has not been generated yet.
    """
    from boards.manifest import BuildManifest, record
    from sim.tools import find_icarus, find_verilator, find_yosys

    try:
        BuildManifest.load(folder.path)
    except UserError:
        return
    makers: tuple[tuple[str, str, Callable[[], Versioned]], ...] = (
        ("icarus", "rtlsim_performance_icarus.json", find_icarus),
        ("verilator", "rtlsim_performance_verilator.json", find_verilator),
        ("yosys", "synth_resources.json", find_yosys),
    )
    tools = {name: _version(find) for name, made, find in makers if (folder.report / made).is_file()}
    files = [f"{folder.report.name}/{name}" for name in _REPORTS if (folder.report / name).is_file()]
    record(folder.path, "reports", files, {name: own for name, own in tools.items() if own is not None})


def _version(find: Callable[[], Versioned]) -> str | None:
    """A tool's version, None where it is not here any more."""
    try:
        return find().version
    except UserError:
        return None
