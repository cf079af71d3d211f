"""One DSP as a multiply-accumulate: the primitive of the device, or its twin in plain Verilog."""

from __future__ import annotations

from typing import Literal

from amaranth.hdl import (
    Cat,
    ClockSignal,
    Const,
    Instance,
    Module,
    Mux,
    ResetSignal,
    Signal,
    signed,
    unsigned,
)
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

Target = Literal["dsp48e2", "generic"]
TARGETS: tuple[Target, ...] = ("dsp48e2", "generic")

DSP_LATENCY = 4
"""Clock edges from operands at the ports to their product in P: input, pre-adder, multiplier and output register."""


class Dsp(wiring.Component):
    """P = (D - A) * B + PCIN, plus either a constant (a sum starts) or the P before (a sum goes on).

    Parameters
    ----------
    cascade_in: whether PCIN is added; the first of a chain has none.
    accumulates: whether ``go_on`` chooses between constant and P; otherwise nothing but PCIN is added.
    constant: 0 to 2^48 - 1, added where a sum starts.
    target: "dsp48e2" instantiates the primitive, "generic" describes the same registers in Verilog.

    Members
    -------
    d, a (27 bits, signed), b (18 bits, signed): operands. a holds what is subtracted by the pre-adder.
    go_on: 1 adds the P before instead of the constant; belongs to the operands of the same cycle.
    pcin, pcout: cascade to and from the neighbours. p: the sum.

    Latency :data:`DSP_LATENCY` from operands and go_on to p; PCIN is added in the last of these cycles.
    """

    def __init__(self, *, cascade_in: bool, accumulates: bool, constant: int = 0, target: Target = "dsp48e2") -> None:
        if target not in TARGETS:
            raise ValueError(f"target must be one of {', '.join(TARGETS)}, not {target!r}")
        if not 0 <= constant < 1 << 48:
            raise ValueError(f"constant must fit 48 bits, not {constant!r}")
        self._cascade_in = cascade_in
        self._accumulates = accumulates
        self._constant = constant
        self._target = target
        super().__init__(
            {
                "d": In(signed(27)),
                "a": In(signed(27)),
                "b": In(signed(18)),
                "go_on": In(1),
                "pcin": In(unsigned(48)),
                "pcout": Out(unsigned(48)),
                "p": Out(unsigned(48)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Describe the registers, or instantiate the primitive."""
        return self._generic() if self._target == "generic" else self._primitive()

    def _generic(self) -> Module:
        m = Module()
        a, d, ad = Signal(signed(27)), Signal(signed(27)), Signal(signed(27))
        b1, b2 = Signal(signed(18)), Signal(signed(18))
        product, p = Signal(signed(45)), Signal(signed(48))
        go_on = [Signal(name=f"go_on_{i}") for i in range(DSP_LATENCY - 1)]
        m.d.sync += [a.eq(self.a), d.eq(self.d), b1.eq(self.b), ad.eq(d - a), b2.eq(b1), product.eq(ad * b2)]
        m.d.sync += [late.eq(early) for early, late in zip([self.go_on, *go_on], go_on, strict=False)]
        total = product
        if self._cascade_in:
            total = total + self.pcin.as_signed()
        if self._accumulates:
            start = Const(self._constant, unsigned(48)).as_signed()
            with m.If(go_on[-1]):
                m.d.sync += p.eq(total + p)
            with m.Else():
                m.d.sync += p.eq(total + start)
        else:
            m.d.sync += p.eq(total)
        m.d.comb += [self.p.eq(p), self.pcout.eq(p)]
        return m

    def _primitive(self) -> Module:
        m = Module()
        # OPMODE is registered once; two more registers bring it to the cycle in which the product is added.
        go_on = [Signal(name=f"go_on_{i}") for i in range(DSP_LATENCY - 2)]
        m.d.sync += [late.eq(early) for early, late in zip([self.go_on, *go_on], go_on, strict=False)]
        # W: 01 = P, 10 = RND, 00 = 0. An expression, not a process: where go_on never changes, Icarus Verilog as
        # SystemVerilog never runs a process that depends on it alone, and its result stays unknown.
        w_mux = Mux(go_on[-1], Const(0b01, 2), Const(0b10, 2)) if self._accumulates else Const(0, 2)
        z_mux = Const(0b001 if self._cascade_in else 0b000, 3)
        opmode = Signal(9)
        m.d.comb += opmode.eq(Cat(Const(0b0101, 4), z_mux, w_mux))
        m.submodules.dsp = Instance(
            "DSP48E2",
            **_PARAMETERS,
            p_RND=Const(self._constant, 48),
            **{f"i_{name}": ResetSignal() for name in _RESETS},
            **{f"i_{name}": Const(1, 1) for name in _ENABLES},
            **{f"i_{name}": Const(0, width) for name, width in _UNUSED.items()},
            i_CLK=ClockSignal(),
            i_A=Cat(self.a, self.a[-1].replicate(3)),
            i_B=self.b,
            i_D=self.d,
            i_INMODE=Const(0b01100, 5),  # (D - A2) * B2
            i_OPMODE=opmode,
            i_PCIN=self.pcin if self._cascade_in else Const(0, 48),
            o_P=self.p,
            o_PCOUT=self.pcout,
        )
        return m


_PARAMETERS = {
    "p_ACASCREG": 1,
    "p_ADREG": 1,
    "p_ALUMODEREG": 1,
    "p_AMULTSEL": "AD",
    "p_AREG": 1,
    "p_AUTORESET_PATDET": "NO_RESET",
    "p_AUTORESET_PRIORITY": "RESET",
    "p_A_INPUT": "DIRECT",
    "p_BCASCREG": 2,
    "p_BMULTSEL": "B",
    "p_BREG": 2,
    "p_B_INPUT": "DIRECT",
    "p_CARRYINREG": 1,
    "p_CARRYINSELREG": 1,
    "p_CREG": 1,
    "p_DREG": 1,
    "p_INMODEREG": 1,
    "p_MREG": 1,
    "p_OPMODEREG": 1,
    "p_PREADDINSEL": "A",
    "p_PREG": 1,
    "p_SEL_MASK": "MASK",
    "p_SEL_PATTERN": "PATTERN",
    "p_USE_MULT": "MULTIPLY",
    "p_USE_PATTERN_DETECT": "NO_PATDET",
    "p_USE_SIMD": "ONE48",
    "p_USE_WIDEXOR": "FALSE",
    "p_XORSIMD": "XOR24_48_96",
}
# Every pin is connected: tools differ in what they take an open one for.
_RESETS = (
    ["RSTA", "RSTALLCARRYIN", "RSTALUMODE", "RSTB", "RSTC", "RSTCTRL", "RSTD", "RSTINMODE", "RSTM", "RSTP"]
)  # fmt: skip
_ENABLES = (
    ["CEA1", "CEA2", "CEAD", "CEALUMODE", "CEB1", "CEB2", "CEC", "CECARRYIN", "CECTRL", "CED", "CEINMODE", "CEM", "CEP"]
)  # fmt: skip
_UNUSED = {
    "ACIN": 30,
    "ALUMODE": 4,
    "BCIN": 18,
    "C": 48,
    "CARRYCASCIN": 1,
    "CARRYIN": 1,
    "CARRYINSEL": 3,
    "MULTSIGNIN": 1,
}
