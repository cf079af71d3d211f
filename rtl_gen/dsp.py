"""One DSP as a multiply-accumulate: the primitive of the device, or its twin in plain Verilog."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl_gen.dsp48 import W_P, W_RND, W_ZERO, XY_PRODUCT, Z_C, Z_P, Z_PCIN, Z_ZERO, dsp48

Target = Literal["dsp48e2", "dsp48e1", "generic"]
TARGETS: tuple[Target, ...] = ("dsp48e2", "dsp48e1", "generic")

PRE_ADDER_BITS: Mapping[Target, int] = MappingProxyType({"dsp48e2": 27, "dsp48e1": 25, "generic": 27})
"""Width of the pre-adder, where sums wrap, and of its operands d and a."""

DSP_LATENCY = 4
"""Clock edges from operands at the ports to their product in P: input, pre-adder, multiplier and output register."""


class Dsp(wiring.Component):
    """P = (D - A) * B, plus PCIN, plus either a constant (a sum starts) or the P before (a sum goes on).

    Without ``accumulates`` every cycle starts a sum. With ``every`` the constant has a valid bit of its own:
    P = (D - A) * B + (constant if valid) + (the P before if go_on, else PCIN): with a cascade, a sum starts from PCIN.

    Parameters
    ----------
    cascade_in: whether PCIN is added, with ``every`` only where a sum starts; the first of a chain has none.
    accumulates: whether ``go_on`` adds the P before.
    constant: 0 to 2^48 - 1, added where a sum starts, or with ``every`` in each valid cycle.
    adds: the pre-adder gives D + A in place of D - A.
    every: the constant is added by ``valid``, within a sum too.
    target: "dsp48e2" and "dsp48e1" instantiate the primitive, "generic" describes the registers of a DSP48E2 in
    Verilog. The adder of a DSP48E1 takes but one of PCIN, constant and P beside the product: every, cascade_in with
    accumulates, and cascade_in with a constant are refused.

    Members
    -------
    d, a (:data:`PRE_ADDER_BITS`, signed), b (18 bits, signed): operands.
    go_on: 1 adds the P before, in place of the constant unless ``every``; belongs to the operands of the same cycle.
    valid: only with ``every``; 1 (as where it is left open) adds the constant to the operands of the same cycle.
    pcin, pcout: cascade to and from the neighbours. p: the sum.

    Latency :data:`DSP_LATENCY` from operands, go_on and valid to p; PCIN is added in the last of these cycles.

    Raises ValueError for wrong parameters.
    """

    def __init__(
        self,
        *,
        cascade_in: bool,
        accumulates: bool,
        constant: int = 0,
        adds: bool = False,
        every: bool = False,
        target: Target = "dsp48e2",
    ) -> None:
        if target not in TARGETS:
            raise ValueError(f"target must be one of {', '.join(TARGETS)}, not {target!r}")
        if not 0 <= constant < 1 << 48:
            raise ValueError(f"constant must fit 48 bits, not {constant!r}")
        if target == "dsp48e1":
            if every:
                raise ValueError(f"every must be False for dsp48e1, not {every!r}")
            if cascade_in and accumulates:
                raise ValueError(f"accumulates must be False for dsp48e1 with cascade_in, not {accumulates!r}")
            if cascade_in and constant:
                raise ValueError(f"constant must be 0 for dsp48e1 with cascade_in, not {constant!r}")
        self._cascade_in = cascade_in
        self._accumulates = accumulates
        self._constant = constant
        self._adds = adds
        self._every = every
        self._target = target
        bits = PRE_ADDER_BITS[target]
        super().__init__(
            {
                "d": In(signed(bits)),
                "a": In(signed(bits)),
                "b": In(signed(18)),
                "go_on": In(1),
                **({"valid": In(1, init=1)} if every else {}),
                "pcin": In(unsigned(48)),
                "pcout": Out(unsigned(48)),
                "p": Out(unsigned(48)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Describe the registers, or instantiate the primitive."""
        m = Module()
        if self._target == "generic":
            self._generic(m)
            return m
        # OPMODE is registered once; two more registers bring it to the cycle in which the product is added.
        go_on = _delayed(m, "go_on", self.go_on, DSP_LATENCY - 2)
        valid = _delayed(m, "valid", self.valid, DSP_LATENCY - 2) if self._every else None
        # An expression, not a process: where go_on never changes, Icarus Verilog as SystemVerilog never runs a process
        # that depends on it alone, and its result stays unknown.
        selected = self._opmode_e1(go_on) if self._target == "dsp48e1" else self._opmode_e2(go_on, valid)
        opmode = Signal(len(selected))
        m.d.comb += opmode.eq(selected)
        m.submodules.dsp = dsp48(
            self._target,
            d=self.d,
            a=self.a,
            b=self.b,
            adds=self._adds,
            constant=self._constant,
            opmode=opmode,
            pcin=self.pcin if self._cascade_in else Const(0, 48),
            p=self.p,
            pcout=self.pcout,
        )
        return m

    def _opmode_e2(self, go_on: Value, valid: Value | None) -> Value:
        """W adds constant or P, Z the cascade; with ``every`` W has the constant and Z has P or the cascade."""
        cascade = Z_PCIN if self._cascade_in else Z_ZERO
        if valid is not None:
            z = Mux(go_on, Z_P, cascade) if self._accumulates else cascade
            return Cat(XY_PRODUCT, z, Mux(valid, W_RND, W_ZERO))
        start = W_RND if self._accumulates or self._constant else W_ZERO
        w = Mux(go_on, W_P, start) if self._accumulates else start
        return Cat(XY_PRODUCT, cascade, w)

    def _opmode_e1(self, go_on: Value) -> Value:
        """Z adds the cascade, or constant or P."""
        start = Z_PCIN if self._cascade_in else Z_C if self._constant else Z_ZERO
        return Cat(XY_PRODUCT, Mux(go_on, Z_P, start) if self._accumulates else start)

    def _generic(self, m: Module) -> None:
        bits = PRE_ADDER_BITS[self._target]
        a, d, ad = Signal(signed(bits)), Signal(signed(bits)), Signal(signed(bits))
        b1, b2 = Signal(signed(18)), Signal(signed(18))
        product, p = Signal(signed(bits + 18)), Signal(signed(48))
        m.d.sync += [a.eq(self.a), d.eq(self.d), b1.eq(self.b), ad.eq(d + a if self._adds else d - a)]
        m.d.sync += [b2.eq(b1), product.eq(ad * b2)]
        go_on = _delayed(m, "go_on", self.go_on, DSP_LATENCY - 1)
        constant: Value = Const(self._constant, unsigned(48)).as_signed()
        cascade: Value = self.pcin.as_signed() if self._cascade_in else Const(0, signed(48))
        if self._every:
            start = cascade
            total = product + Mux(_delayed(m, "valid", self.valid, DSP_LATENCY - 1), constant, 0)
        else:
            start = constant
            total = product + cascade
        m.d.sync += p.eq(total + (Mux(go_on, p, start) if self._accumulates else start))
        m.d.comb += [self.p.eq(p), self.pcout.eq(p)]


def _delayed(m: Module, name: str, value: Value, cycles: int) -> Value:
    """``value``, one bit, as many cycles later, through registers ``<name>_<number>``."""
    late = [Signal(name=f"{name}_{i}") for i in range(cycles)]
    m.d.sync += [register.eq(before) for register, before in zip(late, [value, *late], strict=False)]
    return late[-1]
