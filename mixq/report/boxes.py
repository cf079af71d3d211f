"""Images of a detector with the true box and the found one drawn in them: ``report/boxes.json``."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixq.errors import UserError
from mixq.files import read_json, write_json
from mixq.report.png import URI_START, png_data_uri

BOXES_FILE = "boxes.json"
TRUE_COLOUR, FOUND_COLOUR = (0, 230, 90), (255, 40, 40)
TRUE_WIDTH, FOUND_WIDTH = 2, 1
"""Of the lines, in pixels: where both boxes lie on each other, the true one is seen around the found one."""

_MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class BoxPicture:
    """uri: the image with both boxes, a PNG in a data URI. iou: of the two, 0..1."""

    uri: str
    iou: float


@dataclass(frozen=True)
class BoxPictures:
    """The pictures of a report, or why there are none: one of the two is empty."""

    pictures: tuple[BoxPicture, ...]
    missing: str | None


def draw_boxes(image: NDArray[np.uint8], truth: Sequence[float], found: Sequence[float]) -> NDArray[np.uint8]:
    """An image with the true box in green and the found one in red, (H, W, 3); what lies outside ends at the edge.

    Parameters:
        image: (3, H, W), red first. truth, found: x centre, y centre, width, height in pixels.
    """
    picture = np.array(image.transpose(1, 2, 0))
    for box, colour, line in ((truth, TRUE_COLOUR, TRUE_WIDTH), (found, FOUND_COLOUR, FOUND_WIDTH)):
        x, y, width, height = box
        columns, rows = _span(x, width, picture.shape[1]), _span(y, height, picture.shape[0])
        part = picture[rows, columns]
        for edge in (part[:line], part[-line:], part[:, :line], part[:, -line:]):
            edge[:] = colour
    return picture


def _span(centre: float, size: float, pixels: int) -> slice:
    """The pixels that a box takes of an axis of the image, one at least."""
    first = min(max(round(centre - size / 2), 0), pixels - 1)
    return slice(first, min(max(round(centre + size / 2), first + 1), pixels))


def write_boxes(
    path: Path,
    images: NDArray[np.uint8],
    truth: NDArray[np.float64],
    found: NDArray[np.float64],
    ious: NDArray[np.float64],
) -> None:
    """Draw N images (N, 3, H, W) with boxes (N, 4) in pixels, and write them with their IoU (N,)."""
    entries = []
    for image, true_box, found_box, value in zip(images, truth.tolist(), found.tolist(), ious.tolist(), strict=True):
        uri = png_data_uri(draw_boxes(image, true_box, found_box))
        entries.append({"picture": uri, "truth": true_box, "found": found_box, "iou": value})
    write_json(path, {"images": entries, "missing": None})


def write_missing(path: Path, reason: str) -> None:
    """Note why there are no pictures."""
    write_json(path, {"images": [], "missing": reason})


def read_boxes(path: str | os.PathLike[str]) -> BoxPictures | None:
    """What the file holds, None where there is none; UserError where it is not what it must be."""
    if not Path(path).is_file():
        return None
    document = read_json(path, max_bytes=_MAX_BYTES)
    try:
        pictures = tuple(_picture(entry) for entry in document["images"])
        missing = document["missing"]
        if (missing is None) != bool(pictures) or not isinstance(missing, str | None):
            raise ValueError(f"missing must be a text where there are no images, not {missing!r}")
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} must hold images with boxes, or why there are none; remove it and run again"
        ) from error
    return BoxPictures(pictures, missing)


def _picture(entry: dict[str, Any]) -> BoxPicture:
    uri, iou = entry["picture"], float(entry["iou"])
    if not uri.startswith(URI_START) or not 0 <= iou <= 1:
        raise ValueError(f"picture must be a PNG with an IoU of 0..1, not {uri[:40]!r} with {iou!r}")
    base64.b64decode(uri[len(URI_START) :], validate=True)
    return BoxPicture(uri, iou)
