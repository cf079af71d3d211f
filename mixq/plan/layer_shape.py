"""What a layer computes, and the image as its line buffer sees it."""

from __future__ import annotations

from dataclasses import dataclass

Sides = tuple[int, int, int, int]
"""Zeros at top, left, bottom and right."""


@dataclass(frozen=True)
class LayerShape:
    """What a convolution computes: sizes in pixels and channels. A dense layer is 1x1 over one pixel.

    padding: zeros at (top, left, bottom, right), or one number where it is the same on all sides. groups: equal blocks
    of output channels, each of which reads its own block of the input channels; as many as these: depthwise. dilation:
    pixels from one tap to the next; of kernel 1, it is kept as 1.

    Raises ValueError where a value is outside what the hardware supports.
    """

    in_channels: int
    out_channels: int
    height: int
    width: int
    kernel: int = 1
    stride: int = 1
    padding: int | Sides = 0
    groups: int = 1
    dilation: int = 1

    def __post_init__(self) -> None:
        for name in ("in_channels", "out_channels", "height", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)!r}")
        if self.kernel not in (1, 3, 5):
            raise ValueError(f"kernel must be 1, 3 or 5, not {self.kernel!r}")
        if self.stride not in (1, 2):
            raise ValueError(f"stride must be 1 or 2, not {self.stride!r}")
        if self.dilation not in (1, 2):
            raise ValueError(f"dilation must be 1 or 2, not {self.dilation!r}")
        if self.groups < 1 or self.in_channels % self.groups or self.out_channels % self.groups:
            raise ValueError(
                f"groups must divide {self.in_channels} and {self.out_channels} channels, not {self.groups!r}"
            )
        self._normalise()
        if any(not 0 <= side < self.extent for side in self.sides):
            raise ValueError(f"padding must be from 0 to {self.extent - 1} on each side, not {self.padding!r}")
        if min(self.padded) < self.extent:
            raise ValueError(f"kernel must not exceed the padded image, not {self.kernel!r}")

    def _normalise(self) -> None:
        """The same layer is the same value. Raises TypeError for padding that is no whole number."""
        sides = [self.padding] if isinstance(self.padding, int) else self.padding
        if any(type(side) is not int for side in sides):
            raise TypeError(f"padding must be whole numbers, not {self.padding!r}")
        if not isinstance(self.padding, int):
            if len(sides) != 4:
                raise ValueError(f"padding must be (top, left, bottom, right), not {self.padding!r}")
            object.__setattr__(self, "padding", sides[0] if len(set(sides)) == 1 else tuple(sides))
        if self.kernel == 1:
            object.__setattr__(self, "dilation", 1)

    @property
    def sides(self) -> Sides:
        """Zeros at top, left, bottom and right."""
        return (self.padding,) * 4 if isinstance(self.padding, int) else self.padding

    @property
    def extent(self) -> int:
        """Pixels that the kernel spans in each direction."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def padded(self) -> tuple[int, int]:
        """Height and width with the padding."""
        top, left, bottom, right = self.sides
        return self.height + top + bottom, self.width + left + right

    @property
    def pads_rows(self) -> bool:
        """Whether there are rows of padding."""
        return self.sides[0] + self.sides[2] > 0

    @property
    def pads_columns(self) -> bool:
        """Whether there are columns of padding."""
        return self.sides[1] + self.sides[3] > 0

    @property
    def group_inputs(self) -> int:
        """Input channels of a group."""
        return self.in_channels // self.groups

    @property
    def group_outputs(self) -> int:
        """Output channels of a group."""
        return self.out_channels // self.groups

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """Of the weights: output channels, input channels of a group, rows and columns of the kernel."""
        return self.out_channels, self.group_inputs, self.kernel, self.kernel

    @property
    def tops(self) -> tuple[int, ...]:
        """Row of the input under the first kernel row, for each output row; negative on padding."""
        return tuple(row * self.stride - self.sides[0] for row in range(self.out_height))

    @property
    def dense_width(self) -> int:
        """Columns that a convolution of stride 1 gives."""
        return self.padded[1] - self.extent + 1

    @property
    def out_height(self) -> int:
        """Rows of the output."""
        return (self.padded[0] - self.extent) // self.stride + 1

    @property
    def out_width(self) -> int:
        """Columns of the output."""
        return (self.dense_width - 1) // self.stride + 1

    @property
    def macs(self) -> int:
        """Multiplications of one frame, those with padding included."""
        return self.out_height * self.out_width * self.out_channels * self.group_inputs * self.kernel**2


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
