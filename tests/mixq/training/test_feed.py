"""Batches come from wherever the images are, each with its own targets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mixq.data import Samples
from mixq.training import feed
from mixq.training.feed import Feed, real_pixels


def samples(images: np.ndarray) -> Samples:
    return Samples(images, np.arange(len(images)))


def numbered(count: int) -> np.ndarray:
    return np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 2, 3, 3)).copy()


@pytest.mark.parametrize("way", ["host", "resident", "chunked", "mapped"])
@pytest.mark.parametrize("per_chunk", [1, 7, 1000])
def test_every_way_gives_the_same_batches(
    way: str, per_chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "CHUNK_BYTES", per_chunk * 18)
    images = numbered(40)
    if way == "mapped":
        np.save(tmp_path / "images.npy", images)
        images = np.load(tmp_path / "images.npy", mmap_mode="r")
    given = Feed(samples(images), torch.arange(40) * 10, torch.device("cpu"))
    if way == "resident":
        given.resident = torch.from_numpy(images)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    indices = [*order.split(6), torch.zeros(0, dtype=torch.int64)]
    found = list(given._chunked(indices) if way == "chunked" else given.batches(indices))
    assert len(found) == len(indices)
    for part, (pixels, targets) in zip(indices, found, strict=True):
        assert pixels.dtype == torch.uint8 and pixels.shape == (len(part), 2, 3, 3)
        assert bool((pixels == part[:, None, None, None]).all())
        assert targets.tolist() == (part * 10).tolist()
    assert list(given.batches([])) == []
    assert images[3, 0, 0, 0] == 3


def test_images_are_not_written_to() -> None:
    images = numbered(4)
    given = Feed(samples(images), torch.arange(4), torch.device("cpu"))
    for pixels, _ in given.batches([torch.arange(4)]):
        pixels.fill_(0)
    assert np.array_equal(images, numbered(4))


@pytest.mark.gpu
@pytest.mark.parametrize("most", [0, 1 << 20])
def test_a_gpu_gets_the_same_batches(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "CHUNK_BYTES", 100)
    given = Feed(samples(numbered(40)), torch.arange(40), torch.device("cuda"), max_device_bytes=most)
    assert (given.resident is None) == (most == 0)
    for pixels, targets in given.batches(list(torch.arange(40).split(6))):
        assert pixels.is_cuda and pixels[:, 1, 2, 2].tolist() == targets.tolist()


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_have_one_layout_whatever_theirs_was(channels: int) -> None:
    images = torch.arange(2 * channels * 20, dtype=torch.uint8).view(2, channels, 4, 5)
    turned = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    for given in (images, turned):
        pixels = real_pixels(given)
        assert pixels.stride() == (20 * channels, 1, 5 * channels, channels)
        assert torch.equal(pixels, images.float() / 256)
    assert real_pixels(images, torch.float64).dtype == torch.float64
