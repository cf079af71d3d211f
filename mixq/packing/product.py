"""One multiplication of a DSP, or of a pair of DSPs, that holds many small products: where everything lies.

One operand holds ``pixels`` neighbouring activations, the other ``taps`` weights of a kernel row for each of
``channels`` output channels. With activations at the bit offsets ``n * pixel_stride`` and weights at
``k * tap_stride + m * channel_stride``, the product holds the sums

    lane (m, e) = sum over n + k = e of activation[n] * weight[m, k],    e = 0 .. pixels + taps - 2,

a piece of a one-dimensional convolution for ``taps > 1`` (HiKonv, Liu et al. 2022) and an outer product for
``taps == 1``. What makes the lanes narrow:

* Activations are recentred: signed, around 0. A constant lifts every lane so that it never goes negative.
* Where a lane may overflow into the next one, the lowest bits of that one (its *residue*) are computed in look-up
  tables too; the difference to what the DSP shows is the overflow.
* A carry-tracked product compares residues after every cycle and counts overflows: it sums as long as it likes.
* A two-point pair multiplies the same integers at +2^t and at -2^t in two DSPs. Half the sum of both results holds the
  lanes of even positions, half the difference those of odd ones, so that lanes are twice as far apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, pairwise

from mixq.packing.operand import Operand, Term
from mixq.packing.values import (
    ACCUMULATOR_BITS,
    PORTS,
    RESIDUE_BITS,
    TRACKED_PRODUCTS,
    Lane,
    Ports,
)

_MOST_OPERANDS = 64
_STRIDES = ("pixel_stride", "tap_stride", "channel_stride", "block", "block_stride")


@dataclass(frozen=True)
class Product:
    """Geometry of one multiplication.

    Parameters
    ----------
    act_bits: width of the recentred activations, two's complement. weight_low, weight_high: range of the weights.
    pixels, taps, channels: activations in one operand; weights of a row and output channels in the other.
    pixel_stride, tap_stride, channel_stride: distances in bits.
    act_on_wide: whether activations lie on the wide port (with the pre-adder) or on the narrow one.
    pair: whether two DSPs work as a two-point pair; then pixel_stride = tap_stride = t, and there is one channel.
    tracked: whether carries are tracked in every cycle, so that sums may be long.
    residue_bits: most bits of a lane that look-up tables know, 0, 1 or 2.
    device: "dsp48e2" or "dsp48e1"; the latter cannot track, for want of a port for the constant of each cycle.
    block, block_stride: pixels lie in blocks of so many, so far apart, where ``block`` is not 0 (one tap alone).

    Raises
    ------
    TypeError: where a flag is no bool or a number no integer.
    ValueError: where an operand does not fit its port, lanes overlap, or not even one product fits its lanes.
    """

    act_bits: int
    weight_low: int
    weight_high: int
    pixels: int
    taps: int
    channels: int
    pixel_stride: int
    tap_stride: int
    channel_stride: int
    act_on_wide: bool
    pair: bool = False
    tracked: bool = False
    residue_bits: int = 0
    device: str = "dsp48e2"
    block: int = 0
    block_stride: int = 0

    def __post_init__(self) -> None:
        for name in ("act_on_wide", "pair", "tracked"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be True or False, not {getattr(self, name)!r}")
        for name in ("act_bits", "weight_low", "weight_high", *_STRIDES):
            if type(getattr(self, name)) is not int:
                raise TypeError(f"{name} must be an integer, not {getattr(self, name)!r}")
        if not 1 <= self.act_bits <= 8:
            raise ValueError(f"act_bits must be from 1 to 8, not {self.act_bits!r}")
        if not -128 <= self.weight_low <= 0 <= self.weight_high <= 255 or self.weight_low == self.weight_high:
            raise ValueError(f"weights must lie around 0 in 8 bits, not {(self.weight_low, self.weight_high)!r}")
        if self.residue_bits not in RESIDUE_BITS:
            raise ValueError(f"residue_bits must be 0, 1 or 2, not {self.residue_bits!r}")
        if self.device not in PORTS:
            raise ValueError(f"device must be one of {', '.join(PORTS)}, not {self.device!r}")
        # Each takes at least a bit of a port; the bound keeps a hostile plan from being looked at for hours.
        if not all(1 <= number <= _MOST_OPERANDS for number in (self.pixels, self.taps, self.channels)):
            raise ValueError(
                f"pixels, taps and channels must be from 1 to {_MOST_OPERANDS}, "
                f"not {(self.pixels, self.taps, self.channels)!r}"
            )
        if self.tracked and (self.pair or self.device != "dsp48e2"):
            raise ValueError(f"tracked must be one DSP48E2, not {(self.pair, self.device)!r}")
        if not all(0 <= stride < ACCUMULATOR_BITS for stride in self._strides) or not self._fits():
            raise ValueError(f"operands must fit their ports and lanes must hold one product, not {self!r}")

    # -- operands --------------------------------------------------------------------------------------

    @property
    def _strides(self) -> tuple[int, ...]:
        return self.pixel_stride, self.tap_stride, self.channel_stride, self.block_stride

    @property
    def ports(self) -> Ports:
        """Operand widths of the device."""
        return PORTS[self.device]

    @property
    def dsps(self) -> int:
        """DSPs that work together: 2 for a pair."""
        return 2 if self.pair else 1

    @property
    def act_port_bits(self) -> int:
        """Width of the port that holds the activations."""
        return self.ports.wide if self.act_on_wide else self.ports.narrow

    @property
    def weight_port_bits(self) -> int:
        """Width of the port that holds the weights."""
        return self.ports.narrow if self.act_on_wide else self.ports.wide

    @property
    def half(self) -> int:
        """Half the number of activation codes, 2^(act_bits - 1)."""
        return 1 << (self.act_bits - 1)

    @property
    def act_offsets(self) -> tuple[int, ...]:
        """Bit offset of each pixel in its operand."""
        block = self.block or self.pixels
        return tuple(n % block * self.pixel_stride + n // block * self.block_stride for n in range(self.pixels))

    @property
    def weight_offsets(self) -> tuple[tuple[int, ...], ...]:
        """Bit offset of each weight in its operand, indexed [channel][tap]."""
        return tuple(
            tuple(m * self.channel_stride + k * self.tap_stride for k in range(self.taps)) for m in range(self.channels)
        )

    @cached_property
    def act_operands(self) -> tuple[Operand, ...]:
        """Activations as the ports take them.

        One operand for a single DSP. For a pair on the wide port, even and odd pixels apart: the pre-adders give their
        sum and their difference. For a pair on the narrow port, the operands of the two DSPs, odd pixels negated.
        """
        return self._operands(self.act_offsets, self.pixels, -self.half, self.half - 1, wide=self.act_on_wide)

    @cached_property
    def weight_operands(self) -> tuple[Operand, ...]:
        """Weights as the ports take them, indexed channel * taps + tap; of a pair as :attr:`act_operands`."""
        offsets = tuple(offset for row in self.weight_offsets for offset in row)
        return self._operands(offsets, self.taps, self.weight_low, self.weight_high, wide=not self.act_on_wide)

    def _operands(
        self, offsets: tuple[int, ...], period: int, low: int, high: int, *, wide: bool
    ) -> tuple[Operand, ...]:
        terms = [Term(offset, i) for i, offset in enumerate(offsets)]
        if not self.pair:
            return (Operand.of(terms, low, high),)
        if wide:
            parities = [[t for t in terms if t.index % period % 2 == parity] for parity in (0, 1)]
            return tuple(Operand.of(part, low, high) for part in parities)
        alternating = [Term(t.offset, t.index, t.index % period % 2 == 1) for t in terms]
        return Operand.of(terms, low, high), Operand.of(alternating, low, high)

    @property
    def joins_activations(self) -> bool:
        """Whether adders join the activations before the ports; a single DSP's pre-adder joins them itself."""
        return (self.pair or not self.act_on_wide) and self.pixels > 1

    @property
    def keeps_activations(self) -> bool:
        """Whether the activations travel on their own, for the pre-adder or for residues, beside what is joined."""
        return not self.joins_activations or self.residue_bits > 0

    @property
    def act_word_bits(self) -> int:
        """Bits of the activations as they travel to the DSPs: kept ones, and joined operands."""
        kept = self.pixels * self.act_bits if self.keeps_activations else 0
        return kept + (sum(operand.bits for operand in self.act_operands) if self.joins_activations else 0)

    @property
    def stored_bits(self) -> int:
        """Bits of one weight word: the fields of all weight operands."""
        return sum(operand.stored_bits for operand in self.weight_operands)

    # -- lanes -----------------------------------------------------------------------------------------

    @property
    def positions(self) -> int:
        """Lanes of one channel: pixels + taps - 1."""
        return self.pixels + self.taps - 1

    @property
    def macs(self) -> int:
        """Small products in one multiplication: pixels * taps * channels."""
        return self.pixels * self.taps * self.channels

    @property
    def product_bounds(self) -> tuple[int, int]:
        """Lowest and highest product of a (recentred) activation and a weight."""
        corners = [x * w for x in (-self.half, self.half - 1) for w in (self.weight_low, self.weight_high)]
        return min(corners), max(corners)

    @property
    def words(self) -> int:
        """Words that lanes lie in: 2 for a pair, the halved sum and the halved difference."""
        return self.dsps

    @property
    def word_bits(self) -> int:
        """Bits of a word that are known: halving costs a pair the top one."""
        return ACCUMULATOR_BITS - (1 if self.pair else 0)

    @cached_property
    def lanes(self) -> tuple[Lane, ...]:
        """The lanes, word by word, by rising offset; the top one of a word has the rest of it."""
        starts = self.act_offsets if self.taps == 1 else [e * self.tap_stride for e in range(self.positions)]
        found: list[tuple[int, int, int, int, int]] = []
        for m in range(self.channels):
            for e in range(self.positions):
                terms = min(e + 1, self.pixels, self.taps, self.positions - e)
                word = e % 2 if self.pair else 0
                found.append((word, m * self.channel_stride + starts[e], m, e, terms))
        found.sort()
        ends = [o if w == word else self.word_bits for (word, *_), (w, o, *_) in pairwise(found)] + [self.word_bits]
        return tuple(
            Lane(word, offset, end - offset, channel, position, terms)
            for (word, offset, channel, position, terms), end in zip(found, ends, strict=True)
        )

    def residues(self, low: int, high: int) -> tuple[int, ...] | None:
        """Low bits that must be known of each lane, in the order of :attr:`lanes`; None where lanes overflow.

        low, high: bounds of what a (pixel, tap) adds between two readings of the lanes, or in one cycle where carries
        are tracked; lanes are lifted by ``-low`` for each of their terms. A lane i of width s_i spills
        h_i = floor((v_i + h_(i-1)) / 2^s_i) into the next one, which must know enough bits to tell all h_i apart; where
        carries are tracked, what the lane held before adds up to 2^s_i - 1.
        """
        known: list[int] = []
        for _, word in groupby(self.lanes, key=lambda lane: lane.word):
            lanes, spill = list(word), 0
            known.append(0)
            for lane, above in pairwise(lanes):
                most = lane.terms * (high - low) + spill + (((1 << lane.width) - 1) if self.tracked else 0)
                bits = max(0, most.bit_length() - lane.width)
                if bits > min(above.width, self.residue_bits):
                    return None
                known.append(bits)
                spill = most >> lane.width
            # The top lane of a tracked product may wrap, but no more than once in a cycle, seen by its top bit's fall.
            room = lanes[-1].width - 1 if self.tracked else lanes[-1].width
            if lanes[-1].terms * (high - low) + spill >= 1 << room:
                return None
        return tuple(known)

    def sum_bounds(self, products: int) -> tuple[int, int]:
        """Bounds of ``products`` products, whatever the operands."""
        low, high = self.product_bounds
        return products * low, products * high

    def lane_bits(self, low: int, high: int) -> list[int]:
        """Bits of each lifted lane, in the order of :attr:`lanes`, where each (pixel, tap) adds ``low`` to ``high``."""
        return [max(1, (lane.terms * (high - low)).bit_length()) for lane in self.lanes]

    @cached_property
    def accumulate_max(self) -> int:
        """Products that may be summed before the lanes are read, exactly, whatever the operands."""
        if self.residues(*self.sum_bounds(1)) is None:
            return 0
        if self.tracked:
            return TRACKED_PRODUCTS
        found = 0
        for bit in reversed(range(ACCUMULATOR_BITS)):
            if self.residues(*self.sum_bounds(found | 1 << bit)) is not None:
                found |= 1 << bit
        return found

    def lane_lift(self, lane: Lane, low: int) -> int:
        """Constant that lifts one lane whose (pixel, tap) each add ``low`` at least: ``terms * -low``."""
        return -lane.terms * low

    def lift(self, low: int) -> tuple[int, ...]:
        """Constants that lift all lanes, one for each DSP, modulo 2^48."""
        totals = [0] * self.dsps
        for lane in self.lanes:
            for dsp in range(self.dsps):
                # In the second DSP of a pair, odd positions count negative.
                sign = -1 if dsp and lane.position % 2 else 1
                totals[dsp] += sign * self.lane_lift(lane, low) << lane.offset
        return tuple(total % (1 << ACCUMULATOR_BITS) for total in totals)

    def _fits(self) -> bool:
        # Products of one position lie in one lane only where a tap is as far from the next as a pixel is.
        if self.pixels > 1 and self.taps > 1 and (self.pixel_stride != self.tap_stride or self.block):
            return False
        if self.block and self.pixels % self.block:
            return False
        if self.pair and not (self.pixels > 1 and self.taps > 1 and self.channels == 1):
            return False
        positions = [(lane.word, lane.offset) for lane in self.lanes]
        if len(set(positions)) != len(positions) or self.lanes[-1].offset >= self.word_bits:
            return False
        if min(lane.width for lane in self.lanes) < 1:
            return False
        acts = sorted(self.act_offsets)
        if not self.pair and any(high - low < self.act_bits for low, high in pairwise(acts)):
            return False
        offsets = [term.offset for operand in (*self.act_operands, *self.weight_operands) for term in operand.terms]
        if max(offsets) >= self.ports.wide:
            return False
        if not all(operand.fits(self.act_port_bits) for operand in self.act_operands):
            return False
        if not all(operand.fits(self.weight_port_bits) for operand in self.weight_operands):
            return False
        if self.pair:  # the pre-adder's results must fit as well
            wide = self.act_operands if self.act_on_wide else self.weight_operands
            low, high = (sum(operand.bounds[i] for operand in wide) for i in (0, 1))
            spread = (wide[0].bounds[0] - wide[1].bounds[1], wide[0].bounds[1] - wide[1].bounds[0])
            limit = 1 << (self.ports.wide - 1)
            if min(low, spread[0]) < -limit or max(high, spread[1]) >= limit:
                return False
        return self.accumulate_max >= 1
