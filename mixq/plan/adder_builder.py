"""Adders of a constant matrix as they are found, and the trees that are left of its rows."""

from __future__ import annotations

import heapq
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mixq.formats import IntFormat
from mixq.plan.constant_matrix import Adder, ConstantMatrix, Term, adder_bits

IntArray = npt.NDArray[np.int64]

Pattern = tuple[int, int, int, int]
"""Left node, right node, distance of their shifts and product of their signs; the right one is shifted further."""


class AdderBuilder:
    """Adders so far, with what each adds up to in terms of the inputs: exact ranges follow from that."""

    def __init__(self, columns: int, inputs: IntFormat) -> None:
        self.adders: list[Adder] = []
        self._columns, self._inputs = columns, inputs
        self._sums = list(np.eye(columns, dtype=np.int64))
        self._formats = [inputs] * columns
        self._depths = [0] * columns

    def _range(self, total: IntArray) -> IntFormat:
        ends = total * self._inputs.low, total * self._inputs.high
        return IntFormat.for_range(int(np.minimum(*ends).sum()), int(np.maximum(*ends).sum()))

    def bits(self, pattern: Pattern) -> int:
        """Bits of a pattern's carry chain: a better measure of what sharing saves than its look-up tables are."""
        left, right, shift, sign = pattern
        result = self._range(self._sums[left] + sign * (self._sums[right] << shift))
        if not adder_bits(self._formats[left], self._formats[right], shift, (1, sign), result):
            return 0
        return result.width - shift

    def add(self, left: int, right: int, shift: int, left_sign: int, right_sign: int) -> int:
        """One more adder; returns its node."""
        total = left_sign * self._sums[left] + right_sign * (self._sums[right] << shift)
        self._sums.append(total)
        self._formats.append(self._range(total))
        self._depths.append(max(self._depths[left], self._depths[right]) + 1)
        self.adders.append(Adder(left, right, shift, left_sign, right_sign, self._formats[-1]))
        return len(self._sums) - 1

    def turn(self, rows: list[dict[Term, int]]) -> None:
        """Give rows without a term to be added one, where a difference that only rows read can change sides."""
        read = {node for adder in self.adders for node in (adder.left, adder.right)}
        for row in rows:
            if any(sign > 0 for sign in row.values()):
                continue
            for node in sorted(
                {node for node, _ in row if self._is_difference(node) and node not in read}, key=self._shift
            ):
                own = [other for other in rows if any(term[0] == node for term in other)]
                after = [{term: -sign if term[0] == node else sign for term, sign in other.items()} for other in own]
                if all(any(sign > 0 for sign in other.values()) for other in after):
                    self._swap(node)
                    for other, turned in zip(own, after, strict=True):
                        other.update(turned)
                    break

    def _adder(self, node: int) -> Adder:
        return self.adders[node - self._columns]

    def _shift(self, node: int) -> tuple[int, int]:
        return self._adder(node).shift, node

    def _is_difference(self, node: int) -> bool:
        return node >= self._columns and self._adder(node).right_sign < 0 < self._adder(node).left_sign

    def _swap(self, node: int) -> None:
        self._sums[node] = -self._sums[node]
        self._formats[node] = self._range(self._sums[node])
        adder = self._adder(node)
        turned = replace(adder, left_sign=-1, right_sign=1, format=self._formats[node])
        self.adders[node - self._columns] = turned

    def tree(self, row: dict[Term, int]) -> Term | None:
        """Adds up the terms of a row, those that are there first and the narrowest before the others."""
        queue = [self._entry(node, shift, sign) for (node, shift), sign in row.items()]
        heapq.heapify(queue)
        while len(queue) > 1:
            one, other = heapq.heappop(queue), heapq.heappop(queue)
            (_, at, _, left, sign), (_, to, _, right, other_sign) = sorted((one, other), key=lambda entry: entry[1])
            if sign == other_sign:
                node = self.add(left, right, to - at, 1, 1)
                heapq.heappush(queue, self._entry(node, at, sign))
            else:
                # The difference that needs no carry below the right term, unless all that is left were negative.
                turned = sign < 0 and not any(entry[-1] > 0 for entry in queue)
                node = self.add(left, right, to - at, -1 if turned else 1, 1 if turned else -1)
                heapq.heappush(queue, self._entry(node, at, 1 if turned else sign))
        if not queue:
            return None
        _, shift, _, node, sign = queue[0]
        return (node if sign > 0 else self.add(node, node, 0, 0, -1)), shift

    def _entry(self, node: int, shift: int, sign: int) -> tuple[int, int, int, int, int]:
        return self._depths[node], shift, self._formats[node].width, node, sign

    def matrix(self, roots: list[Term | None]) -> ConstantMatrix:
        """The matrix of these rows, of the adders that they need."""
        needed = {root[0] for root in roots if root is not None}
        for node in range(len(self._sums) - 1, self._columns - 1, -1):
            if node in needed:
                needed |= {self._adder(node).left, self._adder(node).right}
        kept = [node for node in range(self._columns, len(self._sums)) if node in needed]
        places = {node: node for node in range(self._columns)}
        places |= {node: place for place, node in enumerate(kept, self._columns)}
        adders = tuple(
            replace(adder, left=places[adder.left], right=places[adder.right]) for adder in map(self._adder, kept)
        )
        rows = tuple(None if root is None else (places[root[0]], root[1]) for root in roots)
        return ConstantMatrix(self._columns, self._inputs, adders, rows)
