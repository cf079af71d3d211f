"""The unit in Amaranth."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from mixq.packing import solve
from rtl_gen import DotProduct
from rtl_gen.dsp import Target

BITS = 4
ROWS, COLUMNS, TERMS = 8, 32, 8


class MatrixVector(wiring.Component):
    """``y = A x`` for a matrix of ``rows`` by ``columns``, ``terms`` columns in every cycle.

    A holds integers of -7 to 7 in a memory of ``columns / terms`` words; x holds integers of 0 to 15.

    Parameters: rows; columns, a multiple of terms; terms. target: see :class:`rtl_gen.DotProduct`.

    Members
    -------
    load: write ``load_weights``, A[load_row][load_block * terms + i] for each i, first lowest, in this cycle.
    valid, x: the next ``terms`` elements of a vector; there may be cycles without. After the last ones the next vector
    begins. y: rows sums, signed, with ``done``, :attr:`latency` cycles after the last elements of a vector.

    A vector takes ``columns / terms`` cycles, and vectors follow each other without a gap. A reset drops the vector
    that is on its way, and leaves A as it is.
    """

    def __init__(
        self, rows: int = ROWS, columns: int = COLUMNS, terms: int = TERMS, *, target: Target = "dsp48e2"
    ) -> None:
        if columns % terms:
            raise ValueError(f"columns must be a multiple of terms, not {columns!r}")
        # One element of x, and weights of four rows, in a DSP.
        packing = solve(weight_bits=BITS, act_bits=BITS, kernel=1, pixels=1)
        self.product = DotProduct(packing, terms=terms, channels=rows, accumulate=columns // terms, target=target)
        self._rows, self._terms, self._blocks = rows, terms, columns // terms
        super().__init__(
            {
                "load": In(1),
                "load_row": In(range(rows)),
                "load_block": In(range(self._blocks)),
                "load_weights": In(terms * BITS),
                "valid": In(1),
                "x": In(data.ArrayLayout(unsigned(BITS), terms)),
                "y": Out(data.ArrayLayout(signed(self.product.sum_format.width), rows)),
                "done": Out(1),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from the last elements of a vector to y: the memory's, and the multipliers'."""
        return 1 + self.product.latency

    def elaborate(self, platform: object) -> Module:
        """Count the blocks of a vector, and multiply each by its word of the matrix."""
        m = Module()
        word = self._rows * self._terms * BITS
        m.submodules.matrix = matrix = memory.Memory(shape=unsigned(word), depth=self._blocks, init=[])
        write, read = matrix.write_port(granularity=self._terms * BITS), matrix.read_port()
        m.d.comb += [write.addr.eq(self.load_block), write.data.eq(self.load_weights.replicate(self._rows))]
        m.d.comb += Array(write.en)[self.load_row].eq(self.load)

        block = Signal(range(self._blocks))
        with m.If(self.valid):
            m.d.sync += block.eq(Mux(block == self._blocks - 1, 0, block + 1))
        m.d.comb += read.addr.eq(block)

        m.submodules.product = product = self.product
        x = Signal.like(self.x)
        m.d.sync += [x.eq(self.x), product.valid.eq(self.valid)]
        m.d.sync += [product.first.eq(block == 0), product.last.eq(block == self._blocks - 1)]
        for i in range(self._terms):
            m.d.comb += product.activations[i][0].eq(x[i])
            for row in range(self._rows):
                m.d.comb += product.weights[i][row].eq(read.data.word_select(row * self._terms + i, BITS))
        for row in range(self._rows):
            m.d.comb += self.y[row].eq(product.sums[row][0])
        m.d.comb += self.done.eq(product.done)
        return m
