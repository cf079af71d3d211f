"""How a layer is spread over multipliers and cycles: the numbers that planner and hardware share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil, gcd
from typing import cast

from mixq.packing import Packing, SoftMultipliers
from mixq.plan.folding_checks import check_folding
from mixq.plan.layer_shape import LayerShape, Scan
from mixq.plan.memories import Style, memory_style
from mixq.plan.pumping import fast_cycles, term_delays


@dataclass(frozen=True)
class Folding:
    """Parallelism of one layer, and all that follows from it.

    In each cycle ``pe`` output channels times ``rows * lanes`` input terms times ``packing.pixels`` pixels are
    multiplied. Loops, outermost first: output row, group of pixels, group of output channels (``folds``), pass over
    the taps (``packing.passes``), kernel rows, groups of input channels. One turn of the three innermost is a block of
    :attr:`steps` cycles that completes ``pe`` output channels of a group.

    pe and lanes need not divide the layer's channels: the last fold has surplus output channels, whose sums are
    dropped, the last word of input channels has surplus lanes; the weights of both are 0. Without DSPs both divide.

    Of a convolution in groups, folds go from group to group. A fold is a share of a group's output channels, then pe
    and lanes divide those of a group; or it is all of ``parallel`` groups side by side, each with input terms of its
    own, and pe and lanes are these groups' channels.

    shape: the layer. packing: arithmetic of one DSP, or multipliers without DSPs. pe: output channels at a time, a
    multiple of packing.channels, and none that has only surplus channels. rows: kernel rows at a time, 1 or all. lanes:
    input channels at a time and in a beat of the input stream, at most in_channels. in_pixels: pixels in such a beat, 1
    or packing.pixels. out_lanes: output channels that leave in a beat, a divisor of out_channels and, where there are
    several folds, of pe; requantising them one after another must not take longer than a block. depth: products summed
    in the DSPs before lanes are read, 0 for as many as whatever operands allow; bounds: where real weights allow more,
    the least and the most that each (pixel, tap) then adds. weight_memory: kind of the weight memories, "block" or
    "distributed", or "auto" for the kind that suits their size.
    pump: fast cycles in a fabric cycle; with 2, DSPs run at twice the fabric clock and each multiplies two input terms
    of the same sum, one after the other, so that half as many do the same. Of packings whose lanes are wires alone, see
    :func:`mixq.plan.pumping.can_pump`.

    Raises ValueError where they do not fit together.
    """

    shape: LayerShape
    packing: Packing | SoftMultipliers
    pe: int
    rows: int
    lanes: int
    in_pixels: int = 1
    out_lanes: int = 1
    depth: int = 0
    bounds: tuple[int, int] | None = None
    weight_memory: str = "auto"
    pump: int = 1

    def __post_init__(self) -> None:
        check_folding(self)

    @cached_property
    def leaving(self) -> int:
        """What out_lanes divides: then no beat has channels of two folds, or surplus ones."""
        return self.shape.out_channels if self.folds == 1 else gcd(self.pe, self.shape.out_channels)

    # -- multipliers -----------------------------------------------------------------------------------

    @cached_property
    def parallel(self) -> int:
        """Groups of the convolution side by side, each with multipliers of its own; 1 where there is one group."""
        return max(1, self.lanes // self.shape.group_inputs)

    @cached_property
    def term_lanes(self) -> int:
        """Input channels at a time of each sum: lanes / parallel."""
        return self.lanes // self.parallel

    @cached_property
    def simd(self) -> int:
        """Input terms of each sum that are multiplied at a time: rows * term_lanes."""
        return self.rows * self.term_lanes

    @cached_property
    def inputs(self) -> int:
        """Input terms at a time of all groups: rows * lanes."""
        return self.rows * self.lanes

    def input_term(self, group: int, term: int) -> int:
        """Place among the ``inputs`` of a term of one of the ``parallel`` groups."""
        return term // self.term_lanes * self.lanes + group * self.term_lanes + term % self.term_lanes

    def group_of(self, column: int) -> int:
        """Which of the ``parallel`` groups a column belongs to."""
        return column * self.parallel // self.columns

    @property
    def dsp_packing(self) -> Packing:
        """The packing of a layer that has DSPs. Raises TypeError for another."""
        if isinstance(self.packing, SoftMultipliers):
            raise TypeError(f"packing must be one of DSPs, not {self.packing!r}")
        return self.packing

    @cached_property
    def columns(self) -> int:
        """Chains side by side for different output channels: pe / packing.channels."""
        return self.pe // self.packing.channels

    @cached_property
    def dsps(self) -> int:
        """DSPs of the layer."""
        return self.columns * self.simd // self.pump * self.packing.dsps

    @property
    def density(self) -> float:
        """Multiplications per DSP and fabric cycle: those of the packing, for each cycle of the DSP."""
        return self.packing.density * self.pump

    @cached_property
    def summed(self) -> int:
        """Most products that are summed before lanes are read."""
        return self.depth or self.packing.accumulate_max

    @cached_property
    def cascade(self) -> int:
        """Input terms of one chain, a unit for each ``pump``: the largest divisor of simd that the guard bits allow.

        Of carry-tracked packings each sums a whole pass. A pumped DSP48E1, which accumulates, is a chain of its own.
        """
        limit = min(self.simd, self.summed // (self.steps_per_pass if self.packing.tracked else 1))
        if self.pump > 1 and self.packing.device == "dsp48e1":
            limit = self.pump
        return max(n for n in range(self.pump, limit + 1, self.pump) if self.simd % n == 0)

    @property
    def chain_units(self) -> int:
        """Units in one chain."""
        return self.cascade // self.pump

    def fast_cycle(self, term: int) -> int:
        """Cycle of the DSPs' clock in which they take a term of a chain, from the start of that of the first ones.

        Without ``pump``, ``skew`` for each position. With it, unit i takes term 2i and a fast cycle later term 2i + 1,
        and works a fast cycle later than the unit before. Chains of an odd number of units start with the second half
        of a fabric cycle, so that the last one's sum is complete just before a fabric cycle starts.
        """
        return fast_cycles(self.cascade, self.skew, self.pump)[term]

    def term_delay(self, term: int) -> int:
        """Fabric cycles that the operands of a term of a chain are held back; see :meth:`fast_cycle`."""
        return term_delays(self.cascade, self.skew, self.pump)[term]

    def pumped_cycles(self, dsp_latency: int) -> int:
        """Fabric cycles from the operands of a chain's first terms to the register that takes the sum of its last DSP.

        Of ``pump`` 2 alone. dsp_latency: cycles of a DSP. A register of the fast domain stands before the operands.
        """
        return (self.fast_cycle(self.cascade - 1) + 1 + dsp_latency) // self.pump + 1

    @property
    def skew(self) -> int:
        """Cycles that each unit of a chain works later than the one before."""
        return 0 if isinstance(self.packing, SoftMultipliers) else self.packing.skew(self.accumulate)

    @property
    def chains(self) -> int:
        """Chains whose lanes are added in look-up tables, per column."""
        return self.simd // self.cascade

    @cached_property
    def words(self) -> int:
        """Words of input channels in a block, of which a step takes one: ceil(group_inputs / term_lanes)."""
        return ceil(self.shape.group_inputs / self.term_lanes)

    @cached_property
    def line_words(self) -> int:
        """Words of all input channels of a pixel, beats of the input: ceil(in_channels / lanes)."""
        return ceil(self.shape.in_channels / self.lanes)

    @cached_property
    def steps_per_pass(self) -> int:
        """Cycles for one pass over the taps: kernel rows and input channels that are not parallel."""
        return (self.shape.kernel // self.rows) * self.words

    @cached_property
    def steps(self) -> int:
        """Cycles of a block."""
        return self.packing.passes * self.steps_per_pass

    @cached_property
    def accumulate(self) -> int:
        """Cycles that the last DSP of a chain sums before its lanes are read; a carry-tracked one sums a whole pass.

        A DSP48E1 has one port for the cascade and for the sum so far.
        """
        if self.packing.device == "dsp48e1" and self.chain_units > 1:
            return 1
        return min(self.steps_per_pass, self.summed // self.cascade)

    @cached_property
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
        """What lifting the lanes adds for each (pixel, tap) of a pass, over all chains and reads; 0 without DSPs."""
        if isinstance(self.packing, SoftMultipliers):
            return 0
        return -self.read_bounds[0] * self.chains * self.reads_per_pass

    @cached_property
    def folds(self) -> int:
        """Shares of the output channels computed one after another: ceil(out_channels / pe)."""
        return ceil(self.shape.out_channels / self.pe)

    @cached_property
    def shared_folds(self) -> int:
        """Folds in a row that read the same input channels."""
        return self.folds if self.shape.groups == 1 else max(1, self.shape.group_outputs // self.pe)

    @property
    def splits_inputs(self) -> bool:
        """Whether some folds read other input channels than the first."""
        return self.shared_folds < self.folds

    @cached_property
    def fold_beats(self) -> int:
        """Beats in which the output channels of a fold leave, of all but the last."""
        return min(self.pe, self.shape.out_channels) // self.out_lanes

    @property
    def last_fold_beats(self) -> int:
        """Beats of the last fold, without its surplus channels."""
        return self.shape.out_channels // self.out_lanes - (self.folds - 1) * self.fold_beats

    @cached_property
    def weight_depth(self) -> int:
        """Words of each weight memory."""
        return self.folds * self.steps

    @cached_property
    def weight_width(self) -> int:
        """Bits of a word of each weight memory, one for each input term of a chain."""
        return self.columns * self.chains * self.packing.stored_bits

    @cached_property
    def weight_style(self) -> Style:
        """Kind of the weight memories."""
        if self.weight_memory == "auto":
            return memory_style(self.weight_width, self.weight_depth)
        return cast(Style, self.weight_memory)

    # -- pixels ----------------------------------------------------------------------------------------

    @cached_property
    def groups(self) -> int:
        """Groups of pixels in an input row."""
        return ceil(self.shape.width / self.packing.pixels)

    @cached_property
    def out_groups(self) -> int:
        """Groups of pixels in a row of a convolution of stride 1."""
        return ceil(self.shape.dense_width / self.packing.pixels)

    @cached_property
    def shift(self) -> int:
        """Lane 0 of group g belongs to output column g * pixels - shift."""
        return self.shape.extent - 1 - self.shape.sides[1]

    @property
    def tap_span(self) -> int:
        """Positions from the first tap of a kernel row to the last, those that fill up passes included."""
        return self.shape.dilation * (self.packing.passes * self.packing.taps - 1)

    @cached_property
    def delay(self) -> int:
        """Groups after which an aligned group of outputs is complete."""
        return ceil(self.shift / self.packing.pixels)

    @property
    def positions(self) -> int:
        """Outputs that one group of pixels contributes to: pixels + tap_span."""
        return self.packing.pixels + self.tap_span

    @property
    def first_lane(self) -> int:
        """Place of lane 0 among the sums that wait for completion, oldest first: delay * pixels - shift."""
        return self.delay * self.packing.pixels - self.shift

    @property
    def carried(self) -> int:
        """Sums of each output channel carried from one group of pixels to the next."""
        return self.first_lane + self.tap_span

    @cached_property
    def row_steps(self) -> int:
        """Groups that a row takes: ceil(width / pixels) wherever padding does not add whole groups of outputs."""
        return max(self.groups, self.out_groups + max(self.delay, 1) - 1, self.delay)

    @property
    def flush(self) -> bool:
        """Whether a row's last outputs leave together with the first group of the next row (or alone when idle)."""
        if self.drops_groups and (self.row_steps - self.delay) % 2:
            return False
        return self.out_groups > self.row_steps - self.delay

    @cached_property
    def out_pixels(self) -> int:
        """Pixels in a beat of the output."""
        return max(1, self.packing.pixels // self.shape.stride)

    @cached_property
    def turns(self) -> int:
        """Cycles in which the pixels of an output beat are requantised one after another, a divisor of out_pixels.

        As many as there is time for: so fewer requantisers do.
        """
        time = self.steps // self.fold_beats
        return max(n for n in range(1, min(self.out_pixels, time) + 1) if self.out_pixels % n == 0)

    @property
    def out_interval(self) -> int:
        """Cycles in which the outputs of a block are requantised."""
        return self.fold_beats * self.turns

    @property
    def merged_rows(self) -> bool:
        """Whether rows play no part (kernel 1, stride 1): the image is taken as one column of groups."""
        return self.shape.kernel == 1 and self.shape.stride == 1

    @property
    def drops_groups(self) -> bool:
        """Whether every other group is left out of the output: stride 2 with one pixel in a group."""
        return self.shape.stride == 2 and self.packing.pixels == 1

    def uses(self, position: int) -> bool:
        """Whether sums at a position go to columns of the output; of stride 2, every other of a group does not."""
        return self.shape.stride == 1 or self.packing.pixels == 1 or (position - self.shift) % 2 == 0

    @cached_property
    def scan(self) -> Scan:
        """The image as the line buffer sees it."""
        shape = self.shape
        rows, groups, steps, out_rows = shape.height, self.groups, self.row_steps, shape.out_height
        if self.merged_rows:
            rows, groups, steps, out_rows = rows * groups, 1, 1, rows * groups
        row_bits = (2 * (self.buffer_rows + shape.extent + 1)).bit_length()
        top_bits = (rows + shape.extent + shape.stride).bit_length() + 1
        return Scan(rows, groups, steps, out_rows, row_bits, top_bits)

    @cached_property
    def buffer_rows(self) -> int:
        """Rows that the line buffer holds: extent - 1 + stride, and one more so that uneven rates do not stall.

        While the last rows of a frame are in use, the first of the next frame come in: with little padding these are
        more than one. What stride 2 leaves over at the end waits for the last output row, too.
        """
        shape = self.shape
        if self.merged_rows:
            return 2
        below = shape.tops[-1] + shape.extent - shape.height
        # A row of several groups has free ones before the last output row is done.
        last_rows = shape.extent - max(below, 0) + (max(-below, 0) if self.groups == 1 else 0)
        return max(shape.extent + shape.stride, last_rows + shape.extent - shape.sides[0])

    # -- time ------------------------------------------------------------------------------------------

    @cached_property
    def compute_cycles(self) -> int:
        """Cycles that the multipliers work for one frame."""
        return self.shape.out_height * self.row_steps * self.folds * self.steps

    @property
    def input_beats(self) -> int:
        """Beats of one frame of the input stream."""
        columns = self.groups if self.in_pixels == self.packing.pixels else self.shape.width
        return self.shape.height * columns * self.line_words

    @property
    def output_beats(self) -> int:
        """Beats of one frame of the output stream."""
        groups = ceil(self.shape.out_width / self.out_pixels)
        return self.shape.out_height * groups * (self.shape.out_channels // self.out_lanes)

    @property
    def cycles_per_frame(self) -> int:
        """Cycles between frames in steady state, when nothing outside stalls."""
        return max(self.compute_cycles, self.input_beats, self.output_beats)
