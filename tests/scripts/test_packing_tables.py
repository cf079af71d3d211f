"""The page of packing densities is what the script prints, and the means that it states hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mixq.packing import solve
from scripts.packing_tables import DEEPBURNING_MIXQ_K33, cell, compared, mean, pages


def test_the_page_is_current(root: Path) -> None:
    assert (root / "docs/packing-tables.md").read_text() == "\n".join(pages()), (
        "renew it with: python scripts/packing_tables.py > docs/packing-tables.md"
    )


@pytest.mark.parametrize(("residue_bits", "least"), [(0, 1.13), (1, 1.30), (2, 1.50)])
def test_means_against_the_published_table(residue_bits: int, least: float, root: Path) -> None:
    product = 1.0
    for ratio in compared(residue_bits):
        product *= ratio
    assert product ** (1 / 49) >= least
    known = f"up to {residue_bits}" if residue_bits else "no"
    (stated,) = re.findall(rf"^\| {known} \| ([0-9.]+) \|", (root / "docs/packing-tables.md").read_text(), re.MULTILINE)
    assert float(stated) == round(product ** (1 / 49), 3)


def test_published_figures_are_all_there() -> None:
    assert [len(row) for row in DEEPBURNING_MIXQ_K33] == [7] * 7
    # Its own headline figures: 18 at w2 a2, 6 at w4 a4, 2 at w8 a8; more bits never pack denser.
    assert (DEEPBURNING_MIXQ_K33[0][0], DEEPBURNING_MIXQ_K33[2][2], DEEPBURNING_MIXQ_K33[6][6]) == (18, 6, 2)
    for row in (*DEEPBURNING_MIXQ_K33, *zip(*DEEPBURNING_MIXQ_K33, strict=True)):
        assert list(row) == sorted(row, reverse=True)


def test_cells_say_the_kind() -> None:
    assert cell(solve(8, 8)) == "3 pair"
    assert cell(solve(4, 4, residue_bits=2)) == "12 tracked"
    assert re.fullmatch(r"[0-9.]+ split", cell(solve(2, 8, residue_bits=2)))
    assert cell(solve(8, 8, kernel=1)) == "2"
    assert mean([2.0, 8.0]) == pytest.approx(4.0)
