"""Brings batches of images to the device: 8-bit, from the device's own memory where they fit, else in chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from mixq.data import BoxSamples, Samples
from mixq.quantizers import PIXEL_BITS

MAX_DEVICE_BYTES = 16 << 30
"""Most bytes of one part's images that are kept in a GPU's memory."""

CHUNK_BYTES = 64 << 20
"""Bytes that travel to the device at a time."""


class Feed:
    """The images and targets of one part of a data set, on a device.

    Parameters:
        samples: the part; its images may be memory-mapped.
        targets: what belongs to each image, on the CPU, (N, ...).
        device: where batches are wanted. On the CPU images stay where they are.
        max_device_bytes: larger parts stay on the host and travel in chunks while the device computes.
    """

    def __init__(
        self,
        samples: Samples | BoxSamples,
        targets: Tensor,
        device: torch.device,
        *,
        max_device_bytes: int = MAX_DEVICE_BYTES,
    ) -> None:
        self._host = samples.images
        self._device = device
        self._targets = targets.to(device)
        self.resident: Tensor | None = None
        if device.type != "cpu" and self._host.nbytes <= max_device_bytes:
            self.resident = torch.empty(self._host.shape, dtype=torch.uint8, device=device)
            for start in range(0, len(self._host), self._images_per_chunk):
                part = slice(start, start + self._images_per_chunk)
                # Memory of its own: a mapped file cannot be written to, which PyTorch warns of.
                self.resident[part] = torch.from_numpy(np.array(self._host[part]))

    def __len__(self) -> int:
        return len(self._host)

    def batches(self, indices: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Images, uint8 (n, C, H, W), and targets (n, ...) for each of ``indices``, int64 (n,) on the CPU."""
        if not indices:
            return
        if self.resident is not None:
            # One transfer for all batches: a copy of a few bytes before each would keep the device waiting.
            for part in torch.cat(list(indices)).to(self._device).split([len(part) for part in indices]):
                yield self.resident[part], self._targets[part]
        elif self._device.type == "cpu":
            for part in indices:
                yield self._gathered(part), self._targets[part]
        else:
            yield from self._chunked(indices)

    def _chunked(self, indices: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """As `batches`; the next chunk is gathered and sent by another thread meanwhile."""
        chunks = _grouped(indices, self._images_per_chunk)

        def gather(chunk: list[Tensor]) -> tuple[Tensor, Tensor]:
            together = torch.cat(chunk)
            images = self._gathered(together)
            if self._device.type == "cuda":
                images = images.pin_memory()
            return images.to(self._device, non_blocking=True), together.to(self._device)

        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(gather, chunks[0])
            for number, chunk in enumerate(chunks):
                images, together = waiting.result()
                if number + 1 < len(chunks):
                    waiting = pool.submit(gather, chunks[number + 1])
                sizes = [len(part) for part in chunk]
                yield from zip(images.split(sizes), self._targets[together].split(sizes), strict=True)

    def _gathered(self, indices: Tensor) -> Tensor:
        """The images at ``indices`` in new memory: indexing by an array copies, from a mapped file too."""
        return torch.from_numpy(np.asarray(self._host[indices.numpy()]))

    @property
    def _images_per_chunk(self) -> int:
        return max(1, CHUNK_BYTES // max(1, self._host[0].nbytes))


def real_pixels(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """A model's input, ``pixel / 256``, of images uint8 (N, C, H, W), laid out with channels last.

    The layout decides the order of sums, so it must not follow from what was done to the images.
    """
    count, channels, height, width = images.shape
    pixels = torch.empty((count, height, width, channels), dtype=dtype, device=images.device).permute(0, 3, 1, 2)
    return pixels.copy_(images).div_(2**PIXEL_BITS)


def _grouped(indices: Sequence[Tensor], most: int) -> list[list[Tensor]]:
    """Neighbouring batches together, up to ``most`` images and at least one batch in each group."""
    groups: list[list[Tensor]] = []
    size = 0
    for part in indices:
        if not groups or size + len(part) > most:
            groups.append([])
            size = 0
        groups[-1].append(part)
        size += len(part)
    return groups
