"""The DSP48E2 simulation model against a reference of the documented slice, cycle by cycle.

Modes that the generator uses, a directed test each, in Icarus and in Verilator, random operands and corners:

- first of a chain, P = M; middle, P = PCIN + M; last, P = PCIN + M + RND at a group's start and PCIN + M + P
  inside it, switched by OPMODE from cycle to cycle;
- a single slice, P = M + RND and P = M + P (P through W or through Z); P = M + C, P = PCIN + M + C;
- pre-adder D - A, D + A, and both by turns;
- a chain of three over PCOUT/PCIN, free-running, with all clock enables low at times, with resets at random
  cycles, and against plain integer dot products;
- clock enables low one by one, resets one by one.

Beyond them: every pre-adder function and register tap, every legal OPMODE, the arithmetic ALUMODEs with
CARRYIN, operand cascades, and each register left out. What the model does not cover must stop the simulation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.sim.dsp48_checks import (
    REFUSED_CONTROLS,
    REFUSED_PARAMETERS,
    Entry,
    assert_refused,
    first_difference,
    header,
    refusal_bench,
    yosys_cells,
)
from tests.sim.dsp48e2_bench import MODEL, Case, instance, play, run_bench
from tests.sim.dsp48e2_modes import (
    CYCLES,
    D_MINUS_A,
    GROUP,
    LATENCY,
    M_P,
    PACKED,
    SLICES,
    dot_product_case,
    generator_cases,
    neighbour_cases,
)
from tests.sim.dsp48e2_reference import CLOCK_ENABLES, INPUTS, Pins, signed, simulate_chain

SIMULATORS = ("icarus", "verilator")


@cache
def _cases() -> dict[str, Case]:
    cases = [*generator_cases(), *neighbour_cases(), dot_product_case()]
    assert len({case.name for case in cases}) == len(cases)
    return {case.name: case for case in cases}


@cache
def _expected(name: str) -> list[list[Pins]]:
    case = _cases()[name]
    return simulate_chain(case.stages, case.stimulus)


Player = Callable[[str], dict[str, list[list[Pins]]]]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Player:
    """Outputs of all cases in a simulator, which compiles and runs once for all of them."""

    @cache
    def play_all(simulator: str) -> dict[str, list[list[Pins]]]:
        return play(simulator, list(_cases().values()), tmp_path_factory.mktemp(simulator))

    return play_all


@pytest.mark.parametrize("name", list(_cases()))
@pytest.mark.parametrize("simulator", SIMULATORS)
def test_mode(simulator: str, name: str, played: Player) -> None:
    difference = first_difference(_cases()[name], played(simulator)[name], _expected(name))
    assert difference is None, difference


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_chain_gives_exact_dot_products_at_its_latency(simulator: str, played: Player) -> None:
    stimulus = _cases()["dot product"].stimulus
    outputs = played(simulator)["dot product"]
    groups = (CYCLES - LATENCY - SLICES) // GROUP
    for group in range(groups):
        total = PACKED.rnd
        for term in range(group * GROUP, (group + 1) * GROUP):
            for stage in range(SLICES):
                pins = stimulus[term + stage][stage]
                # The pre-adder wraps at 27 bits.
                multiplicand = signed(signed(pins["D"], 27) - signed(pins["A"], 27), 27)
                total += multiplicand * signed(pins["B"], 18)
        last = (group + 1) * GROUP - 1 + SLICES - 1 + LATENCY
        assert outputs[last][-1]["P"] == total % 2**48, f"group {group}"
    assert groups > 100


# Single edits of the model, each a plausible slip: the cases above must tell every one from the real model.
MUTANTS = {
    "pre-adder sign swapped": ("inmode[3] ? d_gated - a_gated", "inmode[3] ? a_gated - d_gated"),
    "pre-adder always adds": ("inmode[3] ? d_gated - a_gated", "inmode[3] ? d_gated + a_gated"),
    "second B register missing": ("BREG == 0 ? b_in : b2_q", "BREG == 0 ? b_in : BREG == 2 ? b1_q : b2_q"),
    "RND dropped": ("(opmode[7] ? c : RND)", "(opmode[7] ? c : 48'd0)"),
    "W never gives P": ("(opmode[7] ? p_q : 48'd0);", "48'd0;"),
    "unsigned multiplicand": ("wire signed [26:0] multiplicand", "wire [26:0] multiplicand"),
    "product of 44 bits": ("{{3{m[44]}}, m}", "{{4{m[43]}}, m[43:0]}"),
    "PCIN shifted without sign": ("{{17{z_shift_source[47]}}", "{{17{1'b0}}"),
    "M ignores its clock enable": ("CEM ? m_next : m_q", "m_next"),
    "AD reset by RSTA": ("ad_q <= RSTD", "ad_q <= RSTA"),
    "AD enabled by CED": ("CEAD ? ad_next", "CED ? ad_next"),
    "clock enable wins over reset": (
        "p_q <= RSTP ? 48'd0 : CEP ? p_next : p_q",
        "p_q <= CEP ? (RSTP ? 0 : p_next) : p_q",
    ),
    "OPMODE not registered": ("OPMODEREG == 0 ? OPMODE", "OPMODEREG != 7 ? OPMODE"),
    "subtraction off by one": ("sum ^ {48{alumode[1]}}", "(sum ^ {48{alumode[1]}}) + alumode[1]"),
    "ACOUT one register late": ("AREG == 2 && ACASCREG == 1 ? a1_q", "1'b0 ? a1_q"),
    "CARRYIN dropped": ("w + x + y + carryin", "w + x + y"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(MUTANTS))
@pytest.mark.parametrize("simulator", ["icarus"])
def test_cases_catch_an_edit_of_the_model(simulator: str, name: str, tmp_path: Path) -> None:
    old, new = MUTANTS[name]
    text = MODEL.read_text()
    assert text.count(old) == 1, f"the model has {text.count(old)} places {old!r}"
    mutant = tmp_path / "DSP48E2.v"
    mutant.write_text(text.replace(old, new))
    outputs = play(simulator, list(_cases().values()), tmp_path, mutant)
    differing = [
        case.name for case in _cases().values() if first_difference(case, outputs[case.name], _expected(case.name))
    ]
    assert differing


# What the newer slice has beyond the older one, and the model does not cover.
NEWER_PARAMETERS: dict[str, str] = {
    **{"AMULTSEL": '"B"', "BMULTSEL": '"AD"', "PREADDINSEL": '"B"', "USE_WIDEXOR": '"TRUE"'},
    **{"IS_OPMODE_INVERTED": "9'b1"},
    **{f"IS_{reset}_INVERTED": "1'b1" for reset in INPUTS if reset.startswith("RST")},
}
NEWER_CONTROLS: dict[str, Entry] = {
    "OPMODE, P in W without PREG": ({"PREG": "0"}, {"OPMODE": M_P}),
    "INMODE, pre-adder not in use": ({"AMULTSEL": '"A"'}, {"INMODE": D_MINUS_A}),
}
REFUSALS: dict[str, dict[str, Entry]] = {
    "parameters": {name: ({name: value}, {}) for name, value in (REFUSED_PARAMETERS | NEWER_PARAMETERS).items()},
    "controls": REFUSED_CONTROLS | NEWER_CONTROLS,
}


@pytest.mark.parametrize("name", ["accepted", *REFUSALS["parameters"], *REFUSALS["controls"]])
@pytest.mark.parametrize("simulator", ["icarus"])
def test_what_is_not_modelled_stops_the_simulation(simulator: str, name: str, tmp_path: Path) -> None:
    entry = (REFUSALS["parameters"] | REFUSALS["controls"]).get(name, ({}, {}))
    printed = run_bench(simulator, [refusal_bench([entry], tmp_path), MODEL], tmp_path)
    if name == "accepted":
        assert printed == "survived\n"
    else:
        assert_refused(printed, name)


@pytest.mark.verilator
@pytest.mark.parametrize("kind", list(REFUSALS))
@pytest.mark.parametrize("simulator", ["verilator"])
def test_every_refusal_is_reported_by_verilator(simulator: str, kind: str, tmp_path: Path) -> None:
    # Instances that refuse at the same moment all report before the simulation ends: one compilation serves.
    entries = REFUSALS[kind]
    printed = run_bench(simulator, [refusal_bench(list(entries.values()), tmp_path), MODEL], tmp_path)
    for number, name in enumerate(entries):
        assert_refused(printed, name, number=number)


@pytest.mark.parametrize("simulator", ["icarus"])
def test_unknown_enable_reset_and_unmodelled_output_are_unknown(simulator: str, tmp_path: Path) -> None:
    # Two slices that hold P = -1 lose CEP and RSTP to X; a third one's CARRYOUT is read.
    values = {name: f"{width}'d0" for name, width in INPUTS.items()} | dict.fromkeys(CLOCK_ENABLES, "1'b1")
    values |= {"CLK": "clk", "CARRYCASCIN": "1'b0", "MULTSIGNIN": "1'b0", "OPMODE": "9'b000001000"}
    lines = [
        instance("enable", {}, values | {"CEP": "unknown", "RSTC": "unknown", "P": "p_enable"}),
        instance("reset", {}, values | {"RSTP": "unknown", "P": "p_reset"}),
        instance("carry", {}, values | {"P": "p_carry", "CARRYOUT": "carryout"}),
    ]
    bench = tmp_path / "bench.v"
    bench.write_text(
        "module bench; reg clk = 1'b0; reg unknown = 1'bx; wire [47:0] p_enable, p_reset, p_carry;\n"
        "wire [3:0] carryout;\n" + "".join(lines) + "initial begin repeat (8) #5 clk = !clk;\n"
        '$display("%b %b %b %b", p_enable, p_reset, p_carry, carryout); $finish; end endmodule\n'
    )
    printed = run_bench(simulator, [bench, MODEL], tmp_path)
    assert printed.split() == ["x" * 48, "x" * 48, "1" * 48, "xxxx"]


def test_ports_and_parameters_are_those_of_the_primitive() -> None:
    # Yosys carries the primitive's interface, without behaviour.
    documented_parameters, documented_ports = header(yosys_cells("cells_xtra.v"), "DSP48E2")
    parameters, ports = header(MODEL.read_text(), "DSP48E2")
    assert parameters == documented_parameters
    assert ports == documented_ports
    assert parameters["RND"] == "48'h000000000000"
    assert ports["XOROUT"] == "output [7:0] "
