"""What is tried: every operand once, random ones as they are meant to be, and that a wrong sum is told."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from mixq.packing import Product, trials
from mixq.packing.trials import direct_sums, operand_space, try_all, try_random
from tests.mixq.packing import cases
from tests.mixq.packing.cases import Array, small


def tiny(**change: object) -> Product:
    """Two 1-bit activations by two weights from -1 to 1, sums of up to two products."""
    sizes: dict[str, Any] = {"act_bits": 1, "taps": 1, "channels": 2, "stride": 6, "channel_stride": 3}
    return small(weights=(-1, 1), **sizes | change)


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[Array]:
    """Operands (operands, rows, products) of all that is compared."""
    found: list[Array] = []
    compare = trials._compare

    def record(product: Product, values: Array) -> str | None:
        found.append(values.copy())
        return compare(product, values)

    monkeypatch.setattr(trials, "_compare", record)
    return found


@pytest.mark.parametrize("block", [1, 4, 8, 1 << 13])
def test_every_operand_is_tried_once(tried: list[Array], monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(trials, "_BLOCK", block)
    found = tiny()
    assert found.accumulate_max == 3 and operand_space(found, 1) == 2 * 2 * 3 * 3
    found = tiny(channel_stride=2, stride=4)
    assert found.accumulate_max == 1
    assert try_all(found) == (36, None)
    rows = [tuple(row) for values in tried for row in values[:, :, 0].T.tolist()]
    assert sorted(rows) == sorted(product((-1, 0), (-1, 0), (-1, 0, 1), (-1, 0, 1)))


def test_every_depth_is_tried(tried: list[Array]) -> None:
    assert try_all(tiny()) == (36 + 36**2 + 36**3, None)
    deepest = np.concatenate([values for values in tried if values.shape[2] == 3], axis=1)
    rows = deepest.transpose(1, 0, 2).reshape(36**3, -1)
    assert len(np.unique(rows, axis=0)) == 36**3


def test_random_operands(tried: list[Array]) -> None:
    found = small()
    count, failed = try_random(found, 400_000, 3)
    assert failed is None and 400_000 <= count < 400_010
    assert count == sum(values.shape[1] * values.shape[2] for values in tried)
    depths = [values.shape[2] for values in tried]
    assert set(depths) == set(range(1, 10)) and depths.count(9) > len(depths) / 2
    for operand, (low, high) in enumerate([(-8, 7)] * 2 + [(-7, 7)] * 3):
        seen = np.concatenate([values[operand].ravel() for values in tried])
        values, counts = np.unique(seen, return_counts=True)
        assert values.tolist() == list(range(low, high + 1))
        assert counts[0] > 0.3 * len(seen) and counts[-1] > 0.3 * len(seen)
    constant = [values for values in tried if (values == values[:, :, :1]).all() and values.shape[2] == 9]
    assert len(constant) >= len(tried) // 4 - 1
    # Among them, sums at the bounds of the lanes.
    assert max(int(direct_sums(found, values).max()) for values in constant) == 9 * 2 * 56


def test_random_operands_are_the_same_for_the_same_seed(tried: list[Array]) -> None:
    for seed in (1, 1, 2):
        try_random(small(), 1000, seed)
    once, again, other = tried[:3] if len(tried) == 3 else tried[:: len(tried) // 3]
    assert np.array_equal(once, again) and not np.array_equal(once, other)


def test_tracked_sums_are_long(tried: list[Array]) -> None:
    found = small(pixels=4, stride=7, act_on_wide=True, residue_bits=2, tracked=True)
    assert try_random(found, 2_000_000, 0)[1] is None
    assert {values.shape[2] for values in tried} == {64, 200}


def test_deep_sums_reach_their_bounds(tried: list[Array]) -> None:
    found = small(pixels=1, taps=1, act_bits=8, weights=(-127, 127), stride=0)
    assert found.accumulate_max > 1 << 20
    try_random(found, 100_000, 0)
    assert {values.shape[2] for values in tried} >= {64, 4096}


def test_direct_sums_are_those_written_out() -> None:
    rng = np.random.default_rng(0)
    for found in cases.every_product()[::50]:
        weights = found.channels * found.taps
        values = rng.integers(-128, 128, (found.pixels + weights, 3, 5))
        x = np.moveaxis(values[: found.pixels], 0, -1)
        w = np.moveaxis(values[found.pixels :].reshape(found.channels, found.taps, 3, 5), (0, 1), (-2, -1))
        assert np.array_equal(direct_sums(found, values), cases.direct_sums(x, w))


def test_a_wrong_sum_is_told_with_its_operands(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(product: Product, activations: Array, weights: Array) -> Array:
        right = cases.direct_sums(activations, weights)
        right[..., 1, 1] += activations.min((-1, -2)) == 0
        return right

    monkeypatch.setattr(trials, "sums", wrong)
    count, failed = try_all(tiny(channel_stride=2, stride=4))
    assert failed == "lane (1, 1) reads 1, not 0, for activations [[0, 0]] and weights [[-1, -1]]"
    assert count == 36
    assert try_random(tiny(channel_stride=2, stride=4), 100, 0)[1] is not None
