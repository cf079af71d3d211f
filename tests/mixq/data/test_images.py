"""Files of images from folders and archives, within bounds."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mixq.data import images as module
from mixq.data.images import FileTree, archive_errors, decode_image, natural_key
from mixq.errors import UserError


def refusal(call: Callable[..., Any], *arguments: Any, **keywords: Any) -> str:
    with pytest.raises(UserError) as raised:
        call(*arguments, **keywords)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def encoded(format: str = "PNG", mode: str = "RGB", size: tuple[int, int] = (5, 3)) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, 200 if mode in ("L", "P") else None).save(buffer, format)
    return buffer.getvalue()


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


FILES = {"a/1.jpg": b"one", "a/b/2.jpg": b"two", "boxes.csv": b"three"}


def write_folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def test_folder_and_archive_are_alike(tmp_path: Path) -> None:
    litter = {".DS_Store": b"x", "__MACOSX/a/1.jpg": b"x", "a/._1.jpg": b"x"}
    folder = write_folder(tmp_path / "folder", {**FILES, **litter})
    archive = write_zip(tmp_path / "archive.zip", {**FILES, **litter})
    for root in (folder, archive):
        with FileTree(root) as tree:
            assert {name: tree.read(name) for name in tree.names} == FILES
            assert len({tree.stamp(name) for name in tree.names}) == 3
            assert tree.where("a/1.jpg") == f"{root}/a/1.jpg"


def test_a_stamp_changes_with_the_content(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "folder", FILES)
    before = FileTree(folder).stamp("a/1.jpg")
    (folder / "a/1.jpg").write_bytes(b"ONE")
    os.utime(folder / "a/1.jpg", ns=(5, 5))
    assert FileTree(folder).stamp("a/1.jpg") != before
    (folder / "a/1.jpg").unlink()
    assert refusal(FileTree(folder).stamp, "a/1.jpg").startswith(f"cannot read {folder}/a/1.jpg: No such file")


def test_what_is_no_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(FileTree, tmp_path / "x") == f"{tmp_path}/x: no such file or folder; give the path of the data set"
    text = tmp_path / "text.zip"
    text.write_bytes(b"text")
    assert refusal(FileTree, text) == f"{text}: not a zip archive (File is not a zip file); give one, or a folder"
    monkeypatch.setattr(module, "MAX_FILES", 2)
    for root in (write_folder(tmp_path / "f", FILES), write_zip(tmp_path / "a.zip", FILES)):
        assert refusal(FileTree, root) == f"{root}: more than 2 files; this is no data set of the expected kind"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_stands_twice(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("1.jpg", b"a")
        archive.writestr("1.jpg", b"b")
    assert refusal(FileTree, path) == f"{path}: a member stands twice; make the archive again"


def test_members_larger_than_allowed_are_not_unpacked(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"zeros": bytes(1 << 20)})
    with FileTree(path) as tree:
        assert len(tree.read("zeros", max_bytes=1 << 20)) == 1 << 20
        expected = f"{path}/zeros: larger than 1048575 bytes; this is not a file of the expected kind"
        assert refusal(tree.read, "zeros", max_bytes=(1 << 20) - 1) == expected


def test_damaged_and_encrypted_members(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"1": bytes(range(256)) * 4})
    whole = path.read_bytes()
    path.write_bytes(whole[:60] + b"\xff\xff" + whole[62:])
    with FileTree(path) as tree:
        assert refusal(tree.read, "1").startswith(f"{path}/1: cannot be unpacked (")
    # Bit 0 of the flags, in the local header and in the directory, says that a member is encrypted.
    directory = whole.index(b"PK\x01\x02")
    encrypted = bytearray(whole)
    encrypted[6] |= 1
    encrypted[directory + 8] |= 1
    path.write_bytes(encrypted)
    with FileTree(path) as tree:
        assert refusal(tree.read, "1").startswith(f"{path}/1: cannot be unpacked (")


@pytest.mark.parametrize("format, mode", [("PNG", "RGB"), ("PNG", "L"), ("PNG", "P"), ("PNG", "RGBA"), ("BMP", "RGB")])
def test_every_image_becomes_rgb(format: str, mode: str) -> None:
    assert np.asarray(decode_image(encoded(format, mode), "x")).shape == (3, 5, 3)


def bomb(width: int, height: int) -> bytes:
    """A PNG file that says it is so large, and is not."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10))) + chunk(b"IEND", b"")
    )


def test_images_that_cannot_be_read() -> None:
    whole = encoded("JPEG", size=(64, 64))
    for data in (b"", b"text", whole[:200], whole[:-200], encoded("GIF"), encoded("TIFF"), bomb(40, 40)):
        message = refusal(decode_image, data, "a.jpg")
        assert message.startswith("a.jpg: cannot be read as an image (") and message.endswith("); replace it")
    assert refusal(decode_image, bomb(8000, 8000), "a") == "a: has 64000000 pixels; an image may have 33554432 at most"
    # Pillow itself warns of such a size, and refuses the last.
    assert refusal(decode_image, bomb(10000, 10000), "a").startswith("a: has 100000000 pixels")
    assert refusal(decode_image, bomb(60000, 60000), "a").startswith("a: cannot be read as an image (Image size")


def test_names_in_the_order_of_their_numbers() -> None:
    names = ["b/2.jpg", "a/10.jpg", "a/9.jpg", "a/009.jpg", "a/x.jpg", "a/\u00b2.jpg"]
    assert sorted(names, key=natural_key) == ["a/009.jpg", "a/9.jpg", "a/10.jpg", "a/x.jpg", "a/\u00b2.jpg", "b/2.jpg"]


def test_errors_of_other_libraries_become_one_line(tmp_path: Path) -> None:
    def fail(error: Exception) -> None:
        with archive_errors(tmp_path, "get it anew"):
            raise error

    assert refusal(fail, ValueError("bad\nthing")) == f"{tmp_path}: cannot be read (bad); get it anew"
    assert refusal(fail, MemoryError()) == f"{tmp_path}: cannot be read (MemoryError); get it anew"
    assert refusal(fail, FileNotFoundError()) == f"{tmp_path}: no such file; check the path"
    assert refusal(fail, UserError("as it is")) == "as it is"
