"""The bus interfaces of the accelerator as an IP: which ports they take, in which role, under which names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from boards.registers import READ, REGISTERS, WRITE_ONE_CLEARS
from mixq.errors import UserError
from rtl_gen.verilog_ports import Port

VENDOR, LIBRARY, VERSION = "mixq", "mixq", "1.0"
CLOCK, FAST_CLOCK, RESET = "ap_clk", "ap_clk2x", "ap_rst_n"
INPUT, OUTPUT, CONTROL = "s_axis_0", "m_axis_0", "s_axilite"
ADDRESS_BLOCK = "registers"
BLOCK_BYTES = 1 << 16
"""Bytes of the address block, as of Vivado's own IPs, which is what an address is assigned to. The registers repeat in
it: only the lowest :data:`boards.registers.ADDRESS_BITS` bits of an address count."""

_STREAM = {"TDATA", "TVALID", "TREADY", "TLAST", "TKEEP"}
_CONTROL = {
    *("AWADDR", "AWPROT", "AWVALID", "AWREADY", "WDATA", "WSTRB", "WVALID", "WREADY", "BRESP", "BVALID", "BREADY"),
    *("ARADDR", "ARPROT", "ARVALID", "ARREADY", "RDATA", "RRESP", "RVALID", "RREADY"),
}


@dataclass(frozen=True)
class Interface:
    """A bus interface: ``kind`` and its library name the bus in Vivado's catalog ("axis" of "interface"), ``ports`` is
    logical name -> port, ``parameters`` name -> value."""

    name: str
    library: str
    kind: str
    role: str
    ports: Mapping[str, str]
    parameters: Mapping[str, str]

    @property
    def abstraction(self) -> str:
        """Vendor, library, name and version of the interface's signals, as Vivado writes them."""
        return f"xilinx.com:{self.library}:{self.kind}_rtl:1.0"


def interfaces(ports: Mapping[str, Port]) -> tuple[Interface, ...]:
    """Return the interfaces that take all ports of the top level: the buses, the clocks, the reset.

    AXI4-Lite and the second clock are there if the ports are. Clocks have no frequency: it is the block design's, whose
    MMCM meets the planned one only nearly, and Vivado refuses two that differ.

    Raises: UserError where ports of an interface are missing, or a port is none's.
    """
    buses = [_bus(ports, INPUT, "axis", "slave", _STREAM), _bus(ports, OUTPUT, "axis", "master", _STREAM)]
    if any(name.startswith(f"{CONTROL}_") for name in ports):
        buses.append(_bus(ports, CONTROL, "aximm", "slave", _CONTROL))
    names = ":".join(bus.name for bus in buses)
    found = [*buses, _signal(RESET, "reset", {"POLARITY": "ACTIVE_LOW"})]
    found.append(_signal(CLOCK, "clock", {"ASSOCIATED_BUSIF": names, "ASSOCIATED_RESET": RESET}))
    if FAST_CLOCK in ports:
        found.append(_signal(FAST_CLOCK, "clock", {}))
    taken = {port for interface in found for port in interface.ports.values()}
    for name in sorted(taken ^ set(ports)):
        fault = "has no port" if name in taken else "has a port that no interface takes,"
        raise UserError(f"the Verilog's top level {fault} {name!r}; generate it again")
    return tuple(found)


def register_entries() -> list[dict[str, object]]:
    """Return the registers as IP-XACT describes them: name, description, offset, access, reset and write_effect."""
    return [
        {
            "name": register.name,
            "description": register.description,
            "offset": register.offset,
            "access": "read-only" if register.access == READ else "read-write",
            "reset": register.reset,
            "write_effect": "oneToClear" if register.access == WRITE_ONE_CLEARS else None,
        }
        for register in REGISTERS
    ]


def _bus(ports: Mapping[str, Port], name: str, kind: str, role: str, logical: set[str]) -> Interface:
    mapping = {port[len(name) + 1 :].upper(): port for port in sorted(ports) if port.startswith(f"{name}_")}
    for signal in sorted(logical ^ set(mapping)):
        fault = "lacks the port" if signal in logical else "has the unknown port"
        raise UserError(f"the Verilog's top level {fault} {name}_{signal.lower()}; generate it again")
    return Interface(name, "interface", kind, role, mapping, {})


def _signal(name: str, kind: str, parameters: Mapping[str, str]) -> Interface:
    return Interface(name, "signal", kind, "slave", {"CLK" if kind == "clock" else "RST": name}, parameters)
