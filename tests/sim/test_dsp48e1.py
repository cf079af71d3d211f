"""The DSP48E1 simulation model against a reference of the documented slice and against Yosys's model, cycle by cycle.

Modes that the generator uses, a directed test each, in Icarus and in Verilator: a slice on its own, which adds C, or C
and P by turns; the first of a chain, with C and without; the others, which add PCIN; both signs of the pre-adder. Clock
enables and resets at random cycles, together in a chain and one by one. Then what the model covers beyond that, as for
the newer slice. What it does not cover must stop the simulation.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.sim.dsp48_checks import (
    OLDER_INPUTS,
    REFUSED_CONTROLS,
    REFUSED_PARAMETERS,
    Entry,
    assert_refused,
    first_difference,
    header,
    refusal_bench,
    yosys_cells,
)
from tests.sim.dsp48e1_wrapper import as_newer, yosys_dsp48e1
from tests.sim.dsp48e2_bench import MODEL as NEWER_MODEL
from tests.sim.dsp48e2_bench import Case, play, run_bench
from tests.sim.dsp48e2_modes import (
    C_M,
    CYCLES,
    D_MINUS_A,
    D_PLUS_A,
    LATENCY,
    P_M,
    PACKED,
    PCIN_M,
    SLICES,
    M,
    chain_case,
    neighbour_cases,
    operand,
    slice_case,
)
from tests.sim.dsp48e2_reference import Dsp48e1, Pins, signed, simulate_chain

MODEL = NEWER_MODEL.with_name("DSP48E1.v")
SIMULATORS = ("icarus", "verilator")
CONSTANT = 0x9ABC_DEF0_1234


def _generator_cases() -> list[Case]:
    """One case for each mode that the generator uses."""
    everything = (M, PCIN_M, C_M, P_M)
    both = (D_PLUS_A, D_MINUS_A)
    three = (PACKED,) * 3
    chain_modes = ((C_M,), (PCIN_M,), (PCIN_M,))
    return [
        slice_case("first of a chain: M", [M]),
        slice_case("first of a chain or single slice: M + C", [C_M]),
        slice_case("middle and last of a chain: PCIN + M", [PCIN_M]),
        slice_case("single slice, groups: M + (C or P)", [C_M, P_M, P_M]),
        slice_case("single slice, groups without a constant: M or M + P", [M, P_M, P_M]),
        slice_case("pre-adder D + A", [M], inmodes=[D_PLUS_A]),
        slice_case("pre-adder, D + A and D - A by turns", everything, inmodes=both),
        chain_case("chain of three", three, chain_modes),
        chain_case("chain of three, all clock enables low at times", three, chain_modes, low=0.4),
        chain_case("chain of three, reset at random cycles", three, chain_modes, low=0.2, reset=0.05),
        slice_case("clock enables low one by one", everything, inmodes=both, low_enables=0.3),
        slice_case("resets one by one", everything, inmodes=both, low_enables=0.2, resets=0.15),
    ]


def _dot_products() -> Case:
    """A chain that adds SLICES products to a constant in every cycle."""
    return chain_case("dot product", (PACKED,) * SLICES, ((C_M,), *((PCIN_M,),) * (SLICES - 1)))


def _older(case: Case) -> Case:
    """The case without W, and with corners of 25 bits among its operands."""
    generator = random.Random(case.name)

    def narrowed(pins: Pins) -> Pins:
        changes = {"OPMODE": pins["OPMODE"] & 0x7F}
        if generator.random() < 1 / 3:
            changes["D"] = operand(generator, 25)
            changes["A"] = operand(generator, 5) << 25 | operand(generator, 25)
        return pins | changes

    return Case(case.name, case.stages, [[narrowed(pins) for pins in row] for row in case.stimulus])


@cache
def _cases() -> dict[str, Case]:
    dots = _older(_dot_products())
    for row in dots.stimulus:
        row[0]["C"] = CONSTANT
    cases = [*map(_older, [*_generator_cases(), *neighbour_cases()]), dots]
    assert len({case.name for case in cases}) == len(cases)
    return {case.name: case for case in cases}


@cache
def _expected(name: str) -> list[list[Pins]]:
    case = _cases()[name]
    return simulate_chain(case.stages, case.stimulus, Dsp48e1)


def _play(simulator: str, text: str, folder: Path) -> dict[str, list[list[Pins]]]:
    model = folder / "older.v"
    model.write_text(as_newer(text))
    return play(simulator, list(_cases().values()), folder, model)


Player = Callable[[str], dict[str, list[list[Pins]]]]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Player:
    """Outputs of all cases in a simulator, which compiles and runs once for all of them."""
    return cache(lambda simulator: _play(simulator, MODEL.read_text(), tmp_path_factory.mktemp(simulator)))


@pytest.mark.parametrize("name", list(_cases()))
@pytest.mark.parametrize("simulator", SIMULATORS)
def test_mode(simulator: str, name: str, played: Player) -> None:
    difference = first_difference(_cases()[name], played(simulator)[name], _expected(name))
    assert difference is None, difference


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_chain_gives_exact_dot_products_at_its_latency(simulator: str, played: Player) -> None:
    stimulus = _cases()["dot product"].stimulus
    outputs = played(simulator)["dot product"]
    for start in range(CYCLES - LATENCY - SLICES):
        total = CONSTANT
        for stage in range(SLICES):
            pins = stimulus[start + stage][stage]
            # The pre-adder wraps at 25 bits.
            total += signed(signed(pins["D"], 25) - signed(pins["A"], 25), 25) * signed(pins["B"], 18)
        assert outputs[start + SLICES - 1 + LATENCY][-1]["P"] == total % 2**48, f"sum {start}"


@pytest.mark.parametrize("simulator", ["icarus"])
def test_equals_the_model_of_yosys(simulator: str, played: Player, tmp_path: Path) -> None:
    theirs = _play(simulator, yosys_dsp48e1(), tmp_path)
    for name, case in _cases().items():
        difference = first_difference(case, played(simulator)[name], theirs[name])
        assert difference is None, difference


# Single edits of the model where it differs from the newer slice's: the cases must tell every one from the real model.
MUTANTS = {
    "pre-adder sign swapped": ("inmode[3] ? d_gated - a_gated", "inmode[3] ? a_gated - d_gated"),
    "pre-adder of 24 bits": ("wire [24:0] ad_next", "wire [23:0] ad_next"),
    "A of 26 bits": ("wire [24:0] a_gated = inmode[1]", "wire [24:0] a_gated = a_out[25] ? 25'd1 : inmode[1]"),
    "unsigned multiplicand": ("wire signed [24:0] multiplicand", "wire [24:0] multiplicand"),
    "product of 42 bits": ("{{5{m[42]}}, m}", "{{6{m[41]}}, m[41:0]}"),
    "multiplicand never A itself": ("PREADDER ? ad : a_gated", "ad"),
    "Z never gives C": ("opmode[5] ? (opmode[4] ? c : p_q)", "opmode[5] ? (opmode[4] ? 48'd0 : p_q)"),
    "C not registered": ("CREG == 0 ? C", "CREG != 7 ? C"),
    "C reset by RSTP": ("c_q <= RSTC", "c_q <= RSTP"),
    "OPMODE not registered": ("OPMODEREG == 0 ? OPMODE", "OPMODEREG != 7 ? OPMODE"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(MUTANTS))
@pytest.mark.parametrize("simulator", ["icarus"])
def test_cases_catch_an_edit_of_the_model(simulator: str, name: str, tmp_path: Path) -> None:
    old, new = MUTANTS[name]
    text = MODEL.read_text()
    assert text.count(old) == 1, f"the model has {text.count(old)} places {old!r}"
    outputs = _play(simulator, text.replace(old, new), tmp_path)
    assert any(first_difference(case, outputs[name], _expected(name)) for name, case in _cases().items())


REFUSALS: dict[str, dict[str, Entry]] = {
    "parameters": {name: ({name: value}, {}) for name, value in {**REFUSED_PARAMETERS, "USE_DPORT": '"AD"'}.items()},
    "controls": {
        **REFUSED_CONTROLS,
        "INMODE, pre-adder not in use": ({"USE_DPORT": '"FALSE"'}, {"INMODE": D_MINUS_A}),
    },
}


@pytest.mark.parametrize("name", ["accepted", "OPMODE, MACC extension", "USE_DPORT"])
@pytest.mark.parametrize("simulator", ["icarus"])
def test_what_is_not_modelled_stops_the_simulation(simulator: str, name: str, tmp_path: Path) -> None:
    entry = (REFUSALS["parameters"] | REFUSALS["controls"]).get(name, ({}, {}))
    printed = run_bench(simulator, [refusal_bench([entry], tmp_path, "DSP48E1"), MODEL], tmp_path)
    if name == "accepted":
        assert printed == "survived\n"
    else:
        assert_refused(printed, name, "DSP48E1")


@pytest.mark.parametrize("kind", list(REFUSALS))
@pytest.mark.parametrize("simulator", ["verilator"])
def test_every_refusal_is_reported(simulator: str, kind: str, tmp_path: Path) -> None:
    # Instances that refuse at the same moment all report before the simulation ends: one compilation serves.
    entries = REFUSALS[kind]
    printed = run_bench(simulator, [refusal_bench(list(entries.values()), tmp_path, "DSP48E1"), MODEL], tmp_path)
    for number, name in enumerate(entries):
        assert_refused(printed, name, "DSP48E1", number)


def test_ports_and_parameters_are_those_of_the_primitive() -> None:
    documented_parameters, documented_ports = header(yosys_cells("cells_sim.v"), "DSP48E1")
    parameters, ports = header(MODEL.read_text(), "DSP48E1")
    assert ports == documented_ports
    assert parameters.keys() == documented_parameters.keys()

    def value(literal: str) -> str | int:
        return (
            int(literal.split("'")[1][1:], {"b": 2, "h": 16}[literal.split("'")[1][0]]) if "'" in literal else literal
        )

    assert {k: value(v) for k, v in parameters.items()} == {k: value(v) for k, v in documented_parameters.items()}
    assert ports["OPMODE"] == f"input [{OLDER_INPUTS['OPMODE'] - 1}:0] "
    assert ports["D"] == f"input [{OLDER_INPUTS['D'] - 1}:0] "
