"""The part of the stand-in that packages an IP: ``ipx::`` commands, and the checks of the packager."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from rtl_gen.verilog_ports import module_ports
from tests.boards.vivado.block_design import Fault
from tests.boards.vivado.tcl_list import split_list

_ABSTRACTIONS = {
    "xilinx.com:interface:axis_rtl:1.0": {"TDATA", "TKEEP", "TLAST", "TREADY", "TVALID"},
    "xilinx.com:interface:aximm_rtl:1.0": None,
    "xilinx.com:signal:clock_rtl:1.0": {"CLK"},
    "xilinx.com:signal:reset_rtl:1.0": {"RST"},
}


class Packager:
    """Commands on the IP that is open, ``core``; the model has the rest of a session."""

    infers: bool
    files: list[Path]
    core: dict[str, Any] | None
    values: dict[tuple[str, str], str]

    def _open(self) -> dict[str, Any]:
        raise NotImplementedError

    def _ipx_package_project(self, words: list[str], options: dict[str, str]) -> str:
        project = self._open()
        top = self.values.get(("fileset:sources_1", "top"), "")
        texts = "".join(path.read_text() for path in self.files if path.suffix == ".v")
        images = {path.name for path in self.files if path.suffix == ".mem"}
        missing = set(re.findall(r'\$readmem[hb]\("([^"]+)"', texts)) - images
        if missing:
            raise Fault(f"memory images are not among the files: {missing}")
        ports = module_ports(texts, top)
        self.core = {
            "root": options["-root_dir"],
            "vlnv": [options["-vendor"], options["-library"], "", ""],
            "ports": {port.name: [port.direction, port.width] for port in ports.values()},
            "interfaces": {},
            "maps": {},
            "part": project["part"],
        }
        for prefix in ("s_axis_0", "m_axis_0") if self.infers else ():
            signals = [name for name in ports if name.startswith(f"{prefix}_")]
            self._interface(signals, "xilinx.com:interface:axis_rtl:1.0")
        return ""

    def _core(self, handle: str = "core:") -> dict[str, Any]:
        if self.core is None or handle != "core:":
            raise Fault(f"{handle} is no IP that is open")
        return self.core

    def _ipx_current_core(self, words: list[str], options: dict[str, str]) -> str:
        self._core()
        return "core:"

    def _ipx_infer_bus_interface(self, words: list[str], options: dict[str, str]) -> str:
        self._core(words[2])
        return self._interface(split_list(words[0]), words[1])

    def _interface(self, ports: list[str], abstraction: str) -> str:
        core = self._core()
        if abstraction not in _ABSTRACTIONS:
            raise Fault(f"no abstraction {abstraction}")
        for port in ports:
            if port not in core["ports"]:
                raise Fault(f"no port {port}")
        kind = abstraction.split(":")[2].removesuffix("_rtl")
        name = ports[0].rpartition("_")[0] if kind in ("axis", "aximm") else ports[0]
        logical = {port.removeprefix(f"{name}_").upper() for port in ports}
        expected = _ABSTRACTIONS[abstraction]
        if kind == "axis" and logical != expected:
            raise Fault(f"{name} is no stream: {sorted(logical)}")
        if kind == "aximm" and not {"AWADDR", "WDATA", "BRESP", "ARADDR", "RDATA"} <= logical:
            raise Fault(f"{name} is no memory-mapped bus: {sorted(logical)}")
        signal = next((port for port in ports if port.endswith("valid")), ports[0])
        master = core["ports"][signal][0] == "output" and kind == "axis"
        core["interfaces"][name] = {
            "kind": kind, "role": "master" if master else "slave", "ports": ports, "clock": None, "parameters": {},
        }  # fmt: skip
        return f"interface:{name}"

    def _ipx_get_bus_interfaces(self, words: list[str], options: dict[str, str]) -> str:
        core = self._core(options["-of_objects"])
        if words[0] in core["interfaces"]:
            return f"interface:{words[0]}"
        if "-quiet" in options:
            return ""
        raise Fault(f"no bus interface {words[0]}")

    def _ipx_get_bus_parameters(self, words: list[str], options: dict[str, str]) -> str:
        interface = options["-of_objects"].removeprefix("interface:")
        known = self._core()["interfaces"][interface]["parameters"]
        return f"parameter:{interface}.{words[0]}" if words[0] in known else ""

    def _ipx_add_bus_parameter(self, words: list[str], options: dict[str, str]) -> str:
        name, interface = words[0], words[1].removeprefix("interface:")
        if name not in ("POLARITY", "ASSOCIATED_BUSIF", "ASSOCIATED_RESET", "FREQ_HZ"):
            raise Fault(f"no bus parameter {name}")
        self._core()["interfaces"][interface]["parameters"][name] = ""
        return f"parameter:{interface}.{name}"

    def _ipx_associate_bus_interfaces(self, words: list[str], options: dict[str, str]) -> str:
        known = self._core(words[0])["interfaces"]
        clock = options.get("-clock", "")
        if known.get(clock, {}).get("kind") != "clock":
            raise Fault(f"{clock or 'nothing'} is no clock")
        for option, kinds in (("-busif", ("axis", "aximm")), ("-reset", ("reset",))):
            if option in options:
                if known.get(options[option], {}).get("kind") not in kinds:
                    raise Fault(f"{options[option]} is nothing to associate by {option}")
                known[options[option]]["clock"] = clock
        return ""

    def _ipx_get_memory_maps(self, words: list[str], options: dict[str, str]) -> str:
        return f"memory_map:{words[0]}" if words[0] in self._core(options["-of_objects"])["maps"] else ""

    def _ipx_remove_memory_map(self, words: list[str], options: dict[str, str]) -> str:
        del self._core(words[1])["maps"][words[0]]
        return ""

    def _ipx_add_memory_map(self, words: list[str], options: dict[str, str]) -> str:
        self._core(words[1])["maps"][words[0]] = {}
        return f"memory_map:{words[0]}"

    def _ipx_add_address_block(self, words: list[str], options: dict[str, str]) -> str:
        self._core()["maps"][words[1].removeprefix("memory_map:")][words[0]] = {}
        return f"address_block:{words[1].removeprefix('memory_map:')}/{words[0]}"

    def _ipx_add_register(self, words: list[str], options: dict[str, str]) -> str:
        memory_map, _, block = words[1].removeprefix("address_block:").partition("/")
        self._core()["maps"][memory_map][block][words[0]] = {}
        return f"register:{memory_map}/{block}/{words[0]}"

    def _ipx_create_xgui_files(self, words: list[str], options: dict[str, str]) -> str:
        self._core(words[0])
        return ""

    _ipx_update_checksums = _ipx_create_xgui_files

    def _ipx_check_integrity(self, words: list[str], options: dict[str, str]) -> str:
        core = self._core(words[0])
        taken = [port for interface in core["interfaces"].values() for port in interface["ports"]]
        if sorted(taken) != sorted(core["ports"]):
            raise Fault(f"ports without an interface: {sorted(set(core['ports']) - set(taken))}")
        for name, interface in core["interfaces"].items():
            if interface["kind"] != "clock" and interface["clock"] is None:
                raise Fault(f"{name} has no clock")
            if interface["kind"] == "reset" and interface["parameters"].get("POLARITY") != "ACTIVE_LOW":
                raise Fault(f"{name} has no polarity")
        return "1"

    def _ipx_save_core(self, words: list[str], options: dict[str, str]) -> str:
        core = self._core(words[0])
        core["vlnv"][2:] = [self.values[("core:", "name")], self.values[("core:", "version")]]
        core["map_refs"] = {n: self.values.get((f"interface:{n}", "slave_memory_map_ref")) for n in core["interfaces"]}
        for key in ("offset", "size", "access", "range"):
            core[key] = {h: v for (h, k), v in self.values.items() if k.endswith(key) and "/" in h}
        root = Path(core["root"])
        root.mkdir(parents=True, exist_ok=True)
        (root / "component.xml").write_text(json.dumps(core))
        return ""
