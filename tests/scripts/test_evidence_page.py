"""The page of the comparison of searches, from made-up logs, and its statistics against tables."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from math import sqrt
from pathlib import Path

import pytest

from scripts.evidence_page import all_pairs, all_trained, missing, page
from scripts.evidence_picture import picture
from scripts.evidence_protocol import Record, earlier, units
from scripts.evidence_statistics import interval, quantile, spread
from scripts.search_evidence import main
from tests.scripts.evidence_logs import POINTS, SCALE, made_up, place_of

# 0.975 quantiles of Student's t, from the printed tables.
TABLE = {1: 12.706, 2: 4.303, 5: 2.571, 8: 2.306, 17: 2.110, 30: 2.042}


@pytest.fixture
def log(tmp_path: Path) -> dict[str, Record]:
    """All that the protocol asks for, made up."""
    found: dict[str, Record] = {"protocol": {"key": "protocol"}}
    for _ in range(3):
        for stage in units(SCALE, found):
            found |= {unit.key: made_up(SCALE, unit, place_of(tmp_path)) for unit in stage}
    return found


@pytest.mark.parametrize(("freedom", "expected"), TABLE.items())
def test_quantiles_are_those_of_the_tables(freedom: int, expected: float) -> None:
    assert round(quantile(freedom), 3) == expected


def test_the_interval_is_the_formula() -> None:
    found = interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0])
    # The variance of 1..n is n (n + 1) / 12.
    half = 2.306 * sqrt(9 * 10 / 12) / 3
    assert (found.mean, found.count) == (5.0, 9)
    assert found.deviation == pytest.approx(sqrt(7.5))
    assert (found.low, found.high) == pytest.approx((5 - half, 5 + half), abs=1e-3)


def test_a_single_value_has_neither_interval_nor_spread() -> None:
    assert spread([1.0]) is None
    with pytest.raises(ValueError, match=r"^differences must be two or more, not \[1.0\]$"):
        interval([1.0])


def test_pairs_are_joined(log: dict[str, Record]) -> None:
    pairs = all_pairs(SCALE, log)
    assert [round(pair.points, 6) for pair in pairs] == list(POINTS)
    assert {(pair.quantizer, pair.seed, pair.decay) for pair in pairs} == {
        (quantizer, seed, decay) for quantizer in ("hwgq", "lsq") for seed in range(3) for decay in (3e-5, 1e-4, 3e-4)
    }
    assert all(pair.own_cycles == pair.published_cycles - 1 for pair in pairs)
    assert len(all_trained(SCALE, log)) == 2 * 18 + 2 * 2


def test_the_page_says_what_the_log_holds(log: dict[str, Record]) -> None:
    text = "\n".join(page(SCALE, log))
    assert text == "\n".join(page(SCALE, dict(reversed(log.items())))), "the order of the log must not matter"
    assert "not complete" not in text
    assert "comparable among themselves, not with published ones" in text
    assert "small scale" in text
    # -0.4 to 0.4, 0.5 to 1.3, and all of them: n equal steps of 0.1 have the variance n (n + 1) / 1200.
    for name, count, mean in (("`hwgq`", 9, 0.0), ("`lsq`", 9, 0.9), ("both", 18, 0.45)):
        deviation = sqrt(count * (count + 1) / 12) / 10
        half = TABLE[count - 1] * deviation / sqrt(count)
        (row,) = re.findall(rf"^\|[^|]*{name}[^|]* \| {count} \|(.*)\|$", text, re.MULTILINE)
        stated = [float(cell) for part in row.split("|") for cell in part.split(" to ")]
        assert stated == pytest.approx([mean, mean - half, mean + half, deviation], abs=0.0051)
    # Cycles of decay 1e-4 are 7000, 7001 and 7002, one less for ours; accuracies there -0.3, 0.0 and 0.3 points.
    assert "| EdMIPS, decay 1e-4 | hwgq | 3 | 60.00 ± 0.00 % | 7,001 ± 1 |" in text
    assert "| MixQ, cycles of decay 1e-4 | hwgq | 3 | 60.00 ± 0.30 % | 7,000 ± 1 |" in text
    assert "| uniform, 4 bits | lsq | 1 | 60.00 % | 4,000 |" in text
    assert "| fixed steps (`hwgq`) | 100 | 0.30 | 0.60 | 0.20 |" in text


def test_attempts_are_told_apart(log: dict[str, Record]) -> None:
    (first,) = earlier(replace(SCALE, attempt=2))
    assert "## Attempts" not in "\n".join(page(first, log))
    fewer = {key: record for key, record in log.items() if key != "edmips/hwgq/s0/d3e-05"}
    text = "\n".join(page(replace(SCALE, attempt=2), log, [(first, fewer)]))
    rows = re.findall(r"^\| ([12]) \| both \| (\d+) \|", text, re.MULTILINE)
    assert rows == [("1", "17"), ("2", "18")]
    assert all(f"\n{number}. " in "\n" + text for number in (1, 2))
    assert "learning rate 0.1 in" in "\n".join(page(first, log))
    assert f"learning rate 0.03 in\n  searches (epochs: {SCALE.search_epochs}, behind a rise of 20 steps)" in text


def test_an_incomplete_log_says_what_is_missing(log: dict[str, Record]) -> None:
    assert missing(SCALE, log) == ""
    del log["ours/lsq/s2"], log["plan/b4"], log["edmips/hwgq/s0/d3e-05"]
    assert missing(SCALE, log).startswith("1 of 18 searches of EdMIPS, 1 of 6 searches of MixQ, 1 plan")
    text = "\n".join(page(SCALE, log))
    assert "**The run is not complete; there lack: 1 of 18 searches of EdMIPS, 1 of 6" in text
    assert "| both | 14 |" in text
    for key in [key for key in log if key.startswith("training/")]:
        del log[key]
    assert "searches of the" not in missing(SCALE, log)
    assert "interval" not in "\n".join(page(SCALE, log))


def test_an_empty_log_makes_a_page() -> None:
    text = "\n".join(page(SCALE, {}))
    assert "18 of 18 searches of EdMIPS, 6 of 6 searches of MixQ" in text
    assert "Nothing was run yet." in text
    ElementTree.fromstring(picture([]))


def test_the_picture_shows_every_network(log: dict[str, Record]) -> None:
    trained = all_trained(SCALE, log)
    drawing = ElementTree.fromstring(picture(trained))
    circles = [element for element in drawing.iter() if element.tag.endswith("circle")]
    assert len(circles) == 3 + len(trained)
    box = [float(value) for value in drawing.get("viewBox", "").split()]
    for circle in circles:
        assert 0 <= float(circle.get("cx", "-1")) <= box[2] and 0 <= float(circle.get("cy", "-1")) <= box[3]


def test_the_page_in_the_repository_is_current(root: Path, tmp_path: Path) -> None:
    logs = [path for path in (root / "scripts" / "data").glob("search_evidence_*.jsonl") if "smoke" not in path.name]
    assert (root / "docs" / "search.md").is_file() == bool(logs), "a page needs a log, and a log its page"
    if logs:
        assert main(["page", "--docs", str(tmp_path)]) == 0
        for name in ("search.md", "search.svg"):
            assert (tmp_path / name).read_text() == (root / "docs" / name).read_text(), (
                "renew it with: python -m scripts.search_evidence page"
            )
