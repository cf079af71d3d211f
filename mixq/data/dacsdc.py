"""Single-object detection on images of the DAC-SDC contest, or any others with one box each.

Source: X. Xu et al., "DAC-SDC Low Power Object Detection Challenge for UAV Applications", IEEE TPAMI 2021: images
of 640 x 360 pixels taken by drones, each with one VOC-like annotation.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mixq.data.boxes import MAX_LABEL_BYTES, MAX_TABLE_BYTES, Box, relative_box, table_boxes, text_box, xml_share
from mixq.data.dataset import BoxSamples, ChannelOrder, Dataset
from mixq.data.image_cache import cached_images
from mixq.data.images import SUFFIXES, FileTree, decode_image, natural_key
from mixq.data.resizing import resize_bilinear
from mixq.errors import UserError

SPLIT_SEED = 20240817
MEMORY_BYTES = 1 << 30
TABLE = "boxes.csv"

Resize = Literal["pillow", "opencv"]
Progress = Callable[[int, int], None]


def load_dacsdc(
    root: str | os.PathLike[str],
    *,
    height: int = 160,
    width: int = 320,
    channel_order: ChannelOrder = "rgb",
    resize: Resize = "pillow",
    validation_share: float = 1 / 6,
    test_share: float = 1 / 6,
    train_size: int | None = None,
    validation_size: int | None = None,
    test_size: int | None = None,
    seed: int = SPLIT_SEED,
    cache_dir: str | os.PathLike[str] | None = None,
    memory_bytes: int = MEMORY_BYTES,
    progress: Progress | None = None,
) -> Dataset[BoxSamples]:
    """Load images with one box each from a folder or zip archive, resized, in a fixed split.

    Every JPEG, PNG or BMP file below ``root`` is an image. Its box comes from the first of these that the
    data have, for all images alike: an XML file beside each image, under the same name, with one
    `object/bndbox` in pixels; `boxes.csv` with the columns image, xmin, xmax, ymin, ymax in pixels, at the top; a
    text file beside each image with the line "class x y width height" in shares of the image.

    Parameters:
        root: the folder or archive; an archive is read in place, never unpacked.
        height, width: of the images that the network sees, in pixels.
        resize: "pillow", whose bilinear filter averages over all pixels that it leaves out, or "opencv", which takes
            four, see `mixq.data.resizing`; networks that were trained with the one lose with the other.
        channel_order: "rgb", or "bgr" as networks trained with OpenCV expect.
        validation_share, test_share: of all images, rounded to whole ones; the rest is for training.
        train_size, validation_size, test_size: take the first so many of a part alone; only those are decoded.
        seed: of the split.
        cache_dir: where images that take more than ``memory_bytes`` are written once, resized, and mapped into memory
            from then on; made if it is not there. Other data and other sizes get files of their own.
        memory_bytes: how much of memory the images may take; more is a UserError without a cache_dir.
        progress: called with images read and images in all.

    Returns:
        Images (N, 3, height, width) and boxes.

    Raises:
        TypeError, ValueError: a parameter that is none.
        UserError: no images, one that cannot be read, a box that is missing or not inside the image, parts too small.
    """
    for name, size, least in (
        *(("height", height, 1), ("width", width, 1), ("seed", seed, 0), ("memory_bytes", memory_bytes, 0)),
        *(("train_size", train_size, 1), ("validation_size", validation_size, 1), ("test_size", test_size, 1)),
    ):
        _check_integer(name, size, least, optional=name.endswith("_size"))
    if channel_order not in get_args(ChannelOrder):
        raise ValueError(f"channel_order must be rgb or bgr, not {channel_order!r}")
    if resize not in get_args(Resize):
        raise ValueError(f"resize must be pillow or opencv, not {resize!r}")
    for name, share in (("validation_share", validation_share), ("test_share", test_share)):
        if not isinstance(share, int | float) or isinstance(share, bool):
            raise TypeError(f"{name} must be a number, not {share!r}")
        if not 0 < share < 1:
            raise ValueError(f"{name} must be between 0 and 1, not {share!r}")
    path = Path(root)
    with FileTree(path) as tree:
        names = sorted((name for name in tree.names if name.lower().endswith(SUFFIXES)), key=natural_key)
        if not names:
            raise UserError(f"{path}: no JPEG, PNG or BMP images; give the path of the data set")
        parts = _split(path, len(names), (validation_share, test_share), (train_size, validation_size, test_size), seed)
        # In the order of the parts, so that each is one piece of the array, in memory or mapped.
        chosen = [names[index] for part in parts for index in part]
        source = _Source(tree, chosen, _Labels(tree), (width, height), channel_order, resize)
        bytes_needed = len(chosen) * 3 * height * width
        if bytes_needed <= memory_bytes:
            images, boxes = source.load(progress)
        elif cache_dir is None:
            raise UserError(
                f"{path}: the images take {bytes_needed >> 20} MiB, more than the {memory_bytes >> 20} MiB allowed; "
                "name a folder for them with cache_dir, or raise memory_bytes"
            )
        else:
            images, boxes = cached_images(Path(cache_dir), f"dacsdc-{source.digest()}", source, progress)
    ends = np.cumsum([0, *map(len, parts)])
    train, validation, test = (BoxSamples(images[start:end], boxes[start:end]) for start, end in pairwise(ends))
    return Dataset(
        name="dacsdc",
        train=train,
        validation=validation,
        test=test,
        class_names=("object",),
        channel_order=channel_order,
    )


def _check_integer(name: str, value: object, least: int, *, optional: bool) -> None:
    if value is None and optional:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    if value < least:
        raise ValueError(f"{name} must be {'positive' if least else 'zero or more'}, not {value!r}")


def _split(
    path: Path, count: int, shares: tuple[float, float], sizes: tuple[int | None, int | None, int | None], seed: int
) -> list[NDArray[np.int64]]:
    """Indices of the training, validation and test images."""
    validation, test = (max(1, round(share * count)) for share in shares)
    order = np.random.default_rng(seed).permutation(count)
    parts = [order[validation + test :], order[test : validation + test], order[:test]]
    for name, part, size in zip(("train", "validation", "test"), parts, sizes, strict=True):
        if len(part) < (size or 1):
            raise UserError(f"{path}: {len(part)} of {count} images are for {name}, not {size or 1}; change the sizes")
    return [part[:size] for part, size in zip(parts, sizes, strict=True)]


class _Labels:
    """Finds the box of an image, in the one form that the data have."""

    def __init__(self, tree: FileTree) -> None:
        self.tree = tree
        self.files = {name.lower(): name for name in tree.names if name.lower().endswith((".xml", ".txt"))}
        self.table: dict[str, Box] | None = None
        self.suffix = ".xml"
        # Annotations of other things than images may lie about: only one beside an image counts.
        beside = {name.rpartition(".")[0].lower() for name in tree.names if name.lower().endswith(SUFFIXES)}
        if not any(name.endswith(".xml") and name.removesuffix(".xml") in beside for name in self.files):
            self.suffix = ".txt"
            if TABLE in tree.names:
                self.table = table_boxes(tree.read(TABLE, max_bytes=MAX_TABLE_BYTES), tree.where(TABLE))

    def file(self, image: str) -> str:
        """Name of the file that has the image's box."""
        if self.table is not None:
            return TABLE
        wanted = image.rpartition(".")[0] + self.suffix
        found = self.files.get(wanted.lower())
        if found is None:
            kinds = "an .xml file beside it" if self.suffix == ".xml" else f"an .xml or .txt file beside it, or {TABLE}"
            raise UserError(f"{self.tree.where(image)}: no box; it needs {kinds}")
        return found

    def box(self, image: str, size: tuple[int, int]) -> Box:
        """The box of an image of ``size`` (width, height), in shares of it."""
        file = self.file(image)
        where = self.tree.where(file)
        if self.table is not None:
            path = PurePosixPath(image)
            for key in (image, path.name, path.stem):
                if key in self.table:
                    return relative_box(self.table[key], size, f"{where}, image {key}")
            raise UserError(f"{self.tree.where(image)}: no box; add a line for it to {where}")
        data = self.tree.read(file, max_bytes=MAX_LABEL_BYTES)
        if self.suffix == ".txt":
            return relative_box(text_box(data, where, size), size, where)
        return xml_share(data, where, size)


