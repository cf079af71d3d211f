"""Packed multipliers for any number of terms and output channels: chains side by side, in columns."""

from __future__ import annotations

from math import ceil

from amaranth.hdl import Const, Module, Shape, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mixq.formats import IntFormat
from mixq.packing import Packing
from rtl_gen.adder_tree import Term, sum_terms, tree_latency
from rtl_gen.checks import checked_int
from rtl_gen.dsp import Target
from rtl_gen.packed_chain import check_target
from rtl_gen.packed_mac import PackedMac, nested
from rtl_gen.pipeline import delayed

LONGEST_CHAIN = 24
"""Units in a cascade at most: a column of one clock region of an UltraScale+ device has as many DSPs."""


class MacGrid(wiring.Component):
    """What a :class:`rtl_gen.packed_mac.PackedMac` computes, for any number of terms and of output channels.

    In each cycle, for each channel m and position e,

        sums[m][e] = sum over i < terms, n + k = e of activations[i][n] * weights[i][m][k],

    over the cycles from ``first`` to ``last``. The terms are dealt out to as few chains as guard bits and
    :data:`LONGEST_CHAIN` allow, the channels to columns of ``packing.channels``; a registered tree adds the chains.

    Parameters: packing; terms; channels; accumulate: most cycles of a sum, which a DSP must be able to hold, so that it
    is at most ``packing.accumulate_max``; target, see :class:`rtl_gen.packed_mac.PackedMac`.

    Members
    -------
    activations [i][n], weights [i][m][k], valid, first, last, done: as those of PackedMac, for ``terms`` and
    ``channels``. sums: [m][e], signed, :attr:`sum_format` each, with ``done``.

    Latency: :attr:`latency` cycles from the last operands to ``done``. Throughput: operands in every cycle, and no gap
    between sums. A reset drops what is on its way.

    Raises TypeError, ValueError for wrong parameters.
    """

    def __init__(
        self, packing: Packing, *, terms: int, channels: int, accumulate: int = 1, target: Target = "dsp48e2"
    ) -> None:
        check_packing(packing, target)
        self._packing = packing
        self._terms = checked_int("terms", terms, low=1)
        self._channels = checked_int("channels", channels, low=1)
        self._accumulate = checked_int("accumulate", accumulate, low=1, high=packing.accumulate_max)
        self._lengths = chain_lengths(packing, self._terms, self._accumulate, target)
        self._macs = [
            [PackedMac(packing, length=length, accumulate=self._accumulate, target=target) for length in self._lengths]
            for _ in range(ceil(self._channels / packing.channels))
        ]
        super().__init__(
            {
                "activations": In(nested(act_shape(packing), self._terms, packing.pixels)),
                "weights": In(nested(weight_shape(packing), self._terms, self._channels, packing.taps)),
                "valid": In(1),
                "first": In(1, init=1),
                "last": In(1, init=1),
                "sums": Out(nested(signed(self.sum_format.width), self._channels, packing.positions)),
                "done": Out(1),
            }
        )

    @property
    def chains(self) -> int:
        """Chains in each column."""
        return len(self._lengths)

    @property
    def columns(self) -> int:
        """Columns of ``packing.channels`` output channels; some of the last one may be unused."""
        return len(self._macs)

    @property
    def dsps(self) -> int:
        """DSPs in all."""
        return self.columns * self._terms * self._packing.dsps

    @property
    def sum_format(self) -> IntFormat:
        """Format and exact range of the widest sum: signed."""
        pairs = min(self._packing.pixels, self._packing.taps)
        return product_sums(self._packing, pairs * self._terms * self._accumulate)

    @property
    def latency(self) -> int:
        """Cycles from the last operands to the sums: the slowest chain, and the tree."""
        return self._slowest.latency + tree_latency(self.chains)

    @property
    def _slowest(self) -> PackedMac:
        return max(self._macs[0], key=lambda mac: mac.latency)

    def elaborate(self, platform: object) -> Module:
        """Wire up the chains of each column, and add them."""
        m = Module()
        for column, macs in enumerate(self._macs):
            at = 0
            for number, mac in enumerate(macs):
                m.submodules[f"mac_{column}_{number}"] = mac
                m.d.comb += [mac.valid.eq(self.valid), mac.first.eq(self.first), mac.last.eq(self.last)]
                for i in range(mac.length):
                    m.d.comb += mac.activations[i].eq(self.activations[at + i])
                    self._connect_weights(m, column, mac, i, at + i)
                at += mac.length
            for channel in range(self._packing.channels):
                if column * self._packing.channels + channel < self._channels:
                    self._add(m, macs, column, channel)
        m.d.comb += self.done.eq(delayed(m, self._slowest.done, tree_latency(self.chains), name="done", reset=True))
        return m

    def _connect_weights(self, m: Module, column: int, mac: PackedMac, i: int, term: int) -> None:
        """Weights of a chain's unit; channels beyond the last have code 0, and nobody reads their sums."""
        for channel in range(self._packing.channels):
            whole = column * self._packing.channels + channel
            codes = self.weights[term][whole].as_value() if whole < self._channels else Const(0)
            m.d.comb += mac.weights[i][channel].as_value().eq(codes)

    def _add(self, m: Module, macs: list[PackedMac], column: int, channel: int) -> None:
        """Add up a channel's lanes of all chains, the shorter ones as late as the longest."""
        whole = column * self._packing.channels + channel
        for position in range(self._packing.positions):
            name = f"sum_{whole}_{position}"
            terms = []
            for number, mac in enumerate(macs):
                late = self._slowest.latency - mac.latency
                lane = delayed(m, mac.lanes[channel][position], late, name=f"{name}_chain{number}")
                terms.append(Term(lane, mac.lane_format.low, mac.lane_format.high))
            total = sum_terms(m, terms, width=self.sum_format.width, name=name)
            m.d.comb += self.sums[whole][position].eq(total)


