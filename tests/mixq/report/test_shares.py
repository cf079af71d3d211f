"""Shares of the board by layer."""

from __future__ import annotations

from pathlib import Path

from mixq.plan import Plan
from mixq.report.gather import gather
from mixq.report.rows import layer_rows, other_counts
from mixq.report.shares import layer_shares, totals
from tests.mixq.report.builds import BOARD, write_results


def test_lengths_are_those_of_the_largest_and_percents_of_the_board(build: Path, planned: Plan) -> None:
    counts = write_results(build, planned)
    data = gather(build)
    rows = layer_rows(data)
    whole = totals(data, BOARD)
    shares = dict(layer_shares(rows, other_counts(data, rows), whole, planned.shell))
    kinds = [own.key for own in whole if own.estimated or own.counted]
    assert kinds == ["LUT", "FF", "DSP", "BRAM_36K"]
    assert list(shares) == [*(row.name for row in rows), "shell"]
    lut = {name: cells[0] for name, cells in shares.items()}
    most = max(max(cell.estimated or 0, cell.counted or 0) for cell in lut.values())
    for row in rows:
        assert row.estimated is not None and row.counted is not None
        cell = lut[row.name]
        assert (cell.estimated, cell.counted) == (row.estimated.lut, row.counted["LUT"])
        assert cell.percent == 100 * row.counted["LUT"] / BOARD.resources.lut
        assert cell.counted_length == 100 * row.counted["LUT"] / most
    assert (lut["shell"].estimated, lut["shell"].counted) == (planned.shell.lut, counts["shell"]["LUT"])


def test_without_counts_the_estimate_is_shared(build: Path, planned: Plan) -> None:
    data = gather(build)
    rows = layer_rows(data)
    shares = dict(layer_shares(rows, {"shell": None}, totals(data, None), planned.shell))
    cell = shares["shell"][0]
    assert (cell.counted, cell.counted_length) == (None, 0)
    assert cell.percent == 100 * planned.shell.lut / planned.limits.lut
