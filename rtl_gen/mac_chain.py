"""A chain of DSPs that sums packed products down its cascade."""

from __future__ import annotations

from typing import ClassVar

from amaranth.hdl import Module, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mixq.packing import Product
from rtl_gen.dsp import DSP_LATENCY, Dsp, Target
from rtl_gen.operands import joined_operands, pre_adder_operands, stored_operands, widened


class MacChain(wiring.Component):
    """Lifted accumulators of a sum of ``length`` packed products per cycle, over up to ``accumulate`` cycles.

    Operand i belongs to a cycle i later than operand 0: whoever feeds the chain delays activations and weight
    addresses, once for all chains that share them. The two DSPs of a pair lie in two cascades side by side.

    Parameters
    ----------
    product: arithmetic of each DSP, not tracked. length: products in the chain. accumulate: cycles summed before the
    lanes are read. low: least that each (pixel, tap) adds until then, see :meth:`mixq.packing.Product.lift`. target:
    see :class:`rtl_gen.dsp.Dsp`; on "dsp48e1", a chain of several DSPs cannot accumulate in time.

    Members
    -------
    activations: length groups of operands as :func:`rtl_gen.operands.activation_operand` makes them, first lowest.
    weights: length words of the product's fields, first lowest.
    go_on: 0 with the last operand of the first cycle of a sum, 1 with those of its other cycles.
    p: the accumulators of the last DSP, 48 bits each, of a pair two.

    Latency :attr:`LATENCY` from the last operand to p.
    """

    LATENCY: ClassVar[int] = DSP_LATENCY
    """Clock cycles from the last operand to p."""

    def __init__(self, product: Product, *, length: int, accumulate: int, low: int, target: Target = "dsp48e2") -> None:
        if length < 1 or accumulate < 1:
            raise ValueError(f"length and accumulate must be at least 1, not {(length, accumulate)!r}")
        if target == "dsp48e1" and length > 1 and accumulate > 1:
            raise ValueError(f"accumulate must be 1 for a chain of DSP48E1, not {accumulate!r}")
        self._product = product
        self._length = length
        self._accumulate = accumulate
        self._lift = product.lift(low)
        self._target = target
        super().__init__(
            {
                "activations": In(unsigned(length * product.act_word_bits)),
                "weights": In(unsigned(length * product.stored_bits)),
                "go_on": In(1),
                "p": Out(unsigned(48 * product.dsps)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Put the DSPs in a row, or in two."""
        m = Module()
        product = self._product
        for column in range(product.dsps):
            previous: Dsp | None = None
            for i in range(self._length):
                dsp = self._dsp(column, i)
                m.submodules[f"dsp_{i}" if column == 0 else f"dsp_{i}_minus"] = dsp
                group = self.activations.word_select(i, product.act_word_bits)
                d, a, b = dsp_operands(product, group, self.weights.word_select(i, product.stored_bits), column)
                m.d.comb += [dsp.d.eq(d), dsp.a.eq(a), dsp.b.eq(b), dsp.go_on.eq(self.go_on)]
                if previous is not None:
                    m.d.comb += dsp.pcin.eq(previous.pcout)
                previous = dsp
            assert previous is not None
            m.d.comb += self.p.word_select(column, 48).eq(previous.p)
        return m

    def _dsp(self, column: int, i: int) -> Dsp:
        first, last = i == 0, i == self._length - 1
        # The 7-series has one port for the constant and for the sum so far: the constant enters at the other end.
        lifts = first if self._target == "dsp48e1" else last
        return Dsp(
            cascade_in=not first,
            accumulates=last and self._accumulate > 1,
            constant=self._lift[column] if lifts else 0,
            adds=self._product.pair and column == 0,
            target=self._target,
        )


def dsp_operands(product: Product, group: Value, word: Value, column: int) -> tuple[Value, Value, Value]:
    """What one DSP gets at its ports D, A and B, of a pair the first (column 0) or the second."""
    weights = [
        widened(operand, stored)
        for operand, stored in zip(product.weight_operands, stored_operands(product, word), strict=True)
    ]
    if not product.pair:
        if product.act_on_wide:
            return (*pre_adder_operands(product, group), weights[0])
        return weights[0], Value.cast(0), joined_operands(product, group)[0]
    acts = joined_operands(product, group)
    wide, narrow = (acts, weights) if product.act_on_wide else (weights, acts)
    return wide[0], wide[1], narrow[column]
