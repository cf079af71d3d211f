"""A chain of packed units, from operands to exact lanes: what the packed multiplier and the layers are made of."""

from __future__ import annotations

from amaranth.hdl import Cat, DomainRenamer, Module, Signal, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from mixq.packing import Packing, Slot
from mixq.plan.pumping import can_pump
from rtl_gen.dsp import DSP_LATENCY, TARGETS, Target
from rtl_gen.lane_reader import LaneReader, reader_latency
from rtl_gen.mac_chain import MacChain
from rtl_gen.operands import operand_bits
from rtl_gen.pipeline import delayed
from rtl_gen.residues import ResidueChain
from rtl_gen.tracked_chain import TRACKED_LATENCY, TrackedChain


def check_target(packing: Packing, target: Target) -> None:
    """Refuse a target that is unknown or another DSP than the packing's. Raises ValueError."""
    if target not in TARGETS:
        raise ValueError(f"target must be one of {', '.join(TARGETS)}, not {target!r}")
    if target not in ("generic", packing.device):
        raise ValueError(f"packing must be solved for {target} to be built of it, not {packing.device!r}")


class PackedChain(wiring.Component):
    """Lifted sums of ``length`` packed units, over up to ``accumulate`` cycles, read from their lanes.

    Operand i belongs to a cycle i * :meth:`mixq.packing.Packing.skew` later than operand 0: whoever feeds the chain
    delays activations, weight addresses and control bits, once for all chains that share them.

    Parameters
    ----------
    packing: arithmetic of a unit. length: units in the chain. accumulate: cycles of the longest sum. bounds: least and
    most that each (pixel, tap) adds in a sum, by default whatever the operands; none for carry-tracked and split
    packings. target: see :class:`rtl_gen.dsp.Dsp`. fast: the DSPs' clock domain is "fast", of twice the clock of
    "sync"; operands and go_on belong to it, cycles of a sum are its cycles, and sums must be complete in the last one
    before a cycle of "sync", which takes them into registers. Only packings without residues and carry tracking.

    Members
    -------
    activations: length times the operands of :func:`rtl_gen.operands.activation_operand`, first lowest.
    weights: length words of :meth:`mixq.packing.Packing.encode_weights`, first lowest.
    go_on, valid: a bit for each position, in the cycle of its operands. go_on is 0 with the first of a sum; valid is 0
    where there are none, whose weights must be 0 then. Only carry-tracked packings look at valid; of them, sums of a
    chain of several units last ``accumulate`` cycles without a gap.
    sums: for each channel and position :attr:`sum_bits`, channel * positions + position, first lowest; the exact sums
    of recentred products, plus :attr:`lift` for each term, :attr:`latency` cycles after the last operands of the last
    position.

    Raises ValueError where the packing cannot sum so many products, or not in a fast domain.
    """

    def __init__(
        self,
        packing: Packing,
        *,
        length: int,
        accumulate: int,
        bounds: tuple[int, int] | None = None,
        target: Target = "dsp48e2",
        fast: bool = False,
    ) -> None:
        products = length * accumulate
        if length < 1 or accumulate < 1 or (bounds is None and products > packing.accumulate_max):
            raise ValueError(
                f"length * accumulate must be from 1 to {packing.accumulate_max}, not {(length, accumulate)!r}"
            )
        if bounds is not None and (packing.split or packing.tracked or packing.product.residues(*bounds) is None):
            raise ValueError(f"bounds must fit the lanes of a single product, not {bounds!r}")
        if target == "dsp48e1" and length > 1 and accumulate > 1:
            raise ValueError(f"accumulate must be 1 for a chain of DSP48E1, not {accumulate!r}")
        if fast and not can_pump(packing):
            raise ValueError(f"fast must be False where lanes are corrected, not {fast!r}")
        self._packing = packing
        self._fast = fast
        self._length = length
        self._accumulate = accumulate
        self._bounds = bounds
        self._target = target
        self._lane_bits = packing.sum_widths(*self._whole_bounds)
        super().__init__(
            {
                "activations": In(unsigned(length * operand_bits(packing))),
                "weights": In(unsigned(length * packing.stored_bits)),
                "go_on": In(length),
                "valid": In(length, init=(1 << length) - 1),
                "sums": Out(unsigned(sum(self._lane_bits))),
            }
        )

    @property
    def sum_bits(self) -> tuple[int, ...]:
        """Bits of each sum, channel by channel."""
        return self._lane_bits

    @property
    def lift(self) -> int:
        """What is added for each (pixel, tap) of a sum of length * accumulate products.

        Carry-tracked sums are lifted in each cycle with operands, by this divided by length * accumulate.
        """
        return -self._whole_bounds[0]

    @property
    def latency(self) -> int:
        """Cycles from the last operands of the last position to the sums, of DSPs in the domain "sync"."""
        if self._packing.tracked:
            return TRACKED_LATENCY
        return DSP_LATENCY + self.reading_latency

    @property
    def reading_latency(self) -> int:
        """Cycles from the accumulators (in a fast domain, from the registers that take them) to the sums."""
        return self._reading + ceil_log2(self._most_shares)

    @property
    def _whole_bounds(self) -> tuple[int, int]:
        return self._bounds or self._packing.sum_bounds(self._length * self._accumulate)

    @property
    def _reading(self) -> int:
        """Cycles of the slowest reader."""
        return max(reader_latency(slot.product, *self._slot_bounds(slot)) for slot in self._packing.slots)

    @property
    def _most_shares(self) -> int:
        """Slots that one sum is added up from, at most."""
        packing = self._packing
        return max(len(self._shares(c, e)) for c in range(packing.channels) for e in range(packing.positions))

    def elaborate(self, platform: object) -> Module:
        """Build the slots of a unit side by side, and add up what they share."""
        m = Module()
        lanes = [self._slot(m, index, slot) for index, slot in enumerate(self._packing.slots)]
        at = 0
        for index, bits in enumerate(self._lane_bits):
            channel, position = divmod(index, self._packing.positions)
            terms = [lanes[i][channel - c, position - p] << shift for i, c, p, shift in self._shares(channel, position)]
            m.d.comb += self.sums[at : at + bits].eq(self._added(m, terms, bits, index))
            at += bits
        return m

    def _shares(self, channel: int, position: int) -> list[tuple[int, int, int, int]]:
        """Slots that add to a sum: index, first channel, first position, shift."""
        return [
            (i, slot.channel, slot.pixel + slot.tap, self._packing.parts[slot.part].shift)
            for i, slot in enumerate(self._packing.slots)
            if 0 <= channel - slot.channel < slot.product.channels
            and 0 <= position - slot.pixel - slot.tap < slot.product.positions
        ]

    def _added(self, m: Module, terms: list[Value], bits: int, index: int) -> Value:
        """Add up two at a time, a register behind each level; as many levels for every sum."""
        for level in range(ceil_log2(self._most_shares)):
            pairs = [terms[i : i + 2] for i in range(0, len(terms), 2)]
            terms = []
            for i, pair in enumerate(pairs):
                register = Signal(bits, name=f"share_{index}_{level}_{i}", reset_less=True)
                m.d.sync += register.eq(sum(pair[1:], pair[0]))
                terms.append(register)
        return terms[0]

    def _slot_bounds(self, slot: Slot) -> tuple[int, int]:
        """Bounds of what each (pixel, tap) adds to the lanes of a slot until they are read."""
        return self._bounds or slot.product.sum_bounds(self._length * self._accumulate)

    def _slot(self, m: Module, index: int, slot: Slot) -> dict[tuple[int, int], Value]:
        """One product of each unit: its lanes by channel and position."""
        name = f"slot_{index}" if len(self._packing.slots) > 1 else "products"
        product = slot.product
        activations = self._pieces(self.activations, operand_bits(self._packing), self._acts_at(slot))
        weights = self._pieces(self.weights, self._packing.stored_bits, self._weights_at(slot))
        if product.tracked:
            m.submodules[name] = chain = TrackedChain(
                product, length=self._length, cycles=self._accumulate, target=self._target
            )
            m.d.comb += [getattr(chain, p).eq(getattr(self, p)) for p in ("go_on", "valid")]
            m.d.comb += [chain.activations.eq(activations), chain.weights.eq(weights)]
            return self._lanes(slot, chain.lanes, chain.lane_bits)
        low, high = self._slot_bounds(slot)
        sizes = {"length": self._length, "accumulate": self._accumulate, "low": low}
        macs = MacChain(product, **sizes, target=self._target)
        m.submodules[name] = DomainRenamer("fast")(macs) if self._fast else macs
        m.submodules[f"{name}_lanes"] = reader = LaneReader(product, low=low, high=high)
        m.d.comb += [macs.activations.eq(activations), macs.weights.eq(weights), macs.go_on.eq(self.go_on[-1])]
        m.d.comb += reader.p.eq(delayed(m, macs.p, int(self._fast), name=f"{name}_p"))
        if any(reader.known):
            m.submodules[f"{name}_residues"] = residues = ResidueChain(product, **sizes, known=reader.known)
            m.d.comb += [residues.activations.eq(activations), residues.weights.eq(weights)]
            m.d.comb += [residues.go_on.eq(self.go_on[-1]), reader.residues.eq(residues.residues)]
        lanes = delayed(m, reader.lanes, self._reading - reader.latency, name=f"{name}_late")
        return self._lanes(slot, lanes, product.lane_bits(low, high))

    def _acts_at(self, slot: Slot) -> slice:
        sizes = [group.product.act_word_bits for group in self._packing.act_groups]
        return slice(sum(sizes[: slot.acts]), sum(sizes[: slot.acts + 1]))

    def _weights_at(self, slot: Slot) -> slice:
        sizes = [group.product.stored_bits for group in self._packing.weight_groups]
        return slice(sum(sizes[: slot.weights]), sum(sizes[: slot.weights + 1]))

    def _pieces(self, words: Value, width: int, part: slice) -> Value:
        """The same part of every position's word."""
        return Cat(words.word_select(i, width)[part] for i in range(self._length))

    @staticmethod
    def _lanes(slot: Slot, lanes: Value, widths: list[int]) -> dict[tuple[int, int], Value]:
        found, at = {}, 0
        for lane, bits in zip(slot.product.lanes, widths, strict=True):
            found[lane.channel, lane.position] = lanes[at : at + bits]
            at += bits
        return found
