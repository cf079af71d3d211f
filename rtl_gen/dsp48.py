"""The DSP48 slices as instances: every register in use, every input connected."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from amaranth.hdl import Cat, ClockSignal, Const, Instance, ResetSignal, Value

Slice = Literal["dsp48e2", "dsp48e1"]

# OPMODE, lowest bits first: X and Y select the product together, then Z, then W, which the DSP48E1 has not.
XY_PRODUCT = Const(0b0101, 4)
Z_ZERO, Z_PCIN, Z_P, Z_C = (Const(code, 3) for code in (0b000, 0b001, 0b010, 0b011))
W_ZERO, W_P, W_RND = (Const(code, 2) for code in (0b00, 0b01, 0b10))

# INMODE: D into the pre-adder, the second register of B to the multiplier.
_D_PLUS_A = 0b00100
_D_MINUS_A = 0b01100


def dsp48(
    target: Slice,
    *,
    d: Value,
    a: Value,
    b: Value,
    adds: bool,
    constant: int,
    opmode: Value,
    pcin: Value,
    p: Value,
    pcout: Value,
) -> Instance:
    """One slice whose product is (D + A) * B where ``adds``, else (D - A) * B.

    Parameters
    ----------
    target: which slice. d, a: as wide as its pre-adder, signed. b: 18 bits, signed.
    constant: 0 to 2^48 - 1: parameter RND of the DSP48E2, port C of the DSP48E1.
    opmode: 9 bits, of the DSP48E1 7. It is registered once, the operands three times up to the product's register.
    pcin, p, pcout: 48 bits.
    """
    newer = target == "dsp48e2"
    unused = _UNUSED if newer else {name: width for name, width in _UNUSED.items() if name != "C"}
    return Instance(
        target.upper(),
        **_PARAMETERS,
        **(_PARAMETERS_E2 if newer else _PARAMETERS_E1),
        **({"p_RND": Const(constant, 48)} if newer else {"i_C": Const(constant, 48)}),
        **{f"i_{name}": ResetSignal() for name in _RESETS},
        **{f"i_{name}": Const(1, 1) for name in _ENABLES},
        **{f"i_{name}": Const(0, width) for name, width in unused.items()},
        i_CLK=ClockSignal(),
        i_A=Cat(a, a[-1].replicate(30 - len(a))),
        i_B=b,
        i_D=d,
        i_INMODE=Const(_D_PLUS_A if adds else _D_MINUS_A, 5),
        i_OPMODE=opmode,
        i_PCIN=pcin,
        o_P=p,
        o_PCOUT=pcout,
    )


_PARAMETERS: Mapping[str, int | str] = MappingProxyType(
    {
        "p_ACASCREG": 1,
        "p_ADREG": 1,
        "p_ALUMODEREG": 1,
        "p_AREG": 1,
        "p_AUTORESET_PATDET": "NO_RESET",
        "p_A_INPUT": "DIRECT",
        "p_BCASCREG": 2,
        "p_BREG": 2,
        "p_B_INPUT": "DIRECT",
        "p_CARRYINREG": 1,
        "p_CARRYINSELREG": 1,
        "p_CREG": 1,
        "p_DREG": 1,
        "p_INMODEREG": 1,
        "p_MREG": 1,
        "p_OPMODEREG": 1,
        "p_PREG": 1,
        "p_SEL_MASK": "MASK",
        "p_SEL_PATTERN": "PATTERN",
        "p_USE_MULT": "MULTIPLY",
        "p_USE_PATTERN_DETECT": "NO_PATDET",
        "p_USE_SIMD": "ONE48",
    }
)
_PARAMETERS_E1: Mapping[str, str] = MappingProxyType({"p_USE_DPORT": "TRUE"})
_PARAMETERS_E2: Mapping[str, str] = MappingProxyType(
    {
        "p_AMULTSEL": "AD",
        "p_AUTORESET_PRIORITY": "RESET",
        "p_BMULTSEL": "B",
        "p_PREADDINSEL": "A",
        "p_USE_WIDEXOR": "FALSE",
        "p_XORSIMD": "XOR24_48_96",
    }
)
# Every pin is connected: tools differ in what they take an open one for.
_RESETS = (
    ["RSTA", "RSTALLCARRYIN", "RSTALUMODE", "RSTB", "RSTC", "RSTCTRL", "RSTD", "RSTINMODE", "RSTM", "RSTP"]
)  # fmt: skip
_ENABLES = (
    ["CEA1", "CEA2", "CEAD", "CEALUMODE", "CEB1", "CEB2", "CEC", "CECARRYIN", "CECTRL", "CED", "CEINMODE", "CEM", "CEP"]
)  # fmt: skip
_UNUSED: Mapping[str, int] = MappingProxyType(
    {
        "ACIN": 30,
        "ALUMODE": 4,
        "BCIN": 18,
        "C": 48,
        "CARRYCASCIN": 1,
        "CARRYIN": 1,
        "CARRYINSEL": 3,
        "MULTSIGNIN": 1,
    }
)
