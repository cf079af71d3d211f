"""Random shifts, flips, windows and colours of images, the same on every device.

The random numbers come from a generator on the CPU and move to the images' device, so that a training on
another device, or one that is spread over several, sees the same images.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mixq.data.pixels import FACTOR_BITS, recolour, resample

EDGE_SLACK = 1e-3
"""So much of a pixel a box's edge may lie outside the image after a shift."""

_COLOURS = ("brightness", "contrast", "saturation")


@dataclass(frozen=True, eq=False)
class Draws:
    """What was drawn for each of N images, on the CPU.

    Parameters:
        offsets: int64 (N, 2), rows and columns; pixel (y, x) of the result is pixel (y + row, x + column) of the
            image, and zero where that is outside.
        flips: bool (N,); the result is then mirrored left to right.
        windows: float64 (N, 3): share of the image's width and height that is taken, and where in its room the window
            lies, 0..1 to the right and down.
        factors: int64 (N, 3), of brightness, contrast and saturation, in 2^-8.
    """

    offsets: Tensor
    flips: Tensor
    windows: Tensor
    factors: Tensor

    def __len__(self) -> int:
        return len(self.flips)

    def __getitem__(self, part: slice | Tensor) -> Draws:
        """The draws of some of the images, such as one process's slice of a global batch."""
        return Draws(self.offsets[part], self.flips[part], self.windows[part], self.factors[part])


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
        crop: a window of the image is enlarged to its size: of all but this share of width and height at least, with
            the same ratio of both; 0 for none, below 1. 8-bit images only.
        brightness, contrast, saturation: factors are drawn from 1 minus this to 1 plus this, 0..1; 0 for none. 8-bit
            images only. See `mixq.data.pixels.recolour`.

    Colours are changed first, then windows are taken, then images are shifted and flipped.

    Raises:
        TypeError, ValueError: a value of another type, or out of range.
    """

    shift: int = 0
    flip: bool = False
    crop: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.shift, int) or isinstance(self.shift, bool):
            raise TypeError(f"shift must be an integer, not {self.shift!r}")
        if self.shift < 0:
            raise ValueError(f"shift must not be negative, not {self.shift!r}")
        if not isinstance(self.flip, bool):
            raise TypeError(f"flip must be a bool, not {self.flip!r}")
        for name in ("crop", *_COLOURS):
            value = getattr(self, name)
            if not isinstance(value, int | float) or isinstance(value, bool):
                raise TypeError(f"{name} must be a number, not {value!r}")
            if not 0 <= value <= 1 or (name == "crop" and value == 1):
                raise ValueError(f"{name} must be in 0..1{', below 1' if name == 'crop' else ''}, not {value!r}")

    @property
    def _colours(self) -> tuple[float, ...]:
        return tuple(getattr(self, name) for name in _COLOURS)

    def draw(self, count: int, generator: torch.Generator) -> Draws:
        """Draw for ``count`` images from a CPU generator: of shifts, flips, windows and colours those there are."""
        offsets = torch.zeros(count, 2, dtype=torch.int64)
        flips = torch.zeros(count, dtype=torch.bool)
        if self.shift:
            offsets = torch.randint(0, 2 * self.shift + 1, (2, count), generator=generator).T - self.shift
        if self.flip:
            flips = torch.randint(0, 2, (count,), generator=generator).bool()
        windows = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64).repeat(count, 1)
        if self.crop:
            windows = torch.rand(count, 3, dtype=torch.float64, generator=generator)
            windows[:, 0] = 1 - self.crop * windows[:, 0]
        factors = torch.full((count, 3), 1 << FACTOR_BITS)
        if any(self._colours):
            spread = torch.tensor(self._colours, dtype=torch.float64)
            drawn = 2 * torch.rand(count, 3, dtype=torch.float64, generator=generator) - 1
            factors = ((1 + spread * drawn) * (1 << FACTOR_BITS)).round().long()
        return Draws(offsets, flips, windows, factors)

    def apply(self, images: Tensor, random: Draws | torch.Generator) -> Tensor:
        """Change ``images``, (N, C, H, W), on their device; a generator is drawn from first.

        Raises:
            ValueError: as many draws as images there must be. TypeError: windows or colours of images not of bytes.
        """
        draws = self._draws(images, random)
        images = self._coloured(images, draws)
        if self.crop:
            anywhere = torch.zeros(len(images), 2, dtype=torch.float64, device=images.device)
            images = resample(images, *_windows(draws.windows.to(images.device), anywhere + 1, anywhere))
        return self._moved(images, draws.offsets.to(images.device), draws.flips.to(images.device))

    def apply_boxes(self, images: Tensor, boxes: Tensor, random: Draws | torch.Generator) -> tuple[Tensor, Tensor]:
        """The same for images with a box each: change both.

        A shift that would push a part of the box out of the image ends where the box meets the edge, and a window is
        laid around the box, larger than drawn where that takes it, so that every box stays whole.

        Parameters:
            images: (N, C, H, W). boxes: (N, 4), (x centre, y centre, width, height) as shares of the image.

        Returns:
            Images and boxes of the same shapes, on their devices.

        Raises:
            ValueError: as many draws and boxes as images there must be. TypeError: windows or colours of images not of
                bytes.
        """
        if boxes.shape != (len(images), 4):
            raise ValueError(f"boxes must be of shape {(len(images), 4)}, not {tuple(boxes.shape)!r}")
        draws = self._draws(images, random)
        images = self._coloured(images, draws)
        if self.crop:
            images, boxes = _cropped(images, boxes, draws.windows.to(boxes.device))
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

    def _coloured(self, images: Tensor, draws: Draws) -> Tensor:
        return recolour(images, draws.factors.to(images.device)) if any(self._colours) else images

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


def _cropped(images: Tensor, boxes: Tensor, windows: Tensor) -> tuple[Tensor, Tensor]:
    """Images and boxes as seen through windows around the boxes."""
    centres, sizes = boxes[:, :2].double(), boxes[:, 2:].double()
    starts, shares = _windows(windows, centres - sizes / 2, centres + sizes / 2)
    changed = torch.cat([(centres - starts) / shares[:, None], sizes / shares[:, None]], dim=1)
    return resample(images, starts.to(images.device), shares.to(images.device)), changed.to(boxes.dtype)


def _windows(windows: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Corners (N, 2) and shares (N,) of windows that hold all from ``low`` to ``high`` (N, 2), all shares of the image.

    ``low`` beyond ``high`` asks for nothing.
    """
    shares = windows[:, 0].maximum((high - low).amax(1)).clamp(max=1)
    room = 1 - shares[:, None]
    first = (high - shares[:, None]).clamp_min(0).minimum(room)
    last = low.clamp_min(0).minimum(room).maximum(first)
    return first + windows[:, 1:] * (last - first), shares
