"""Small files in the forms in which CIFAR-10 is passed on."""

from __future__ import annotations

import io
import struct
import tarfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BATCHES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")


def text(value: bytes) -> bytes:
    """A Python 2 string as its cPickle wrote it."""
    if len(value) < 256:
        return b"U" + bytes([len(value)]) + value
    return b"T" + struct.pack("<i", len(value)) + value


def integer(value: int) -> bytes:
    return b"K" + bytes([value]) if 0 <= value < 256 else b"J" + struct.pack("<i", value)


def array(pixels: NDArray[np.uint8], *, function: bytes = b"numpy.core.multiarray\n_reconstruct\n") -> bytes:
    """An array of bytes: an empty one is made, then given its type, shape and content."""
    shape = b"".join(integer(size) for size in pixels.shape) + {1: b"\x85", 2: b"\x86"}[pixels.ndim]
    dtype = b"cnumpy\ndtype\n" + text(b"u1") + integer(0) + integer(1) + b"\x87R"
    state = b"(" + integer(3) + text(b"|") + b"NNN" + integer(-1) + integer(-1) + integer(0) + b"tb"
    made = b"c" + function + b"cnumpy\nndarray\n" + integer(0) + b"\x85" + text(b"b") + b"\x87R"
    return made + b"(" + integer(1) + shape + dtype + state + b"\x89" + text(pixels.tobytes()) + b"tb"


def python2_batch(images: NDArray[np.uint8], labels: list[int]) -> bytes:
    """A batch in the layout of the official archive: protocol 2, strings of bytes, rows of red, green and blue."""
    entries = [
        text(b"batch_label") + b"q\x02" + text(b"training batch 1 of 5") + b"q\x03",
        text(b"labels") + b"]q\x04(" + b"".join(map(integer, labels)) + b"e",
        text(b"data") + array(images.reshape(len(labels), -1)) + b"r\x05\x00\x00\x00",
        text(b"filenames") + b"](" + b"".join(text(b"a_s_%06d.png" % index) for index in range(len(labels))) + b"e",
    ]
    return b"\x80\x02}q\x01(" + b"".join(entries) + b"u."


def random_images(count: int, seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)


def labels_of(count: int) -> list[int]:
    return [index * 3 % 10 for index in range(count)]


def write_batches(folder: Path, count: int = 20) -> dict[str, NDArray[np.uint8]]:
    """Six batches of so many images; returns the images of each."""
    folder.mkdir(parents=True)
    images = {name: random_images(count, seed) for seed, name in enumerate(BATCHES)}
    for name, pixels in images.items():
        (folder / name).write_bytes(python2_batch(pixels, labels_of(count)))
    return images


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path
