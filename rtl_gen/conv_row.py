"""A row of a one-dimensional convolution on packed multipliers, several samples in every cycle."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mixq.formats import IntFormat
from mixq.packing import Packing
from rtl_gen.adder_tree import Term, sum_terms, tree_latency
from rtl_gen.checks import checked_int
from rtl_gen.dsp import Target
from rtl_gen.mac_grid import MacGrid, act_shape, check_packing, product_sums, signed_code, weight_shape
from rtl_gen.packed_mac import nested
from rtl_gen.pipeline import delayed


class ConvRow(wiring.Component):
    """A causal one-dimensional convolution of ``packing.kernel`` taps, ``packing.pixels`` samples in every cycle.

    Samples x[c][t] of each input channel come N = ``packing.pixels`` at a time. For the N samples t of a group and each
    output channel m,

        outputs[m][t mod N] = sum over input channels c and taps k of weights[m][c][k] * x[c][t - k],

    where samples before the group with ``first`` are 0. One group gives N + K - 1 sums for each output channel, as the
    lanes of :class:`rtl_gen.packed_mac.PackedMac` are; the K - 1 that belong to the samples after it are kept in
    registers and added there:

    ::

        N = 2, K = 3   group t = 0, 1:  y0 y1 | y2 y3
                       group t = 2, 3:        | y0 y1 | y2 y3
                       outputs          0  1     2  3

    A packing that takes several passes for a kernel row, ``packing.taps`` < K, has a multiplier for each share of the
    taps. Input channels are dealt out to chains, output channels to columns, see
    :class:`rtl_gen.mac_grid.MacGrid`.

    Parameters
    ----------
    packing: arithmetic of each DSP, from :func:`mixq.packing.solve`; its kernel is the number of taps.
    in_channels, out_channels: sizes of the unit.
    target: "dsp48e2" and "dsp48e1" instantiate the primitive, "generic" describes the same registers in plain Verilog.

    Members
    -------
    activations: codes of a group indexed [c][n], ``act_bits`` each, two's complement where ``packing.act_signed``; in
    Verilog one vector, [0][0] lowest. weights: codes indexed [m][c][k], within ``packing.weight_bounds``; of 1 bit, 1
    stands for +1 and 0 for -1. They multiply the samples of their cycle, what these give to later groups too.
    valid: there is a group in this cycle; there may be cycles without.
    first: with ``valid``, the first group of a row. Left open it is 0: one row without end, from a reset on.
    outputs: indexed [m][n], signed, :attr:`output_format` each. done: with the outputs of a group.

    Latency: :attr:`latency` cycles from a group to its outputs. Throughput: a group in every cycle, and no gap between
    rows. A reset drops what is on its way, and a row starts.

    Raises TypeError, ValueError for wrong parameters.

    Example: a filter of three taps, over a row of six samples.

    >>> from amaranth.sim import Simulator
    >>> from mixq.packing import solve
    >>> from rtl_gen import ConvRow
    >>> unit = ConvRow(solve(4, 4, pixels=2), target="generic")
    >>> unit.packing.pixels, unit.dsps
    (2, 1)
    >>> async def bench(ctx):
    ...     for k, weight in enumerate([1, 2, -3]):
    ...         ctx.set(unit.weights[0][0][k], weight)
    ...     for group in ([1, 2], [3, 4], [5, 6]):
    ...         for n, sample in enumerate(group):
    ...             ctx.set(unit.activations[0][n], sample)
    ...         ctx.set(unit.valid, 1)
    ...         ctx.set(unit.first, group == [1, 2])
    ...         await ctx.tick()
    ...     ctx.set(unit.valid, 0)
    ...     await ctx.tick().repeat(unit.latency - 3)
    ...     for _ in range(3):
    ...         print(ctx.get(unit.done), [ctx.get(output) for output in unit.outputs[0]])
    ...         await ctx.tick()
    >>> simulator = Simulator(unit)
    >>> simulator.add_clock(4e-9)
    >>> simulator.add_testbench(bench)
    >>> simulator.run()
    1 [1, 4]
    1 [4, 4]
    1 [4, 4]
    """

    def __init__(
        self, packing: Packing, *, in_channels: int = 1, out_channels: int = 1, target: Target = "dsp48e2"
    ) -> None:
        check_packing(packing, target)
        self._packing = packing
        self._in_channels = checked_int("in_channels", in_channels, low=1)
        self._out_channels = checked_int("out_channels", out_channels, low=1)
        self._grids = [
            MacGrid(packing, terms=in_channels, channels=out_channels, target=target) for _ in range(packing.passes)
        ]
        super().__init__(
            {
                "activations": In(nested(act_shape(packing), in_channels, packing.pixels)),
                "weights": In(nested(weight_shape(packing), out_channels, in_channels, packing.kernel)),
                "valid": In(1),
                "first": In(1),
                "outputs": Out(nested(signed(self.output_format.width), out_channels, packing.pixels)),
                "done": Out(1),
            }
        )

    @property
    def packing(self) -> Packing:
        """Arithmetic of each DSP."""
        return self._packing

    @property
    def in_channels(self) -> int:
        """Input channels."""
        return self._in_channels

    @property
    def out_channels(self) -> int:
        """Output channels."""
        return self._out_channels

    @property
    def output_format(self) -> IntFormat:
        """Format and exact range of an output: signed, for in_channels * kernel products."""
        return product_sums(self._packing, self._in_channels * self._packing.kernel)

    @property
    def dsps(self) -> int:
        """DSPs in all."""
        return sum(grid.dsps for grid in self._grids)

    @property
    def latency(self) -> int:
        """Cycles from a group to its outputs: multipliers, sum over the shares of the taps, sum over the groups."""
        return self._grids[0].latency + self._levels + 1

    @property
    def _positions(self) -> int:
        """Sums of a group and channel: pixels + kernel - 1."""
        return self._packing.pixels + self._packing.kernel - 1

    @property
    def _levels(self) -> int:
        """Levels of the tree over the shares of the taps."""
        return max(tree_latency(len(self._shares(e)) + int(bool(self._filled(e)))) for e in range(self._positions))

    def _shares(self, position: int) -> list[tuple[int, int]]:
        """Shares of the taps that give to a position, with the position among their own."""
        steps = [(s, position - s * self._packing.taps) for s in range(self._packing.passes)]
        return [(share, own) for share, own in steps if 0 <= own < self._packing.positions]

    def _filled(self, position: int) -> list[int]:
        """Pixels that the last share multiplies, for a position, by weights of 1 bit beyond the last tap.

        There is no code for 0 among them: what is beyond has code 0, which is -1.
        """
        packing = self._packing
        if packing.weight_bits > 1:
            return []
        beyond = range(packing.kernel, packing.passes * packing.taps)
        return [position - tap for tap in beyond if 0 <= position - tap < packing.pixels]

    def elaborate(self, platform: object) -> Module:
        """Feed each share of the taps, add the shares, and add what groups give to each other."""
        m = Module()
        packing = self._packing
        for share, grid in enumerate(self._grids):
            m.submodules[f"taps_{share}"] = grid
            m.d.comb += [grid.valid.eq(self.valid), grid.activations.eq(self.activations)]
            for c in range(self._in_channels):
                for channel in range(self._out_channels):
                    for tap in range(packing.taps):
                        whole = share * packing.taps + tap
                        code = self.weights[channel][c][whole] if whole < packing.kernel else Const(0)
                        m.d.comb += grid.weights[c][channel][tap].eq(code)
        ready = delayed(m, self._grids[0].done, self._levels, name="ready", reset=True)
        first = delayed(m, self.first, self.latency - 1, name="first")
        m.d.sync += self.done.eq(ready)
        corrections = self._corrections(m)
        for channel in range(self._out_channels):
            sums = [self._sum(m, channel, e, corrections) for e in range(self._positions)]
            with m.If(ready):
                self._join(m, channel, sums, first)
        return m

    def _corrections(self, m: Module) -> dict[int, Term]:
        """What is to be added at a position for the weights beyond the last tap, in the cycle of the multipliers."""
        packing, grid = self._packing, self._grids[0]
        positions = [e for e in range(self._positions) if self._filled(e)]
        low, high = (self._in_channels * bound for bound in packing.act_bounds)
        width = IntFormat.for_range(packing.taps * low, packing.taps * high, signed=True).width
        pixels: dict[int, Term] = {}
        for pixel in sorted({pixel for e in positions for pixel in self._filled(e)}):
            codes = [signed_code(packing, self.activations[c][pixel]) for c in range(self._in_channels)]
            terms = [Term(code, *packing.act_bounds) for code in codes]
            pixels[pixel] = Term(sum_terms(m, terms, width=width, name=f"pixel_{pixel}"), low, high)
        found = {}
        for e in positions:
            terms = [pixels[pixel] for pixel in self._filled(e)]
            total = sum_terms(m, terms, width=width, name=f"filled_{e}")
            # A tree over channels and a few pixels is never slower than the multipliers.
            late = grid.latency - tree_latency(self._in_channels) - tree_latency(len(terms))
            found[e] = Term(delayed(m, total, late, name=f"filled_{e}"), len(terms) * low, len(terms) * high)
        return found

    def _sum(self, m: Module, channel: int, position: int, corrections: dict[int, Term]) -> Value:
        """Sum of the shares of the taps at a position, as late for all of them."""
        low, high = self._grids[0].sum_format.low, self._grids[0].sum_format.high
        terms = [Term(self._grids[share].sums[channel][own], low, high) for share, own in self._shares(position)]
        terms += [corrections[position]] if position in corrections else []
        name = f"lane_{channel}_{position}"
        total = sum_terms(m, terms, width=self.output_format.width, name=name)
        return delayed(m, total, self._levels - tree_latency(len(terms)), name=f"{name}_late")

    def _join(self, m: Module, channel: int, sums: list[Value], first: Value) -> None:
        """Add what the groups before left, and keep what belongs to the groups after."""
        packing = self._packing
        kept = []
        for place in range(packing.kernel - 1):
            # The sample at this place of the next group has this many taps on samples so far.
            taps = packing.kernel - 1 - place
            bits = product_sums(packing, self._in_channels * taps).width
            kept.append(Signal(signed(bits), name=f"kept_{channel}_{place}"))
        totals = [
            total + Mux(first, 0, kept[place]) if place < len(kept) else total for place, total in enumerate(sums)
        ]
        for pixel in range(packing.pixels):
            m.d.sync += self.outputs[channel][pixel].eq(totals[pixel])
        for place, register in enumerate(kept):
            m.d.sync += register.eq(totals[place + packing.pixels])
