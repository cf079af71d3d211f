"""Nodes that look at neighbouring pixels without weights: pooling, space-to-depth, upsampling."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

from mixq.formats import IntFormat
from mixq.graph.bounds import MAX_ACCUMULATOR_BITS
from mixq.graph.checks import GraphError, check_int
from mixq.graph.node import Shape, Unary, check_kept
from mixq.graph.tensor import MAX_AXIS, Tensor

POOL_KERNELS = (2, 3)
BLOCKS = (2, 4)
"""Least and greatest block of space-to-depth, and factor of upsampling."""


@dataclass(frozen=True, eq=False)
class MaxPool(Unary):
    """Maximum over ``kernel`` x ``kernel`` windows, without padding, incomplete windows left out.

    Parameters: ``kernel`` 2 or 3; ``stride`` 1 to kernel.
    """

    op: ClassVar[str] = "max_pool"

    _: KW_ONLY
    kernel: int
    stride: int

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("kernel", check_int(self._label("kernel"), self.kernel, *POOL_KERNELS))
        self._set("stride", check_int(self._label("stride"), self.stride, 1, self.kernel))

    def output_shape(self, shape: Shape) -> Shape:
        """Return (C, (H - kernel) // stride + 1, likewise of W)."""
        channels, height, width = shape
        if min(height, width) < self.kernel:
            raise GraphError(f"{self._label('kernel')} must fit in {height} x {width} pixels, not {self.kernel!r}")
        return channels, (height - self.kernel) // self.stride + 1, (width - self.kernel) // self.stride + 1

    def check_formats(self, source: Tensor, target: Tensor) -> None:
        """Format and scale pass unchanged."""
        check_kept(source, target)


@dataclass(frozen=True, eq=False)
class SumPool(Unary):
    """Sums over ``kernel`` windows that do not overlap, incomplete windows left out: average-pooling, undivided.

    A requantisation behind it divides, and rounds once. A window of the size of the image makes it global.
    Windows that overlap are a depthwise convolution with weights of 1.

    Parameters: ``kernel`` (rows, columns), or one number for both (kept as two).
    """

    op: ClassVar[str] = "sum_pool"

    _: KW_ONLY
    kernel: tuple[int, int] | int

    def __post_init__(self) -> None:
        super().__post_init__()
        given: Any = self.kernel
        sides = given if isinstance(given, (tuple, list)) else (given, given)
        if len(sides) != 2:
            raise GraphError(f"{self._label('kernel')} must be (rows, columns), not {given!r}")
        rows, columns = (check_int(self._label("kernel"), side, 1, MAX_AXIS) for side in sides)
        self._set("kernel", (rows, columns))

    @property
    def window(self) -> tuple[int, int]:
        """Rows and columns of a window."""
        assert isinstance(self.kernel, tuple)
        return self.kernel

    def output_shape(self, shape: Shape) -> Shape:
        """Return (C, H // rows, W // columns)."""
        channels, height, width = shape
        rows, columns = self.window
        if height < rows or width < columns:
            raise GraphError(f"{self._label('kernel')} must fit in {height} x {width} pixels, not {self.kernel!r}")
        return channels, height // rows, width // columns

    def sum_format(self, source: IntFormat) -> IntFormat:
        """Return the exact format of sums of codes of ``source``."""
        count = self.window[0] * self.window[1]
        return IntFormat.for_range(source.low * count, source.high * count, signed=source.signed, min_width=2)

    def check_formats(self, source: Tensor, target: Tensor) -> None:
        """The output is the exact format of the sums, at most 48 bits."""
        exact = self.sum_format(source.format)
        if exact.width > MAX_ACCUMULATOR_BITS:
            raise GraphError(f"{self._label('sums')} must fit in {MAX_ACCUMULATOR_BITS} bits, not {exact.width!r}")
        if target.format != exact:
            raise GraphError(f"format of tensor {target.name} must be the exact sums' {exact}, not {target.format!r}")


@dataclass(frozen=True, eq=False)
class SpaceToDepth(Unary):
    """Blocks of pixels become channels: ``y[(u * block + v) * C + c, r, q] = x[c, r * block + u, q * block + v]``.

    Parameters: ``block`` 2 to 4, which divides height and width of the input.
    """

    op: ClassVar[str] = "space_to_depth"

    _: KW_ONLY
    block: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("block", check_int(self._label("block"), self.block, *BLOCKS))

    def output_shape(self, shape: Shape) -> Shape:
        """Return (C * block^2, H / block, W / block)."""
        channels, height, width = shape
        if height % self.block or width % self.block:
            raise GraphError(f"{self._label('block')} must divide {height} x {width} pixels, not {self.block!r}")
        return channels * self.block**2, height // self.block, width // self.block

    def check_formats(self, source: Tensor, target: Tensor) -> None:
        """Format passes unchanged, the scale in blocks of channels."""
        scale = source.scale
        check_kept(source, target, scale * self.block**2 if isinstance(scale, tuple) else scale)


@dataclass(frozen=True, eq=False)
class Upsample(Unary):
    """Every pixel ``factor`` times in each direction (nearest neighbour).

    Parameters: ``factor`` 2 to 4.
    """

    op: ClassVar[str] = "upsample"

    _: KW_ONLY
    factor: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("factor", check_int(self._label("factor"), self.factor, *BLOCKS))

    def output_shape(self, shape: Shape) -> Shape:
        """Return (C, H * factor, W * factor)."""
        channels, height, width = shape
        return channels, height * self.factor, width * self.factor

    def check_formats(self, source: Tensor, target: Tensor) -> None:
        """Format and scale pass unchanged."""
        check_kept(source, target)
