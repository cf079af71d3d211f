"""Boxes of objects: images of any size in, the box of each out, and how well they fit the true ones."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boards.driver.faults import AcceleratorError
from boards.driver.operations import Operations
from boards.driver.resizer import Resizer
from mixq.data.boxes import MAX_LABEL_BYTES, Box, xml_share
from mixq.detection_decode import AnchorGrid, iou
from mixq.errors import UserError
from mixq.formats import IntFormat

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")


class Detector(Operations):
    """What can be done with an accelerator whose input are images, and whose output may be boxes."""

    def run_images(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.int64]:
        """The final integers, int64 (N, C, H, W), of RGB images, uint8 (H, W, 3) each, of any size.

        They are resized as those that the network was trained with, into the buffers of the DMA, while it moves
        others. Raises: AcceleratorError for a network of other inputs than images of 8 bits; TypeError, ValueError for
        others than images; else as `execute`.
        """
        port = self.description.input
        if port.shape[0] != 3 or port.format != IntFormat(8, False):
            raise AcceleratorError(f"{self.description.name} does not take images of three channels; use execute")
        size = (port.shape[2], port.shape[1])
        for image in images:
            if image.dtype != np.uint8:
                raise TypeError(f"images must hold 8-bit pixels, not {image.dtype}")
            if image.ndim != 3 or image.shape[2] != 3 or not image.size:
                raise ValueError(f"images must be of shape (H, W, 3), not {image.shape!r}")

        def fill(buffer: Any, start: int, stop: int) -> None:
            pixels = self._inputs.pixels(buffer, stop - start)
            if self.description.channel_order == "bgr":
                pixels = pixels[..., ::-1]
            for place, image in enumerate(images[start:stop]):
                self._resize(image, size, pixels[place])

        return self.stream(len(images), fill)

    def _resize(self, image: NDArray[np.uint8], size: tuple[int, int], out: NDArray[np.uint8]) -> None:
        if self.description.resize == "pillow" and image.shape[:2] != size[::-1]:
            from PIL import Image

            # Pillow before 9.1, as boards have it, knows no Resampling; later types know no Image.BILINEAR.
            out[...] = np.asarray(Image.fromarray(image).resize(size, Image.BILINEAR))  # type: ignore[attr-defined]
            return
        source = (image.shape[1], image.shape[0])
        resizers = self.__dict__.setdefault("_resizers", {})
        if source not in resizers:
            resizers[source] = Resizer(source, size)
        resizers[source](image, out)

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
        """The box of each image, (N, 4): x centre, y centre, width, height, in pixels of the network's input.

        The same numbers that MixQ finds with the network's integers. Parameters and errors as of :meth:`run_images`;
        AcceleratorError for a network that finds no boxes, too.
        """
        grid, scales = self._decoder()
        return grid.predict_integers(self.run_images(images), scales)

    def _decoder(self) -> tuple[AnchorGrid, NDArray[np.float64]]:
        grid, scales = self.description.grid, self.description.scales
        if grid is None or scales is None:
            raise AcceleratorError(f"{self.description.name} finds no boxes: its output is none of a detector's")
        return grid, np.array(scales)

    def iou_on_folder(self, path: Any, *, chunk: int = 256) -> dict[str, Any]:
        """How well the boxes fit that are found in the images of a folder, each with an annotation beside it.

        Every JPEG, PNG or BMP file below ``path`` with an XML file of the same name, with one ``object/bndbox`` in
        pixels as DAC-SDC has it. ``chunk``: images that are in memory at a time.

        Keys: ``mean_iou``, 0..1; ``images``, their paths; ``iou``, float64 (N,); ``boxes``, as of :meth:`detect`.

        Raises: AcceleratorError for a folder without images; `mixq_driver.errors.UserError` for an annotation that is
        none, or an image that cannot be read; else as :meth:`detect`.
        """
        names = _image_files(Path(path))
        if not names:
            raise AcceleratorError(f"{path} holds no JPEG, PNG or BMP images")
        grid, _ = self._decoder()
        _, rows, columns = self.description.output.shape
        boxes = np.empty((len(names), 4))
        truth = np.empty((len(names), 4), np.float32)  # as data sets keep them
        for start in range(0, len(names), chunk):
            part = slice(start, start + chunk)
            images = [read_image(name) for name in names[part]]
            for place, (name, image) in enumerate(zip(names[part], images), start):
                truth[place] = _true_box(name, (image.shape[1], image.shape[0]))
            boxes[part] = self.detect(images)
        found = iou(boxes, grid.pixels(truth, rows, columns))
        return {"mean_iou": float(found.mean()), "images": names, "iou": found, "boxes": boxes}


def read_image(path: Path) -> NDArray[np.uint8]:
    """The RGB pixels (H, W, 3) of a file; UserError where it is no image, or Pillow is missing."""
    try:
        from PIL import Image
    except ImportError:
        raise UserError("images are read with Pillow; install it: pip install pillow") from None
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except Exception as error:  # a damaged file fails in as many ways as there are decoders
        raise UserError(f"{path}: cannot be read as an image ({error}); replace it") from None


def _image_files(root: Path) -> list[Path]:
    found = (Path(folder) / name for folder, _, names in os.walk(root) for name in names)
    return sorted(path for path in found if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))


def _true_box(image: Path, size: tuple[int, int]) -> Box:
    """From the annotation beside an image of ``size`` (width, height), in shares of it."""
    path = image.with_suffix(".xml")
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_LABEL_BYTES)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    return xml_share(data, str(path), size)
