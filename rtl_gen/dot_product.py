"""Dot products of any length on packed multipliers: what dense layers, 1x1 convolutions and matrices need."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mixq.formats import IntFormat
from mixq.packing import Packing
from rtl_gen.checks import checked_int
from rtl_gen.dsp import Target
from rtl_gen.mac_grid import (
    MacGrid,
    act_shape,
    chain_lengths,
    check_packing,
    product_bounds,
    product_sums,
    weight_shape,
)
from rtl_gen.packed_mac import nested
from rtl_gen.pipeline import delayed

_MOST_BITS = 63
"""Magnitude bits of the widest sum."""


class DotProduct(wiring.Component):
    """Dot products of activations with the weights of several output channels, of any length, exactly.

    In each cycle ``terms`` activations of each of ``packing.pixels`` neighbouring pixels are multiplied by ``terms``
    weights of each of ``channels`` output channels, and for each channel m and pixel n

        sums[m][n] = sum over i < terms of activations[i][n] * weights[i][m],

    added up over the cycles from ``first`` to ``last``. A dot product of ``length`` terms thus takes
    ``ceil(length / terms)`` cycles, the last one filled up with activations or weights of 0.

    The terms are dealt out to chains as long as guard bits allow, the channels to columns of ``packing.channels``, and
    a registered tree adds the chains. Cycles are summed inside the DSPs where that takes no more chains than a
    single cycle does, otherwise in accumulators of look-up tables behind the tree: ``packing.accumulate_max`` bounds
    neither ``terms`` nor ``accumulate``.

    Parameters
    ----------
    packing: arithmetic of each DSP, with kernel 1, from ``solve(..., kernel=1)``; with ``pixels=1`` for dense layers.
    terms, channels: sizes of the unit. accumulate: most cycles from ``first`` to ``last``, both included.
    target: "dsp48e2" and "dsp48e1" instantiate the primitive, "generic" describes the same registers in plain Verilog.

    Members
    -------
    activations: codes indexed [i][n], ``act_bits`` each, two's complement where ``packing.act_signed``; in Verilog one
    vector, [0][0] lowest. weights: codes indexed [i][m], within ``packing.weight_bounds``; of 1 bit, 1 stands
    for +1 and 0 for -1. valid: there are operands in this cycle; there may be cycles without between those of a sum.
    first, last: with ``valid``, the first and the last operands of a sum. Left open they are 1: every cycle is a sum.
    sums: indexed [m][n], signed, :attr:`sum_format` each. done: with the sums, for one cycle.

    Latency: :attr:`latency` cycles from the last operands to ``done``. Throughput: operands in every cycle, and no gap
    between sums. A reset drops what is on its way.

    Raises TypeError, ValueError for wrong parameters.

    Example: two channels, four terms in a cycle, eight in all.

    >>> from amaranth.sim import Simulator
    >>> from mixq.packing import solve
    >>> from rtl_gen import DotProduct
    >>> unit = DotProduct(solve(4, 4, kernel=1, pixels=1), terms=4, channels=2, accumulate=2, target="generic")
    >>> unit.dsps, unit.sum_format.width
    (4, 11)
    >>> x, a = [1, 2, 3, 4, 5, 6, 7, 8], [[1, 1, 1, 1, 1, 1, 1, 1], [-7, 6, -5, 4, -3, 2, -1, 0]]
    >>> async def bench(ctx):
    ...     for cycle in range(2):
    ...         for i in range(4):
    ...             ctx.set(unit.activations[i][0], x[4 * cycle + i])
    ...             for channel in range(2):
    ...                 ctx.set(unit.weights[i][channel], a[channel][4 * cycle + i])
    ...         ctx.set(unit.valid, 1)
    ...         ctx.set(unit.first, cycle == 0)
    ...         ctx.set(unit.last, cycle == 1)
    ...         await ctx.tick()
    ...     ctx.set(unit.valid, 0)
    ...     await ctx.tick().repeat(unit.latency - 1)
    ...     print(ctx.get(unit.done), [ctx.get(unit.sums[channel][0]) for channel in range(2)])
    >>> simulator = Simulator(unit)
    >>> simulator.add_clock(4e-9)
    >>> simulator.add_testbench(bench)
    >>> simulator.run()
    1 [36, -4]
    """

    def __init__(
        self, packing: Packing, *, terms: int, channels: int, accumulate: int = 1, target: Target = "dsp48e2"
    ) -> None:
        check_packing(packing, target)
        if packing.kernel != 1:
            raise ValueError(f"packing must have kernel 1, not {packing.kernel!r}")
        self._packing = packing
        self._terms = checked_int("terms", terms, low=1)
        self._channels = checked_int("channels", channels, low=1)
        self._accumulate = checked_int("accumulate", accumulate, low=1)
        most = ((1 << _MOST_BITS) - 1) // max(abs(bound) for bound in product_bounds(packing))
        if terms * accumulate > most:
            raise ValueError(f"terms * accumulate must be at most {most} for this packing, not {terms * accumulate!r}")
        held = self._accumulate if self._held_in_dsps(target) else 1
        self._grid = MacGrid(packing, terms=terms, channels=channels, accumulate=held, target=target)
        super().__init__(
            {
                "activations": In(nested(act_shape(packing), terms, packing.pixels)),
                "weights": In(nested(weight_shape(packing), terms, channels)),
                "valid": In(1),
                "first": In(1, init=1),
                "last": In(1, init=1),
                "sums": Out(nested(signed(self.sum_format.width), channels, packing.pixels)),
                "done": Out(1),
            }
        )
        self._sums_cycles = held < self._accumulate

    def _held_in_dsps(self, target: Target) -> bool:
        """Whether chains that sum all cycles are possible, and no more than those that sum one."""
        if self._accumulate > self._packing.accumulate_max:
            return False
        held, single = (chain_lengths(self._packing, self._terms, n, target) for n in (self._accumulate, 1))
        return len(held) <= len(single)

    @property
    def packing(self) -> Packing:
        """Arithmetic of each DSP."""
        return self._packing

    @property
    def terms(self) -> int:
        """Terms of a sum in each cycle."""
        return self._terms

    @property
    def channels(self) -> int:
        """Output channels."""
        return self._channels

    @property
    def accumulate(self) -> int:
        """Most cycles of a sum."""
        return self._accumulate

    @property
    def sum_format(self) -> IntFormat:
        """Format and exact range of a sum: signed, for terms * accumulate products."""
        return product_sums(self._packing, self._terms * self._accumulate)

    @property
    def dsps(self) -> int:
        """DSPs in all."""
        return self._grid.dsps

    @property
    def latency(self) -> int:
        """Cycles from the last operands to the sums: chains and their tree, and the accumulators where there are."""
        return self._grid.latency + int(self._sums_cycles)

    def elaborate(self, platform: object) -> Module:
        """Wire up the multipliers, and sum up their cycles where they do not."""
        m = Module()
        m.submodules.grid = grid = self._grid
        m.d.comb += [grid.activations.eq(self.activations), grid.valid.eq(self.valid)]
        m.d.comb += grid.weights.as_value().eq(self.weights.as_value())
        if not self._sums_cycles:
            m.d.comb += [grid.first.eq(self.first), grid.last.eq(self.last), self.done.eq(grid.done)]
            m.d.comb += self.sums.as_value().eq(grid.sums.as_value())
            return m
        first = delayed(m, self.first, grid.latency, name="first")
        m.d.sync += self.done.eq(delayed(m, self.valid & self.last, grid.latency, name="last", reset=True))
        with m.If(grid.done):
            for channel in range(self._channels):
                for pixel in range(self._packing.pixels):
                    total = self.sums[channel][pixel]
                    m.d.sync += total.eq(grid.sums[channel][pixel] + Mux(first, 0, total))
        return m
