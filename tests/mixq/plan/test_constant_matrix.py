"""The adders of constant matrices: products, exact ranges, times and counts."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from mixq.formats import IntFormat
from mixq.plan import column_graph as column_graph_module
from mixq.plan import matrix_search
from mixq.plan.column_graph import column_graph, most_columns
from mixq.plan.constant_matrix import ConstantMatrix
from mixq.plan.matrix_search import constant_matrix, digit_pairs, signed_digits

U8, S4 = IntFormat(8, False), IntFormat(4, True)


def matrix_of(name: str) -> np.ndarray:
    rng = np.random.default_rng(5)
    return {
        "random": rng.integers(-7, 8, (24, 6)),
        "wide": rng.integers(-128, 128, (6, 5)),
        "signs": rng.choice([-1, 1], (16, 9)),
        "sparse": rng.integers(-7, 8, (20, 8)) * (rng.random((20, 8)) < 0.2),
        "lowest": np.full((3, 4), -128),
        "highest": np.full((3, 4), 127),
        "negative": -rng.integers(1, 8, (9, 3)),
        "one": np.array([[-1]]),
        "zeros": np.zeros((2, 3), np.int64),
        "same": np.array([[3, 5, 7]] * 4 + [[-6, -10, -14]]),
    }[name]


MATRICES = ("random", "wide", "signs", "sparse", "lowest", "highest", "negative", "one", "zeros", "same")


def extremes(found: ConstantMatrix, inputs: IntFormat) -> np.ndarray:
    """Every vector of lowest and highest codes."""
    bits = np.arange(1 << found.columns)[:, None] >> np.arange(found.columns) & 1
    return np.where(bits, inputs.high, inputs.low)


@pytest.mark.parametrize("inputs", [U8, S4], ids=["U8", "S4"])
@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("interleaved", [1, 2])
def test_equals_the_product(name: str, inputs: IntFormat, interleaved: int) -> None:
    matrix = matrix_of(name)
    found = constant_matrix(matrix, inputs, interleaved=interleaved)
    rng = np.random.default_rng(6)
    vectors = np.concatenate([extremes(found, inputs), rng.integers(inputs.low, inputs.high + 1, (99, found.columns))])
    assert np.array_equal(found.compute(vectors), vectors @ matrix.T)


@pytest.mark.parametrize("name", MATRICES)
def test_ranges_are_exact(name: str) -> None:
    # A linear form takes its least and its greatest value where every input is at an end of its range.
    found = constant_matrix(matrix_of(name), S4)
    values = list(extremes(found, S4).T)
    for adder in found.adders:
        values.append(adder.left_sign * values[adder.left] + adder.right_sign * (values[adder.right] << adder.shift))
        assert (adder.format.low, adder.format.high) == (values[-1].min(), values[-1].max())
        width = IntFormat.for_range(int(values[-1].min()), int(values[-1].max())).width
        assert adder.format.width == width
        assert {adder.left_sign, adder.right_sign} <= {1, -1} or (adder.left_sign, adder.right_sign) == (0, -1)
        assert (adder.left_sign, adder.right_sign) != (-1, -1)


@pytest.mark.parametrize("name", MATRICES)
def test_times_leave_every_adder_its_cycle(name: str) -> None:
    found = constant_matrix(matrix_of(name), U8)
    assert found.times[: found.columns] == (0,) * found.columns
    for node, adder in enumerate(found.adders, found.columns):
        assert max(found.times[adder.left], found.times[adder.right]) + found.cycles_of(node) <= found.times[node]
    assert all(found.times[row[0]] <= found.latency for row in found.rows if row is not None)


def test_every_adder_is_needed() -> None:
    found = constant_matrix(matrix_of("random"), U8)
    read = {node for adder in found.adders for node in (adder.left, adder.right)}
    read |= {row[0] for row in found.rows if row is not None}
    assert set(range(found.columns, found.columns + len(found.adders))) <= read


def test_the_same_in_every_run() -> None:
    first = constant_matrix(matrix_of("random"), U8)
    matrix_search._searched.cache_clear()
    column_graph_module._searched.cache_clear()
    again = constant_matrix(matrix_of("random"), U8)
    assert again is not first and again == first


def test_what_rows_have_in_common_is_added_once() -> None:
    # 3 x, 5 x and 7 x take an adder each, and so do both sums; multiples of a row by powers of two and signs are free
    # but for the sign.
    one = constant_matrix([[3, 5, 7]], U8)
    assert len(one.adders) <= 5
    assert len(constant_matrix([[3, 5, 7], [6, 10, 14], [12, 20, 28]], U8).adders) == len(one.adders)


def test_counts_of_an_adder() -> None:
    # x + y, of 8 bits each: a chain of 9, the last of them its carry alone; x + 4 y: the two lowest bits are x's.
    assert constant_matrix([[1, 1]], U8).adder_bits == 8
    shifted = constant_matrix([[1, 4]], U8)
    assert (shifted.adders[0].shift, shifted.adders[0].format.width, shifted.adder_bits) == (2, 11, 6)
    # 1020 - ... 255: eleven bits with the sign; the lowest two of x - 4 y are x's.
    assert constant_matrix([[1, -4]], U8).adder_bits == 9
    # Side by side: x + 256 y takes nothing and no cycle.
    joined = constant_matrix([[1, 256]], U8)
    assert (joined.adder_bits, joined.register_bits, joined.latency) == (0, 0, 0)


def test_a_row_of_subtrahends_alone_is_turned_around() -> None:
    # y - x rather than -(x - y): no adder negates.
    found = constant_matrix([[-3]], U8)
    assert [(adder.left_sign, adder.right_sign) for adder in found.adders] == [(1, -1)]


def test_fewer_adders_than_digits() -> None:
    # 48 rows of 3 columns, as the kernel rows of a first layer: patterns alone leave more.
    matrix = np.random.default_rng(0).integers(-7, 8, (48, 3))
    graph = column_graph(matrix, 7, U8)
    digits = sum(len(signed_digits(int(element))) for element in matrix.flat)
    distinct = {tuple(row) for row in matrix.tolist()}
    assert len(graph.steps) < len(distinct) * 1.3 < digits - len(matrix)


@pytest.mark.parametrize("largest, columns", [(1, 5), (7, 3), (7, 4), (31, 2)])
def test_a_graph_reaches_every_target(largest: int, columns: int) -> None:
    rng = np.random.default_rng(largest)
    targets = rng.integers(-largest, largest + 1, (30, columns))
    targets[0], targets[1] = largest, 0
    graph = column_graph(targets, largest, U8)
    values = list(np.eye(columns, dtype=np.int64))
    for step in graph.steps:
        values.append(values[step.left] + step.sign * (values[step.right] << step.shift))
    for target in targets:
        term = graph.term(target)
        if not target.any():
            assert term is None
            continue
        assert term is not None
        node, shift, sign = term
        assert np.array_equal(sign * (values[node] << shift), target)


def test_wide_elements_are_no_graph() -> None:
    assert [most_columns(largest) for largest in (1, 7, 127)] == [10, 4, 2]


def test_digits() -> None:
    for value in range(-130, 131):
        digits = signed_digits(value)
        assert sum(sign << shift for shift, sign in digits) == value
        assert all(later - earlier > 1 for (earlier, _), (later, _) in pairwise(digits))
    # Rows of 2, 0 and 3 digits.
    assert digit_pairs(np.array([[7, 0], [0, 0], [5, 1]])) == 1 + 0 + 3


def test_refusals() -> None:
    for wrong in ([1, 2], np.zeros((2, 0))):
        with pytest.raises(ValueError, match="matrix must have two dimensions and a column, not shape"):
            constant_matrix(wrong, U8)
