"""What a drawing of a packing shows: rows of bits with fields in them, a table of the lanes, and remarks.

Names: ``x1`` is activation 1 of a product, ``w2`` the weight of tap 2, ``y3`` the lane of position 3. With several
output channels the channel comes first, ``w12`` and ``y13``; an index that can only be 0 is left out, and two indices
of which one can exceed 9 are joined by an underscore.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mixq.packing import ACCUMULATOR_BITS, Lane, Packing, Product, Slot
from mixq.packing.operand import Operand, Term

ACTIVATION, SECOND_BLOCK = -1, -2
"""Groups of activations; weights and lanes are grouped by their output channel, from 0."""


@dataclass(frozen=True)
class Field:
    """Bits ``offset`` up to ``offset + width`` (exclusive) of a row, and the group that their colour tells.

    known: how many of the lowest bits look-up tables know too. counted: whether a counter adds up what is spilled into
    the field from below.
    """

    name: str
    offset: int
    width: int
    group: int
    known: int = 0
    counted: bool = False


@dataclass(frozen=True)
class Row:
    """A port, an accumulator or a word of a pair: its title, its bits, and the fields in them by rising offset."""

    title: str
    bits: int
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class LaneLine:
    """A lane in the table: name, lowest and highest bit, guard and known bits, and the products that it adds up."""

    name: str
    low: int
    high: int
    guard: int
    known: int
    terms: tuple[str, ...]


@dataclass(frozen=True)
class Sheet:
    """The drawing of one product. caption: which part of a split operand it holds, empty for a whole one."""

    caption: str
    rows: tuple[Row, ...]
    lanes: tuple[LaneLine, ...]
    remarks: tuple[str, ...]


def sheets(packing: Packing) -> tuple[Sheet, ...]:
    """One sheet for each product that differs; a packing whose operands are not split has one."""
    alike: dict[tuple[int, Product], list[Slot]] = {}
    for slot in packing.slots:
        alike.setdefault((slot.part, slot.product), []).append(slot)
    return tuple(
        Sheet(
            _caption(packing, slots) if packing.split else "",
            _rows(product),
            _lane_lines(product),
            tuple(_remarks(product)),
        )
        for (_, product), slots in alike.items()
    )


def headline(packing: Packing) -> str:
    """One line: widths, kernel and density."""
    sign = "signed" if packing.act_signed else "unsigned"
    # Weights of one bit are -1 and +1; there is no most negative one to leave out.
    bounds = "" if packing.weight_bits == 1 else f"{packing.weight_range} "
    density = f"{packing.density:.2f}".rstrip("0").rstrip(".")
    return (
        f"{packing.weight_bits}-bit {bounds}weights, {packing.act_bits}-bit {sign} activations, "
        f"kernel {packing.kernel}: {density} multiplications per DSP and cycle"
    )


def lane_terms(product: Product, lane: Lane) -> tuple[str, ...]:
    """The small products that a lane adds up, e.g. ``("x0*w1", "x1*w0")``."""
    terms = [(lane.position - k, k) for k in range(product.taps) if 0 <= lane.position - k < product.pixels]
    return tuple(f"x{n}*{_weight_name(product, lane.channel, k)}" for n, k in sorted(terms))


def guard_bits(product: Product, lane: Lane) -> int:
    """Bits of a lane beyond what one product of operands needs; negative where it spills into the next lane."""
    low, high = product.product_bounds
    return lane.width - (lane.terms * (high - low)).bit_length()


def known_bits(product: Product) -> tuple[int, ...]:
    """Low bits of each lane that look-up tables know, where as many products are summed as can be."""
    known = product.residues(*product.sum_bounds(1 if product.tracked else product.accumulate_max))
    assert known is not None
    return known


# -- rows ----------------------------------------------------------------------------------------------


def _rows(product: Product) -> tuple[Row, ...]:
    acts, weights = product.act_operands, product.weight_operands
    blocks = f", blocks of {product.block} pixels" if product.block else ""
    rows = [
        Row(title, product.act_port_bits, _fields(product, operand, product.act_port_bits, acts=True))
        for operand, title in zip(
            acts, _titles(f"activations, {product.act_port_bits}-bit port{blocks}", product, acts=True), strict=True
        )
    ]
    rows += [
        Row(title, product.weight_port_bits, _fields(product, operand, product.weight_port_bits, acts=False))
        for operand, title in zip(
            weights, _titles(f"weights, {product.weight_port_bits}-bit port", product, acts=False), strict=True
        )
    ]
    lanes = _lane_fields(product)
    if not product.pair:
        rows.append(Row(f"accumulator, {ACCUMULATOR_BITS} bits", ACCUMULATOR_BITS, lanes))
    else:
        half = f"of both accumulators, {product.word_bits} bits"
        even = sum(lane.word == 0 for lane in product.lanes)
        rows.append(Row(f"half the sum {half}: even lanes", product.word_bits, lanes[:even]))
        rows.append(Row(f"half the difference {half}: odd lanes", product.word_bits, lanes[even:]))
    return tuple(rows)


def _titles(port: str, product: Product, *, acts: bool) -> list[str]:
    """One title for each operand that a port takes."""
    if not product.pair:
        return [port]
    if acts == product.act_on_wide:
        one = "pixels" if acts else "taps"
        return [f"{port}: D, even {one}", f"{port}: A, odd {one}"]
    return [f"{port} of the first DSP", f"{port} of the second DSP"]


def _fields(product: Product, operand: Operand, port_bits: int, *, acts: bool) -> tuple[Field, ...]:
    """Fields of an operand; each ends where the next one or the port does."""
    signs = product.pair and acts != product.act_on_wide
    ends = [*(term.offset for term in operand.terms[1:]), port_bits]
    found = []
    for term, end in zip(operand.terms, ends, strict=True):
        channel, tap = divmod(term.index, product.taps)
        name = f"x{term.index}" if acts else _weight_name(product, channel, tap)
        sign = ("-" if term.negative else "+") if signs else ""
        group = channel
        if acts:
            group = SECOND_BLOCK if product.block and term.index // product.block % 2 else ACTIVATION
        width = min(_value_bits(operand, term), end - term.offset)
        found.append(Field(sign + name, term.offset, width, group))
    return tuple(found)


def _lane_fields(product: Product) -> tuple[Field, ...]:
    return tuple(
        Field(
            _lane_name(product, lane),
            lane.offset,
            lane.width,
            lane.channel,
            known,
            product.tracked and known > 0,
        )
        for lane, known in zip(product.lanes, known_bits(product), strict=True)
    )


def _value_bits(operand: Operand, term: Term) -> int:
    """Bits of a value by itself, two's complement unless it is never negative."""
    low, high = (-operand.high, -operand.low) if term.negative else (operand.low, operand.high)
    return high.bit_length() if low >= 0 else 1 + max((~low).bit_length(), max(high, 0).bit_length())


