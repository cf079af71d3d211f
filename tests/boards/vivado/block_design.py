"""A block design as its script makes it: cells by the catalog's table, connections, addresses, and its faults."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

CATALOG: dict[str, Any] = yaml.safe_load((Path(__file__).resolve().parent / "catalog.yaml").read_text())
_KINDS = {"bd_cells": "bd_cell", "bd_pins": "bd_pin", "bd_intf_pins": "bd_intf_pin", "bd_ports": "bd_port"}
_KINDS |= {"bd_intf_ports": "bd_intf_port", "bd_addr_spaces": "bd_addr_space", "bd_addr_segs": "bd_addr_seg"}
#: Kinds of pin that a kind drives.
_DRIVES = {"clock": {"clock"}, "reset": {"reset"}, "interrupt": {"interrupt"}, "data": {"data"}}
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class Fault(Exception):
    """What Vivado would have refused."""


@dataclass
class Pin:
    """A pin or an interface: ``words`` are those of the table's entry."""

    name: str
    words: list[str]

    def value(self, key: str) -> str | None:
        """The value of ``key=value`` in the entry."""
        return next((word.partition("=")[2] for word in self.words if word.startswith(f"{key}=")), None)


@dataclass
class Cell:
    """A cell: its entry of the catalog and its configuration."""

    name: str
    entry: dict[str, Any]
    config: dict[str, str] = field(default_factory=dict)
    automated: bool = False

    def pins(self, key: str = "pins") -> dict[str, Pin]:
        """The pins, or interfaces, that the configuration gives the cell."""
        found: dict[str, Pin] = {}
        for name, text in self.entry.get(key, {}).items():
            words = text.split()
            if "when" in words:
                at = words.index("when")
                wanted, _, value = words[at + 1].partition("=")
                if self.config.get(wanted) != value:
                    continue
                words = words[:at]
            names = [name]
            if "count" in words:
                digits = 2 if name.endswith("_AXI") else 1
                names = [
                    name.format(f"{n:0{digits}}") for n in range(int(self.config[words[words.index("count") + 1]]))
                ]
            found |= {each: Pin(each, words) for each in names}
        return found


