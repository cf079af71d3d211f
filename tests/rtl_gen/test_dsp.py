# amaranth: UnusedElaboratable=no
"""One DSP, as each primitive and as plain Verilog, against its formula."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from amaranth.back import verilog
from amaranth.hdl import Module, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl_gen.dsp import DSP_LATENCY, PRE_ADDER_BITS, TARGETS, Dsp, Target
from sim.verilog_source import library_sources, module_ports
from tests.rtl_gen.plain_bench import Row, play

CONSTANT = 0x9ABC_DEF0_1234


@dataclass(frozen=True)
class Kind:
    """What a DSP is asked to do."""

    target: Target
    cascade_in: bool = False
    accumulates: bool = False
    constant: int = CONSTANT
    adds: bool = False
    every: bool = False

    def dsp(self) -> Dsp:
        return Dsp(**vars(self))


def kinds() -> list[Kind]:
    """Every combination that is allowed, with and without a constant."""
    flags = (False, True)
    found = [
        Kind(target, cascade_in, accumulates, constant, adds, every)
        for target, cascade_in, accumulates, constant, adds, every in product(
            TARGETS, flags, flags, (0, CONSTANT), flags, flags
        )
        if target != "dsp48e1" or not (every or (cascade_in and (accumulates or constant)))
    ]
    assert len(found) == 2 * 32 + 10
    return found


def wrapped(value: int, bits: int) -> int:
    return (value + (1 << (bits - 1))) % (1 << bits) - (1 << (bits - 1))


def stimulus(kind: Kind, cycles: int, seed: int) -> list[dict[str, int]]:
    rng = random.Random(seed)
    bits = PRE_ADDER_BITS[kind.target]

    def signed(bits: int) -> int:
        ends = (-1 << (bits - 1), (1 << (bits - 1)) - 1, 0, -1)
        return rng.choice(ends) if rng.random() < 0.3 else rng.randrange(-1 << (bits - 1), 1 << (bits - 1))

    return [
        {
            "d": signed(bits),
            "a": signed(bits),
            "b": signed(18),
            # The first sum starts with the first operands.
            "go_on": int(cycle > 0 and rng.random() < 0.6),
            "valid": int(rng.random() < 0.7),
            "pcin": signed(48) % (1 << 48),
        }
        for cycle in range(cycles)
    ]


def expected(rows: list[dict[str, int]], kind: Kind) -> list[int]:
    """P in each cycle from the first with operands on."""
    sums: list[int] = []
    for cycle, row in enumerate(rows[: len(rows) - DSP_LATENCY]):
        multiplicand = row["d"] + row["a"] if kind.adds else row["d"] - row["a"]
        total = wrapped(multiplicand, PRE_ADDER_BITS[kind.target]) * row["b"]
        goes_on = kind.accumulates and row["go_on"]
        if kind.cascade_in and not (kind.every and goes_on):
            total += rows[cycle + DSP_LATENCY - 1]["pcin"]
        if goes_on:
            total += sums[-1]
        if row["valid"] if kind.every else not goes_on:
            total += kind.constant
        sums.append(total % (1 << 48))
    return sums


@pytest.mark.parametrize("simulator", ["icarus", "verilator"])
def test_equals_its_formula(simulator: str, tmp_path: Path) -> None:
    named = {f"dsp_{number}": kind for number, kind in enumerate(kinds())}
    inputs = {name: stimulus(kind, 200, seed) for seed, (name, kind) in enumerate(named.items())}
    rows: dict[str, list[Row]] = {name: list(one) for name, one in inputs.items()}
    outputs = play({name: kind.dsp() for name, kind in named.items()}, rows, simulator=simulator, folder=tmp_path)
    for name, kind in named.items():
        wanted = expected(inputs[name], kind)
        for port in ("p", "pcout"):
            assert [row[port] for row in outputs[name][DSP_LATENCY : len(inputs[name])]] == wanted, (kind, port)


def test_pre_adder_is_as_wide_as_the_primitives() -> None:
    widths: dict[Target, int] = {"dsp48e2": 27, "dsp48e1": 25, "generic": 27}
    for target, bits in widths.items():
        dsp = Dsp(cascade_in=False, accumulates=False, target=target)
        assert (len(dsp.d), len(dsp.a), PRE_ADDER_BITS[target]) == (bits, bits, bits)


class Open(wiring.Component):
    """A DSP whose go_on and valid are left open."""

    def __init__(self, target: Target) -> None:
        self._target = target
        super().__init__({"a": In(signed(27)), "b": In(signed(18)), "p": Out(48)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dsp = dsp = Kind(self._target, accumulates=True, adds=True, every=True).dsp()
        m.d.comb += [dsp.a.eq(self.a), dsp.b.eq(self.b), self.p.eq(dsp.p)]
        return m


@pytest.mark.parametrize("simulator", ["icarus", "verilator"])
def test_every_operand_is_valid_where_valid_is_left_open(simulator: str, tmp_path: Path) -> None:
    parts = {"primitive": Open("dsp48e2"), "generic": Open("generic")}
    rows: list[Row] = [{"a": cycle + 1, "b": 3} for cycle in range(20)]
    outputs = play(parts, dict.fromkeys(parts, rows), simulator=simulator, folder=tmp_path)
    wanted = [CONSTANT + 3 * (cycle + 1) for cycle in range(len(rows) - DSP_LATENCY)]
    for name in parts:
        assert [row["p"] for row in outputs[name][DSP_LATENCY : len(rows)]] == wanted, name
    assert "valid" not in Dsp(cascade_in=False, accumulates=True).signature.members


@pytest.mark.parametrize("target", ["dsp48e1", "dsp48e2"])
def test_every_input_of_the_primitive_is_connected(target: Target) -> None:
    dsp = Dsp(cascade_in=False, accumulates=True, constant=1, target=target)
    text = verilog.convert(dsp, name="dsp_top", strip_internal_attrs=True)
    model = next(path for path in library_sources([text]) if path.stem == target.upper())
    ports = module_ports(model.read_text(), target.upper())
    inputs = {name for name, port in ports.items() if port.direction == "input"}
    instance = text[text.index(f"  {target.upper()} #(") :]
    assert inputs <= set(re.findall(r"\.(\w+)\([^)]", instance))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"target": "dsp58"}, "target must be one of dsp48e2, dsp48e1, generic, not 'dsp58'"),
        ({"constant": -1}, "constant must fit 48 bits, not -1"),
        ({"constant": 1 << 48}, f"constant must fit 48 bits, not {1 << 48}"),
        ({"every": True, "target": "dsp48e1"}, "every must be False for dsp48e1, not True"),
        (
            {"cascade_in": True, "target": "dsp48e1"},
            "accumulates must be False for dsp48e1 with cascade_in, not True",
        ),
        (
            {"cascade_in": True, "accumulates": False, "constant": 5, "target": "dsp48e1"},
            "constant must be 0 for dsp48e1 with cascade_in, not 5",
        ),
    ],
)
def test_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        Dsp(**{"cascade_in": False, "accumulates": True} | arguments)
    assert str(error.value) == message
