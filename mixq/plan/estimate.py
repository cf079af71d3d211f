"""Estimates of what stages take, from their numbers alone.

DSPs and cycles are exact. Look-up tables, flip-flops and block RAM are estimates of what Yosys counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2

from mixq.board import Resources
from mixq.packing.cost import unit_chain_cost
from mixq.plan.folding import Folding
from mixq.plan.memories import ram, rom
from mixq.streams import StreamShape


def sum_bits(folding: Folding) -> int:
    """Width that holds every sum of a layer, by its widths and sizes alone."""
    low, high = folding.packing.sum_bounds(1)
    terms = folding.shape.in_channels * folding.shape.kernel**2
    # Random signs make real sums about half the range of the worst case.
    return max(1, ceil(log2(terms * (high - low) + 1)) - 1)


def convolution(folding: Folding) -> Resources:
    """A convolution or dense layer, from line buffer to overlap-add."""
    return (
        _line_buffer(folding)
        + _operands(folding)
        + _weights(folding)
        + _chains(folding)
        + _sums(folding)
        + _overlap(folding)
        + Resources(lut=90, ff=100, dsp=folding.dsps)
    )


# What a multiplying requantisation can hold, less what an estimated width of sums may be off by, and carries.
_WIDEST_PRODUCT = 60


@dataclass(frozen=True)
class Scale:
    """Numbers of a requantisation that decide its size.

    bits: of the sums. multiplier_bits, bias_bits: of the widest parameters, signs included. out_bits: of the codes.
    channels: in all; pixels, lanes: requantised at a time.
    """

    bits: int
    multiplier_bits: int
    bias_bits: int
    out_bits: int
    channels: int
    pixels: int
    lanes: int


def requantisation(scale: Scale, method: str) -> Resources:
    """Requantisation units, with parameters for channels / lanes groups of channels."""
    bits, groups = scale.bits, scale.channels // scale.lanes
    if method == "threshold":
        words = sum(ceil((groups << level) / 64) * bits for level in range(scale.out_bits))
        compare = scale.out_bits * ceil(bits * 0.6)
        each = Resources(lut=words + compare, ff=scale.out_bits * (2 * bits + scale.out_bits))
        return each.times(scale.pixels * scale.lanes)
    # A row of adders for each two bits of the multiplier (Booth), each as wide as what it does not shift out.
    rows = [max(bits + 4, scale.bias_bits - 2 * row) for row in range(ceil((scale.multiplier_bits + 1) / 2))]
    each = Resources(lut=sum(rows) + 2 * scale.out_bits, ff=ceil(1.5 * sum(rows)))
    width = scale.multiplier_bits + scale.bias_bits
    return each.times(scale.pixels * scale.lanes) + rom(width, groups).times(scale.lanes)


def requantise_method(scale: Scale) -> str:
    """The cheaper of the two implementations, which give the same codes; a product has at most 64 bits."""
    if max(scale.bits + scale.multiplier_bits, scale.bias_bits) > _WIDEST_PRODUCT:
        return "threshold"
    return min(("threshold", "multiply"), key=lambda method: requantisation(scale, method).lut)


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
    """Adders that join activations, and the delays along the chains; all columns share them."""
    groups = [group.product for group in folding.packing.act_groups]
    joins = [operand for product in groups if product.joins_activations for operand in product.act_operands]
    kept = sum(product.pixels * product.act_bits for product in groups if product.keeps_activations)
    # The other bits of a joined operand are copies of signs.
    bits = kept + sum(operand.stored_bits for operand in joins)
    adders = sum(sum(field.bits for field in operand.fields[1:]) for operand in joins)
    # Three registers in a row are a shift register, a LUT for each bit and 32 cycles; before them the adders have one.
    delays = [i % folding.cascade * folding.skew for i in range(folding.simd)]
    registers = sum(delay for delay in delays if delay < 3) + (folding.simd if joins else 0)
    shifted = sum(ceil(delay / 32) for delay in delays if delay >= 3)
    # Of addresses and control bits every position has its own, a skew after the one before.
    control = folding.weight_depth.bit_length() + 2
    steps = (folding.cascade - 1) * (ceil(folding.skew / 32) if folding.skew >= 3 else 0) * control
    return Resources(lut=shifted * bits + folding.simd * adders + steps, ff=registers * bits)


def _weights(folding: Folding) -> Resources:
    memory = rom(folding.weight_width, folding.weight_depth, registers=2, style=folding.weight_style)
    return memory.times(folding.cascade)


def _chains(folding: Folding) -> Resources:
    """What the chains take beside their DSPs: residues, carry tracking, and the reading of lanes."""
    cost = unit_chain_cost(folding.packing, folding.bounds, folding.cascade, folding.accumulate)
    return Resources(lut=ceil(cost.lut), ff=ceil(cost.ff)).times(folding.columns * folding.chains)


def _sums(folding: Folding) -> Resources:
    packing = folding.packing
    width, lanes = sum(packing.sum_widths(*folding.read_bounds)), packing.channels * packing.positions
    tree = folding.columns * (folding.chains - 1) * (width + lanes)
    # A chain without a partner goes through the registers of each level all the same.
    levels = range(1, (folding.chains - 1).bit_length() + 1)
    nodes = folding.columns * sum(ceil(folding.chains / (1 << level)) for level in levels)
    reads = folding.reads_per_pass * packing.passes
    held = folding.pe * folding.positions * sum_bits(folding) if reads > 1 else 0
    return Resources(lut=ceil(tree + held * (1 if packing.passes == 1 else 1.5)), ff=nodes * (width + lanes) + held)


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