def _weight_name(product: Product, channel: int, tap: int) -> str:
    return "w" + _index((channel, product.channels), (tap, product.taps))


def _lane_name(product: Product, lane: Lane) -> str:
    return "y" + _index((lane.channel, product.channels), (lane.position, product.positions))


def _index(*pairs: tuple[int, int]) -> str:
    """Digits of the indices that can be other than 0."""
    shown = [(str(value), count) for value, count in pairs if count > 1]
    joint = "_" if len(shown) > 1 and max(count for _, count in shown) > 10 else ""
    return joint.join(digits for digits, _ in shown) or "0"


# -- words ---------------------------------------------------------------------------------------------


def _lane_lines(product: Product) -> tuple[LaneLine, ...]:
    return tuple(
        LaneLine(
            _lane_name(product, lane),
            lane.offset,
            lane.offset + lane.width - 1,
            guard_bits(product, lane),
            known,
            lane_terms(product, lane),
        )
        for lane, known in zip(product.lanes, known_bits(product), strict=True)
    )


def _caption(packing: Packing, alike: Sequence[Slot]) -> str:
    """Which bits of which operand a product of a split operand holds, and how often a unit has it."""
    product, part = alike[0].product, packing.parts[alike[0].part]
    name, shift, bits = "activations", part.act_shift, product.act_bits
    if not packing.parts[0].act_shift:
        upper = packing.parts[0].weight_shift
        name, shift, bits = "weights", part.weight_shift, packing.weight_bits - upper if part.weight_shift else upper
    span = f"bits {shift + bits - 1} to {shift}" if bits > 1 else f"bit {shift}"
    shares = [_span(tap, product.taps) for tap in sorted({slot.tap for slot in alike})]
    taps = f" with taps {', '.join(shares)}" if product.taps < packing.taps else ""
    often = {1: "once", 2: "twice"}.get(len(alike), f"{len(alike)} times")
    return f"{span} of the {name}{taps}: {often} in a unit of {packing.dsps} DSPs"


def _span(first: int, count: int) -> str:
    return str(first) if count == 1 else f"{first} to {first + count - 1}"


def _remarks(product: Product) -> list[str]:
    """Sentences below a drawing, each short enough for a line of a terminal."""
    found = []
    if product.pair:
        found.append("A pair of DSPs: the pre-adder of the first gives D + A, that of the second D - A.")
    if _overlaps(product):
        found.append("A value with more bits than its field has overlaps with the next: the sum of both stands there.")
    if any(known_bits(product)):
        found.append("Known bits come from look-up tables too, and tell what the lane below spilled into them.")
    if product.tracked:
        found.append(
            "Carries are tracked: after each product, a counter for each lane with known bits adds up what was"
        )
        found.append("spilled into it, and one more what left the accumulator.")
    count = product.accumulate_max
    products = "1 product is" if count == 1 else f"{count:,} products are"
    found.append(f"Up to {products} summed before the lanes are read.")
    return found


def _overlaps(product: Product) -> bool:
    """Whether a value has more bits than there are up to the next field."""
    return any(
        field.gap is not None and _value_bits(operand, term) > field.gap
        for operand in (*product.act_operands, *product.weight_operands)
        for term, field in zip(operand.terms, operand.fields, strict=True)
    )
