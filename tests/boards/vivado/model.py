"""What Vivado would hold after the commands of a script: projects, runs, the IP that is packaged, the block design."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from boards.quoting import tcl_word
from tests.boards.vivado.block_design import BlockDesign, Fault
from tests.boards.vivado.packager import Packager
from tests.boards.vivado.tcl_list import split_list

__all__ = ["Fault", "Vivado"]

BOARD_PARTS = (
    "xilinx.com:kv260_som:part0:1.4",
    "tul.com.tw:pynq-z2:part0:1.0",
    "xilinx.com:au250:part0:1.3",
    "avnet.com:ultra96v2:part0:1.2",
    "xilinx.com:zcu102:part0:3.4",
    "xilinx.com:zcu104:part0:1.1",
)
_SCRIPT_FLOW = ("synth_design", "opt_design", "place_design", "phys_opt_design", "route_design")


class Vivado(Packager):
    """A session: commands come through :meth:`call`; ``log`` is what was called.

    slack: of the finished run. infers: whether packaging finds the streams by the names of their ports, as versions do.
    """

    def __init__(
        self, *, slack: str = "0.123", board_parts: tuple[str, ...] = BOARD_PARTS, infers: bool = False
    ) -> None:
        self.log: list[tuple[str, tuple[str, ...]]] = []
        self.slack = slack
        self.infers = infers
        self.board_parts = board_parts
        self.project: dict[str, Any] | None = None
        self.files: list[Path] = []
        self.core: dict[str, Any] | None = None
        self.design: BlockDesign | None = None
        self.values: dict[tuple[str, str], str] = {}
        self.launched = False
        self.steps: list[str] = []

    def call(self, name: str, words: list[str], options: dict[str, str], properties: dict[str, list[str]]) -> str:
        """Carry a command out and return its value."""
        if name in ("set_property", "get_property"):
            return self._property(name, words, options, properties)
        if name in _SCRIPT_FLOW:
            return self._step(name, options)
        method: Callable[..., str] | None = getattr(self, f"_{name.replace('::', '_')}", None)
        if method is None and name.startswith(("get_bd_", "connect_bd_", "create_bd_", "assign_bd_")):
            assert name != "create_bd_design"
            return self._bd().call(name, words, options)
        if method is None:
            raise Fault(f"the stand-in has no {name}")
        return method(words, options)

    # Projects and files.

    def _create_project(self, words: list[str], options: dict[str, str]) -> str:
        if self.project is not None:
            raise Fault("a project is open")
        if "-part" not in options:
            raise Fault("create_project: no part")
        name, folder = (*words, "", "")[:2]
        self.project = {
            "name": name,
            "folder": folder,
            "part": options["-part"],
            "bd": [],
            "memory": "-in_memory" in options,
        }
        self.files = []
        return f"project:{name}"

    def _open_project(self, words: list[str], options: dict[str, str]) -> str:
        self.project = json.loads(Path(words[0]).read_text())
        return f"project:{self._open()['name']}"

    def _close_project(self, words: list[str], options: dict[str, str]) -> str:
        project = self._open()
        if not project["memory"]:
            folder = Path(project["folder"])
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{project['name']}.xpr").write_text(json.dumps(project))
        self.project = None
        return ""

    def _open(self) -> dict[str, Any]:
        if self.project is None:
            raise Fault("no project is open")
        return self.project

    def _current_project(self, words: list[str], options: dict[str, str]) -> str:
        return f"project:{self._open()['name']}"

    def _current_fileset(self, words: list[str], options: dict[str, str]) -> str:
        self._open()
        return "fileset:sources_1"

    def _get_board_parts(self, words: list[str], options: dict[str, str]) -> str:
        return " ".join(map(tcl_word, self.board_parts))

    def _add_files(self, words: list[str], options: dict[str, str]) -> str:
        self._open()
        if options.get("-fileset", "sources_1") not in ("sources_1", "constrs_1"):
            raise Fault(f"no fileset {options['-fileset']}")
        for name in split_list(words[0]):
            if not Path(name).is_file():
                raise Fault(f"no file {name}")
            self.files.append(Path(name))
        return ""

    def _get_files(self, words: list[str], options: dict[str, str]) -> str:
        names = [*self._open()["bd"], *(path.name for path in self.files)]
        if words[0] not in names:
            raise Fault(f"no file matches {words[0]}")
        return f"file:{words[0]}"

    def _read_xdc(self, words: list[str], options: dict[str, str]) -> str:
        if options.get("-mode") not in (None, "default", "out_of_context"):
            raise Fault(f"read_xdc: no mode {options['-mode']}")
        return self._add_files(words, {})

    def _update_compile_order(self, words: list[str], options: dict[str, str]) -> str:
        self._open()
        return ""

    def _update_ip_catalog(self, words: list[str], options: dict[str, str]) -> str:
        return self._current_project([], {})

    # The block design.

    def _create_bd_design(self, words: list[str], options: dict[str, str]) -> str:
        project = self._open()
        repositories = split_list(self.values.get((f"project:{project['name']}", "ip_repo_paths"), ""))
        cores = [json.loads((Path(path) / "component.xml").read_text()) for path in repositories]
        self.design = BlockDesign(words[0], cores)
        return words[0]

    def _bd(self) -> BlockDesign:
        if self.design is None:
            raise Fault("no block design is open")
        return self.design

    def _apply_bd_automation(self, words: list[str], options: dict[str, str]) -> str:
        self._bd().automate(words[0], options.get("-rule", ""), split_list(options.get("-config", "")))
        return ""

    def _validate_bd_design(self, words: list[str], options: dict[str, str]) -> str:
        faults = self._bd().faults()
        if faults:
            raise Fault("; ".join(faults))
        return ""

    def _save_bd_design(self, words: list[str], options: dict[str, str]) -> str:
        self._open()["bd"].append(f"{self._bd().name}.bd")
        return ""

    def _make_wrapper(self, words: list[str], options: dict[str, str]) -> str:
        if not {"-files", "-top", "-import"} <= set(options):
            raise Fault("make_wrapper: no file, or nothing to do with it")
        return ""

    # Runs.

    def _get_runs(self, words: list[str], options: dict[str, str]) -> str:
        if words[0] not in ("synth_1", "impl_1"):
            raise Fault(f"no run {words[0]}")
        return f"run:{words[0]}"

    def _reset_runs(self, words: list[str], options: dict[str, str]) -> str:
        return self._get_runs([words[0].removeprefix("run:")], {})

    def _launch_runs(self, words: list[str], options: dict[str, str]) -> str:
        self._get_runs(words, {})
        if options.get("-to_step") != "write_bitstream" or not options.get("-jobs", "1").isdigit():
            raise Fault("launch_runs: no such step, or no number of jobs")
        folder = Path(self._open()["folder"])
        (folder / "mixq.runs" / "impl_1").mkdir(parents=True, exist_ok=True)
        (folder / "mixq.runs" / "impl_1" / "mixq_wrapper.bit").write_text("bits")
        handoff = folder / "mixq.gen" / "sources_1" / "bd" / "mixq" / "hw_handoff"
        handoff.mkdir(parents=True, exist_ok=True)
        (handoff / "mixq.hwh").write_text("<EDKSYSTEM/>")
        self.launched = True
        return ""

    def _wait_on_runs(self, words: list[str], options: dict[str, str]) -> str:
        if not self.launched:
            raise Fault("nothing runs")
        return ""

    def _open_run(self, words: list[str], options: dict[str, str]) -> str:
        return self._get_runs(words, {})

    def _get_cells(self, words: list[str], options: dict[str, str]) -> str:
        if not words and "-hierarchical" in options:
            return "cell:buffers" if "REF_NAME" in options.get("-filter", "") else ""
        if words[0] != "mixq_i/accelerator":
            raise Fault(f"no cell {words[0]}")
        return f"cell:{words[0]}"

    def _get_pins(self, words: list[str], options: dict[str, str]) -> str:
        if not options.get("-of_objects", "").startswith("cell:") or "REF_PIN_NAME" not in options.get("-filter", ""):
            raise Fault("get_pins: no pins")
        return "pin:outputs"

    def _get_nets(self, words: list[str], options: dict[str, str]) -> str:
        if not options.get("-of_objects", "").startswith("pin:"):
            raise Fault("get_nets: no nets")
        return "net:clocks"

    def _get_ports(self, words: list[str], options: dict[str, str]) -> str:
        return f"port:{words[0]}"

    def _create_clock(self, words: list[str], options: dict[str, str]) -> str:
        rise, fall = split_list(options["-waveform"])
        if not float(rise) < float(fall) < float(options["-period"]) or words != [f"port:{options['-name']}"]:
            raise Fault(f"create_clock: {options}")
        return ""

    def _step(self, name: str, options: dict[str, str]) -> str:
        """A step of synthesis and implementation without a project's runs: in their order."""
        self.steps.append(name)
        if tuple(self.steps) != _SCRIPT_FLOW[: len(self.steps)]:
            raise Fault(f"{name} is out of order")
        if name == "synth_design" and options.get("-mode") not in (None, "default", "out_of_context"):
            raise Fault(f"synth_design: no mode {options['-mode']}")
        return ""

    def _report_timing_summary(self, words: list[str], options: dict[str, str]) -> str:
        Path(options["-file"]).write_text("report\n")
        return ""

    _report_utilization = _report_timing_summary

    def _write_checkpoint(self, words: list[str], options: dict[str, str]) -> str:
        Path(words[0]).write_text("checkpoint")
        return ""

    # Properties of any object.

    def _property(self, name: str, words: list[str], options: dict[str, str], known: dict[str, list[str]]) -> str:
        if name == "get_property":
            return self._read(words[1], words[0], known)
        if "-dict" in options:
            handle, pairs = words[0], split_list(options["-dict"])
        elif len(words) == 3:
            handle, pairs = words[2], words[:2]
        else:
            raise Fault("set_property takes a name, a value and objects")
        if len(pairs) % 2:
            raise Fault(f"a property without a value: {pairs[-1]}")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if handle.startswith("bd_"):
                self._bd().configure(handle, key, value)
            elif key not in known.get(handle.partition(":")[0], ()):
                raise Fault(f"{handle or 'nothing'} has no property {key}")
            elif handle.startswith("parameter:"):
                interface, _, parameter = handle.removeprefix("parameter:").partition(".")
                self._core()["interfaces"][interface]["parameters"][parameter] = value
            else:
                self.values[handle, key] = value
        return ""

    def _read(self, handle: str, key: str, known: dict[str, list[str]]) -> str:
        kind, _, name = handle.partition(":")
        if key not in known.get(kind, ()):
            raise Fault(f"{handle or 'nothing'} has no property {key}")
        if kind == "run":
            folder = str(Path(self._open()["folder"]) / "mixq.runs" / name)
            values = {"PROGRESS": "100%", "STATUS": "write_bitstream Complete!", "DIRECTORY": folder}
            return values.get(key, self.slack if key == "STATS.WNS" else "0.010")
        return name if key == "name" else self.values[handle, key]
