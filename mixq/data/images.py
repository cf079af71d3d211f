"""Files of untrusted images, in a folder or a zip archive, read with bounds on every size."""

from __future__ import annotations

import io
import os
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from mixq.errors import UserError
from mixq.files import read_bytes

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_FILE_BYTES = 32 << 20
"""Largest file, or member of an archive, that is read."""
MAX_PIXELS = 1 << 25
"""Largest image that is decoded, in pixels."""
MAX_FILES = 1_000_000
"""The most files of one data set."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
FORMATS = ("JPEG", "PNG", "BMP")


class FileTree:
    """The files below a folder or in a zip archive, by their relative names with slashes.

    A folder's links to files are followed, as data sets often are links; links to folders are not. Members of
    an archive are only read, never unpacked, so that their names cannot lead anywhere.

    Raises:
        UserError: nothing is there, it is no archive, or it has more than a million files.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._members: dict[str, zipfile.ZipInfo] = {}
        self._archive: zipfile.ZipFile | None = None
        if root.is_dir():
            self.names = tuple(islice(_files_below(root), MAX_FILES + 1))
        elif root.is_file():
            try:
                self._archive = zipfile.ZipFile(root)
            except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
                raise UserError(f"{root}: not a zip archive ({_reason(error)}); give one, or a folder") from None
            infos = [info for info in self._archive.infolist() if not info.is_dir() and not _hidden(info.filename)]
            self._members = {info.filename: info for info in infos}
            self.names = tuple(self._members)
            if len(infos) != len(self._members):
                raise UserError(f"{root}: a member stands twice; make the archive again")
        else:
            raise UserError(f"{root}: no such file or folder; give the path of the data set")
        if len(self.names) > MAX_FILES:
            raise UserError(f"{root}: more than {MAX_FILES} files; this is no data set of the expected kind")

    def where(self, name: str) -> str:
        """The file's name as messages give it."""
        return str(self.root / name)

    def stamp(self, name: str) -> tuple[int, int]:
        """Size and check sum of a member, or size and time of change of a file: differs when the content does."""
        if self._archive is not None:
            return self._members[name].file_size, self._members[name].CRC
        try:
            status = (self.root / name).stat()
        except OSError as error:
            raise UserError(f"cannot read {self.where(name)}: {_reason(error)}; check the data set") from None
        return status.st_size, status.st_mtime_ns

    def read(self, name: str, *, max_bytes: int = MAX_FILE_BYTES) -> bytes:
        """Content of a file; UserError where it is larger, damaged or encrypted."""
        if self._archive is None:
            return read_bytes(self.root / name, max_bytes=max_bytes)
        try:
            # What the archive says of a size is not trusted: no more than that is ever unpacked.
            with self._archive.open(self._members[name]) as member:
                data = member.read(max_bytes + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
            raise UserError(
                f"{self.where(name)}: cannot be unpacked ({_reason(error)}); get the archive anew"
            ) from None
        if len(data) > max_bytes:
            raise UserError(
                f"{self.where(name)}: larger than {max_bytes} bytes; this is not a file of the expected kind"
            )
        return data

    def close(self) -> None:
        """Close the archive, if it is one."""
        if self._archive is not None:
            self._archive.close()

    def __enter__(self) -> FileTree:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts names as people do: "image2" before "image10".

    >>> sorted(["image10", "image2", "Image1"], key=natural_key)
    ['Image1', 'image2', 'image10']
    """
    pieces = re.findall(r"[0-9]+|[^0-9]+", name)
    return tuple((0, int(piece), piece) if piece.isascii() and piece.isdigit() else (1, 0, piece) for piece in pieces)


def decode_image(data: bytes, where: str) -> Image:
    """The RGB image in the bytes of a JPEG, PNG or BMP file; ``where`` is its name in messages.

    Raises:
        UserError: it is damaged, of another kind or of more than 2^25 pixels, or Pillow is not installed.
    """
    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise UserError("images are read with Pillow; install it: pip install 'mixq[train]'") from None
    try:
        with warnings.catch_warnings():  # whatever is odd about the file is told in the error's one line
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                size = image.width * image.height
                if size <= MAX_PIXELS:
                    return image.convert("RGB")
    except Exception as error:  # a damaged file fails in as many ways as there are decoders
        raise UserError(f"{where}: cannot be read as an image ({_reason(error)}); replace it") from None
    raise UserError(f"{where}: has {size} pixels; an image may have {MAX_PIXELS} at most")


@contextmanager
def archive_errors(path: Path, advice: str) -> Iterator[None]:
    """Turns every error of a library that reads ``path`` into one line that ends in ``advice``."""
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path") from None
    except Exception as error:  # a damaged file fails in as many ways as there are libraries below
        raise UserError(f"{path}: cannot be read ({_reason(error)}); {advice}") from None


def _files_below(root: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not _hidden(name))
        below = Path(folder).relative_to(root)
        yield from ((below / name).as_posix() for name in sorted(files) if not _hidden(name))


def _hidden(name: str) -> bool:
    """What file managers and archivers leave behind: ``.DS_Store``, ``__MACOSX/``."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return (text.splitlines() or [""])[0][:120] or type(error).__name__
