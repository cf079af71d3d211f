"""What requantisation, FIFOs, pooling, converters and the bus consist of; see :mod:`mixq.plan.layer_features`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil, gcd

from mixq.board import Resources
from mixq.plan.conversion import burst_beats
from mixq.plan.layer_features import Terms
from mixq.plan.memories import memory_style, ram, rom
from mixq.plan.staircase import Staircase
from mixq.streams import StreamShape


def _bits(count: int) -> int:
    """Bits of a counter of so many values."""
    return max(count - 1, 0).bit_length()


@dataclass(frozen=True)
class Constants:
    """What the multipliers and biases of a requantisation tell, one of each for every channel.

    multiplier_bits, bias_bits: of the widest, signs included. channels: how many there are. digits: non-zero digits of
    all multipliers in canonical signed form. rises, falls: some multipliers are not negative, some are. staircase: of
    explicit thresholds, which have no multipliers.
    """

    multiplier_bits: int
    bias_bits: int
    channels: int
    digits: int
    rises: bool
    falls: bool
    staircase: Staircase | None = None

    @classmethod
    def of_steps(cls, count: int, first: Sequence[int], step: Sequence[int]) -> Constants:
        """Those of explicit thresholds; arguments as of :meth:`mixq.plan.staircase.Staircase.of`."""
        rises, falls = any(one > 0 for one in step), any(one < 0 for one in step)
        return cls(1, 1, len(step), 0, rises, falls, Staircase.of(count, first, step))

    @classmethod
    def of(cls, multiplier: Sequence[int], bias: Sequence[int]) -> Constants:
        """Those of a requantisation with at least one channel."""
        # x and 3 x differ in as many bits as the canonical signed form of x has digits.
        digits = sum((3 * abs(factor) ^ abs(factor)).bit_count() for factor in multiplier)
        return cls(
            max(abs(factor) for factor in multiplier).bit_length() + 1,
            max(abs(value) for value in bias).bit_length() + 1,
            len(multiplier),
            digits,
            any(factor >= 0 for factor in multiplier),
            any(factor < 0 for factor in multiplier),
        )


@dataclass(frozen=True)
class Scale:
    """Numbers of a requantisation that decide its size.

    bits: of the sums. multiplier_bits, bias_bits: of the widest multiplier and of the widest constant that is added to
    a product, signs included. out_bits: of the codes. channels: in all; pixels, lanes: requantised at a time. shift:
    taken off at the end. digits: non-zero digits of all multipliers in canonical signed form (by default a third of
    their bits), which matter where every lane has its own channel. falls: some multipliers are negative.
    threshold_bits: of a threshold, by default those of a sum and one for what is never reached. search_levels: of
    comparisons, by default the bits of a code. explicit: by thresholds alone. bases: channels of a lane begin with
    different codes.
    """

    bits: int
    multiplier_bits: int
    bias_bits: int
    out_bits: int
    channels: int
    pixels: int
    lanes: int
    shift: int = 16
    digits: int | None = None
    falls: bool = False
    threshold_bits: int | None = None
    search_levels: int | None = None
    explicit: bool = False
    bases: bool = False

    @classmethod
    def of(
        cls,
        constants: Constants,
        *,
        bits: int,
        shift: int,
        out_bits: int,
        pixels: int,
        lanes: int,
        threshold_bits: int | None = None,
        search_levels: int | None = None,
    ) -> Scale:
        """The numbers of a requantisation by these constants."""
        steps = constants.staircase
        # A constant takes an offset of the sums along, which is as wide as they are.
        bias_bits = max(constants.bias_bits, constants.multiplier_bits - 1 + bits)
        return cls(
            bits,
            constants.multiplier_bits,
            bias_bits,
            out_bits,
            constants.channels,
            pixels,
            lanes,
            shift,
            constants.digits,
            constants.falls,
            threshold_bits,
            search_levels if steps is None else steps.levels,
            explicit=steps is not None,
            bases=steps is not None and any(len(set(steps.bases[lane::lanes])) > 1 for lane in range(lanes)),
        )

    @property
    def levels(self) -> int:
        """Comparisons one after the other, by thresholds."""
        return self.out_bits if self.search_levels is None else self.search_levels

    @property
    def groups(self) -> int:
        """Groups of channels that take turns."""
        return self.channels // self.lanes

    @property
    def compared_bits(self) -> int:
        """Bits of a threshold."""
        return self.bits + 1 if self.threshold_bits is None else self.threshold_bits

    @property
    def all_digits(self) -> float:
        """Non-zero digits of all multipliers, known or guessed."""
        return self.channels * self.multiplier_bits / 3 if self.digits is None else self.digits

    @property
    def count(self) -> int:
        """Sums that are requantised at a time."""
        return self.pixels * self.lanes

    @property
    def result_bits(self) -> int:
        """Width of a product with its constant, its sign included."""
        return max(self.bits + self.multiplier_bits, self.bias_bits)

    @property
    def rows(self) -> int:
        """Rows of adders, one for two bits of the multiplier."""
        return min(ceil(self.multiplier_bits / 2), ceil(self.result_bits / 2))


@cache
def _booth(scale: Scale) -> tuple[int, int, int]:
    """Bits of the rows of adders, of the registers behind them, and of those that delay the factor."""
    added = registers = 0
    for row in range(scale.rows):
        done = 2 * row
        bits = min(max(scale.bias_bits, scale.bits + 2 + done) + 1, scale.result_bits) - done
        added += bits
        # What is final already is kept where it is not shifted out.
        registers += bits + max(0, done - scale.shift)
    return added, registers, (scale.rows - 1) * scale.bits


def multiply(scale: Scale) -> Terms:
    """Multiplication, addition, shift and clamp."""
    clamped = scale.count * max(scale.result_bits - scale.shift, scale.out_bits)
    style_delay = (
        1 if memory_style(scale.lanes * (scale.multiplier_bits + scale.bias_bits), scale.groups) == "block" else 0
    )
    if scale.groups == 1:
        # A constant factor: a tree of its digits.
        bits = scale.pixels * (scale.all_digits * (scale.bits + scale.multiplier_bits // 2))
        return (0.0, bits, clamped, scale.count * scale.out_bits, 0.0), (
            0.0,
            bits,
            scale.count * scale.out_bits,
            0.0,
            0.0,
        )
    added, registers, factor = _booth(scale)
    digits = sum(3 for row in range(scale.rows) if row >= 3)
    early = sum(3 * row for row in range(min(3, scale.rows)))
    # With two groups of channels a bit of the multiplier is as likely as not the same in both: its row is simpler.
    same = 2.0 ** (1 - scale.groups)
    added, registers = ceil(added * (1 - 0.6 * same)), ceil(registers * (1 - 0.3 * same))
    return (
        (scale.count * added, 0.0, clamped, scale.count * scale.out_bits, scale.lanes * digits),
        (
            scale.count * registers,
            0.0,
            scale.count * scale.out_bits,
            scale.count * (factor + scale.bits * (1 + style_delay)),
            scale.lanes * early + scale.rows,
        ),
    )


def threshold(scale: Scale) -> Terms:
    """Comparisons, a level for each bit of the count of thresholds; and the code of each channel's own, added to it."""
    width, levels = scale.compared_bits, scale.levels
    falls = scale.count * width if scale.falls else 0
    compared = scale.count * levels * width
    # Thresholds of a single group of channels are constants: one at the first level, few at the others.
    constant = scale.count * width if scale.groups == 1 and levels else 0
    few = compared - constant if scale.groups == 1 else 0
    # Levels in block RAM wait a cycle longer: their delays are shift registers.
    slow = sum(_is_block(scale, level) for level in range(levels))
    codes = scale.count * sum(2 * level for level in range(levels) if not _is_block(scale, level))
    group = 2 * (levels - 1 - min(slow, levels - 1)) * _bits(scale.groups)
    delays = scale.count * scale.bits * max(0, 2 * (levels - slow) - 1 - (scale.groups == 1))
    shifted = scale.count * slow * (scale.bits + levels / 2)
    added = scale.count * scale.out_bits * scale.bases
    return (compared - constant - few + added, constant, few, falls, shifted, 1.0), (
        delays,
        scale.count * levels + added,
        codes + scale.count * levels * scale.bases,
        group,
        1.0,
    )


