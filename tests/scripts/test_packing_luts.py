# amaranth: UnusedElaboratable=no
"""The page of look-up tables is in step with the code; and it, and the figures that matter most, with Yosys."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixq.board import Resources
from mixq.packing import RESIDUE_BITS, Packing
from scripts.packing_luts import INTRODUCTION, all_widths, in_detail, packings, stated
from scripts.packing_tables import SHOWN
from sim.packing_costs import (
    COLUMNS,
    CascadeCost,
    TrackedCost,
    cascade_costs,
    cascade_units,
    measure,
    tracked_cost,
    tracked_units,
    unit,
)

RENEW = "renew it with: python scripts/packing_luts.py > docs/packing-luts.md"


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs/packing-luts.md").read_text()


@pytest.fixture(scope="module")
def tracked() -> TrackedCost:
    return tracked_cost(measure(tracked_units()))


@pytest.fixture(scope="module")
def cascades() -> list[CascadeCost]:
    return cascade_costs(measure(cascade_units()))


def test_packings_and_estimates_are_current(page: str) -> None:
    counts = stated(page)
    assert set(counts) == {p for bits in RESIDUE_BITS for p in packings(bits).values()}
    assert page.startswith(INTRODUCTION), RENEW
    assert page.endswith("\n".join(all_widths(counts))), RENEW


def test_estimates_agree_with_the_counts(page: str) -> None:
    for line in page.splitlines():
        if line.startswith(("| LUT |", "| FF |")):
            name, error, highest, lowest = line.strip("| ").split(" | ")
            assert float(error.removesuffix(" %")) <= 10, name
            assert float(highest) <= 1.5 and float(lowest) >= 0.67, name


def test_counts_are_there_for_every_pair_of_widths(page: str) -> None:
    assert page.count("\n### ") == len(RESIDUE_BITS)
    for w in SHOWN:
        for a in SHOWN:
            assert page.count(f"\n| {w} | {a} | ") == len(RESIDUE_BITS)
    for packing, counts in stated(page).items():
        assert counts.dsp % packing.dsps == 0


@pytest.mark.slow
def test_twelve_multiplications_in_a_dsp_take_few_look_up_tables(tracked: TrackedCost) -> None:
    # 93 look-up tables in a DSP for residues, comparison and counters were written by hand before.
    assert (tracked.macs, tracked.bits) == (12, 8)
    assert 0 < tracked.dsp.lut <= 8 * 12
    assert tracked.reading_shared.lut < tracked.reading.lut


@pytest.mark.slow
def test_nine_products_summed_in_the_cascade_take_few_look_up_tables(cascades: list[CascadeCost]) -> None:
    assert [c.macs for c in cascades] == [columns * 9 * 6 for columns in COLUMNS]
    assert all(0 < c.own_per_multiplication <= 1.5 for c in cascades)
    # With the adders and delays that all chains share too, from eight chains on.
    assert all(c.per_multiplication <= 1.5 for c in cascades if c.columns >= 8)


@pytest.mark.slow
def test_the_page_states_what_yosys_counts(page: str, tracked: TrackedCost, cascades: list[CascadeCost]) -> None:
    assert "\n".join(in_detail(tracked, cascades)) in page, RENEW
    # Tracked, a pair, and single products with residues.
    chosen = [packings(2)[2, 4], packings(0)[4, 4], packings(1)[3, 2]]
    counted = measure({f"unit_{i}": unit(packing) for i, packing in enumerate(chosen)})
    counts: dict[Packing, Resources] = stated(page)
    assert list(counted.values()) == [counts[packing] for packing in chosen]


@pytest.mark.parametrize("name", ["a-b", ""])
def test_units_need_names(name: str) -> None:
    with pytest.raises(ValueError) as error:
        measure({name: unit(packings(0)[4, 4])})
    assert str(error.value) == f"units must be named by plain identifiers, not {name!r}"
