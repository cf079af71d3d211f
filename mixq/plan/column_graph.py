"""Adders for many small vectors over the same few inputs, each from two that there are already.

Where a matrix has many rows of few columns with small elements, there are not many more vectors than rows: with a few
dozen of them at hand, nearly every other one is a sum or difference of two of these, shifted. So most vectors take one
adder each, whatever number of digits they have. This is the search of multiple constant multiplication by adder graphs
(Y. Voronenko and M. Pueschel, "Multiplierless multiple constant multiplication", ACM TALG, 2007), for vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mixq.formats import IntFormat

IntArray = npt.NDArray[np.int64]

_KEY_BITS = 62
_MOST_VECTORS = 100_000
"""Vectors that there can be, up to which a group of columns is searched: among more, few are one adder apart."""

_LEVEL_PRICE = 2
"""Of a level of adders above the inputs, in bits of an adder: all that is added to it waits in registers."""


@dataclass(frozen=True)
class Step:
    """A node: left + sign * (right << shift), of inputs and steps before it, by number; the inputs come first."""

    left: int
    right: int
    shift: int
    sign: int


@dataclass(frozen=True)
class ColumnGraph:
    """The steps of a search, and where its targets are.

    places: node and sign of each key, the number that stands for a vector and its negative; see :class:`_Keys`.
    """

    columns: int
    largest: int
    steps: tuple[Step, ...]
    places: dict[int, tuple[int, int]]

    def term(self, vector: IntArray) -> tuple[int, int, int] | None:
        """Node, shift and sign of a vector (columns,) that was a target; None for zeros."""
        keys = _Keys(self.columns, self.largest)
        key = keys.of(vector)
        if not key:
            return None
        reduced = int(keys.reduced(np.array([key]))[0])
        node, sign = self.places[reduced]
        return node, (abs(key) // reduced).bit_length() - 1, sign if key > 0 else -sign


def most_columns(largest: int) -> int:
    """Columns up to which vectors of elements from -largest to largest are searched."""
    found = 1
    while (2 * largest + 1) ** (found + 1) <= _MOST_VECTORS and _Keys(found + 1, largest).fit:
        found += 1
    return found


def column_graph(targets: IntArray, largest: int, inputs: IntFormat) -> ColumnGraph:
    """Steps to all targets (rows, columns), up to shifts and signs; the same in every run.

    largest: of the elements, by magnitude. inputs: format of every input, which tells the adders' widths.
    """
    columns = targets.shape[1]
    keys = _Keys(columns, largest)
    found = keys.reduced(targets @ keys.weights)
    return _searched(columns, largest, inputs, tuple(np.unique(found[found > 0]).tolist()))


@lru_cache(maxsize=256)
def _searched(columns: int, largest: int, inputs: IntFormat, wanted: tuple[int, ...]) -> ColumnGraph:
    # Pixels of one cycle meet the same weights: their searches are the same.
    search = _Search(_Keys(columns, largest), inputs, wanted)
    search.run()
    return ColumnGraph(columns, largest, tuple(search.steps), search.places)


class _Keys:
    """Vectors as integers: the sum of elements times powers of two so far apart that none meets its neighbour.

    Sums, differences and shifts of vectors are those of their keys, and the sign of a key that of its last element.
    """

    def __init__(self, columns: int, largest: int) -> None:
        self.columns = columns
        self.shifts = max(1, largest.bit_length())
        self.limit = 2 * (1 << largest.bit_length()) - 1
        """Elements of nodes are at most this: somewhat larger than those of targets may be on the way to them."""
        self._bits = ((self.limit << self.shifts) + self.limit).bit_length() + 1
        self.fit = self._bits * columns <= _KEY_BITS
        self.weights = np.array([1 << (self._bits * column) for column in range(columns if self.fit else 1)], np.int64)
        self._lowest = int(self.weights.sum())
        self._middle = self._lowest << (self._bits - 1)

    def of(self, vector: IntArray) -> int:
        """Key of a vector."""
        return int(vector @ self.weights)

    def vectors(self, keys: IntArray) -> IntArray:
        """Vectors (..., columns) of keys."""
        fields = (keys + self._middle)[..., None] >> (self._bits * np.arange(self.columns))
        vectors: IntArray = (fields & ((1 << self._bits) - 1)) - (1 << (self._bits - 1))
        return vectors

    def even(self, keys: IntArray) -> npt.NDArray[np.bool_]:
        """Whether all elements are even."""
        even: npt.NDArray[np.bool_] = ((keys + self._middle) & self._lowest) == 0
        return even

    def reduced(self, keys: IntArray) -> IntArray:
        """Keys of the vectors without common factors of two and without their sign."""
        keys = np.abs(keys)
        while (even := self.even(keys) & (keys != 0)).any():
            keys[even] >>= 1
        return keys

    def digits(self, keys: IntArray) -> IntArray:
        """Digits of canonical signed form: the ones of 3 x ^ x."""
        vectors = np.abs(self.vectors(keys))
        ones = np.bitwise_count((3 * vectors) ^ vectors)
        total: IntArray = ones.sum(-1, dtype=np.int64)
        return total


class _Search:
    """Nodes so far, and what one more adder would make of them."""

    def __init__(self, keys: _Keys, inputs: IntFormat, wanted: tuple[int, ...]) -> None:
        self._keys, self._inputs = keys, inputs
        self.steps: list[Step] = []
        self.places = {int(key): (column, 1) for column, key in enumerate(keys.weights)}
        self._nodes = list(self.places)
        self._depths = dict.fromkeys(self._nodes, 0)
        self._wanted = [key for key in wanted if key not in self.places]
        # Key -> price of the adder, its depth, keys of left and right, shift and sign.
        self._next: dict[int, tuple[int, int, int, int, int, int]] = {}
        for count, node in enumerate(self._nodes, 1):
            self._extend(node, self._nodes[:count])

    def run(self) -> None:
        """Take targets one adder away, the narrowest first; where there are none, what brings most of them there."""
        while self._wanted:
            near = [(self._next[key][:2], key) for key in self._wanted if key in self._next]
            self._take(min(near)[1] if near else self._between() or self._towards())

    def _take(self, key: int) -> None:
        _, depth, left, right, shift, sign = self._next[key]
        (left_node, left_sign), (right_node, right_sign) = self.places[left], self.places[right]
        turned = left_sign if left + sign * (right << shift) > 0 else -left_sign
        self.places[key] = (self._keys.columns + len(self.steps), turned)
        self.steps.append(Step(left_node, right_node, shift, sign * left_sign * right_sign))
        self._depths[key] = depth
        self._nodes.append(key)
        self._wanted = [other for other in self._wanted if other != key]
        self._extend(key, self._nodes)

    def _extend(self, node: int, others: list[int]) -> None:
        """Note what a node makes with others, itself among them."""
        many, one = np.array(others, np.int64), np.full(len(others), node, np.int64)
        for shift in range(self._keys.shifts + 1):
            for left, right in ((one, many), (many, one)) if shift else ((one, many),):
                for sign in (1, -1):
                    self._note(left, right, shift, sign)

    def _note(self, left: IntArray, right: IntArray, shift: int, sign: int) -> None:
        keys = left + sign * (right << shift)
        vectors = self._keys.vectors(keys)
        fit = (np.abs(vectors).max(-1) <= self._keys.limit) & ~self._keys.even(keys)
        ends = vectors[fit] * self._inputs.low, vectors[fit] * self._inputs.high
        bits = _widths(np.minimum(*ends).sum(-1), np.maximum(*ends).sum(-1)) - shift
        for key, width, one, other in zip(
            np.abs(keys[fit]).tolist(), bits.tolist(), left[fit].tolist(), right[fit].tolist(), strict=True
        ):
            if key not in self.places:
                depth = max(self._depths[one], self._depths[other]) + 1
                cost = width + _LEVEL_PRICE * depth, depth
                if key not in self._next or cost < self._next[key][:2]:
                    self._next[key] = (*cost, one, other, shift, sign)

    def _between(self) -> int | None:
        """The node one adder away from which the most targets would be one adder away, the narrowest of several."""
        wanted, nodes = np.array(self._wanted, np.int64), np.array(self._nodes, np.int64)
        sides = [
            wanted[:, None] + sign * (nodes << shift) for shift in range(self._keys.shifts + 1) for sign in (1, -1)
        ]
        missing = np.sort(self._keys.reduced(np.concatenate(sides, 1)), 1)
        first = np.ones(missing.shape, bool)
        first[:, 1:] = missing[:, 1:] != missing[:, :-1]
        keys, counts = np.unique(missing[first], return_counts=True)
        known = [
            (-count, self._next[key][:2], key)
            for key, count in zip(keys.tolist(), counts.tolist(), strict=True)
            if key in self._next and key not in self.places
        ]
        return min(known)[2] if known else None

    def _towards(self) -> int:
        """The node one adder away that, as one term of each target, saves the most digits of all of them."""
        wanted = np.array(self._wanted, np.int64)
        nodes = np.array([key for key in self._next if key not in self.places], np.int64)
        before, saved = self._keys.digits(wanted), np.zeros((len(nodes), len(wanted)), np.int64)
        for shift in range(self._keys.shifts + 1):
            for sign in (1, -1):
                left = self._keys.digits(wanted + sign * (nodes[:, None] << shift))
                saved = np.maximum(saved, before - 1 - left)
        totals = saved.sum(1).tolist()
        return min((-total, self._next[key][:2], key) for total, key in zip(totals, nodes.tolist(), strict=True))[2]


def _widths(low: IntArray, high: IntArray) -> IntArray:
    """Bits of the narrowest formats for ranges."""
    signed = low < 0
    # The exponent of frexp is a whole number's bit length.
    reach = np.where(signed, np.maximum(high, ~low), high)
    return np.frexp(reach.astype(np.float64))[1].astype(np.int64) + signed
