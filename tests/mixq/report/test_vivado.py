"""Figures of Vivado's reports arrive in the JSON file, on the page and in the summary."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mixq.errors import UserError
from mixq.plan import Plan
from mixq.report import summary, write_html, write_vivado_report
from mixq.report.vivado import parse_timing, parse_utilization, vivado_report
from tests.mixq.report.builds import small_graph
from tests.mixq.report.vivado_texts import timing, utilization

_COUNTS = {"LUT": 12345, "FF": 23456, "DSP": 32, "BRAM_36K": 12.5, "URAM": 4}


def reports(build: Path) -> Path:
    folder = build / "vivado" / "reports"
    folder.mkdir(parents=True)
    text = utilization(lut="12345", ff="23456", dsp="32", bram="12.5", uram="4")
    (folder / "ooc_utilization.rpt").write_text(text)
    (folder / "ooc_timing.rpt").write_text(timing(wns="0.123", tns="0.000", failing="0", whs="0.011"))
    return folder


def test_counts_are_of_the_rows_of_whole_kinds() -> None:
    assert parse_utilization(utilization(lut="12345", ff="23456", dsp="32", bram="12.5", uram="4")) == _COUNTS


def test_a_device_of_the_7_series_has_other_names_and_no_ultra_ram() -> None:
    text = utilization(lut="100", ff="200", dsp="0", bram="0", uram=None, seventh=True)
    assert parse_utilization(text) == {"LUT": 100, "FF": 200, "DSP": 0, "BRAM_36K": 0.0, "URAM": 0}


@pytest.mark.parametrize("lost", ["CLB LUTs", "CLB Registers", "DSPs", "Block RAM Tile", "Used"])
def test_a_report_without_a_row_is_refused(lost: str) -> None:
    text = utilization(lut="12345", ff="23456", dsp="32", bram="12.5", uram="4")
    with pytest.raises(ValueError, match="it has no row"):
        parse_utilization(text.replace(lost, "other"))


@pytest.mark.parametrize(
    ("wns", "whs", "met"),
    [("0.123", "0.011", True), ("0.000", "0.000", True), ("-0.001", "0.5", False), ("0.1", "-0.002", False)],
)
def test_timing_is_met_where_no_slack_is_negative(wns: str, whs: str, met: bool) -> None:
    found = parse_timing(timing(wns=wns, tns="-1.5", failing="7", whs=whs, ths="-0.25"))
    assert found == {
        "wns_ns": float(wns),
        "tns_ns": -1.5,
        "failing_endpoints": 7,
        "whs_ns": float(whs),
        "ths_ns": -0.25,
        "met": met,
    }


def test_a_design_without_constraints_has_no_slack() -> None:
    found = parse_timing(timing(wns="NA", tns="NA", failing="NA", whs="NA", ths="NA"))
    assert found["wns_ns"] is None and found["failing_endpoints"] is None


@pytest.mark.parametrize(("old", "new"), [("WNS(ns)", "WNS"), ("0.123", "0.12a"), ("41234", "41 234")])
def test_another_table_of_timing_is_refused(old: str, new: str) -> None:
    with pytest.raises(ValueError):
        parse_timing(timing(wns="0.123", tns="0.000", failing="0", whs="0.011").replace(old, new))


def test_without_reports_there_is_no_file(build: Path) -> None:
    (build / "report").mkdir(exist_ok=True)
    (build / "report" / "vivado.json").write_text("{}")
    write_vivado_report(build)
    assert not (build / "report" / "vivado.json").exists()
    assert vivado_report(build) is None


def test_a_broken_report_is_named(build: Path) -> None:
    path = reports(build) / "ooc_timing.rpt"
    path.write_text("nothing\n")
    with pytest.raises(UserError, match="no report of Vivado's: it has no table") as error:
        vivado_report(build)
    assert str(path) in str(error.value)


def test_the_figures_are_in_the_file_on_the_page_and_in_the_summary(build: Path, planned: Plan) -> None:
    folder = reports(build)
    (folder / "utilization.rpt").write_text(utilization(lut="20001", ff="30001", dsp="32", bram="20", uram="4"))
    (folder / "timing.rpt").write_text(timing(wns="-0.250", tns="-12.5", failing="99", whs="0.010"))
    write_vivado_report(build)
    document = json.loads((build / "report" / "vivado.json").read_text())
    assert document["alone"]["resources"] == _COUNTS
    assert document["alone"]["timing"]["wns_ns"] == 0.123 and document["alone"]["timing"]["met"] is True
    assert document["design"]["timing"]["tns_ns"] == -12.5 and document["design"]["timing"]["met"] is False
    assert document["accelerator"] is None
    (line,) = [line for line in summary(build) if line.startswith("vivado")]
    assert line == (
        "vivado      32 DSPs, 12,345 LUTs, 23,456 FFs, 12.5 BRAM, 4 URAM; timing met, slack 0.123 ns "
        "(Vivado, accelerator, out of context)"
    )
    page = write_html(build).read_text()
    table = page[page.index("<h3>Vivado</h3>") :].partition("</table>")[0]
    for text in ("12,345", "20,001", "0.123", "-0.250", "-12.500", ">met<", ">not met<", "whole design"):
        assert text in table, text


def test_a_page_without_reports_of_vivado_has_no_table(tmp_path: Path) -> None:
    small_graph().save(tmp_path)
    (tmp_path / "report").mkdir()
    assert "<h3>Vivado</h3>" not in write_html(tmp_path).read_text()