class BlockDesign:
    """The design; commands come through :meth:`call`."""

    def __init__(self, name: str, cores: list[dict[str, Any]]) -> None:
        self.name = name
        self.catalog = CATALOG | {":".join(core["vlnv"]): _entry(core) for core in cores}
        self.cells: dict[str, Cell] = {}
        self.ports: dict[str, list[str]] = {}
        self.nets: list[set[str]] = []
        self.links: dict[str, str] = {}
        self.assigned: dict[tuple[str, str], tuple[int, int]] = {}

    def call(self, name: str, words: list[str], options: dict[str, str]) -> str:
        """Carry a command out and return its value."""
        if name.startswith("get_"):
            return self._get(name.removeprefix("get_"), words[0] if words else "")
        if name == "create_bd_cell":
            return self._create_cell(words[0], options)
        if name in ("create_bd_port", "create_bd_intf_port"):
            return self._create_port(name, words[0], options)
        if name == "connect_bd_net":
            return self._connect(words)
        if name == "connect_bd_intf_net":
            return self._link(*words)
        return self._assign(words, options)

    def _create_cell(self, name: str, options: dict[str, str]) -> str:
        vlnv = options.get("-vlnv", "")
        if options.get("-type", "ip") != "ip" or vlnv not in self.catalog:
            raise Fault(f"no IP {vlnv} of type {options.get('-type')}")
        if name in self.cells:
            raise Fault(f"there is a cell {name}")
        entry = self.catalog[vlnv]
        self.cells[name] = Cell(name, entry, dict(entry.get("defaults", {})))
        return f"bd_cell:/{name}"

    def _create_port(self, command: str, name: str, options: dict[str, str]) -> str:
        if command == "create_bd_port":
            if options.get("-dir") != "I" or options.get("-type") not in ("clk", "rst", "intr", "data"):
                raise Fault(f"create_bd_port {name}: {options}")
            self.ports[name] = ["out", {"clk": "clock", "rst": "reset"}.get(options["-type"], "data")]
            return f"bd_port:/{name}"
        vlnv = re.fullmatch(r"xilinx\.com:interface:(diff_clock|pcie_7x_mgt)_rtl:1\.0", options.get("-vlnv", ""))
        if vlnv is None or options.get("-mode") not in ("Master", "Slave"):
            raise Fault(f"create_bd_intf_port {name}: {options}")
        # A port of the design is the other side of what is outside: a slave port takes the place of a master.
        self.ports[name] = ["slave" if options["-mode"] == "Master" else "master", vlnv[1]]
        return f"bd_intf_port:/{name}"

    def configure(self, handle: str, key: str, value: str) -> None:
        """Set a property of a cell or a port."""
        kind, _, path = handle.partition(":/")
        name = key.removeprefix("CONFIG.")
        if kind in ("bd_port", "bd_intf_port"):
            if key not in ("CONFIG.POLARITY", "CONFIG.FREQ_HZ"):
                raise Fault(f"{handle} has no property {key}")
            return
        cell = self.cells[path]
        allowed = cell.entry.get("properties", {}).get(name)
        if kind != "bd_cell" or not key.startswith("CONFIG.") or allowed is None:
            raise Fault(f"{handle} has no property {key}")
        if isinstance(allowed, list):
            fits = value in allowed
        elif "match" in allowed:
            fits = re.fullmatch(allowed["match"], value) is not None
        else:
            fits = value.isdigit() and allowed["from"] <= int(value) <= allowed["to"]
        if not fits:
            raise Fault(f"{handle}: {key} cannot be {value}")
        cell.config[name] = value

    def automate(self, handle: str, rule: str, config: list[str]) -> None:
        """Apply a rule of a board's preset to a cell, and connect what it makes external."""
        cell = self.cells[handle.removeprefix("bd_cell:/")]
        table = cell.entry.get("automation")
        pairs = dict(zip(config[::2], config[1::2], strict=True))
        if table is None or table["rule"] != rule:
            raise Fault(f"no rule {rule} for {handle}")
        for key, value in pairs.items():
            if value not in table["config"].get(key, ()):
                raise Fault(f"{rule} has no {key} of {value}")
        cell.automated = pairs.get("apply_board_preset") == "1"
        if "make_external" in pairs:
            for name in table["external"]:
                self.links[f"{cell.name}/{name}"] = f"external {name}"

    def _get(self, kind: str, path: str) -> str:
        handle = f"{_KINDS[kind]}:/{path}"
        if not self._exists(_KINDS[kind], path):
            raise Fault(f"no object {handle}")
        return handle

    def _exists(self, kind: str, path: str) -> bool:
        if kind == "bd_cell":
            return path in self.cells
        if kind in ("bd_port", "bd_intf_port"):
            return path in self.ports
        name, _, rest = path.partition("/")
        if name not in self.cells:
            return False
        cell = self.cells[name]
        known = {
            "bd_pin": cell.pins(),
            "bd_intf_pin": cell.pins("interfaces"),
            "bd_addr_space": cell.entry.get("spaces", {}),
            "bd_addr_seg": cell.entry.get("segments", {}),
        }
        return rest in known[kind]

    def _pin(self, path: str, key: str = "pins") -> Pin:
        if path in self.ports:
            return Pin(path, self.ports[path])
        cell, _, name = path.partition("/")
        return self.cells[cell].pins(key)[name]

    def _connect(self, handles: list[str]) -> str:
        paths = set()
        for handle in handles:
            kind, _, path = handle.partition(":/")
            if kind not in ("bd_pin", "bd_port"):
                raise Fault(f"{handle or 'nothing'} is no pin")
            paths.add(path)
        joined = [net for net in self.nets if net & paths]
        for net in joined:
            self.nets.remove(net)
            paths |= net
        drivers = [path for path in paths if self._pin(path).words[0] == "out"]
        if len(drivers) != 1:
            raise Fault(f"a net has {len(drivers)} drivers: {sorted(drivers)}")
        driven = _DRIVES[self._pin(drivers[0]).words[1]]
        for path in paths:
            if self._pin(path).words[1] not in driven:
                raise Fault(f"{drivers[0]} cannot drive {path}")
        self.nets.append(paths)
        return ""

    def _link(self, first: str, second: str) -> str:
        paths = []
        for handle in (first, second):
            kind, _, path = handle.partition(":/")
            if kind not in ("bd_intf_pin", "bd_intf_port"):
                raise Fault(f"{handle or 'nothing'} is no interface")
            if path in self.links:
                raise Fault(f"{path} is connected already")
            paths.append(path)
        one, other = (self._pin(path, "interfaces").words for path in paths)
        if {one[0], other[0]} != {"master", "slave"} or one[1] != other[1]:
            raise Fault(f"{paths[0]}, {' '.join(one[:2])}, does not go with {paths[1]}, {' '.join(other[:2])}")
        self.links |= {paths[0]: paths[1], paths[1]: paths[0]}
        return ""

    def net(self, path: str) -> frozenset[str]:
        """All pins of the net of a pin; empty where it has none."""
        return next((frozenset(net) for net in self.nets if path in net), frozenset())

    def clock_of(self, path: str) -> frozenset[str]:
        """The net of the clock that an interface works by; empty for one of any clock."""
        clock = self._pin(path, "interfaces").value("clock")
        return self.net(f"{path.partition('/')[0]}/{clock}") if clock else frozenset()

    def bits_of(self, path: str) -> int:
        """Width of a stream's interface in bits."""
        cell = self.cells[path.partition("/")[0]]
        pin = self._pin(path, "interfaces")
        if "bits" in dict(word.partition("=")[::2] for word in pin.words):
            text = str(pin.value("bits"))
            return int(cell.config.get(text, text).removesuffix("_bit"))
        return 8 * int(cell.config[str(pin.value("bytes"))])

    # Addresses.

    def _assign(self, words: list[str], options: dict[str, str]) -> str:
        if not words:
            for space, segment in self.reachable():
                if (space, segment) not in self.assigned:
                    fixed = self._segment(segment)
                    if "offset" not in fixed:
                        raise Fault(f"{segment} would get an address that no driver knows")
                    width = self._space(space).get("bits")
                    bits = int(self.cells[space.partition("/")[0]].config[width]) if width else 32
                    if fixed["offset"] + fixed["range"] <= 1 << bits:
                        self.assigned[space, segment] = (fixed["offset"], fixed["range"])
            return ""
        kind, _, segment = words[0].partition(":/")
        space = options.get("-target_address_space", "").removeprefix("bd_addr_space:/")
        if kind != "bd_addr_seg" or (space, segment) not in self.reachable():
            raise Fault(f"{words[0] or 'nothing'} cannot be reached from {space}")
        offset, size = int(options["-offset"], 16), int(options["-range"][:-1]) * _UNITS[options["-range"][-1]]
        if size > self._segment(segment)["range"]:
            raise Fault(f"{segment} is smaller than {options['-range']}")
        window = self._space(space)
        if offset % size or not window["from"] <= offset <= offset + size - 1 <= window["to"]:
            raise Fault(f"{segment} cannot be at {offset:#x} in {space}")
        self.assigned[space, segment] = (offset, size)
        return ""

    def _segment(self, path: str) -> dict[str, Any]:
        cell, _, name = path.partition("/")
        entry: dict[str, Any] = self.cells[cell].entry["segments"][name]
        return entry

    def _space(self, path: str) -> dict[str, Any]:
        cell, _, name = path.partition("/")
        entry: dict[str, Any] = self.cells[cell].entry["spaces"][name]
        return entry

    def reachable(self) -> list[tuple[str, str]]:
        """Pairs of address space and segment that connections lead to."""
        pairs = []
        for cell in self.cells.values():
            for name, space in cell.entry.get("spaces", {}).items():
                if space["interface"] in cell.pins("interfaces"):
                    reached = self._slaves(f"{cell.name}/{space['interface']}")
                    pairs += [(f"{cell.name}/{name}", segment) for slave in reached for segment in self._of(slave)]
        return pairs

    def _slaves(self, master: str) -> list[str]:
        slave = self.links.get(master)
        if slave is None:
            return []
        cell = self.cells.get(slave.partition("/")[0])
        if cell is None or not cell.entry.get("through"):
            return [slave]
        masters = [name for name, pin in cell.pins("interfaces").items() if pin.words[0] == "master"]
        return [found for name in masters for found in self._slaves(f"{cell.name}/{name}")]

    def _of(self, interface: str) -> list[str]:
        cell, _, name = interface.partition("/")
        segments = self.cells[cell].entry.get("segments", {})
        return [f"{cell}/{segment}" for segment, entry in segments.items() if entry["interface"] == name]

    # What is wrong.

    def faults(self) -> list[str]:
        """All that keeps the design from being right; empty where it is."""
        return [*self._unconnected(), *self._mismatched(), *self._unassigned(), *self._limits()]

    def _unconnected(self) -> list[str]:
        faults = []
        for cell in self.cells.values():
            if "automation" in cell.entry and not cell.automated:
                faults.append(f"{cell.name} has no preset of the board")
            for name, pin in cell.pins().items():
                needed = pin.words[0] == "in" or pin.words[1] == "interrupt"
                if needed and "optional" not in pin.words and not self.net(f"{cell.name}/{name}"):
                    faults.append(f"{cell.name}/{name} is not connected")
            for name in cell.pins("interfaces"):
                if f"{cell.name}/{name}" not in self.links:
                    faults.append(f"{cell.name}/{name} is not connected")
        unused = [name for name in self.ports if name not in self.links and not self.net(name)]
        return faults + [f"the port {name} is not connected" for name in unused]

    def _mismatched(self) -> list[str]:
        """Interfaces of other clocks or widths than what they are connected to."""
        faults = []
        for one, other in self.links.items():
            if other.startswith("external") or one in self.ports or other in self.ports:
                continue
            clocks = self.clock_of(one), self.clock_of(other)
            if all(clocks) and clocks[0] != clocks[1]:
                faults.append(f"{one} and {other} have different clocks")
            if self._pin(one, "interfaces").words[1] == "axis" and self.bits_of(one) != self.bits_of(other):
                faults.append(f"{one} of {self.bits_of(one)} bits is connected to {self.bits_of(other)} bits")
        return faults

    def _unassigned(self) -> list[str]:
        faults = []
        for space, segment in self.reachable():
            if (space, segment) not in self.assigned and not segment.endswith("HIGH"):
                faults.append(f"{segment} has no address in {space}")
        placed = [(space, *place) for (space, _), place in self.assigned.items()]
        for (space, start, size), (other, begin, length) in itertools.combinations(placed, 2):
            if space == other and start < begin + length and begin < start + size:
                faults.append(f"addresses in {space} overlap at {max(start, begin):#x}")
        return faults

    def _limits(self) -> list[str]:
        faults = []
        for cell in self.cells.values():
            for name, limit in cell.entry.get("at_most", {}).items():
                if int(cell.config[name]) > int(cell.config[limit]):
                    faults.append(f"{cell.name}: {name} is more than {limit}")
        return faults


def _entry(core: dict[str, Any]) -> dict[str, Any]:
    """The catalog's entry of a packaged IP."""
    pins: dict[str, str] = {}
    interfaces: dict[str, str] = {}
    segments: dict[str, dict[str, object]] = {}
    for name, interface in core["interfaces"].items():
        if interface["kind"] in ("clock", "reset"):
            pins[name] = f"in {interface['kind']}"
            continue
        data = next(port for port in interface["ports"] if port.endswith("data"))
        interfaces[name] = (
            f"{interface['role']} {interface['kind']} clock={interface['clock']} bits={core['ports'][data][1]}"
        )
        reference = core["map_refs"][name]
        if reference:
            for block in core["maps"][reference]:
                size = int(core["range"][f"address_block:{reference}/{block}"])
                segments[f"{reference}/{block}"] = {"interface": name, "range": size}
    return {"pins": pins, "interfaces": interfaces, "segments": segments}