@dataclass(frozen=True)
class _Source:
    """The chosen images, one after the other, and what tells them from others."""

    tree: FileTree
    names: list[str]
    labels: _Labels
    size: tuple[int, int]
    channel_order: ChannelOrder
    resize: Resize

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of all images."""
        return (len(self.names), 3, self.size[1], self.size[0])

    def read(self, index: int) -> tuple[NDArray[np.uint8], Box]:
        """An image (3, height, width), and its box."""
        from PIL.Image import Resampling

        name = self.names[index]
        image = decode_image(self.tree.read(name), self.tree.where(name))
        box = self.labels.box(name, image.size)
        if self.resize == "opencv":
            pixels = resize_bilinear(np.asarray(image), self.size)
        else:
            pixels = np.asarray(image.resize(self.size, Resampling.BILINEAR))
        return (pixels if self.channel_order == "rgb" else pixels[:, :, ::-1]).transpose(2, 0, 1), box

    def load(self, progress: Progress | None) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """All images and boxes, in memory."""
        images, boxes = np.empty(self.shape, np.uint8), np.empty((len(self.names), 4), np.float32)
        for index in range(len(self.names)):
            images[index], boxes[index] = self.read(index)
            if progress is not None:
                progress(index + 1, len(self.names))
        return images, boxes

    def digest(self) -> str:
        """Differs when images, labels, their order, the size or the order of channels do."""
        # Caches of images that Pillow resized keep the name they had before there was a choice.
        filter_name = "" if self.resize == "pillow" else f" {self.resize}"
        digest = hashlib.sha256(f"1 {self.shape} {self.channel_order}{filter_name}".encode())
        for name in self.names:
            label = self.labels.file(name)
            digest.update(f"\n{name}\0{self.tree.stamp(name)} {label}\0{self.tree.stamp(label)}".encode())
        return digest.hexdigest()[:32]
