"""What the components of a layer consist of, in numbers that look-up tables and flip-flops go with.

Each function gives two tuples, terms of look-up tables and terms of flip-flops, named by :data:`TERMS`. A term is a
number that the hardware tells: a bit of an adder, of a selection, of a register. :mod:`mixq.plan.cost_model` has what
each of them costs, fitted to counts by Yosys and near 1 where the reasoning is right.
"""

from __future__ import annotations

from functools import cache
from math import ceil

from mixq.board import Resources
from mixq.packing import Packing, SoftMultipliers
from mixq.packing.cost import counter_bits, residue_luts
from mixq.plan import soft_features
from mixq.plan.folding import Folding
from mixq.plan.memories import asynchronous_ram, ram, rom
from mixq.plan.pumping import term_delays

Terms = tuple[tuple[float, ...], tuple[float, ...]]

DSP_LATENCY = 4
"""Cycles from a DSP's operands to its sum."""


def _bits(count: int) -> int:
    """Bits of a counter of so many values."""
    return max(count - 1, 0).bit_length()


def sequencer(folding: Folding) -> Terms:
    """Counters of loops, and the rules of starting and flushing."""
    shape, scan = folding.shape, folding.scan
    counters = [
        folding.words,
        folding.shared_folds if folding.splits_inputs else 1,
        shape.kernel // folding.rows,
        folding.packing.passes,
        folding.folds,
        scan.steps,
        scan.out_rows,
        folding.weight_depth,
        folding.accumulate,
    ]
    flush = _bits(folding.folds) + _bits(folding.pe + 1) if folding.flush else 0
    count = sum(_bits(values) for values in counters) + flush
    rows = 0 if folding.merged_rows else scan.top_bits
    place = scan.row_bits + _bits(folding.buffer_rows)
    return (count, rows + place, float(folding.flush), 1.0), (count + rows + place, float(folding.flush), 1.0)


def control(folding: Folding, latency: int) -> Terms:
    """Control bits beside the pipeline, and free places. latency: cycles from a position to its sums, in the array."""
    tail = (folding.chains - 1).bit_length() + int(accumulates(folding))
    fold = _bits(folding.folds)
    early = (2 + _bits(folding.packing.passes)) * accumulates(folding)
    late = 1 + fold + int(folding.flush) + 2 * (folding.carried > 0)
    cycles = latency + tail
    short = cycles <= 16
    registers = early * latency + late * cycles
    shifted = 0 if short else early * ceil(latency / 32) + late * ceil(cycles / 32)
    return (float(shifted), 1.0), (registers if short else 0.0, 1.0)


def line_buffer(folding: Folding, memory: Resources) -> Terms:
    """Ring of rows, the selection among them, and the reader's and writer's places. memory: :func:`line_memory`."""
    packing, shape, scan = folding.packing, folding.shape, folding.scan
    words = folding.line_words
    word_bits = packing.pixels * folding.lanes * packing.act_bits
    codes = folding.rows * word_bits
    # One of four words takes a look-up table and one that clears it; with more words both take several.
    slots = folding.buffer_rows if folding.rows > 1 else 1
    few, five, more = codes * (slots == 4), codes * (slots == 5), codes * slots / 6 * (slots > 5)
    depth = scan.groups * words * (1 if folding.rows > 1 else folding.buffer_rows)
    address = 2 * _bits(depth)
    counters = _bits(words) + _bits(folding.groups) + scan.row_bits + _bits(folding.buffer_rows)
    counters += _bits(packing.pixels) if folding.in_pixels == 1 else 0
    counters += _bits(scan.groups) if folding.merged_rows else 0
    rows = folding.rows * shape.pads_rows * scan.top_bits
    lut = (memory.lut, few, five, more, address, counters + scan.top_bits, rows, 1.0)
    return lut, (memory.ff, codes, counters, folding.rows + packing.pixels, 1.0)


