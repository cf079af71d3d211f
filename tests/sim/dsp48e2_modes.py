"""Stimulus for the modes in which the generator uses a DSP48E2, and for what else its model covers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import fields, replace

from tests.sim.dsp48e2_bench import Case
from tests.sim.dsp48e2_reference import CLOCK_ENABLES, INPUTS, RESETS, Attributes, Pins

#: Cycles of every case.
CYCLES = 600

#: Of the dot-product case: products summed in a group, slices in the chain, cycles from operand port to P.
GROUP, SLICES, LATENCY = 5, 3, 4

#: Every pipeline register in use, pre-adder into the multiplier: how the generator configures every slice.
PACKED = Attributes(breg=2, bcascreg=2, amultsel="AD", rnd=0x5A5A_8001_7FFF)

# INMODE: pre-adder with both operands. [3] subtracts A, [2] lets D in.
D_PLUS_A = 0b00100
D_MINUS_A = 0b01100

# OPMODE: W, Z, Y, X.
M = 0b00_000_01_01
PCIN_M = 0b00_001_01_01
PCIN_M_RND = 0b10_001_01_01
PCIN_M_P = 0b01_001_01_01
M_RND = 0b10_000_01_01
M_P = 0b01_000_01_01
P_M = 0b00_010_01_01
C_M = 0b00_011_01_01
M_C = 0b11_000_01_01
PCIN_M_C = 0b11_001_01_01

_DATA = ("A", "ACIN", "B", "BCIN", "C", "D", "PCIN")


def operand(generator: random.Random, width: int) -> int:
    """A random value, or one time in three a corner: 0, 1, -1, the extremes, alternating bits."""
    ones = (1 << width) - 1
    if generator.random() < 1 / 3:
        return generator.choice([0, 1, ones, ones >> 1, (ones >> 1) + 1, ones // 3])
    return generator.randint(0, ones)


def random_pins(
    generator: random.Random,
    opmodes: Sequence[int],
    inmodes: Sequence[int] = (D_MINUS_A,),
    alumodes: Sequence[int] = (0,),
    carry: bool = False,
) -> Pins:
    """One cycle of random operands and a random choice of controls, all registers enabled, no reset."""
    pins = dict.fromkeys(INPUTS, 0) | dict.fromkeys(CLOCK_ENABLES, 1)
    pins |= {name: operand(generator, INPUTS[name]) for name in _DATA}
    pins |= {"OPMODE": generator.choice(opmodes), "INMODE": generator.choice(inmodes)}
    pins |= {"ALUMODE": generator.choice(alumodes), "CARRYIN": generator.getrandbits(1) if carry else 0}
    return pins


def slice_case(
    name: str,
    opmodes: Sequence[int],
    attributes: Attributes = PACKED,
    inmodes: Sequence[int] = (D_MINUS_A,),
    alumodes: Sequence[int] = (0,),
    carry: bool = False,
    low_enables: float = 0.0,
    resets: float = 0.0,
    in_turn: bool = False,
) -> Case:
    """One slice; each enable is low and each reset high with the given probability, one by one.

    OPMODE is drawn from ``opmodes``, or with ``in_turn`` takes each of them in turn.
    """
    generator = random.Random(name)
    stimulus = []
    for cycle in range(CYCLES):
        choice = [opmodes[cycle % len(opmodes)]] if in_turn else opmodes
        pins = random_pins(generator, choice, inmodes, alumodes, carry)
        pins |= {enable: int(generator.random() >= low_enables) for enable in CLOCK_ENABLES}
        pins |= {reset: int(generator.random() < resets) for reset in RESETS}
        stimulus.append([pins])
    return Case(name, (attributes,), stimulus)


def chain_case(
    name: str,
    stages: tuple[Attributes, ...],
    opmodes: Sequence[Sequence[int]],
    low: float = 0.0,
    reset: float = 0.0,
) -> Case:
    """A cascade; with the given probabilities all clock enables are low, or all resets high, together."""
    generator = random.Random(name)
    stimulus = []
    for _ in range(CYCLES):
        common = dict.fromkeys(CLOCK_ENABLES, int(generator.random() >= low))
        common |= dict.fromkeys(RESETS, int(generator.random() < reset))
        stimulus.append([random_pins(generator, modes) | common for modes in opmodes])
    return Case(name, stages, stimulus)


def generator_cases() -> list[Case]:
    """One case for each mode that the generator uses."""
    everything = (M, PCIN_M, PCIN_M_RND, PCIN_M_P, M_RND, M_P, P_M, C_M, M_C, PCIN_M_C)
    three = (PACKED, PACKED, PACKED)
    chain_modes = ((M,), (PCIN_M,), (PCIN_M_RND, PCIN_M_P))
    return [
        slice_case("first of a chain: M", [M]),
        slice_case("middle of a chain: PCIN + M", [PCIN_M]),
        slice_case("last of a chain, group of one: PCIN + M + RND", [PCIN_M_RND]),
        slice_case("last of a chain, groups: PCIN + M + (RND or P)", [PCIN_M_RND, PCIN_M_P, PCIN_M_P]),
        slice_case("single slice: M + RND", [M_RND]),
        slice_case("single slice, groups: M + (RND or P)", [M_RND, M_P, M_P, M_P]),
        slice_case("single slice, P through Z", [M_RND, P_M, P_M]),
        slice_case("M + C, C through W and through Z", [M_C, C_M]),
        slice_case("PCIN + M + C", [PCIN_M_C]),
        slice_case("pre-adder D + A", [M], inmodes=[D_PLUS_A]),
        slice_case("pre-adder, D + A and D - A by turns", everything, inmodes=[D_PLUS_A, D_MINUS_A]),
        chain_case("chain of three", three, chain_modes),
        chain_case("chain of three, all clock enables low at times", three, chain_modes, low=0.4),
        chain_case("chain of three, reset at random cycles", three, chain_modes, low=0.2, reset=0.05),
        slice_case("clock enables low one by one", everything, inmodes=[D_PLUS_A, D_MINUS_A], low_enables=0.3),
        slice_case("resets one by one", everything, inmodes=[D_PLUS_A, D_MINUS_A], low_enables=0.2, resets=0.15),
    ]


def neighbour_cases() -> list[Case]:
    """Cases of what is modelled beyond the generator's modes."""
    all_inmodes = list(range(32))
    two_deep = replace(PACKED, areg=2, acascreg=2)
    adder = Attributes(areg=2, acascreg=2, breg=2, bcascreg=2, use_mult="NONE", mreg=0, rnd=3 << 45 | 77)
    sums = [
        w << 7 | z << 4 | y << 2 | x
        for w in range(4)
        for z in (0b000, 0b001, 0b010, 0b011, 0b101, 0b110)
        for y in (0b00, 0b10, 0b11)
        for x in (0b00, 0b10, 0b11)
    ]
    products = [w << 7 | z << 4 | 0b0101 for w in range(4) for z in (0b000, 0b001, 0b010, 0b011, 0b101, 0b110)]
    alumodes = [0b0000, 0b0001, 0b0010, 0b0011]
    cascaded = replace(two_deep, a_input="CASCADE", b_input="CASCADE")
    early = replace(two_deep, acascreg=1, bcascreg=1)
    registers = [field.name for field in fields(Attributes) if field.name.endswith("reg")]
    bare = replace(PACKED, **dict.fromkeys(registers, 0))  # type: ignore[arg-type]
    no_p = [M, PCIN_M, PCIN_M_RND, M_RND, C_M, M_C, PCIN_M_C]
    cases = [
        slice_case("all pre-adder functions and register taps", [M, PCIN_M_P], two_deep, all_inmodes, low_enables=0.2),
        slice_case("adder, all multiplexers", sums, adder, [0], alumodes, True, in_turn=True),
        slice_case("adder, enables and resets", sums, adder, [0], alumodes, True, low_enables=0.1, resets=0.02),
        slice_case("multiply, all multiplexers", products, PACKED, [D_PLUS_A, D_MINUS_A], alumodes, True, in_turn=True),
        slice_case("multiplicand A, no pre-adder", [M_P, M_RND], replace(two_deep, amultsel="A"), [0, 1, 2, 16, 17]),
        chain_case("operand cascade", (two_deep, cascaded, cascaded), ((M,), (PCIN_M,), (PCIN_M_P,)), 0.1, 0.02),
        chain_case("early operand cascade", (early, replace(cascaded, acascreg=1, bcascreg=1)), ((M,), (PCIN_M,))),
        chain_case("operand cascade, one register", (Attributes(), Attributes(a_input="CASCADE")), ((M,), (PCIN_M,))),
        slice_case("no register at all", no_p, bare, [D_PLUS_A, D_MINUS_A], alumodes, carry=True),
    ]
    for register in ("areg", "breg", "creg", "dreg", "adreg", "mreg", "preg"):
        changes = {register: 0} | ({f"{register[0]}cascreg": 0} if register in ("areg", "breg") else {})
        attributes = replace(PACKED, **changes)  # type: ignore[arg-type]
        cases.append(slice_case(f"without {register}", no_p, attributes, [D_PLUS_A, D_MINUS_A], alumodes))
    for register in ("inmodereg", "opmodereg", "alumodereg", "carryinreg", "carryinselreg"):
        attributes = replace(PACKED, **{register: 0})  # type: ignore[arg-type]
        modes = [*no_p, PCIN_M_P]
        cases.append(slice_case(f"without {register}", modes, attributes, [D_PLUS_A, D_MINUS_A], alumodes, True))
    cases.append(
        slice_case("one register of B", no_p, replace(PACKED, breg=1, bcascreg=1), low_enables=0.3, resets=0.05)
    )
    # Multiplicand A has no use for INMODE[3:2]: without the pre-adder they are 0.
    return [_without_preadder_bits(case) for case in cases]


def _without_preadder_bits(case: Case) -> Case:
    """Clear INMODE[3:2] of slices that multiply by A itself, as their configuration demands."""
    stimulus = [
        [
            pins if attributes.amultsel == "AD" else pins | {"INMODE": pins["INMODE"] & 0b10011}
            for attributes, pins in zip(case.stages, row, strict=True)
        ]
        for row in case.stimulus
    ]
    return Case(case.name, case.stages, stimulus)


def dot_product_case() -> Case:
    """A chain that sums GROUP x SLICES products a group, operands skewed by a cycle a slice, in free run."""
    generator = random.Random("dot product")
    stimulus = []
    for cycle in range(CYCLES):
        row = []
        for stage in range(SLICES):
            pins = random_pins(generator, [M if stage == 0 else PCIN_M])
            if stage == SLICES - 1:
                # OPMODE has one register where operands have three: it comes two cycles after them.
                term = cycle - stage - 2
                pins["OPMODE"] = PCIN_M_RND if term % GROUP == 0 else PCIN_M_P
            row.append(pins)
        stimulus.append(row)
    return Case("dot product", (PACKED,) * SLICES, stimulus)
