"""The DSP48E2 reference against an independent work: Yosys's simulation model of the older DSP48E1 slice.

The older slice is a subset: 25-bit pre-adder and multiplicand, no W multiplexer, no RND. With operands of 24 bits
and W = 0 both give the same outputs: registers, clock enables, resets, INMODE, OPMODE[6:0], ALUMODE and operand
cascades are so confirmed from a second source.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from tests.sim.dsp48e1_wrapper import as_newer, yosys_dsp48e1
from tests.sim.dsp48e2_bench import Case, play
from tests.sim.dsp48e2_modes import (
    C_M,
    CYCLES,
    D_MINUS_A,
    D_PLUS_A,
    P_M,
    PACKED,
    PCIN_M,
    M,
    random_pins,
)
from tests.sim.dsp48e2_reference import CLOCK_ENABLES, INPUTS, RESETS, Attributes, Pins, signed, simulate_chain

_SHIFTED = (0b00_101_01_01, 0b00_110_01_01)
_SUMS = tuple(z << 4 | y << 2 | x for z in (0, 1, 2, 3, 5, 6) for y in (0, 2, 3) for x in (0, 2, 3))
_ALUMODES = (0b0000, 0b0001, 0b0010, 0b0011)


def _narrowed(pins: Pins) -> Pins:
    """A and D as sign-extended 24-bit values: no sum of them leaves the older slice's 25 bits."""
    return pins | {name: signed(pins[name], 24) % 2 ** INPUTS[name] for name in ("A", "ACIN", "D")}


def _case(
    name: str, attributes: Attributes, opmodes: tuple[int, ...], inmodes: tuple[int, ...], low: float, reset: float
) -> Case:
    generator = random.Random(name)
    stimulus = []
    for _ in range(CYCLES):
        pins = _narrowed(random_pins(generator, opmodes, inmodes, _ALUMODES, carry=True))
        pins |= {enable: int(generator.random() >= low) for enable in CLOCK_ENABLES}
        pins |= {reset_pin: int(generator.random() < reset) for reset_pin in RESETS}
        stimulus.append([pins])
    return Case(name, (attributes,), stimulus)


def _cases() -> list[Case]:
    products = (M, PCIN_M, P_M, C_M, *_SHIFTED)
    two_deep = replace(PACKED, areg=2, acascreg=2)
    early = replace(two_deep, acascreg=1, bcascreg=1, a_input="CASCADE", b_input="CASCADE")
    adder = replace(two_deep, use_mult="NONE", mreg=0, amultsel="A")
    return [
        _case("packed", PACKED, products, (D_PLUS_A, D_MINUS_A), 0.0, 0.0),
        _case("packed, enables and resets", PACKED, products, (D_PLUS_A, D_MINUS_A), 0.3, 0.1),
        _case("all of INMODE", two_deep, products, tuple(range(32)), 0.2, 0.02),
        _case("operands from the cascade", early, products, (D_MINUS_A,), 0.2, 0.02),
        _case("adder only", adder, _SUMS, (0,), 0.2, 0.02),
        _case("by A", replace(two_deep, amultsel="A"), products, (0, 1, 2, 16, 17, 18), 0.2, 0.02),
    ]


@pytest.mark.parametrize("simulator", ["icarus"])
def test_reference_agrees_with_the_older_slice_of_yosys(simulator: str, tmp_path: Path) -> None:
    model = tmp_path / "older.v"
    model.write_text(as_newer(yosys_dsp48e1()))
    cases = _cases()
    outputs = play(simulator, cases, tmp_path, model)
    for case in cases:
        assert outputs[case.name] == simulate_chain(case.stages, case.stimulus), f"seed {case.name!r}"
