"""Least sums of tables: against all values of all variables, whole tables at a time and a few entries at a time."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from mixq.plan import elimination
from mixq.plan.elimination import Factor, least, margin


@pytest.mark.parametrize("entries", [1, 7, 1 << 22])
def test_the_least_sum_is_that_of_all_values(entries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elimination, "_BLOCK", entries)
    random = np.random.default_rng(3)
    infinite = 0
    for _ in range(40):
        sizes = random.integers(1, 4, 5).tolist()
        factors = [Factor((at,), random.integers(0, 9, sizes[at]).astype(float)) for at in range(5)]
        for _ in range(4):
            names = tuple(sorted(random.choice(5, int(random.integers(2, 4)), replace=False).tolist()))
            table = random.integers(0, 9, [sizes[name] for name in names]).astype(float)
            table[random.random(table.shape) < 0.2] = np.inf
            factors.append(Factor(names, table))
        sums = np.full(sizes, np.inf)
        for values in product(*(range(size) for size in sizes)):
            sums[values] = sum(factor.table[tuple(values[name] for name in factor.variables)] for factor in factors)
        found = least(factors)
        assert np.array_equal(margin(factors, (1, 3), (sizes[1], sizes[3])), sums.min((0, 2, 4)))
        if found is None:
            infinite += 1
            assert not np.isfinite(sums).any()
            continue
        assert found.value == sums.min()
        assert sums[tuple(found.values[name] for name in range(5))] == found.value
    assert 0 < infinite < 40
