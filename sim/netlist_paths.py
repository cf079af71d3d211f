"""Deepest paths of a netlist that Yosys has mapped to look-up tables, carry blocks and registers.

The netlist is one module of ``write_json``, flattened. Logic is walked through once, from registers and ports to
registers and ports; at each bit those depths are kept that no other one exceeds in all numbers. What the numbers mean
is said in :mod:`sim.depth`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mixq.errors import CheckFailed
from sim.depth import Depth, LogicPath, worst

_LUT = re.compile(r"LUT[1-6]$")
_CARRY = re.compile(r"CARRY[48]$")
_MUX = re.compile(r"MUXF[789]$")
_LUT_RAM = re.compile(r"RAM\d+(X\d|M)")
_SHIFT_REGISTER = re.compile(r"SRLC?(16|32)E$")
_REGISTER = re.compile(r"(FD[RSCP]E|LD[CP]E|DSP48E|RAMB|URAM)")
_CLOCK_PINS = re.compile(r"(CLK|WCLK|CLKARDCLK|CLKBWRCLK|RCLK)$")
_CONSTANTS = frozenset({"VCC", "GND", "$scopeinfo"})

Bit = int | str


class State(NamedTuple):
    """Depth of a path up to a bit; ``open``: bits of the chain that it is in at a CO, else 0.

    ``port``: the input that it starts from, empty for a register; ``start``: the signal or pin.
    """

    port: str
    start: str
    levels: int
    chains: int
    bits: int
    open: int

    @property
    def depth(self) -> Depth:
        """The numbers alone."""
        return Depth(self.levels, self.chains, self.bits)


@dataclass(frozen=True)
class Paths:
    """Deepest paths of a module.

    ``registers``: from register to register, the deepest for each pair of signals, the worst first. ``starts``: output
    port -> paths from a register to it; ``ends``: input port -> paths from it to a register; ``through``: (input,
    output) -> paths between. In the last three no path of a list is as deep as another in all numbers.
    """

    registers: tuple[LogicPath, ...] = ()
    starts: Mapping[str, tuple[LogicPath, ...]] = field(default_factory=dict)
    ends: Mapping[str, tuple[LogicPath, ...]] = field(default_factory=dict)
    through: Mapping[tuple[str, str], tuple[LogicPath, ...]] = field(default_factory=dict)


def paths(module: Mapping[str, Any], boxes: Mapping[str, Paths] | None = None, *, most: int | None = 40) -> Paths:
    """Analyse a module, as ``write_json`` gives it.

    boxes: paths of modules that the netlist instantiates as black boxes, by name of the module. most: paths between
    registers that are kept, None for all.

    Raises CheckFailed for a cell that is not known, and for a loop without a register.
    """
    return _Walk(module, boxes or {}).result(most)


@dataclass(frozen=True)
class _Arc:
    """From a bit through a cell: levels more, or ``carry`` bits of a chain, which it enters or goes on with."""

    source: Bit
    levels: int = 0
    carry: int = 0
    enters: bool = False
    box: tuple[LogicPath, ...] = ()


class _Walk:
    """One pass over a module."""

    def __init__(self, module: Mapping[str, Any], boxes: Mapping[str, Paths]) -> None:
        self._names = _signal_names(module)
        self._driver: dict[Bit, str] = {}
        self._arcs: dict[Bit, list[_Arc]] = {}
        self._fronts: dict[Bit, list[State]] = {}
        self._ends: list[tuple[Bit, str, tuple[LogicPath, ...]]] = []
        self._ports: Mapping[str, Any] = module["ports"]
        cells: Mapping[str, Any] = module["cells"]
        clocks: set[Bit] = set()
        inverted: dict[Bit, Bit] = {}
        for cell in cells.values():
            for pin, bits in cell["connections"].items():
                if _is_clock(cell["type"], pin):
                    clocks.update(bits)
            for bit in _outputs(cell):
                self._driver[bit] = cell["type"]
            if cell["type"] == "INV":
                inverted[cell["connections"]["O"][0]] = cell["connections"]["I"][0]
        self._inverted = inverted
        for name, cell in cells.items():
            self._cell(name, cell, boxes)
        for name, port in self._ports.items():
            if port["direction"] == "input":
                for bit in port["bits"]:
                    if bit not in clocks:
                        self._fronts[bit] = [State(name, name, 0, 0, 0, 0)]

    def _cell(self, name: str, cell: Mapping[str, Any], boxes: Mapping[str, Paths]) -> None:
        kind, pins = cell["type"], cell["connections"]
        if kind in boxes:
            self._box(name, pins, boxes[kind])
        elif _LUT.match(kind):
            self._arcs[pins["O"][0]] = [
                _Arc(self._inverted.get(bits[0], bits[0]), 1) for pin, bits in pins.items() if pin != "O"
            ]
        elif kind == "INV":
            self._arcs[pins["O"][0]] = [_Arc(pins["I"][0], 1)]
        elif _MUX.match(kind):
            arcs = [_Arc(pins[pin][0]) for pin in ("I0", "I1")]
            self._arcs[pins["O"][0]] = [*arcs, _Arc(pins["S"][0], 1)]
        elif _CARRY.match(kind):
            self._carry(pins)
        elif _LUT_RAM.match(kind):
            self._lut_ram(name, cell)
        elif kind.startswith("BUFG"):
            self._arcs[pins["O"][0]] = [_Arc(pins["I"][0])]
        elif _SHIFT_REGISTER.match(kind) or _REGISTER.match(kind):
            self._register(name, cell)
        elif kind not in _CONSTANTS:
            raise CheckFailed(f"{name} is a cell {kind}, whose depth is not known")

    def _carry(self, pins: Mapping[str, list[Bit]]) -> None:
        carry_in = [bit for pin in ("CI", "CYINIT", "CI_TOP") for bit in pins.get(pin, []) if isinstance(bit, int)]
        select = pins["S"]
        for place in range(len(select)):
            for pin, first in (("O", place - 1), ("CO", place)):
                if place >= len(pins.get(pin, [])):
                    continue
                arcs = [_Arc(bit, 0, place + 1, enters=False) for bit in carry_in]
                for entry in range(first + 1):
                    arcs += [self._entry(pins[pin_in][entry], place - entry + 1) for pin_in in ("S", "DI")]
                if pin == "O":
                    arcs.append(_Arc(select[place], 0 if self._is_table(select[place]) else 1))
                self._arcs[pins[pin][place]] = arcs

    def _entry(self, bit: Bit, bits: int) -> _Arc:
        """Into a chain at an S or DI; a look-up table in front of it counts as part of the chain."""
        return _Arc(bit, -1 if self._is_table(bit) else 0, bits, enters=True)

    def _is_table(self, bit: Bit) -> bool:
        kind = self._driver.get(bit, "")
        return kind == "INV" or bool(_LUT.match(kind))

    def _lut_ram(self, name: str, cell: Mapping[str, Any]) -> None:
        """Reads are logic from the address, and from what was written; writes end a path."""
        pins = cell["connections"]
        for pin, bits in pins.items():
            if cell["port_directions"][pin] == "input":
                self._end(name, cell["type"], pin, bits)
                continue
            address = [bit for other in _read_address(pin, pins) for bit in pins[other]]
            for bit in bits:
                self._arcs[bit] = [_Arc(source, 1) for source in address]
                self._fronts[bit] = [State("", self._named(bit, f"{name}.{pin}"), 1, 0, 0, 0)]

    def _register(self, name: str, cell: Mapping[str, Any]) -> None:
        pins = cell["connections"]
        outputs = {pin: bits for pin, bits in pins.items() if cell["port_directions"][pin] == "output"}
        flip_flop = pins["Q"][0] if "Q" in pins and "D" in pins else None
        shown = name if flip_flop is None else self._named(flip_flop, name)
        for pin, bits in pins.items():
            if pin not in outputs:
                self._end(shown, cell["type"], pin, bits)
                continue
            for bit in bits:
                start = shown if flip_flop is not None else f"{name}.{pin}"
                self._fronts[bit] = [State("", start, 0, 0, 0, 0)]
        if _SHIFT_REGISTER.match(cell["type"]):
            address = [bit for pin, bits in pins.items() if pin.startswith("A") for bit in bits]
            self._arcs[pins["Q"][0]] = [_Arc(bit, 1) for bit in address]

    def _box(self, name: str, pins: Mapping[str, list[Bit]], box: Paths) -> None:
        for pin, found in box.starts.items():
            states = [State("", f"{name}.{path.start}", *_numbers(path.depth), 0) for path in found]
            for bit in pins[pin]:
                self._fronts[bit] = list(states)
        for pin, found in box.ends.items():
            after = tuple(LogicPath(path.depth, path.start, f"{name}.{path.end}") for path in found)
            self._ends += [(bit, "", after) for bit in pins[pin]]
        for (source, target), found in box.through.items():
            for bit in pins[target]:
                self._arcs.setdefault(bit, []).extend(_Arc(other, box=found) for other in pins[source])

    def _end(self, name: str, kind: str, pin: str, bits: list[Bit]) -> None:
        if not _is_clock(kind, pin):
            self._ends += [(bit, f"{name}.{pin}", ()) for bit in bits if isinstance(bit, int)]

    def result(self, most: int | None) -> Paths:
        """Walk, and collect what arrives."""
        for bit in self._order():
            front = self._fronts.setdefault(bit, [])
            for arc in self._arcs[bit]:
                for state in self._fronts.get(arc.source, ()):
                    for reached in _through(arc, state):
                        _add(front, reached)
        registers: dict[tuple[str, str], LogicPath] = {}
        ends: dict[str, list[LogicPath]] = {}
        for bit, name, boxes in self._ends:
            for state in self._fronts.get(bit, ()):
                for path in _arrivals(state, name, boxes):
                    if state.port:
                        _keep(ends.setdefault(state.port, []), path)
                        continue
                    key = _without_index(path.start), _without_index(path.end)
                    if key not in registers or path.depth.order > registers[key].depth.order:
                        registers[key] = path
        starts: dict[str, list[LogicPath]] = {}
        through: dict[tuple[str, str], list[LogicPath]] = {}
        for name, port in self._ports.items():
            for bit in port["bits"] if port["direction"] == "output" else ():
                for state in self._fronts.get(bit, ()):
                    path = LogicPath(state.depth, state.start, name)
                    _keep(
                        through.setdefault((state.port, name), []) if state.port else starts.setdefault(name, []), path
                    )
        ordered = sorted(registers.values(), key=lambda path: (path.depth.order, path.start, path.end), reverse=True)
        return Paths(
            tuple(ordered[:most]),
            {name: tuple(found) for name, found in starts.items()},
            {name: tuple(found) for name, found in ends.items()},
            {name: tuple(found) for name, found in through.items()},
        )

    def _order(self) -> list[Bit]:
        """Bits behind logic, each after those that it follows from."""
        done: set[Bit] = set()
        entered: set[Bit] = set()
        order: list[Bit] = []
        for root in self._arcs:
            stack: list[tuple[Bit, Iterator[_Arc]]] = []
            if root not in done:
                entered.add(root)
                stack.append((root, iter(self._arcs[root])))
            while stack:
                bit, arcs = stack[-1]
                following = next(
                    (arc.source for arc in arcs if arc.source in self._arcs and arc.source not in done), None
                )
                if following is None:
                    stack.pop()
                    done.add(bit)
                    order.append(bit)
                elif following in entered:
                    raise CheckFailed(f"{self._named(following, str(following))} depends on itself without a register")
                else:
                    entered.add(following)
                    stack.append((following, iter(self._arcs[following])))
        return order

    def _named(self, bit: Bit, otherwise: str) -> str:
        return self._names.get(bit, otherwise)


def _is_clock(kind: str, pin: str) -> bool:
    """Whether a pin is a clock; C is one of a flip-flop, but an operand of a DSP."""
    return bool(_CLOCK_PINS.match(pin)) or (pin in ("C", "G") and kind.startswith(("FD", "LD")))


def _outputs(cell: Mapping[str, Any]) -> list[Bit]:
    directions = cell["port_directions"]
    return [bit for pin, bits in cell["connections"].items() if directions.get(pin) == "output" for bit in bits]


def _read_address(output: str, pins: Mapping[str, Any]) -> list[str]:
    """Pins of the address that an output of a LUT RAM is read at: ADDRA of DOA, DPRA of DPO, A of SPO and O."""
    if output.startswith("DO"):
        return [f"ADDR{output[2]}"]
    prefix = "DPRA" if output == "DPO" else "A"
    return [pin for pin in pins if re.fullmatch(rf"{prefix}\d*", pin)]


def _numbers(depth: Depth) -> tuple[int, int, int]:
    return depth.levels, depth.chains, depth.bits


def _through(arc: _Arc, state: State) -> Iterator[State]:
    if arc.box:
        for path in arc.box:
            yield State(state.port, state.start, *_numbers(state.depth.then(path.depth)), 0)
    elif arc.carry:
        goes_on = not arc.enters and state.open > 0
        crossed = state.open + arc.carry if goes_on else arc.carry
        chains = state.chains if goes_on else state.chains + 1
        yield State(state.port, state.start, state.levels + arc.levels, chains, max(state.bits, crossed), crossed)
    else:
        yield State(state.port, state.start, state.levels + arc.levels, state.chains, state.bits, 0)


def _add(front: list[State], new: State) -> None:
    """Keep a state unless another with the same start exceeds it in all numbers; drop those that it exceeds."""
    port, numbers = new[0], new[2:]
    for old in front:
        if old[0] == port and all(a >= b for a, b in zip(old[2:], numbers, strict=True)):
            return
    front[:] = [old for old in front if old[0] != port or any(a > b for a, b in zip(old[2:], numbers, strict=True))]
    front.append(new)


def _arrivals(state: State, name: str, boxes: tuple[LogicPath, ...]) -> Iterator[LogicPath]:
    if name:
        yield LogicPath(state.depth, state.start, name)
    for path in boxes:
        yield LogicPath(state.depth.then(path.depth), state.start, path.end)


def _keep(found: list[LogicPath], new: LogicPath) -> None:
    numbers = _numbers(new.depth)
    if any(all(a >= b for a, b in zip(_numbers(old.depth), numbers, strict=True)) for old in found):
        return
    found[:] = [old for old in found if any(a > b for a, b in zip(_numbers(old.depth), numbers, strict=True))]
    found.append(new)


def _without_index(name: str) -> str:
    return re.sub(r"\[\d+\](?=\.\w+$|$)", "", name)


def _signal_names(module: Mapping[str, Any]) -> dict[Bit, str]:
    """Name of each bit: of the net that has one of a source, the shortest."""
    names: dict[Bit, tuple[bool, int, str]] = {}
    for name, net in module["netnames"].items():
        hidden = bool(net.get("hide_name")) or "$" in name
        for index, bit in enumerate(net["bits"]):
            shown = name if len(net["bits"]) == 1 else f"{name}[{index}]"
            rank = (hidden, len(shown), shown)
            if bit not in names or rank < names[bit]:
                names[bit] = rank
    return {bit: name for bit, (_, _, name) in names.items()}


def worst_at(found: Mapping[Any, tuple[LogicPath, ...]]) -> LogicPath:
    """The deepest of all paths of a table of :class:`Paths`."""
    return worst(path for group in found.values() for path in group)
