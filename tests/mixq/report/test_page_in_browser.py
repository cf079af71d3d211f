"""The page as a browser shows it: nothing sticks out at the width of a desk and of a telephone, nothing is fetched."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest

from mixq.plan import plan
from mixq.report import write_html
from tests.mixq.dags import every_node
from tests.mixq.report.browser import look_at
from tests.mixq.report.builds import BOARD, write, write_results


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a network with branches and everything that steps can leave behind."""
    folder = tmp_path_factory.mktemp("browser") / "branches"
    folder.mkdir()
    graph = every_node()
    planned = plan(graph, BOARD, residue_bits=0)
    graph.save(folder)
    planned.save(folder)
    write_results(folder, planned)
    stages = [
        {
            "name": layer.name,
            "node": layer.name,
            "intervals": [[7, 50, "waits"], [50, 180, "works"], [180, 207, "blocked"]],
        }
        for layer in planned.layers
    ]
    write(folder, "activity.json", {"simulator": "icarus", "frames": 4, "start": 7, "end": 207, "stages": stages})
    points = [{"cycles": c, "fps": 1e8 / c, "DSP": 9e4 // c, "LUT": 9e5 // c} for c in (300, 900, 20_000)]
    write(folder, "frontier.json", [{"FF": 1, "BRAM_36K": 0, "URAM": 0, **point} for point in points])
    for run in ("train", "search"):
        (folder / run).mkdir()
        epochs = [
            {"epoch": n, "loss": 2.5 / n, "metric": "top1", "train": 1 - 0.5 / n, "validation": 0.9 - 0.4 / n}
            for n in range(1, 31)
        ]
        (folder / run / "log.jsonl").write_text("".join(f"{json.dumps(epoch)}\n" for epoch in epochs))
    front = [
        {"cycles": c, "fps": 3e8 / c, "loss": 9 / c, "weight_bits": [4, 3], "act_bits": [8, 2]} for c in (100, 500)
    ]
    (folder / "search/front.json").write_text(json.dumps(front))
    return write_html(folder, board=BOARD)


@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_sticks_out(page: Path, width: int, tmp_path: Path) -> None:
    found = look_at(page, width, tmp_path)
    assert found.inner == width
    assert found.scroll <= width
    assert found.texts > 150
    assert (found.outside, found.over, found.console) == ([], [], [])
    assert (tmp_path / f"{width}.png").stat().st_size > 50_000


def test_the_browser_notices_what_sticks_out(tmp_path: Path) -> None:
    path = tmp_path / "bad.html"
    path.write_text(
        "<!DOCTYPE html><title>bad</title><body style='margin:0'><div style='width:900px'>wide</div>"
        '<svg viewBox="0 0 200 50" width="200" height="50"><rect class="stage" x="10" y="5" width="30" height="20"/>'
        '<text x="12" y="20">long text</text><text x="60" y="90">below</text></svg>'
        '<img src="https://example.invalid/a.png"><script>console.error("oh")</script>'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'">'
    )
    found = look_at(path, 400, tmp_path)
    assert (found.scroll, found.inner) == (900, 400)
    assert found.outside == ["below"] and found.over == ["long text"]
    assert any("oh" in line for line in found.console)


def test_nothing_is_fetched(page: Path) -> None:
    text = page.read_text()
    assert '<meta http-equiv="Content-Security-Policy" content="default-src \'none\';' in text
    bare = re.sub(r'xmlns="http://www\.w3\.org/2000/svg"|data:image/png;base64,[A-Za-z0-9+/=]+', "", text)
    assert not re.search(r"https?:|//|url\(|@import|<script|<link", bare)


def test_pictures_have_titles_and_headings_have_an_order(page: Path) -> None:
    text = page.read_text()
    assert text.count("<svg") == len(re.findall(r"<svg[^>]*role=\"img\"[^>]*>\s*<title>[^<]+</title>", text))
    assert re.findall(r"<img (?!src=\S+ alt=)", text) == []
    levels = [int(level) for level in re.findall(r"<h(\d)", text)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_paper(scheme: str) -> None:
    """At least 4.5 to 1, as WCAG 2.1 asks for in 1.4.3."""
    style = (Path(__file__).parents[3] / "mixq/report/templates/style.css").read_text()
    start = style.index(":root {") if scheme == "light" else style.index("prefers-color-scheme: dark")
    colours = dict(re.findall(r"--(\w+): #([0-9a-f]{6})", style[start : style.index("}", start)]))
    for ink in ("ink", "soft", "accent", "slow", "good", "bad"):
        for paper in ("paper", "panel"):
            light, dark = sorted((luminance(colours[ink]), luminance(colours[paper])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, paper)


def luminance(colour: str) -> float:
    """Relative luminance of six hexadecimal digits, WCAG 2.1."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
