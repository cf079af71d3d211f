from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mixq.drawing import draw_svg, sheets
from mixq.errors import UserError
from mixq.graph import Graph
from mixq.packing import Packing, solve
from mixq.plan import Plan
from mixq.report import write_html, write_json_reports
from mixq.report.html import packing_entries
from tests.mixq.report.builds import BOARD, small_graph, small_plan, write, write_results

VOID = {"meta", "br", "img", "link", "hr", "input"}
#: Elements that only SVG closes in themselves.
SELF_CLOSING = {"rect", "path", "line", "circle"}


class Page(HTMLParser):
    """Checks that every element is closed in order, and keeps tags, addresses and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        assert tag not in SELF_CLOSING, f"{tag} must close itself"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "data")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def page_of(build: Path, **arguments: object) -> tuple[str, Page]:
    path = write_html(build, **arguments)  # type: ignore[arg-type]
    assert path == build / "report" / "index.html"
    text = path.read_text(encoding="utf-8")
    return text, Page(text)


def table_row(text: str, name: str) -> list[str]:
    """Texts of the cells of the first table row that begins with ``name``; a smaller second line after a bar."""
    text = text.replace("\N{MULTIPLICATION SIGN}", "x").replace("\N{EN DASH}", "-")
    for row in re.findall(r"<tr[^>]*>(.*?)</tr>", text, flags=re.DOTALL):
        cells = re.findall(r"<td[^>]*>(.*?)</td>", row, flags=re.DOTALL)
        plain = [re.sub(r"<[^>]+>", "", re.sub(r"<small[^>]*>", "|", cell)) for cell in cells]
        plain = ["".join(" ".join(cell.split()).replace(" |", "|")) for cell in plain]
        if plain and plain[0].split("|")[0] == name:
            return plain
    raise AssertionError(f"no row of {name}")


def test_page_is_well_formed_and_needs_nothing_else(build: Path, planned: Plan) -> None:
    write_results(build, planned)
    text, page = page_of(build, board=BOARD)
    assert not {"script", "link", "iframe", "object", "embed", "base"} & set(page.tags)
    assert page.addresses
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    outside = re.sub(r'xmlns="http://www\.w3\.org/2000/svg"', "", text)
    assert not re.search(r"https?:|@import|url\(|//cdn", outside)
    assert {"svg", "table", "img", "style", "h1"} <= set(page.tags)
    assert str(build.parent) not in text


def test_headline_numbers_are_those_of_the_files(build: Path, planned: Plan) -> None:
    counts = write_results(build, planned)
    text, page = page_of(build)
    assert "97.22 %" in page.text
    assert "training model 97.50 %" in page.text
    assert f"{planned.fps:,.0f}" in page.text
    assert f"{planned.cycles:,} cycles a frame at 250 MHz, an assumption" in page.text
    assert "icarus: 0 in 20 frames; verilator: 0 in 50 frames" in page.text
    assert "46 of 14,745,600 codes" in page.text
    lut = table_row(text, "LUT")
    assert lut[1:4] == [f"{planned.resources.lut:,}", f"{counts['total']['LUT']:,}", "10,000"]
    dsp = table_row(text, "DSP")
    assert dsp[1:4] == [str(planned.resources.dsp), str(counts["total"]["DSP"]), "12"]
    assert dsp[4] == f"{-(-100 * planned.resources.dsp // 12)} %"


def test_layer_table_joins_estimate_and_count(build: Path, graph: Graph, planned: Plan) -> None:
    counts = write_results(build, planned)
    text, _ = page_of(build)
    layer, fused = planned.layer("conv3"), planned.layer("requantise4")
    assert fused.fused == "conv3"
    assert layer.folding is not None
    row = table_row(text, "conv3")
    estimated = layer.resources + fused.resources
    assert row[0] == "conv3|conv 3x3 + requantise4"
    assert row[1] == "8x4x4|u3"
    assert row[2] == "4 / 4"
    assert row[4] == f"{layer.folding.pe} x {layer.folding.simd} x {layer.folding.packing.pixels}"
    assert row[5].split("|")[0] == f"{max(layer.cycles, fused.cycles):,}"
    assert row[6] == f"{estimated.lut:,}|{counts['conv3']['LUT']:,}"
    assert row[7] == f"{estimated.ff:,}|{counts['conv3']['FF']:,}"
    assert row[8] == f"{estimated.dsp}|{counts['conv3']['DSP']}"
    assert row[9].endswith("|1.5")
    assert table_row(text, "shell")[2:4] == [f"{planned.shell.lut}|77", f"{planned.shell.ff}|88"]
    with pytest.raises(AssertionError, match="no row of requantise4"):
        table_row(text, "requantise4")


def test_multiplications_are_those_of_the_whole_frame(build: Path, planned: Plan) -> None:
    text, _ = page_of(build)
    for name, macs in (("conv0", 8 * 8 * 4 * 9), ("conv3", 4 * 4 * 8 * 4 * 9), ("dense5", 1280)):
        folding = planned.layer(name).folding
        assert folding is not None
        density = f"{folding.packing.density:.2f}"
        assert table_row(text, name)[10] == f"{macs / (folding.dsps * planned.cycles):.2f}|of {density}"
    assert len({planned.layer(name).cycles for name in ("conv0", "conv3", "dense5")}) > 1


def test_slowest_stages_alone_are_marked(build: Path, planned: Plan) -> None:
    text, page = page_of(build)
    marked = re.findall(r'<tr class="slowest">\s*<td class="text">(\w+)', text)
    slowest = [layer.name for layer in planned.layers if layer.cycles == planned.cycles and layer.fused is None]
    assert marked == slowest
    assert planned.bottleneck in marked
    assert f"{planned.cycles:,} cycles a frame; the others wait for" in page.text


def test_every_packing_is_drawn_once(build: Path, planned: Plan) -> None:
    text, _ = page_of(build)
    chosen = {layer.folding.packing for layer in planned.layers if layer.folding is not None}
    packings = {packing for packing in chosen if isinstance(packing, Packing)}
    assert len(packings) > 1
    assert text.count('<figure class="packing">') == len(packings)
    titles = [row.title for packing in packings for sheet in sheets(packing) for row in sheet.rows]
    for title in set(titles):
        assert text.count(f">{title}<") == titles.count(title)


def test_every_kind_of_packing_is_drawn() -> None:
    chosen = [solve(4, 4, residue_bits=2), solve(8, 8), solve(2, 8, residue_bits=2)]
    assert (chosen[0].tracked, chosen[1].product.pair, chosen[2].split) == (True, True, True)
    rows: Any = [SimpleNamespace(packing=packing, name=f"conv{i}") for i, packing in enumerate([*chosen, chosen[0]])]
    entries = packing_entries(rows)
    assert [entry["layers"] for entry in entries] == [["conv0", "conv3"], ["conv1"], ["conv2"]]
    assert [entry["svg"] for entry in entries] == [draw_svg(packing) for packing in chosen]
    assert len({entry["name"] for entry in entries}) == 3
    assert [entry["dsps"] for entry in entries] == [1, 2, chosen[2].dsps]


def test_mismatches_and_missed_rates_stand_out(build: Path, planned: Plan) -> None:
    write_results(build, planned, mismatches=3)
    run = {
        "simulator": "icarus",
        "frames": 20,
        "cycles_per_frame": planned.cycles + 1,
        "latency_cycles": 9,
        "mismatches": 3,
        "sim_seconds": 1.0,
    }
    write(build, "rtlsim_performance_icarus.json", run)
    text, _ = page_of(build)
    assert '<span class="big bad">6</span>' in text
    assert f'<td class="bad">{planned.cycles + 1:,}</td>' in text
    assert '<td class="bad">3</td>' in text


@pytest.mark.parametrize(("outside", "found"), [(0, "each by 1"), (2, "2 of them are further off")])
def test_unexplained_differences_stand_out(build: Path, outside: int, found: str) -> None:
    layers = {"conv0": {"outside_bound": outside}, "conv3": {"outside_bound": 0}}
    write(build, "conversion.json", {"codes": 10, "different": 3, "samples": 1, "layers": layers})
    _, page = page_of(build)
    assert found in page.text
    assert ("each by 1" in page.text) is (outside == 0)


def test_latency_is_said_where_it_is_known(build: Path, graph: Graph, planned: Plan) -> None:
    write_json_reports(build, graph, planned, latency_cycles=4321)
    assert "first output after 4,321 cycles" in page_of(build)[1].text
    write_json_reports(build, graph, planned)
    assert "first output after" not in page_of(build)[1].text


def test_a_plan_of_another_graph_is_refused(build: Path, planned: Plan) -> None:
    replace(planned, layers=planned.layers[1:]).save(build)
    with pytest.raises(UserError) as caught:
        write_html(build)
    path = build / "plan.yaml"
    command = f"mixq plan {build} --board test-board"
    assert str(caught.value) == f"{path} is the plan of another graph; plan again with: {command}"


def test_what_is_missing_is_left_out_with_the_command(tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    folder.mkdir()
    small_graph().save(folder)
    _, page = page_of(folder)
    assert "img" not in page.tags
    for command in ("test bare", "plan bare --board BOARD", "verify bare --simulator icarus"):
        assert f"mixq {command}" in page.text
    assert "Packings" not in page.text
    assert "Cycles per frame" not in page.text


def test_a_page_with_a_plan_does_not_plan_anew(build: Path) -> None:
    """Without the limits that it was made with, another plan would come out."""
    _, page = page_of(build)
    assert "mixq generate quick" in page.text
    assert "whose plan.yaml holds the plan and its limits" in page.text
    assert "mixq plan" not in page.text


def test_uncounted_cells_are_said_to_be(build: Path) -> None:
    _, page = page_of(build)
    assert "count the emitted Verilog's cells with mixq estimate quick" in page.text


def test_names_cannot_break_out_of_the_page(tmp_path: Path, planned: Plan) -> None:
    folder = tmp_path / "a<u>&c"
    folder.mkdir()
    small_graph().save(folder)
    planned.save(folder)
    write_results(folder, planned)
    write(
        folder,
        "accuracy.json",
        {"split": "<script>", "samples": 1, "metric": "\"'<u>", "value": None, "float_value": None},
    )
    _, page = page_of(folder)
    assert "script" not in page.tags
    assert "u" not in page.tags
    assert "a<u>&c" in page.text
    assert "<script> images" in page.text


def test_page_depends_on_the_folder_alone(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2])\n"
        "from mixq.report import write_html; write_html(Path(sys.argv[1]))"
    )
    pages = []
    graph = small_graph()
    planned = small_plan(graph)
    for seed in ("1", "2"):
        folder = tmp_path / seed / "quick"
        folder.mkdir(parents=True)
        graph.save(folder)
        planned.save(folder)
        write_results(folder, planned)
        root = Path(__file__).resolve().parents[3]
        subprocess.run(
            [sys.executable, "-c", code, str(folder), str(root)], check=True, env={"PYTHONHASHSEED": seed}, cwd=tmp_path
        )
        pages.append((folder / "report" / "index.html").read_bytes())
    assert pages[0] == pages[1]


def depth_document(**layers: dict[str, object]) -> dict[str, object]:
    """What ``mixq estimate`` writes of the depth of logic."""
    bound = {"lut_levels": 4, "carry_bits": 48, "block_bits": 4, "bits_per_level": 22, "clock_mhz": 300}
    return {"bound": bound, "layers": layers}


def depth_entry(levels: int, *, within: bool) -> dict[str, object]:
    """The deepest path of a layer, without a carry chain."""
    names = {"from": "first<&>", "to": "second.D"}
    return {"lut_levels": levels, "carry_chains": 0, "carry_bits": 0, "within": within, **names}


def test_depth_is_shown_with_the_clock_as_an_assumption(build: Path) -> None:
    assert "Logic between registers" not in Page(write_html(build).read_text()).text
    write(
        build, "logic_depth.json", depth_document(conv1=depth_entry(4, within=True), shell=depth_entry(2, within=True))
    )
    text = write_html(build).read_text()
    assert "Logic between registers" in Page(text).text
    assert "MHz is an assumption until a vendor tool confirms it" in Page(text).text
    assert "first<&>" in Page(text).text and "first<&>" not in text
    assert '<td class="text bad">no</td>' not in text
    write(build, "logic_depth.json", depth_document(conv1=depth_entry(5, within=False)))
    assert '<td class="text bad">no</td>' in write_html(build).read_text()


@pytest.mark.parametrize(
    ("name", "document", "message"),
    [
        ("accuracy.json", {"split": "test"}, "must be an object with the key 'samples'; remove it and run again"),
        ("accuracy.json", [], "must be an object with the key 'split'; remove it and run again"),
        ("synth_resources.json", {"total": {"LUT": 1}}, "must have LUT, FF, DSP, BRAM_36K, URAM for 'total'"),
        ("logic_depth.json", {"bound": {}}, "must be an object with the key 'layers'; remove it and run again"),
        ("logic_depth.json", {"bound": {}, "layers": {}}, "must have lut_levels, carry_bits, block_bits"),
        ("logic_depth.json", depth_document(conv1={}), "must have lut_levels, carry_chains, carry_bits, within, from"),
        ("samples.json", [{"pixels": [[1, 256]], "label": 0, "prediction": 0, "logits": []}], "must be a list of pix"),
        ("samples.json", [{"pixels": [[1], [1, 2]], "label": 0, "prediction": 0, "logits": []}], "must be a list of"),
        ("rtlsim_performance_icarus.json", {"frames": 1}, "must be an object with the key 'simulator'"),
    ],
)
def test_a_broken_file_is_named(build: Path, name: str, document: object, message: str) -> None:
    path = write(build, name, document)
    with pytest.raises(UserError) as caught:
        write_html(build)
    assert str(caught.value).startswith(f"{path} {message}")


def test_a_folder_without_a_graph_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        write_html(tmp_path)
    assert str(caught.value) == f"{tmp_path} is no build folder (it has no graph.json); make one with: mixq import"
