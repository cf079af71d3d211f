"""What a layer computes, and the image as its line buffer sees it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LayerShape:
    """What a convolution computes: sizes in pixels and channels. A dense layer is 1x1 over one pixel.

    Raises ValueError where a value is outside what the hardware supports.
    """

    in_channels: int
    out_channels: int
    height: int
    width: int
    kernel: int = 1
    stride: int = 1
    padding: int = 0

    def __post_init__(self) -> None:
        for name in ("in_channels", "out_channels", "height", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)!r}")
        if self.kernel not in (1, 3, 5):
            raise ValueError(f"kernel must be 1, 3 or 5, not {self.kernel!r}")
        if self.stride not in (1, 2):
            raise ValueError(f"stride must be 1 or 2, not {self.stride!r}")
        if not 0 <= self.padding <= min(2, self.kernel - 1):
            raise ValueError(f"padding must be from 0 to 2 and less than the kernel, not {self.padding!r}")
        if min(self.height, self.width) + 2 * self.padding < self.kernel:
            raise ValueError(f"kernel must not exceed the padded image, not {self.kernel!r}")

    @property
    def dense_width(self) -> int:
        """Columns that a convolution of stride 1 gives."""
        return self.width + 2 * self.padding - self.kernel + 1

    @property
    def out_height(self) -> int:
        """Rows of the output."""
        return (self.height + 2 * self.padding - self.kernel) // self.stride + 1

    @property
    def out_width(self) -> int:
        """Columns of the output."""
        return (self.dense_width - 1) // self.stride + 1

    @property
    def macs(self) -> int:
        """Multiplications of one frame, those with padding included."""
        return self.out_height * self.out_width * self.out_channels * self.in_channels * self.kernel**2


@dataclass(frozen=True)
class Scan:
    """How the line buffer sees an image: rows of groups of pixels.

    rows, groups: of the input. steps: groups of a row that are computed, with those of padding alone. out_rows: rows
    computed. row_bits: enough to tell apart, modulo 2^row_bits, the rows that writer and reader can be at. top_bits:
    enough for the first kernel row's row, negative on padding, and a kernel and a stride beyond the image.
    """

    rows: int
    groups: int
    steps: int
    out_rows: int
    row_bits: int
    top_bits: int
