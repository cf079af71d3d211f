"""The search for the adders of a constant matrix, with what rows have in common computed once.

Two ways are tried, and what takes least is kept. Both end with the terms that are left of a row in a tree.

- Patterns. Every element is written in canonical signed digits, so that a row is a sum of shifted, signed inputs. As
  long as a sum or difference of two terms at the same distance occurs more than once, in whatever rows, it is computed
  once and stands for its two terms from then on: the pattern that saves the most bits of adders first (R. Hartley,
  "Subexpression sharing in filters using canonic signed digit multipliers", IEEE TCAS-II, 1996).
- Graphs. Columns are taken in groups of a few; all different parts of rows that a group has are computed, most of them
  with one adder (:mod:`mixq.plan.column_graph`), and patterns are then looked for among these.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mixq.formats import IntFormat
from mixq.plan.adder_builder import AdderBuilder
from mixq.plan.column_graph import column_graph, most_columns
from mixq.plan.common_patterns import CommonPatterns
from mixq.plan.constant_matrix import ConstantMatrix, Term

IntArray = npt.NDArray[np.int64]

MOST_PAIRS = 250_000
"""Pairs of digits within rows that are searched for common ones in a few seconds; see :func:`digit_pairs`."""

_MOST_GRAPH_PAIRS = 50_000
_MOST_GRAPH_ROWS = 96
_LARGEST_GRAPH_ELEMENT = 15
"""What graphs are searched for: of more rows and larger elements the search takes long, and saves little."""

_REGISTER_PRICE = 1 / 16
"""Of a flip-flop in look-up tables: devices have two for each, and designs of packed DSPs leave most of them free."""


def digit_pairs(matrix: IntArray) -> int:
    """Pairs of digits that stand in the same row: what the time of the search grows with."""
    counts = np.array([sum(len(signed_digits(int(element))) for element in row) for row in matrix])
    return int((counts * (counts - 1) // 2).sum())


def signed_digits(value: int) -> list[tuple[int, int]]:
    """Shift and sign of the digits of the canonical signed form, no two adjacent.

    >>> signed_digits(7)
    [(0, -1), (3, 1)]
    """
    digits, shift, rest = [], 0, value
    while rest:
        if rest & 1:
            digit = 2 - (rest & 3)
            digits.append((shift, digit))
            rest -= digit
        rest >>= 1
        shift += 1
    return digits


def constant_matrix(matrix: npt.ArrayLike, inputs: IntFormat, *, interleaved: int = 1) -> ConstantMatrix:
    """The adders for a matrix (rows, columns) of integers, whose inputs all have one format; the same in every run.

    interleaved: every so many columns belong together, those of one pixel of several.

    Raises ValueError for anything but a matrix with a column.
    """
    elements = np.asarray(matrix, np.int64)
    if elements.ndim != 2 or not elements.shape[1]:
        raise ValueError(f"matrix must have two dimensions and a column, not shape {elements.shape!r}")
    return _searched(elements.tobytes(), elements.shape[1], inputs, interleaved)


@lru_cache(maxsize=64)
def _searched(elements: bytes, columns: int, inputs: IntFormat, interleaved: int) -> ConstantMatrix:
    # The planner asks for the sizes of what the generator builds later.
    matrix = np.frombuffer(elements, np.int64).reshape(-1, columns)
    digits: list[tuple[int, ...]] = [(column,) for column in range(columns)]
    found = [_built(matrix, inputs, groups) for groups in [digits, *_groupings(matrix, interleaved)]]
    return min(found, key=lambda one: one.adder_bits + _REGISTER_PRICE * one.register_bits)


def _groupings(matrix: IntArray, interleaved: int) -> list[list[tuple[int, ...]]]:
    """Groups of columns to try: as few as can be searched, and one more of each pixel's."""
    rows, columns = matrix.shape
    largest, of_pixel = int(np.abs(matrix).max(initial=0)), -(-columns // interleaved)
    if rows > _MOST_GRAPH_ROWS or largest > _LARGEST_GRAPH_ELEMENT or of_pixel < 2:
        return []
    if digit_pairs(matrix) > _MOST_GRAPH_PAIRS:
        return []
    fewest = -(-of_pixel // most_columns(largest))
    found = []
    for number in sorted({fewest, min(fewest + 1, of_pixel // 2)}):
        parts = [np.array_split(np.arange(first, columns, interleaved), number) for first in range(interleaved)]
        found.append([tuple(part.tolist()) for own in parts for part in own if len(part)])
    return found


def _built(matrix: IntArray, inputs: IntFormat, groups: list[tuple[int, ...]]) -> ConstantMatrix:
    """The adders with graphs of some groups of columns; groups of one column are digits."""
    builder = AdderBuilder(matrix.shape[1], inputs)
    rows: list[dict[Term, int]] = [{} for _ in matrix]
    largest = int(np.abs(matrix).max(initial=0))
    for columns in groups:
        part = matrix[:, list(columns)]
        if len(columns) == 1:
            for row, (element,) in zip(rows, part.tolist(), strict=True):
                row.update({(columns[0], shift): sign for shift, sign in signed_digits(element)})
            continue
        graph = column_graph(part, largest, inputs)
        nodes = list(columns)
        for step in graph.steps:
            nodes.append(builder.add(nodes[step.left], nodes[step.right], step.shift, 1, step.sign))
        for row, vector in zip(rows, part, strict=True):
            term = graph.term(vector)
            if term is not None:
                node, shift, sign = term
                row[nodes[node], shift] = sign
    CommonPatterns(builder, rows).share()
    builder.turn(rows)
    roots = [builder.tree(row) for row in rows]
    return builder.matrix(roots)
