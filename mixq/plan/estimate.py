"""Estimates of what stages take, from their numbers alone.

DSPs and cycles are exact. Look-up tables, flip-flops and block RAM are estimates of what Yosys counts.
"""

from __future__ import annotations

from math import ceil, log2

from mixq.board import Resources
from mixq.plan.folding import Folding
from mixq.plan.memories import ram, rom
from mixq.streams import StreamShape


def sum_bits(folding: Folding) -> int:
    """Width that holds every sum of a layer, by its widths and sizes alone."""
    low, high = folding.packing.product_bounds
    terms = folding.shape.in_channels * folding.shape.kernel**2
    # Random signs make real sums about half the range of the worst case.
    return max(1, ceil(log2(terms * (high - low) + 1)) - 1)


def convolution(folding: Folding) -> Resources:
    """A convolution or dense layer, from line buffer to overlap-add."""
    return (
        _line_buffer(folding)
        + _operands(folding)
        + _weights(folding)
        + _sums(folding)
        + _overlap(folding)
        + Resources(lut=90, ff=100, dsp=folding.dsps)
    )


def requantisation(bits: int, out_bits: int, channels: int, pixels: int, lanes: int, method: str) -> Resources:
    """Requantisation of pixels * lanes sums of ``bits`` at a time; channels / lanes sets of parameters."""
    groups = channels // lanes
    if method == "threshold":
        words = sum(ceil((groups << level) / 64) * bits for level in range(out_bits))
        each = Resources(lut=words + out_bits * ceil(bits * 0.6), ff=out_bits * (2 * bits + out_bits))
        return each.times(pixels * lanes)
    multiplier = min(bits, 20)
    parameters = multiplier + bits + 18
    each = Resources(lut=ceil(bits * multiplier * 0.62) + 40, ff=ceil(bits * multiplier * 0.45) + 80)
    return each.times(pixels * lanes) + Resources(lut=lanes * parameters * ceil(groups / 64), ff=lanes * parameters)


def requantise_method(bits: int, out_bits: int, channels: int, pixels: int, lanes: int) -> str:
    """The cheaper of the two implementations, which give the same codes."""
    methods = ("threshold", "multiply")
    return min(methods, key=lambda m: requantisation(bits, out_bits, channels, pixels, lanes, m).lut)


def max_pool(source: StreamShape, kernel: int) -> Resources:
    """A max-pooling stage on beats of one pixel."""
    bits = source.lanes * source.format.width
    words = source.channels // source.lanes
    columns = source.width // kernel + 1
    rows = ram((kernel - 1) * bits, columns * words) + ram((kernel - 1) * bits, words)
    return rows + Resources(lut=2 * (kernel - 1) * bits + 40, ff=4 * bits + 60)


def fifo(bits: int, depth: int) -> Resources:
    """A FIFO of ``depth`` beats of ``bits``."""
    return ram(bits, depth) + Resources(lut=16 + 4 * max(1, depth).bit_length(), ff=8 + 4 * max(1, depth).bit_length())


def converters(pairs: list[tuple[StreamShape, StreamShape]]) -> Resources:
    """Converters, each given as the shapes before and after it."""
    total = Resources()
    for before, after in pairs:
        if after.pixels != before.pixels:
            words = 2 * after.channel_groups
            wide = max(after.pixels, before.pixels) * after.lanes * after.format.width
            total += ram(wide, words) + Resources(lut=40 + wide // 2, ff=40 + wide // 2)
        else:
            wide = max(after.payload_bits, before.payload_bits)
            total += Resources(lut=10 + wide, ff=10 + 2 * wide)
    return total


def _line_buffer(folding: Folding) -> Resources:
    packing, words = folding.packing, folding.shape.in_channels // folding.lanes
    word_bits = packing.pixels * folding.lanes * packing.act_bits
    groups = folding.scan.groups
    rows = folding.buffer_rows
    memories, depth = (rows, groups * words) if folding.rows > 1 else (1, rows * groups * words)
    pieces = packing.pixels if folding.in_pixels == 1 and packing.pixels > 1 else 1
    memory = ram(word_bits // pieces, depth).times(memories * pieces)
    # Selection of one of the ring's rows: a LUT takes four of them.
    select = folding.rows * word_bits * (ceil((rows - 1) / 3) if folding.rows > 1 else 1)
    return memory + Resources(lut=select + 60, ff=folding.rows * word_bits + 60)


def _operands(folding: Folding) -> Resources:
    packing = folding.packing
    bits = packing.pixels * packing.act_bits
    adder = 0 if packing.act_on_wide else packing.act_offsets[-1] + packing.act_bits + 1
    # Delays of up to 32 cycles are a LUT for each bit; one of a single cycle is a flip-flop.
    delayed = sum((adder or bits) for i in range(folding.simd) if i % folding.cascade > 1)
    return Resources(
        lut=delayed + (folding.simd * (packing.pixels - 1) * (packing.act_bits + 1) if adder else 0),
        ff=delayed + folding.simd * (adder or bits) // 2,
    )


def _weights(folding: Folding) -> Resources:
    width = folding.columns * folding.chains * folding.packing.stored_bits
    return rom(width, folding.weight_depth, registers=2).times(folding.cascade)


def _sums(folding: Folding) -> Resources:
    packing = folding.packing
    lanes = folding.columns * packing.channels * packing.positions
    width = sum(min(lane.width, 24) for lane in packing.lanes) / len(packing.lanes)
    tree = lanes * (folding.chains - 1) * (width + 1)
    reads = folding.reads_per_pass * packing.passes
    held = folding.pe * folding.positions * sum_bits(folding) if reads > 1 else 0
    return Resources(lut=ceil(tree + held * (1 if packing.passes == 1 else 1.5)), ff=ceil(tree + held))


def _overlap(folding: Folding) -> Resources:
    bits, pixels = sum_bits(folding), folding.packing.pixels
    outputs = folding.pe * pixels * bits
    kept = folding.pe * folding.carried * bits
    if not kept:
        return Resources(ff=outputs)
    adders = folding.pe * min(folding.carried, folding.positions) * bits
    memory = Resources(ff=kept) if folding.folds == 1 else Resources(lut=ram(kept, folding.folds).lut)
    constants = 2 * folding.pe * folding.shape.padding * bits if folding.folds > 1 else 0
    serial = outputs if folding.pe != folding.out_lanes else 0
    return memory + Resources(lut=adders + constants + outputs // 2 + serial, ff=outputs + serial)
