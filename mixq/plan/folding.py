"""How a layer is spread over multipliers and cycles: the numbers that planner and hardware share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import cast

from mixq.packing import Packing
from mixq.plan.memories import Style, memory_style


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


@dataclass(frozen=True)
class Folding:
    """Parallelism of one layer, and all that follows from it.

    In each cycle ``pe`` output channels times ``rows * lanes`` input terms times ``packing.pixels`` pixels are
    multiplied. Loops, outermost first: output row, group of pixels, group of output channels (``folds``), pass over
    the taps (``packing.passes``), kernel rows, groups of input channels. One turn of the three innermost is a block of
    :attr:`steps` cycles that completes ``pe`` output channels of a group.

    shape: the layer. packing: arithmetic of one DSP. pe: output channels at a time, a multiple of packing.channels that
    divides out_channels. rows: kernel rows at a time, 1 or all. lanes: input channels at a time, a divisor of
    in_channels. in_pixels: pixels in a beat of the input stream, 1 or packing.pixels. out_lanes: output channels that
    leave in a beat, a divisor of pe; requantising them one after another must not take longer than a block.
    depth: products summed in the DSPs before lanes are read, 0 for as many as whatever operands allow; bounds: where
    real weights allow more, the least and the most that each (pixel, tap) then adds. weight_memory: kind of the weight
    memories, "block" or "distributed", or "auto" for the kind that suits their size.

    Raises ValueError where they do not fit together.
    """

    shape: LayerShape
    packing: Packing
    pe: int
    rows: int
    lanes: int
    in_pixels: int = 1
    out_lanes: int = 1
    depth: int = 0
    bounds: tuple[int, int] | None = None
    weight_memory: str = "auto"

    def __post_init__(self) -> None:
        shape, packing = self.shape, self.packing
        if packing.kernel != shape.kernel:
            raise ValueError(f"packing must be for kernel {shape.kernel}, not {packing.kernel!r}")
        if self.pe < 1 or shape.out_channels % self.pe or self.pe % packing.channels:
            raise ValueError(
                f"pe must divide {shape.out_channels} and be a multiple of {packing.channels}, not {self.pe!r}"
            )
        if self.rows not in (1, shape.kernel):
            raise ValueError(f"rows must be 1 or {shape.kernel}, not {self.rows!r}")
        if self.lanes < 1 or shape.in_channels % self.lanes:
            raise ValueError(f"lanes must divide {shape.in_channels}, not {self.lanes!r}")
        if self.in_pixels not in (1, packing.pixels):
            raise ValueError(f"in_pixels must be 1 or {packing.pixels}, not {self.in_pixels!r}")
        if self.out_lanes < 1 or self.pe % self.out_lanes or self.pe // self.out_lanes > self.steps:
            raise ValueError(
                f"out_lanes must divide {self.pe} and leave within {self.steps} cycles, not {self.out_lanes!r}"
            )
        if shape.stride == 2 and packing.pixels > 1 and packing.pixels % 2:
            raise ValueError(f"packing must hold 1 or an even number of pixels for stride 2, not {packing.pixels!r}")
        if self.depth < 0 or (self.bounds is None and self.depth > packing.accumulate_max):
            raise ValueError(f"depth must be from 0 to {packing.accumulate_max}, not {self.depth!r}")
        if self.weight_memory not in ("auto", "block", "distributed"):
            raise ValueError(f"weight_memory must be auto, block or distributed, not {self.weight_memory!r}")
        if self.bounds is not None and not self._bounds_fit():
            raise ValueError(f"bounds must fit the lanes of a single product of known depth, not {self.bounds!r}")

    def _bounds_fit(self) -> bool:
        if self.depth < 1 or self.packing.split or self.packing.tracked or self.bounds is None:
            return False
        low, high = self.bounds
        return low <= 0 <= high and self.packing.product.residues(low, high) is not None

    # -- multipliers -----------------------------------------------------------------------------------

    @property
    def simd(self) -> int:
        """Input terms multiplied at a time: rows * lanes."""
        return self.rows * self.lanes

    @property
    def columns(self) -> int:
        """Chains of DSPs side by side for different output channels: pe / packing.channels."""
        return self.pe // self.packing.channels

    @property
    def dsps(self) -> int:
        """DSPs of the layer."""
        return self.columns * self.simd * self.packing.dsps

    @cached_property
    def summed(self) -> int:
        """Most products that are summed before lanes are read."""
        return self.depth or self.packing.accumulate_max

    @cached_property
    def cascade(self) -> int:
        """Units in one chain: the largest divisor of simd that the guard bits allow.

        Of carry-tracked packings each sums a whole pass.
        """
        limit = min(self.simd, self.summed // (self.steps_per_pass if self.packing.tracked else 1))
        return max(n for n in range(1, limit + 1) if self.simd % n == 0)

    @property
    def skew(self) -> int:
        """Cycles that each unit of a chain works later than the one before."""
        return self.packing.skew(self.accumulate)

    @property
    def chains(self) -> int:
        """Chains whose lanes are added in look-up tables, per column."""
        return self.simd // self.cascade

    @property
    def steps_per_pass(self) -> int:
        """Cycles for one pass over the taps: kernel rows and input channels that are not parallel."""
        return (self.shape.kernel // self.rows) * (self.shape.in_channels // self.lanes)

    @property
    def steps(self) -> int:
        """Cycles of a block."""
        return self.packing.passes * self.steps_per_pass

    @property
    def accumulate(self) -> int:
        """Cycles that the last DSP of a chain sums before its lanes are read; a carry-tracked one sums a whole pass.

        A DSP48E1 has one port for the cascade and for the sum so far.
        """
        if self.packing.device == "dsp48e1" and self.cascade > 1:
            return 1
        return min(self.steps_per_pass, self.summed // self.cascade)

    @property
    def reads_per_pass(self) -> int:
        """How often the lanes of a chain are read in one pass."""
        return ceil(self.steps_per_pass / self.accumulate)

    @property
    def summed_now(self) -> int:
        """Products that a chain sums between two readings: cascade * accumulate."""
        return self.cascade * self.accumulate

    @cached_property
    def read_bounds(self) -> tuple[int, int]:
        """Least and most that each (pixel, tap) adds until the lanes of a chain are read."""
        return self.bounds or self.packing.sum_bounds(self.summed_now)

    @property
    def lift(self) -> int:
        """What lifting the lanes adds for each (pixel, tap) of a pass, over all chains and reads."""
        return -self.read_bounds[0] * self.chains * self.reads_per_pass

    @property
    def folds(self) -> int:
        """Groups of output channels computed one after another."""
        return self.shape.out_channels // self.pe

    @property
    def weight_depth(self) -> int:
        """Words of each weight memory."""
        return self.folds * self.steps

    @property
    def weight_width(self) -> int:
        """Bits of a word of each weight memory, one for each position of a chain."""
        return self.columns * self.chains * self.packing.stored_bits

    @property
    def weight_style(self) -> Style:
        """Kind of the weight memories."""
        if self.weight_memory == "auto":
            return memory_style(self.weight_width, self.weight_depth)
        return cast(Style, self.weight_memory)

    # -- pixels ----------------------------------------------------------------------------------------

    @property
    def groups(self) -> int:
        """Groups of pixels in an input row."""
        return ceil(self.shape.width / self.packing.pixels)

    @property
    def out_groups(self) -> int:
        """Groups of pixels in a row of a convolution of stride 1."""
        return ceil(self.shape.dense_width / self.packing.pixels)

    @property
    def shift(self) -> int:
        """Lane 0 of group g belongs to output column g * pixels - shift."""
        return self.shape.kernel - 1 - self.shape.padding

    @property
    def delay(self) -> int:
        """Groups after which an aligned group of outputs is complete."""
        return ceil(self.shift / self.packing.pixels)

    @property
    def positions(self) -> int:
        """Outputs that one group of pixels contributes to: pixels + taps of all passes - 1."""
        return self.packing.pixels + self.packing.passes * self.packing.taps - 1

    @property
    def first_lane(self) -> int:
        """Place of lane 0 among the sums that wait for completion, oldest first: delay * pixels - shift."""
        return self.delay * self.packing.pixels - self.shift

    @property
    def carried(self) -> int:
        """Sums of each output channel carried from one group of pixels to the next."""
        return self.first_lane + self.packing.passes * self.packing.taps - 1

    @property
    def row_steps(self) -> int:
        """Groups that a row takes: ceil(width / pixels) wherever padding does not add whole groups of outputs."""
        return max(self.groups, self.out_groups + max(self.delay, 1) - 1, self.delay)

    @property
    def flush(self) -> bool:
        """Whether a row's last outputs leave together with the first group of the next row (or alone when idle)."""
        if self.drops_groups and (self.row_steps - self.delay) % 2:
            return False
        return self.out_groups > self.row_steps - self.delay

    @property
    def out_pixels(self) -> int:
        """Pixels in a beat of the output."""
        return max(1, self.packing.pixels // self.shape.stride)

    @property
    def merged_rows(self) -> bool:
        """Whether rows play no part (kernel 1, stride 1): the image is taken as one column of groups."""
        return self.shape.kernel == 1 and self.shape.stride == 1

    @property
    def drops_groups(self) -> bool:
        """Whether every other group is left out of the output: stride 2 with one pixel in a group."""
        return self.shape.stride == 2 and self.packing.pixels == 1

    @property
    def scan(self) -> Scan:
        """The image as the line buffer sees it."""
        shape = self.shape
        rows, groups, steps, out_rows = shape.height, self.groups, self.row_steps, shape.out_height
        if self.merged_rows:
            rows, groups, steps, out_rows = rows * groups, 1, 1, rows * groups
        row_bits = (2 * (self.buffer_rows + shape.kernel + 1)).bit_length()
        top_bits = (rows + shape.kernel + shape.stride).bit_length() + 1
        return Scan(rows, groups, steps, out_rows, row_bits, top_bits)

    @property
    def buffer_rows(self) -> int:
        """Rows that the line buffer holds: kernel - 1 + stride, and one more so that uneven rates do not stall.

        While the last rows of a frame are in use, the first of the next frame come in: with little padding these are
        more than one.
        """
        shape = self.shape
        return 2 if self.merged_rows else max(shape.kernel + shape.stride, 2 * (shape.kernel - shape.padding))

    # -- time ------------------------------------------------------------------------------------------

    @property
    def compute_cycles(self) -> int:
        """Cycles that the multipliers work for one frame."""
        return self.shape.out_height * self.row_steps * self.folds * self.steps

    @property
    def input_beats(self) -> int:
        """Beats of one frame of the input stream."""
        columns = self.groups if self.in_pixels == self.packing.pixels else self.shape.width
        return self.shape.height * columns * (self.shape.in_channels // self.lanes)

    @property
    def output_beats(self) -> int:
        """Beats of one frame of the output stream."""
        groups = ceil(self.shape.out_width / self.out_pixels)
        return self.shape.out_height * groups * (self.shape.out_channels // self.out_lanes)

    @property
    def cycles_per_frame(self) -> int:
        """Cycles between frames in steady state, when nothing outside stalls."""
        return max(self.compute_cycles, self.input_beats, self.output_beats)

    # -- first output of a frame -----------------------------------------------------------------------

    def beats_until(self, row: int, group: int) -> int:
        """Input beats of a frame up to and with those of a group of pixels of a row, both as :attr:`scan` counts."""
        shape, pixels = self.shape, self.packing.pixels
        if self.merged_rows:
            row, group = divmod(row, self.groups)
        words = shape.in_channels // self.lanes
        if self.in_pixels == pixels:
            return (row * self.groups + group + 1) * words
        return (row * shape.width + min((group + 1) * pixels, shape.width)) * words

    @property
    def first_block_end(self) -> int:
        """Cycle of the step that completes a frame's first outputs, counted from its first input beat.

        For a frame on its own of which a beat comes in each cycle, while the output does not stall.
        """
        scan, shape = self.scan, self.shape

        def written(row: int, group: int) -> int:
            newest = min(max(row * shape.stride + shape.kernel - 1 - shape.padding, 0), scan.rows - 1)
            return self.beats_until(newest, min(group, scan.groups - 1))

        end = -1
        for group in range(scan.steps):
            for fold in range(self.folds):
                end = max(end + 1, written(0, group)) + self.steps - 1
                complete = group >= self.delay and not (self.drops_groups and (group - self.delay) % 2)
                if complete and fold == 0:
                    return end
        # The row is so short that its first outputs are its last: with the next row's first block, or before it.
        alone = end + self.pe // self.out_lanes
        together = max(end + 1, written(1, 0))
        return together + self.steps - 1 if scan.out_rows > 1 and together <= alone else alone
