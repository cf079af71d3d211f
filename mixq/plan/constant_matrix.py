"""A constant matrix times a vector by shifts and additions alone: its adders, their widths and when they work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from mixq.formats import IntFormat

IntArray = npt.NDArray[np.int64]

Term = tuple[int, int]
"""A node and the shift of its value."""


@dataclass(frozen=True)
class Adder:
    """``left_sign * left + right_sign * (right << shift)``, of two nodes.

    Signs are 1 or -1, not both -1; a left sign of 0 stands for the negation of right. format: the narrowest for the
    values that occur.
    """

    left: int
    right: int
    shift: int
    left_sign: int
    right_sign: int
    format: IntFormat


@dataclass(frozen=True)
class ConstantMatrix:
    """Nodes 0 to ``columns`` - 1 are the inputs, those behind them the adders, each of nodes before it.

    inputs: format of every input. rows: node and shift of each product, None for a row of zeros.
    """

    columns: int
    inputs: IntFormat
    adders: tuple[Adder, ...]
    rows: tuple[Term | None, ...]

    def format(self, node: int) -> IntFormat:
        """Format of a node's values."""
        return self.inputs if node < self.columns else self.adders[node - self.columns].format

    def compute(self, vectors: npt.ArrayLike) -> IntArray:
        """The products (..., rows) of vectors (..., columns), adder by adder as the hardware does."""
        x = np.asarray(vectors, np.int64)
        values = list(np.moveaxis(x, -1, 0))
        for adder in self.adders:
            right = values[adder.right] << adder.shift
            values.append(adder.left_sign * values[adder.left] + adder.right_sign * right)
        zero = np.zeros(x.shape[:-1], np.int64)
        return np.stack([zero if row is None else values[row[0]] << row[1] for row in self.rows], -1)

    # -- sizes -----------------------------------------------------------------------------------------

    def adder_bits_of(self, adder: Adder) -> int:
        """Bits of an adder's carry chain that take a look-up table each; 0 where its terms stand side by side."""
        signs = adder.left_sign, adder.right_sign
        return adder_bits(self.format(adder.left), self.format(adder.right), adder.shift, signs, adder.format)

    def cycles_of(self, node: int) -> int:
        """1 for an adder, which a register follows; 0 for an input, and for terms side by side."""
        return self._cycles[node]

    @cached_property
    def _cycles(self) -> list[int]:
        return [0] * self.columns + [int(bits > 0) for bits in self._adder_bits]

    @cached_property
    def _adder_bits(self) -> list[int]:
        return [self.adder_bits_of(adder) for adder in self.adders]

    @cached_property
    def adder_bits(self) -> int:
        """Look-up tables of all carry chains."""
        return sum(self._adder_bits)

    # -- time ------------------------------------------------------------------------------------------

    @cached_property
    def latency(self) -> int:
        """Cycles from the inputs to all rows."""
        return max(self._earliest, default=0)

    @cached_property
    def _earliest(self) -> list[int]:
        times = [0] * self.columns
        for node, adder in enumerate(self.adders, self.columns):
            times.append(max(times[adder.left], times[adder.right]) + self.cycles_of(node))
        return times

    @cached_property
    def _latest(self) -> list[int]:
        times = [self.latency] * (self.columns + len(self.adders))
        for node, adder in reversed(list(enumerate(self.adders, self.columns))):
            wanted = times[node] - self.cycles_of(node)
            for term in (adder.left, adder.right):
                times[term] = min(times[term], wanted)
        return [0] * self.columns + times[self.columns :]

    @cached_property
    def times(self) -> tuple[int, ...]:
        """Cycle in which each node's value is there, so that few registers are needed."""
        late, early = self._settled(list(self._latest)), self._settled(list(self._earliest))
        return tuple(late if self._registers(late) <= self._registers(early) else early)

    def _settled(self, times: list[int]) -> list[int]:
        """Move node by node to where it takes the fewest registers, as long as any does."""
        cycles, readers = self._cycles, self._readers
        ends = {row[0] for row in self.rows if row is not None}
        widths = [self.format(node).width for node in range(len(times))]

        def starts(node: int, without: int = -1) -> list[int]:
            """When a node's value is wanted, but for one reader."""
            wanted = [times[reader] - cycles[reader] for reader in readers[node] if reader != without]
            return [*wanted, self.latency] if node in ends else wanted

        def settle(node: int, terms: set[int]) -> int:
            low = max(times[term] for term in terms) + cycles[node]
            wanted, old = starts(node), times[node]
            # What the terms are held for, as far as others want them.
            others = [(widths[term], max(starts(term, node), default=0)) for term in terms]
            last, own = max(wanted), widths[node]

            def price(time: int) -> tuple[int, int]:
                held = own * (last - time) + sum(width * max(other, time - cycles[node]) for width, other in others)
                return held, abs(time - old)

            return min(range(low, min(wanted) + 1), key=price)

        changed = True
        while changed:
            changed = False
            for node, adder in enumerate(self.adders, self.columns):
                best = settle(node, {adder.left, adder.right})
                changed |= best != times[node]
                times[node] = best
        return times

    @cached_property
    def _readers(self) -> list[list[int]]:
        readers: list[list[int]] = [[] for _ in range(self.columns + len(self.adders))]
        for node, adder in enumerate(self.adders, self.columns):
            for term in {adder.left, adder.right}:
                readers[term].append(node)
        return readers

    @cached_property
    def register_bits(self) -> int:
        """Registers behind adders, and those that delay values until they are wanted."""
        return self._registers(self.times)

    def _registers(self, times: Sequence[int]) -> int:
        held = [0] * len(times)
        for node, adder in enumerate(self.adders, self.columns):
            start = times[node] - self.cycles_of(node)
            for term in (adder.left, adder.right):
                held[term] = max(held[term], start - times[term])
        for row in self.rows:
            if row is not None:
                held[row[0]] = max(held[row[0]], self.latency - times[row[0]])
        return sum(self.format(node).width * (cycles + self.cycles_of(node)) for node, cycles in enumerate(held))


def adder_bits(left: IntFormat, right: IntFormat, shift: int, signs: tuple[int, int], result: IntFormat) -> int:
    """Look-up tables of an adder. Below a right term that is added or subtracted, the left one passes by.

    Above the end of an unsigned term that is added, the chain carries on through the other one without them.
    """
    if signs[0] < 1:
        return result.width
    ends = [result.width]
    if signs[1] > 0:
        ends += [left.width] * (not left.signed) + [right.width + shift] * (not right.signed)
    return max(0, min(ends) - shift)
