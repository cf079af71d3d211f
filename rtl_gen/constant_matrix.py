"""Constant weights as one circuit of adders."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mixq.plan.constant_matrix import Adder, ConstantMatrix
from rtl_gen.pipeline import delayed
from rtl_gen.requantise_unit import amaranth_shape


class ConstantMatrixUnit(wiring.Component):
    """The products of a :class:`mixq.plan.constant_matrix.ConstantMatrix` and a vector, every cycle.

    A register follows each adder, and values wait in registers for those they are added to: between two registers there
    is one carry chain.

    Parameters: matrix; sum_bits, the width of all products, which are given modulo 2^sum_bits.

    Members: ``codes``: the vector, one field of the inputs' width for each column; ``sums``: the products, sum_bits
    each, :attr:`latency` cycles later; the first lowest.

    Throughput: a vector in each cycle.
    """

    def __init__(self, matrix: ConstantMatrix, sum_bits: int) -> None:
        self._matrix = matrix
        self._bits = sum_bits
        super().__init__(
            {
                "codes": In(unsigned(matrix.columns * matrix.inputs.width)),
                "sums": Out(unsigned(len(matrix.rows) * sum_bits)),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from codes to sums."""
        return self._matrix.latency

    def elaborate(self, platform: object) -> Module:
        """Build the adders in order, each of values that are there already."""
        m = Module()
        matrix = self._matrix
        # Values of each node: at its time, and after each cycle that any of its readers waits.
        values: list[list[Value]] = []
        for column in range(matrix.columns):
            code = self.codes.word_select(column, matrix.inputs.width)
            values.append([code.as_signed() if matrix.inputs.signed else code])

        def at(node: int, time: int) -> Value:
            own = values[node]
            while len(own) <= time - matrix.times[node]:
                # Registers with a reset: without one they would become shift registers, which are look-up tables.
                own.append(delayed(m, own[-1], 1, name=f"node_{node}_late_{len(own)}", reset=True))
            return own[time - matrix.times[node]]

        for node, adder in enumerate(matrix.adders, matrix.columns):
            start = matrix.times[node] - matrix.cycles_of(node)
            low = Signal(adder.shift, name=f"node_{node}_low")
            m.d.comb += low.eq(at(adder.left, start))
            value = Signal(amaranth_shape(adder.format), name=f"node_{node}", reset_less=True)
            if matrix.cycles_of(node):
                m.d.sync += value.eq(_added(adder, low, at(adder.left, start), at(adder.right, start)))
            else:
                m.d.comb += value.eq(Cat(low, at(adder.right, start)))
            values.append([value])
        for number, row in enumerate(matrix.rows):
            product = Const(0) if row is None else at(row[0], matrix.latency) << row[1]
            m.d.comb += self.sums.word_select(number, self._bits).eq(product)
        return m


def _added(adder: Adder, low: Value, left: Value, right: Value) -> Value:
    """The sum, from one carry chain. low: what of the left term is below the right one, which needs no adder."""
    if adder.left_sign == 0:
        return -right
    if adder.left_sign < 0:
        return (right << adder.shift) - left
    upper = left >> adder.shift
    total = upper + right if adder.right_sign > 0 else upper - right
    return Cat(low, total[: adder.format.width - adder.shift])