def line_memory(folding: Folding) -> Resources:
    """Memories of a line buffer."""
    packing, words = folding.packing, folding.line_words
    groups, rows = folding.scan.groups, folding.buffer_rows
    memories, depth = (rows, groups * words) if folding.rows > 1 else (1, rows * groups * words)
    pieces = packing.pixels if folding.in_pixels == 1 and packing.pixels > 1 else 1
    width = packing.pixels // pieces * folding.lanes * packing.act_bits
    return ram(width, depth).times(memories * pieces)


# -- multipliers -------------------------------------------------------------------------------------


@cache
def operand_sizes(packing: Packing, bounds: tuple[int, int] | None, products: int) -> tuple[int, int, int, bool]:
    """Bits of a unit's activation operand that differ, bits of its adders, and of the registers behind them."""
    groups = [group.product for group in packing.act_groups]
    joins = [operand for product in groups if product.joins_activations for operand in product.act_operands]
    kept = 0
    for product in groups:
        # Beside joined activations only the low bits of each are kept, for residues.
        known = product.residues(*(bounds or product.sum_bounds(1 if packing.tracked else products))) or (0,)
        kept += product.pixels * (max(known) if product.joins_activations else product.act_bits)
    stored = sum(operand.stored_bits for operand in joins)
    adders = sum(sum(field.bits for field in operand.fields[1:]) for operand in joins)
    return kept + stored, adders, kept + stored if joins else 0, bool(joins)