def check_packing(packing: object, target: Target) -> None:
    """Refuse what is no packing, and a target that is not for it. Raises TypeError, ValueError."""
    if not isinstance(packing, Packing):
        raise TypeError(f"packing must be a Packing, not {packing!r}")
    check_target(packing, target)


def chain_lengths(packing: Packing, terms: int, accumulate: int, target: Target = "dsp48e2") -> tuple[int, ...]:
    """Units of each chain, the longest first, where a chain sums up ``accumulate`` cycles: as few chains as can be.

    A PackedMac reads each carry-tracked DSP on its own, and there is one of it however many they are. A DSP48E1 adds
    either what comes along the cascade or what it holds.

    >>> from mixq.packing import solve
    >>> chain_lengths(solve(4, 4, accumulate=9), terms=16, accumulate=1)  # guard bits for 9 products
    (8, 8)
    """
    longest = packing.accumulate_max // accumulate
    if target == "dsp48e1" and accumulate > 1:
        longest = min(longest, 1)
    if not packing.tracked:
        longest = min(longest, LONGEST_CHAIN)
    chains = ceil(terms / longest)
    return tuple(terms // chains + int(i < terms % chains) for i in range(chains))


def product_sums(packing: Packing, count: int) -> IntFormat:
    """Signed format and exact range of a sum of ``count`` products."""
    low, high = product_bounds(packing)
    return IntFormat.for_range(count * low, count * high, signed=True)


def product_bounds(packing: Packing) -> tuple[int, int]:
    """Lowest and highest product of an activation and a weight."""
    products = [act * weight for act in packing.act_bounds for weight in packing.weight_bounds]
    return min(products), max(products)


def act_shape(packing: Packing) -> Shape:
    """Shape of an activation code."""
    return signed(packing.act_bits) if packing.act_signed else unsigned(packing.act_bits)


def weight_shape(packing: Packing) -> Shape:
    """Shape of a weight code; of 1 bit, 1 stands for +1 and 0 for -1."""
    return unsigned(1) if packing.weight_bits == 1 else signed(packing.weight_bits)


def signed_code(packing: Packing, code: Value) -> Value:
    """An activation code as a signed value."""
    return code if packing.act_signed else (code + Const(0, signed(1)))[: packing.act_bits + 1].as_signed()
