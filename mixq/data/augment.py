"""Random shifts and flips of images, the same on every device.

The random numbers come from a generator on the CPU and move to the images' device, so that a training on
another device, or one that is spread over several, sees the same images.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

EDGE_SLACK = 1e-3
"""So much of a pixel a box's edge may lie outside the image after a shift."""


@dataclass(frozen=True, eq=False)
class Draws:
    """What was drawn for each of N images, on the CPU.

    Parameters:
        offsets: int64 (N, 2), rows and columns; pixel (y, x) of the result is pixel (y + row, x + column) of the
            image, and zero where that is outside.
        flips: bool (N,); the result is then mirrored left to right.
    """

    offsets: Tensor
    flips: Tensor

    def __len__(self) -> int:
        return len(self.flips)

    def __getitem__(self, part: slice | Tensor) -> Draws:
        """The draws of some of the images, such as one process's slice of a global batch."""
        return Draws(self.offsets[part], self.flips[part])


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Small random changes that make a network see more images than there are.

    >>> augmentation = Augmentation(shift=4, flip=True)
    >>> draws = augmentation.draw(128, torch.Generator().manual_seed(7))
    >>> augmentation.apply(torch.zeros(64, 3, 32, 32), draws[:64]).shape
    torch.Size([64, 3, 32, 32])

    Parameters:
        shift: images move by up to so many pixels each way, zeros moving in; the same as padding by it and
            cropping at random. 0 for none.
        flip: mirror every other image, at random, left to right.

    Raises:
        TypeError, ValueError: a value of another type, or a negative shift.
    """

    shift: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.shift, int) or isinstance(self.shift, bool):
            raise TypeError(f"shift must be an integer, not {self.shift!r}")
        if self.shift < 0:
            raise ValueError(f"shift must not be negative, not {self.shift!r}")
        if not isinstance(self.flip, bool):
            raise TypeError(f"flip must be a bool, not {self.flip!r}")

    def draw(self, count: int, generator: torch.Generator) -> Draws:
        """Draw for ``count`` images from a CPU generator: the shifts where there are any, then the flips."""
        offsets = torch.zeros(count, 2, dtype=torch.int64)
        flips = torch.zeros(count, dtype=torch.bool)
        if self.shift:
            offsets = torch.randint(0, 2 * self.shift + 1, (2, count), generator=generator).T - self.shift
        if self.flip:
            flips = torch.randint(0, 2, (count,), generator=generator).bool()
        return Draws(offsets, flips)

    def apply(self, images: Tensor, random: Draws | torch.Generator) -> Tensor:
        """Change ``images``, (N, C, H, W) of any dtype, on their device; a generator is drawn from first.

        Raises:
            ValueError: as many draws as images there must be.
        """
        draws = self._draws(images, random)
        return self._moved(images, draws.offsets.to(images.device), draws.flips.to(images.device))

    def apply_boxes(self, images: Tensor, boxes: Tensor, random: Draws | torch.Generator) -> tuple[Tensor, Tensor]:
        """The same for images with a box each: change both.

        A shift that would push a part of the box out of the image ends where the box meets the edge, so
        that every box stays whole.

        Parameters:
            images: (N, C, H, W). boxes: (N, 4), (x centre, y centre, width, height) as shares of the image.

        Returns:
            Images and boxes of the same shapes, on their devices.

        Raises:
            ValueError: as many draws and boxes as images there must be.
        """
        if boxes.shape != (len(images), 4):
            raise ValueError(f"boxes must be of shape {(len(images), 4)}, not {tuple(boxes.shape)!r}")
        draws = self._draws(images, random)
        offsets, flips = draws.offsets.to(boxes.device), draws.flips.to(boxes.device)
        centres, sizes = boxes[:, :2], boxes[:, 2:]
        if self.shift:
            extent = torch.tensor([images.shape[3], images.shape[2]], dtype=boxes.dtype, device=boxes.device)
            # An offset moves the box towards the start, by no more than the pixels that lie before it. Rounding
            # must not take away one of them: `EDGE_SLACK` is above its error and far below a pixel.
            before = ((centres - sizes / 2) * extent + EDGE_SLACK).floor().clamp_min(0).long()
            after = ((1 - centres - sizes / 2) * extent + EDGE_SLACK).floor().clamp_min(0).long()
            moved = offsets.flip(1).minimum(before).maximum(-after)
            centres = centres - moved / extent
            offsets = moved.flip(1)
        across = torch.where(flips, 1 - centres[:, 0], centres[:, 0])
        changed = torch.cat([across[:, None], centres[:, 1:], sizes], dim=1)
        return self._moved(images, offsets.to(images.device), flips.to(images.device)), changed

    def _draws(self, images: Tensor, random: Draws | torch.Generator) -> Draws:
        draws = self.draw(len(images), random) if isinstance(random, torch.Generator) else random
        if len(draws) != len(images):
            raise ValueError(f"draws must be of {len(images)} images, not {len(draws)!r}")
        return draws

    def _moved(self, images: Tensor, offsets: Tensor, flips: Tensor) -> Tensor:
        if not self.shift:
            return torch.where(flips[:, None, None, None], images.flip(3), images) if self.flip else images
        count, _, height, width = images.shape
        padded = F.pad(images, (self.shift,) * 4)
        across = torch.arange(width, device=images.device)
        rows = offsets[:, :1] + self.shift + torch.arange(height, device=images.device)
        columns = offsets[:, 1:] + self.shift + torch.where(flips[:, None], across.flip(0), across)
        which = torch.arange(count, device=images.device)[:, None, None]
        return padded[which, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