@cache
def _delays(simd: int, cascade: int, skew: int, pump: int) -> tuple[int, int]:
    """Registers, and shift registers of up to 32, for each bit of the operands of a layer."""
    delays = term_delays(cascade, skew, pump) * (simd // cascade)
    return sum(d for d in delays if d < 3), sum(ceil(d / 32) for d in delays if d >= 3)


@cache
def _skewed(cascade: int, skew: int, pump: int) -> tuple[int, int]:
    """Registers and shift registers for a bit that each position has a skew after the one before."""
    steps = cascade - 1
    if pump > 1:
        return term_delays(cascade, skew, pump)[-1], 0
    return (0, steps * ceil(skew / 32)) if skew >= 3 else (steps * skew, 0)


def array(folding: Folding, *, share: float = 1.0) -> Terms:
    """Operands of the multipliers and all that reads their lanes. share: as for :func:`sums`."""
    packing = folding.packing
    bits, adders, registered, joins = operand_sizes(packing, folding.bounds, folding.summed_now)
    registers, shifts = _delays(folding.inputs, folding.cascade, folding.skew, folding.pump)
    skewed, skewed_shifts = _skewed(folding.cascade, folding.skew, folding.pump)
    # Every position has an address of its own; of control bits, those of carry-tracked packings.
    address = _bits(folding.weight_depth)
    control_bits = address + int(packing.tracked and folding.accumulate > 1)
    chains = folding.columns * folding.chains
    lut, ff, shared = _chain(packing, folding.bounds, folding.cascade, folding.accumulate)
    # Residues and counters of lanes that nobody reads tell what these spill into others.
    shares_lut = 1.0, share, share, share, 1.0, 1.0
    shares_ff = 1.0, 1.0, share, share, share, 1.0, 1.0
    operands_lut = (shifts * bits, folding.inputs * adders, skewed_shifts * control_bits)
    operands_ff = (registers * bits + folding.inputs * registered, skewed * control_bits + int(joins) * address)
    return (
        (*operands_lut, *(chains * part * term for part, term in zip(shares_lut, lut, strict=True)), 1.0),
        (
            *operands_ff,
            *(chains * part * term for part, term in zip(shares_ff, ff, strict=True)),
            folding.parallel * folding.chains * shared,
            1.0,
        ),
    )


@cache
def _chain(
    packing: Packing, bounds: tuple[int, int] | None, length: int, accumulate: int
) -> tuple[tuple[float, ...], tuple[float, ...], float]:
    """A chain: terms of its look-up tables and flip-flops, and registers of activations that all columns share."""
    products = length * accumulate
    residues = corrections = pairs = counters = compared = 0.0
    ff_low = ff_sums = ff_lanes = ff_pair = ff_wait = ff_count = 0.0
    acts: dict[int, int] = {}
    weights: dict[int, int] = {}
    waits: list[tuple[int, int]] = []
    for slot in packing.slots:
        product = slot.product
        own = bounds or product.sum_bounds(1 if packing.tracked else products)
        known = product.residues(*own)
        assert known is not None
        most = max(known)
        lanes = product.lane_bits(*(product.sum_bounds(products) if packing.tracked else own))
        residues += length * sum(residue_luts(lane.terms, k) for lane, k in zip(product.lanes, known, strict=True))
        if most:
            acts[slot.acts] = max(acts.get(slot.acts, 0), 2 * product.pixels * most)
            weights[slot.weights] = max(weights.get(slot.weights, 0), most * (3 * product.taps * product.channels - 1))
        if packing.tracked:
            for before in range(length):
                own_counters = counter_bits(product, (before + 1) * accumulate)
                counters += sum(own_counters)
                compared += sum(known) * (2 if before else 1)
            ff_count += length * 3 * sum(known)
            corrections += sum(lanes[1:])
            ff_lanes += sum(lanes) + 48
            continue
        for i, (lane, k, width) in enumerate(zip(product.lanes, known, lanes, strict=True)):
            above = i + 1 < len(known) and product.lanes[i + 1].word == lane.word
            corrections += k + min(lane.width + (known[i + 1] if above else 0), width) if k else 0
        ff_low += length * sum(known) + (sum(known) if accumulate > 1 else 0)
        if any(known):
            ff_lanes += sum(lanes)
        if product.pair:
            tops = [lane.offset + width + 1 for lane, width in zip(product.lanes, lanes, strict=True)]
            for word in (0, 1):
                pairs += max(t for lane, t in zip(product.lanes, tops, strict=True) if lane.word == word)
            ff_pair += sum(min(lane.width, width) for lane, width in zip(product.lanes, lanes, strict=True))
        waits.append((int(product.pair) + int(any(known)), sum(lanes)))
    shares = share_ff = 0.0
    if packing.split:
        slowest = max(cycles for cycles, _ in waits)
        ff_wait = sum((slowest - cycles) * width for cycles, width in waits)
        shares, share_ff = _shares(packing, products)
    ff_sums = ff_count + counters
    lut = residues, corrections, pairs, shares, counters, compared
    ff = length * sum(weights.values()), ff_low, ff_lanes, ff_pair + ff_wait, share_ff, ff_sums, float(any(acts))
    return lut, ff, float(length * sum(acts.values()))


def _shares(packing: Packing, products: int) -> tuple[float, float]:
    """Bits of the adders of a split packing's parts, and of the registers behind them."""
    widths = packing.sum_widths(*packing.sum_bounds(products))
    # The first and last bit of each part of each sum.
    parts: list[list[tuple[int, int]]] = [[] for _ in widths]
    for slot in packing.slots:
        shift = packing.parts[slot.part].shift
        bits = slot.product.lane_bits(*slot.product.sum_bounds(products))
        for lane, own in zip(slot.product.lanes, bits, strict=True):
            position = slot.pixel + slot.tap + lane.position
            parts[(slot.channel + lane.channel) * packing.positions + position].append((shift, shift + own))
    lut = ff = 0
    for _ in range((max(map(len, parts)) - 1).bit_length()):
        for index, width in enumerate(widths):
            before, parts[index] = parts[index], []
            for one, other in zip(before[::2], [*before[1::2], None], strict=False):
                added = one
                if other is not None:
                    added = min(one[0], other[0]), min(width, max(one[1], other[1]) + 1)
                    # Beyond the shorter of both, carries need no look-up tables.
                    lut += max(0, min(one[1], other[1]) - max(one[0], other[0]))
                ff += added[1] - added[0]
                parts[index].append(added)
    return lut, ff


@cache
def chain_latency(packing: Packing, bounds: tuple[int, int] | None, length: int, accumulate: int) -> int:
    """Cycles from the last operands of a chain to its sums."""
    if packing.tracked:
        return DSP_LATENCY + 2
    products = length * accumulate
    reading = 0
    for slot in packing.slots:
        known = slot.product.residues(*(bounds or slot.product.sum_bounds(products)))
        reading = max(reading, int(slot.product.pair) + int(any(known or ())))
    shares = len(packing.slots) // max(1, packing.channels * packing.pixels // max(1, packing.pixels))
    return DSP_LATENCY + reading + (_bits(max(1, min(shares, 4))) if packing.split else 0)


def array_latency(folding: Folding) -> int:
    """Cycles from a position to the sums of chains."""
    if isinstance(folding.packing, SoftMultipliers):
        return soft_features.array_latency(folding, folding.packing)
    assert isinstance(folding.packing, Packing)
    joins = any(part.product.joins_activations for part in folding.packing.parts)
    chain = chain_latency(folding.packing, folding.bounds, folding.cascade, folding.accumulate)
    if folding.pump > 1:
        return 2 + int(joins) + folding.pumped_cycles(DSP_LATENCY) + chain - DSP_LATENCY
    return 2 + int(joins) + (folding.cascade - 1) * folding.skew + chain


@cache
def stored_sizes(packing: Packing) -> tuple[int, int]:
    """Bits of a unit's stored weights that are not constant, and those among them that are not copies of others.

    Weights of 1 bit are odd: so is the lowest field of every operand. The highest bit of a field that a borrow makes
    wider than a weight is a copy of the next one but for the rarest weights.
    """
    varying = different = 0
    for group in packing.weight_groups:
        for operand in group.product.weight_operands:
            odd = int(packing.weight_bits == 1)
            varying += operand.stored_bits - odd
            most = max(2, packing.weight_bits)
            different += sum(min(field.bits, most) for field in operand.fields) - odd
    return varying, different


def weight_memory(folding: Folding) -> Resources:
    """Memories of weights."""
    packing = folding.packing
    varying, different = (packing.stored_bits,) * 2 if isinstance(packing, SoftMultipliers) else stored_sizes(packing)
    count, depth, style = folding.columns * folding.chains, folding.weight_depth, folding.weight_style
    block = rom(count * varying, depth, registers=2, style=style)
    logic = rom(count * different, depth, registers=2, style=style)
    return Resources(logic.lut, logic.ff, bram36=block.bram36).times(folding.cascade)


# -- sums --------------------------------------------------------------------------------------------


def live(folding: Folding) -> float:
    """Share of the sums that are read: of stride 2, every other column of several pixels."""
    return 1 / folding.shape.stride if folding.packing.pixels > 1 else 1.0


def accumulates(folding: Folding) -> bool:
    """Whether a block takes more than one read of the lanes."""
    return folding.reads_per_pass * folding.packing.passes > 1


@cache
def _tree(widths: tuple[int, ...], chains: int, bits: int) -> tuple[int, int]:
    """Bits of the adders of trees over the chains, and of the registers behind every level."""
    lut = ff = 0
    for width in widths:
        terms = [width] * chains
        while len(terms) > 1:
            pairs = [terms[i : i + 2] for i in range(0, len(terms), 2)]
            terms = [min(bits, max(pair) + len(pair) - 1) for pair in pairs]
            lut += sum(own for own, pair in zip(terms, pairs, strict=True) if len(pair) > 1)
            ff += sum(terms)
    return lut, ff


def sums(folding: Folding, bits: int, *, share: float = 1.0) -> Terms:
    """Trees over chains, and accumulators. bits: of a sum. share: of the sums that are read, see :func:`live`."""
    packing = folding.packing
    lut, ff = _tree(packing.sum_widths(*folding.read_bounds), folding.chains, bits)
    held = folding.pe * folding.positions * bits if accumulates(folding) else 0
    # What a pass over the taps adds depends on the pass: a look-up table before the adder for each bit of a lane.
    lane = min(bits, max(packing.sum_widths(*folding.read_bounds)))
    selected = folding.pe * folding.positions * lane if packing.passes > 1 else 0
    tree_lut, tree_ff = share * folding.columns * lut, share * folding.columns * ff
    return (tree_lut, share * held, share * selected), (tree_ff, share * held, float(held > 0))


def overlap(folding: Folding, bits: int) -> Terms:
    """Adders of neighbouring groups around the sums that wait."""
    pixels, carried, pe = folding.packing.pixels, folding.carried, folding.pe * live(folding)
    first, delay = folding.first_lane, folding.delay
    waiting = carried and folding.folds > 1
    memory = asynchronous_ram(folding.pe * carried * bits, folding.folds).lut if waiting else 0
    added = max(0, carried - first)
    # Places that padding on the left and on the right contributes to.
    left = max(0, carried - (pixels if delay else 0))
    right = max(0, pixels - first) if folding.flush else 0
    both = max(0, min(carried, pixels) - first) if folding.flush else 0
    padded = folding.shape.pads_columns
    # Without recentring and lifting there is no table of what padding contributes.
    table = padded and not isinstance(folding.packing, SoftMultipliers)
    lut = (
        memory,
        pe * added * bits,
        pe * left * bits * (folding.folds > 1 and table),
        pe * left * bits * (folding.folds == 1 and padded),
        pe * (right - both) * bits,
        pe * both * bits * (folding.folds > 1),
    )
    held = pe * carried * bits if folding.folds == 1 else 0
    read = folding.pe * carried * bits if waiting else 0
    return (*lut, 1.0), (pe * pixels * bits, held, _bits(folding.folds) + 1, read)


def padding_bits(folding: Folding, bits: int) -> int:
    """Width of the table of what padding contributes; 0 where there is none."""
    if folding.folds == 1:
        return 0
    pixels = folding.packing.pixels
    left = max(0, folding.carried - folding.delay * pixels)
    right = max(0, pixels - folding.first_lane) if folding.flush else 0
    return folding.pe * bits * (left + right)


def padding_table(folding: Folding, bits: int) -> Resources:
    """The table itself."""
    return rom(padding_bits(folding, bits), folding.folds, style="distributed")


def serialiser(folding: Folding, bits: int) -> Terms:
    """A shift register of the channels of a block; into the last beat's place comes nothing."""
    beats = folding.out_interval
    if beats == 1:
        return (0.0, 0.0, 0.0), (0.0, 0.0)
    held = folding.out_pixels * folding.pe * bits
    count = _bits(beats + 1) + _bits(folding.shape.out_channels // folding.out_lanes)
    return (held * (beats - 1) / beats, count, 1.0), (held, count)


TERMS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "sequencer": (("counters", "rows", "flush", "fixed"), ("counters", "flush", "fixed")),
    "control": (("shifted", "fixed"), ("registers", "fixed")),
    "line_buffer": (
        ("memory", "of_four", "of_five", "of_more", "address", "counters", "rows", "fixed"),
        ("memory", "codes", "counters", "valid", "fixed"),
    ),
    "array": (
        ("delayed", "joined", "skewed", "residues", "corrections", "pairs", "shares", "counters", "compared", "fixed"),
        ("operands", "skewed", "weights", "residues", "lanes", "pairs", "shares", "counters", "waits", "acts", "fixed"),
    ),
    "array_memory": (("memory",), ("memory",)),
    "sums": (("tree", "held", "selected"), ("tree", "held", "fixed")),
    "overlap": (
        ("memory", "added", "left", "left_constant", "right", "both", "fixed"),
        ("outputs", "held", "group", "memory"),
    ),
    "padding_memory": (("memory",), ("memory",)),
    "serialiser": (("held", "counters", "fixed"), ("held", "counters")),
}
"""Names of the terms of look-up tables and of flip-flops, by component."""
