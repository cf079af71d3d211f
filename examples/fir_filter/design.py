"""The filter in Amaranth."""

from __future__ import annotations

from amaranth.hdl import Module, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from mixq.packing import solve
from rtl_gen import ConvRow
from rtl_gen.dsp import Target

SAMPLE_BITS = 8
COEFFICIENTS = (-1, 0, 9, 16, 9, 0, -1)
"""A half-band low-pass filter, 32 times its coefficients: passes below a quarter of the sample rate."""


class FirFilter(wiring.Component):
    """``outputs[t] = sum over k of coefficients[k] * samples[t - k]``, two samples in every cycle.

    Parameters: coefficients, seven of -31 to 31. target: see :class:`rtl_gen.ConvRow`.

    Members: samples: two neighbouring ones, signed, the earlier one first; with ``valid``. outputs: the exact sums for
    two samples, signed, with ``done``, :attr:`latency` cycles later. Samples before a reset count as 0.
    """

    def __init__(self, coefficients: tuple[int, ...] = COEFFICIENTS, *, target: Target = "dsp48e2") -> None:
        # Seven taps in two shares of four, each a pair of DSPs: 14 multiplications in 4 DSPs.
        packing = solve(weight_bits=6, act_bits=SAMPLE_BITS, kernel=7, act_signed=True, pixels=2)
        self._coefficients = coefficients
        self.row = ConvRow(packing, target=target)
        output = signed(self.row.output_format.width)
        super().__init__(
            {
                "samples": In(data.ArrayLayout(signed(SAMPLE_BITS), packing.pixels)),
                "valid": In(1),
                "outputs": Out(data.ArrayLayout(output, packing.pixels)),
                "done": Out(1),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from samples to their outputs."""
        return self.row.latency

    def elaborate(self, platform: object) -> Module:
        """Connect samples and coefficients to the only row."""
        m = Module()
        m.submodules.row = row = self.row
        for tap, coefficient in enumerate(self._coefficients):
            m.d.comb += row.weights[0][0][tap].eq(coefficient)
        m.d.comb += [row.activations[0].eq(self.samples), row.valid.eq(self.valid)]
        m.d.comb += [self.outputs.eq(row.outputs[0]), self.done.eq(row.done)]
        return m
