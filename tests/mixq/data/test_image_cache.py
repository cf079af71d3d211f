"""Images mapped from disk: complete or not there, written once, whoever else wants them."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mixq.data.image_cache import cached_images
from mixq.errors import UserError


class Numbered:
    """Images of which each pixel is the image's number; counts how many were read."""

    def __init__(self, count: int, *, fail_at: int | None = None, pause: float = 0.0, log: Path | None = None) -> None:
        self.shape = (count, 3, 4, 5)
        self.fail_at, self.pause, self.log, self.reads = fail_at, pause, log, 0

    def read(self, index: int) -> tuple[NDArray[np.uint8], tuple[float, float, float, float]]:
        if index == self.fail_at:
            raise UserError(f"image {index} is damaged")
        self.reads += 1
        if self.log is not None:
            with self.log.open("a") as file:
                file.write(f"{index}\n")
        time.sleep(self.pause)
        # Transposed, as images that are read channels last come.
        return np.full((5, 4, 3), index, np.uint8).T, (0.5, 0.5, 0.5, index / 100)


def check(arrays: tuple[NDArray[np.uint8], NDArray[np.float32]], count: int) -> None:
    images, boxes = arrays
    assert isinstance(images, np.memmap) and images.shape == (count, 3, 4, 5)
    assert all((image == index).all() for index, image in enumerate(images))
    assert boxes.dtype == np.float32
    assert np.array_equal(boxes, np.array([(0.5, 0.5, 0.5, index / 100) for index in range(count)], np.float32))


def test_written_once_then_mapped(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "cache"
    told: list[tuple[int, int]] = []
    check(cached_images(folder, "set", Numbered(7), lambda done, total: told.append((done, total))), 7)
    assert told == [(number, 7) for number in range(1, 8)]
    again = Numbered(7)
    check(cached_images(folder, "set", again, None), 7)
    assert again.reads == 0
    assert sorted(os.listdir(folder)) == ["set.boxes.npy", "set.lock", "set.npy"]


@pytest.mark.parametrize("name", ["set.npy", "set.boxes.npy"])
@pytest.mark.parametrize("content", [None, b"", b"damaged", "short"])
def test_what_is_missing_or_damaged_is_written_anew(tmp_path: Path, name: str, content: bytes | str | None) -> None:
    cached_images(tmp_path, "set", Numbered(7), None)
    path = tmp_path / name
    whole = path.read_bytes()
    path.unlink()
    if content is not None:
        path.write_bytes(whole[:-10] if isinstance(content, str) else content)
    again = Numbered(7)
    check(cached_images(tmp_path, "set", again, None), 7)
    assert again.reads == 7


def test_another_number_of_images_under_the_same_name(tmp_path: Path) -> None:
    cached_images(tmp_path, "set", Numbered(7), None)
    check(cached_images(tmp_path, "set", Numbered(8), None), 8)


def test_an_image_that_cannot_be_read_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^image 5 is damaged$"):
        cached_images(tmp_path, "set", Numbered(7, fail_at=5), None)
    assert os.listdir(tmp_path) == ["set.lock"]
    check(cached_images(tmp_path, "set", Numbered(7), None), 7)


def test_a_full_disk(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        with pytest.raises(UserError) as raised:
            cached_images(tmp_path, "set", Numbered(99), None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert str(raised.value) == f"cannot write {tmp_path}/set.npy: File too large; name another cache_dir"
    assert os.listdir(tmp_path) == ["set.lock"]


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match=r"/file/set\.npy: File exists; name another cache_dir$"):
        cached_images(tmp_path / "file", "set", Numbered(2), None)


def fill(folder: Path, log: Path) -> None:
    cached_images(folder, "set", Numbered(20, pause=0.02, log=log), None)


def test_a_killed_writer_leaves_nothing_that_is_taken_for_whole(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = multiprocessing.get_context("spawn").Process(target=fill, args=(tmp_path / "cache", log))
    process.start()
    while not log.exists() or len(log.read_text().split()) < 5:
        time.sleep(0.01)
    process.kill()
    process.join()
    assert not (tmp_path / "cache" / "set.npy").exists()
    check(cached_images(tmp_path / "cache", "set", Numbered(20), None), 20)
    assert sorted(os.listdir(tmp_path / "cache")) == ["set.boxes.npy", "set.lock", "set.npy"]


def test_of_two_processes_one_writes(tmp_path: Path) -> None:
    log = tmp_path / "log"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=fill, args=(tmp_path / "cache", log)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert log.read_text().split() == [str(index) for index in range(20)]
