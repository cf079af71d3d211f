"""Sums of two terms that several rows of a constant matrix have in common."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable

from mixq.plan.adder_builder import AdderBuilder, Pattern
from mixq.plan.constant_matrix import Term


class CommonPatterns:
    """Replaces patterns in all rows, and keeps count of those that there still are."""

    def __init__(self, builder: AdderBuilder, rows: list[dict[Term, int]]) -> None:
        self._builder, self._rows = builder, rows
        self._counts: dict[Pattern, int] = defaultdict(int)
        self._bits: dict[Pattern, int] = {}
        self._rows_of: dict[int, set[int]] = defaultdict(set)
        self._queue: list[tuple[int, Pattern, int]] = []
        for number, row in enumerate(rows):
            terms = list(row.items())
            for at, (term, sign) in enumerate(terms):
                self._rows_of[term[0]].add(number)
                self._count(term, sign, terms[:at], 1)
        self._push(self._counts)

    def share(self) -> None:
        """Replace until no pattern occurs twice."""
        while self._queue:
            _, pattern, count = heapq.heappop(self._queue)
            if self._counts[pattern] != count:
                # Fewer are left than when it was queued, or it was queued again when there were more.
                self._push([pattern])
                continue
            found = self._occurrences(pattern)
            if len(found) > 1:
                left, right, shift, sign = pattern
                self._replace(self._builder.add(left, right, shift, 1, sign), found)

    def _count(self, term: Term, sign: int, others: Iterable[tuple[Term, int]], change: int) -> set[Pattern]:
        """Add to the counts of all patterns of a term with others of its row."""
        seen = set()
        for other, other_sign in others:
            pattern = _pattern(term, other, sign * other_sign)
            self._counts[pattern] += change
            seen.add(pattern)
        return seen

    def _push(self, patterns: Iterable[Pattern]) -> None:
        """Queue patterns by the bits that sharing them saves."""
        for pattern in patterns:
            count = self._counts[pattern]
            if count > 1:
                if pattern not in self._bits:
                    self._bits[pattern] = self._builder.bits(pattern)
                heapq.heappush(self._queue, ((1 - count) * self._bits[pattern], pattern, count))

    def _occurrences(self, pattern: Pattern) -> list[tuple[int, Term, Term]]:
        """Row and both terms of each, no term in two of them."""
        left, right, distance, sign = pattern
        found = []
        for number in sorted(self._rows_of[left] & self._rows_of[right]):
            row, used = self._rows[number], set[Term]()
            for one in sorted(term for term in row if term[0] == left):
                other = right, one[1] + distance
                if other in row and row[one] * row[other] == sign and not {one, other} & used:
                    used |= {one, other}
                    found.append((number, one, other))
        return found

    def _replace(self, node: int, found: list[tuple[int, Term, Term]]) -> None:
        changed: set[Pattern] = set()
        for number, one, other in found:
            row = self._rows[number]
            sign = row[one]
            for gone in (one, other):
                gone_sign = row.pop(gone)
                self._count(gone, gone_sign, row.items(), -1)
                if not any(term[0] == gone[0] for term in row):
                    self._rows_of[gone[0]].discard(number)
            new = node, one[1]
            changed |= self._count(new, sign, row.items(), 1)
            row[new] = sign
            self._rows_of[node].add(number)
        self._push(sorted(changed))


def _pattern(one: Term, other: Term, sign: int) -> Pattern:
    if (one[1], one[0]) > (other[1], other[0]):
        one, other = other, one
    return one[0], other[0], other[1] - one[1], sign