def _is_block(scale: Scale, level: int) -> bool:
    """Whether the thresholds of a level lie in block RAM."""
    width = scale.compared_bits
    words = (width + int(scale.falls)) * scale.lanes if level == 0 else width
    return memory_style(words, scale.groups << level) == "block"


def requantise_words(scale: Scale, method: str) -> Terms:
    """Memories of a requantisation; those of a single group of channels have few words, whose columns are alike."""
    memory = requantise_memory(scale, method)
    few = scale.groups == 1
    return (memory.lut * (not few), memory.lut * few), (memory.ff * (not few), memory.ff * few)


def requantise_memory(scale: Scale, method: str) -> Resources:
    """Multipliers and constants, a word for each group of channels; or thresholds.

    The thresholds of the first level are those of all lanes side by side; those of the others are there for every sum.
    """
    if scale.groups == 1 and method == "multiply":
        return Resources()
    if method == "multiply":
        width = scale.lanes * (scale.multiplier_bits + scale.bias_bits)
        block = memory_style(width, scale.groups) == "block"
        return rom(width, scale.groups, registers=1 + block)
    width = scale.compared_bits
    total = _levels(scale.out_bits * scale.lanes, scale.groups) if scale.bases else Resources()
    if scale.levels:
        total += _levels((width + int(scale.falls)) * scale.lanes, scale.groups)
    for level in range(1, scale.levels):
        total += _levels(width, scale.groups << level).times(scale.count)
    return total


