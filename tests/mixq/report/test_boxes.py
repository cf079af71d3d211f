"""Pictures of boxes: their pixels, the file that holds them, and their place on the page."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixq.errors import UserError
from mixq.report import write_html
from mixq.report.boxes import FOUND_COLOUR, TRUE_COLOUR, draw_boxes, read_boxes, write_boxes, write_missing
from tests.mixq.report.builds import write

URI = "data:image/png;base64,"


def pixels_of(image: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Whether each pixel (H, W) of an image (H, W, 3) has the colour."""
    return np.asarray((image == colour).all(-1))


def test_lines_lie_on_the_boxes_edges() -> None:
    image = np.random.default_rng(0).integers(0, 200, (3, 40, 60), dtype=np.uint8)
    # True box: columns 10 to 29, rows 5 to 24; found one: columns 35 to 54, rows 20 to 34.
    drawn = draw_boxes(image, (20, 15, 20, 20), (45, 27.5, 20, 15))
    for colour, width, (left, top, right, bottom) in (
        (TRUE_COLOUR, 2, (10, 5, 30, 25)),
        (FOUND_COLOUR, 1, (35, 20, 55, 35)),
    ):
        expected = np.zeros((40, 60), bool)
        expected[top:bottom, left:right] = True
        expected[top + width : bottom - width, left + width : right - width] = False
        assert np.array_equal(pixels_of(drawn, colour), expected)
        image = np.where(expected, np.array(colour)[:, None, None], image)
    assert np.array_equal(drawn, image.transpose(1, 2, 0)), "all other pixels are the image's, red first"


def test_a_box_beyond_the_image_ends_at_its_edge() -> None:
    drawn = draw_boxes(np.zeros((3, 10, 12), np.uint8), (6, 5, 2, 2), (0, 0, 1000, 1000))
    outline = pixels_of(drawn, FOUND_COLOUR)
    assert outline[0].all() and outline[:, 0].all() and outline[-1].all() and outline[:, -1].all()
    far = draw_boxes(np.zeros((3, 10, 12), np.uint8), (6, 5, 2, 2), (500, -500, 3, 0.1))
    assert pixels_of(far, FOUND_COLOUR)[0, -1] and pixels_of(far, FOUND_COLOUR).sum() == 1


def test_the_page_shows_what_the_file_holds(build: Path) -> None:
    images = np.random.default_rng(1).integers(0, 256, (2, 3, 20, 30), dtype=np.uint8)
    truth, found = np.array([[10.0, 10, 8, 6], [20, 8, 6, 6]]), np.array([[11.0, 10, 8, 6], [5, 5, 4, 4]])
    (build / "report").mkdir()
    write_boxes(build / "report" / "boxes.json", images, truth, found, np.array([0.875, 0.0]))
    page = write_html(build).read_text()
    assert "0.875" in page and "0.000" in page and "true box in green" in page
    assert "<code>mixq quickstart</code> adds" not in page
    uris = [piece.partition('"')[0] for piece in page.split('<img src="')[1:]]
    assert len(uris) == 2
    for uri, image, one, other in zip(uris, images, truth.tolist(), found.tolist(), strict=True):
        assert uri.startswith(URI)
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri[len(URI) :]))))
        assert np.array_equal(shown, draw_boxes(image, one, other))
    document = json.loads((build / "report" / "boxes.json").read_text())
    assert [entry["found"] for entry in document["images"]] == found.tolist()


def test_without_pictures_the_page_says_why(build: Path) -> None:
    assert read_boxes(build / "report" / "boxes.json") is None
    (build / "report").mkdir()
    write_missing(build / "report" / "boxes.json", "there are no data at <here>")
    page = write_html(build).read_text()
    assert "No images: there are no data at &lt;here&gt;." in page and "<img" not in page


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"images": [], "missing": None},
        {"images": [], "missing": 5},
        {"images": [{"picture": "javascript:x", "iou": 0.5}], "missing": None},
        {"images": [{"picture": URI + '"><script>', "iou": 0.5}], "missing": None},
        {"images": [{"picture": URI + "AAAA", "iou": 1.5}], "missing": None},
        {"images": [{"picture": URI + "AAAA", "iou": 1}], "missing": "but there is one"},
        {"images": [7], "missing": None},
    ],
)
def test_a_broken_file_is_named(build: Path, document: object) -> None:
    path = write(build, "boxes.json", document)
    with pytest.raises(UserError) as caught:
        write_html(build)
    assert str(caught.value) == f"{path} must hold images with boxes, or why there are none; remove it and run again"
