from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixq.plan import Plan
from mixq.report.gather import Sample, gather
from mixq.report.pictures import bars_svg, pipeline_svg, sample_uri
from mixq.report.rows import layer_rows


def test_png_holds_the_pixels() -> None:
    rng = np.random.default_rng(3)
    for planes in (1, 3):
        pixels = rng.integers(0, 256, (planes, 5, 7))
        uri = sample_uri(Sample(tuple(tuple(map(tuple, plane)) for plane in pixels.tolist()), 0, 0, ()))
        data = base64.b64decode(uri.removeprefix("data:image/png;base64,"), validate=True)
        image = np.asarray(Image.open(io.BytesIO(data)))
        assert np.array_equal(image if planes == 3 else image[:, :, None], pixels.transpose(1, 2, 0))


def test_pipeline_shows_every_stage_and_what_travels_between(build: Path, planned: Plan) -> None:
    rows = layer_rows(gather(build))
    root = ElementTree.fromstring(pipeline_svg(rows))
    texts = [element.text or "" for element in root.iter("text")]
    for row in rows:
        assert row.name in texts
        assert f"{row.cycles:,} cycles" in texts
    travel = " ".join(texts).replace("\N{MULTIPLICATION SIGN}", "x")
    for shape in ("4x8x8", "4x4x4", "8x4x4"):
        assert shape in travel
    assert len(list(root.iter("path"))) == 2 * (len(rows) - 1)
    slow = [element for element in root.iter("rect") if element.get("class") == "stage slow"]
    assert len(slow) == sum(row.bottleneck for row in rows) >= 1


def test_bars_are_as_long_as_the_cycles(build: Path, planned: Plan) -> None:
    rows = layer_rows(gather(build))
    root = ElementTree.fromstring(bars_svg(rows))
    lengths = [float(e.get("width", "")) for e in root.iter("rect") if e.get("class", "").startswith("bar")]
    full = max(lengths)
    cycles = [row.cycles or 0 for row in rows]
    assert lengths == [float(f"{full * count / planned.cycles:.1f}") for count in cycles]
    assert [e.text for e in root.iter("text") if e.get("class") == "value"] == [f"{count:,}" for count in cycles]


def test_pictures_stay_inside_their_frame(build: Path) -> None:
    rows = layer_rows(gather(build)) * 3
    svg = pipeline_svg(rows)
    width, height = map(int, re.findall(r'viewBox="0 0 (\d+) (\d+)"', svg)[0])
    for element in ElementTree.fromstring(svg).iter("rect"):
        right = float(element.get("x", "")) + float(element.get("width", ""))
        bottom = float(element.get("y", "")) + float(element.get("height", ""))
        assert right <= width
        assert bottom <= height


def test_an_empty_pipeline_is_refused() -> None:
    with pytest.raises(ValueError) as caught:
        pipeline_svg([])
    assert str(caught.value) == "rows must not be empty, not []"