def _levels(width: int, depth: int) -> Resources:
    return rom(width, depth, registers=1 + (memory_style(width, depth) == "block"))


def gatherer(bits: int, turns: int) -> Terms:
    """What joins parts of a beat of ``bits`` each."""
    count = _bits(turns)
    return (count, float(turns > 1)), ((turns - 1) * bits, count)


def fifo(bits: int, depth: int) -> Terms:
    """A FIFO of ``depth`` beats: a memory of one less, or two registers."""
    if depth == 2:
        return (0.0, 0.0, 2.0 * bits, 1.0), (0.0, 0.0, 2.0 * bits, 1.0)
    memory = ram(bits, depth - 1)
    count = _bits(depth)
    return (memory.lut, count, 0.0, 1.0), (memory.ff, count, 0.0, 1.0)


def places(latency: int, steps: int) -> int:
    """Groups of outputs that are on their way in a layer, and one more. latency: of its pipeline."""
    return ceil((latency + steps + 4) / steps) + 1


def unit_latency(scale: Scale, method: str) -> int:
    """Cycles of a requantisation."""
    if method == "threshold":
        return max(1, 2 * scale.levels - (scale.groups == 1)) + 3 * scale.bases
    return 2 + (scale.rows if scale.groups > 1 else _bits(max(1, int(scale.all_digits) // scale.channels)))


# -- other stages ------------------------------------------------------------------------------------


def max_pool(source: StreamShape, kernel: int, stride: int) -> tuple[Terms, Resources]:
    """Comparison of columns and then of rows, and the memories."""
    bits = source.lanes * source.format.width
    words = source.channel_groups
    out_width = (source.width - kernel) // stride + 1
    depths = words, out_width * words
    memories = [ram((kernel - 1) * bits, depth) for depth in depths]
    memory = memories[0] + memories[1]
    compared = 2 * (kernel - 1) * bits
    held = sum((kernel - 1) * bits for depth in depths if depth == 1)
    output = ram(bits, 6 + burst_beats(source))
    counters = sum(_bits(n) for n in (source.width, source.height, words, depths[1]))
    lut = (memory.lut + output.lut, compared, counters, held, 1.0)
    addresses = _bits(depths[0]) + 3 * _bits(depths[1])
    return (lut, (memory.ff + output.ff, 4 * bits, counters + addresses, held, 1.0)), memory + output


def pixels(before: StreamShape, after: StreamShape) -> tuple[Terms, Resources]:
    """Between beats of one pixel and beats of several."""
    beat, groups = before.lanes * before.format.width, before.channel_groups
    count = max(before.pixels, after.pixels)
    counters = 2 * _bits(groups) + _bits(count) + _bits(before.width)
    if after.pixels == 1:
        depth = 1 << (_bits(groups) + 1)
        memory = ram(before.payload_bits, depth)
        output = ram(beat, 4)
        lut = (memory.lut + output.lut, beat * count / 3, 0.0, counters, 1.0)
        return (lut, (memory.ff + output.ff, beat, counters, 0.0, 1.0)), memory + output
    stored = ram(beat, groups).times(count - 1)
    output = ram(after.payload_bits, 4 + burst_beats(before))
    lut = (stored.lut + output.lut, 0.0, after.payload_bits, counters, 1.0)
    return (lut, (stored.ff + output.ff, after.payload_bits, counters, beat, 1.0)), stored + output


def channels(before: StreamShape, after: StreamShape) -> Terms:
    """Between beats of many channels and of few."""
    parts = max(before.lanes, after.lanes) // min(before.lanes, after.lanes)
    wide, narrow = max(before.payload_bits, after.payload_bits), min(before.payload_bits, after.payload_bits)
    if after.lanes < before.lanes:
        return (wide / 3, 0.0, narrow, _bits(parts), 1.0), (wide, 0.0, 2.0 * narrow, _bits(parts), 1.0)
    return (0.0, float(parts), wide, _bits(parts), 1.0), (wide - narrow, 0.0, 2.0 * wide, _bits(parts), 1.0)


def alone(scale: Scale, method: str) -> Terms:
    """What a requantisation on its own has beside its unit: a FIFO, credits and a counter of groups."""
    depth = unit_latency(scale, method) + 3
    memory = ram(scale.out_bits * scale.count, depth - 1)
    counters = 4 * _bits(depth) + _bits(scale.groups)
    return (memory.lut, counters, 1.0), (memory.ff, counters, 1.0)


def bus(bits: int, container: int, beats: StreamShape) -> tuple[float, float, float]:
    """Bits of the bus, of the gearbox's buffer, and of what is shifted about in it."""
    codes = bits // container
    unit = gcd(codes, beats.lanes)
    held = codes + beats.lanes - unit
    turns = codes // unit + beats.lanes // unit
    return bits, held * beats.format.width, held * beats.format.width * turns / 4


TERMS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "multiply": (("rows", "digits", "clamped", "codes", "factors"), ("rows", "digits", "codes", "delayed", "factors")),
    "requantise_memory": (("memory", "few"), ("memory", "few")),
    "threshold": (
        ("compared", "constant", "few", "falls", "shifted", "fixed"),
        ("delayed", "reached", "codes", "groups", "fixed"),
    ),
    "fifo": (("memory", "counters", "registers", "fixed"), ("memory", "counters", "registers", "fixed")),
    "gatherer": (("counters", "fixed"), ("held", "counters")),
    "max_pool": (("memory", "compared", "counters", "held", "fixed"), ("memory", "words", "counters", "held", "fixed")),
    "ungroup": (
        ("memory", "selected", "joined", "counters", "fixed"),
        ("memory", "result", "counters", "newest", "fixed"),
    ),
    "group": (
        ("memory", "selected", "joined", "counters", "fixed"),
        ("memory", "result", "counters", "newest", "fixed"),
    ),
    "split": (("selected", "parts", "fifo", "counters", "fixed"), ("held", "parts", "fifo", "counters", "fixed")),
    "gather": (("selected", "parts", "fifo", "counters", "fixed"), ("held", "parts", "fifo", "counters", "fixed")),
    "alone": (("memory", "counters", "fixed"), ("memory", "counters", "fixed")),
}
"""Names of the terms of look-up tables and of flip-flops, by kind of component."""
