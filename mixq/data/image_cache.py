"""Images on disk, as one array that is mapped into memory: for sets that are larger than memory.

Three files of one name: ``.npy`` the images, ``.boxes.npy`` their boxes, ``.lock`` an empty one that makes processes
that want the same images wait for the first of them. ``.npy`` is renamed into place last, so it is there only
when both are complete; what a killed process left is written over.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from mixq.errors import UserError
from mixq.files import read_bytes, write_atomic

MAX_BOXES_BYTES = 64 << 20

Progress = Callable[[int, int], None]
Arrays = tuple[NDArray[np.uint8], NDArray[np.float32]]


class ImageSource(Protocol):
    """Images that are read one by one."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, W)."""

    def read(self, index: int) -> tuple[NDArray[np.uint8], tuple[float, float, float, float]]:
        """Image (C, H, W) and box of one index."""


def cached_images(folder: Path, name: str, source: ImageSource, progress: Progress | None) -> Arrays:
    """Images, mapped and read-only, and boxes of ``source``, written to ``folder`` if they are not there yet.

    Parameters:
        name: without a suffix; different for whatever would give other images.
        progress: called with images read and images in all, while they are written.

    Raises:
        UserError: the folder cannot be written, or the disk is full, or what ``source.read`` raises; nothing is left.
    """
    images, boxes = folder / f"{name}.npy", folder / f"{name}.boxes.npy"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / f"{name}.lock"):
            found = _found(images, boxes, source.shape)
            if found is None:
                _write(images, boxes, source, progress)
                found = _found(images, boxes, source.shape)
    except OSError as error:
        raise UserError(f"cannot write {images}: {error.strerror or error}; name another cache_dir") from error
    if found is None:
        raise UserError(f"{images}: cannot be read although it was just written; check the disk")
    return found


def _found(images: Path, boxes: Path, shape: tuple[int, int, int, int]) -> Arrays | None:
    """The arrays, or None where they are not there, or damaged."""
    try:
        mapped = np.load(images, mmap_mode="r", allow_pickle=False)
        stored = np.load(io.BytesIO(read_bytes(boxes, max_bytes=MAX_BOXES_BYTES)), allow_pickle=False)
    except (OSError, ValueError, EOFError, UserError):
        return None
    if (mapped.shape, mapped.dtype, stored.shape, stored.dtype) != (shape, np.uint8, (shape[0], 4), np.float32):
        return None
    return mapped, stored


def _write(images: Path, boxes: Path, source: ImageSource, progress: Progress | None) -> None:
    count = source.shape[0]
    values = np.empty((count, 4), np.float32)
    partial = images.with_suffix(".partial")
    try:
        with partial.open("wb") as stream:
            _write_header(stream, source.shape)
            # Written, not mapped: a full disk is then an error and not a signal that kills the process.
            for index in range(count):
                image, values[index] = source.read(index)
                stream.write(image.tobytes())
                if progress is not None:
                    progress(index + 1, count)
            stream.flush()
            os.fsync(stream.fileno())
        buffer = io.BytesIO()
        np.save(buffer, values)
        write_atomic(boxes, buffer.getvalue())
        os.replace(partial, images)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def _write_header(stream: BinaryIO, shape: tuple[int, ...]) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
