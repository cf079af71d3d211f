"""Multipliers of a convolution whose DSPs run at twice the clock of everything around them."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring

from mixq.plan.folding import Folding
from rtl_gen.convolution_constants import IntArray, weight_words
from rtl_gen.dsp import DSP_LATENCY, Target
from rtl_gen.mac_array import array_signature, constant_words, operand_latency, operands_of, weight_memories
from rtl_gen.packed_chain import PackedChain
from rtl_gen.pipeline import delayed
from rtl_gen.rom import merged_images

FAST_FANOUT = 64
"""Loads that synthesis gives a register of the fast domain at most, by copying it: one that selects or resets many."""


class PumpedArray(wiring.Component):
    """What :class:`rtl_gen.mac_array.MacArray` computes, with half as many DSPs, in the clock domain "fast".

    The clock of "fast" has two cycles, of equal length, in each cycle of "sync", and an edge with each of its edges.
    Operands stand in registers of "sync" for a cycle; registers of "fast" take those of term 2i of a chain in one half
    and those of term 2i + 1 in the other, and hand them to unit i. Between the two clocks there is nothing but a
    multiplexer with two inputs for each bit on the way in, and no logic on the way out. Those of activations and go_on
    serve all columns.

    Parameters: as of MacArray; ``folding.pump`` must be 2. Members: as of MacArray.

    Raises ValueError for another folding.
    """

    def __init__(self, folding: Folding, weights: IntArray, *, name: str, target: Target = "dsp48e2") -> None:
        if folding.pump != 2:
            raise ValueError(f"folding must have pump 2, not {folding.pump!r}")
        self._folding = folding
        self._roms = weight_memories(folding, weights, name)
        self._constant = weight_words(folding, weights) if folding.weight_depth == 1 else None
        self._chains = [
            PackedChain(
                folding.dsp_packing,
                length=folding.chain_units,
                accumulate=folding.pump * folding.accumulate,
                bounds=folding.bounds,
                target=target,
                fast=True,
            )
            for _ in range(folding.columns * folding.chains)
        ]
        super().__init__(array_signature(folding, sum(len(chain.sums) for chain in self._chains)))

    @property
    def latency(self) -> int:
        """Cycles from the position to its sums."""
        folding = self._folding
        return operand_latency(folding) + folding.pumped_cycles(DSP_LATENCY) + self._chains[0].reading_latency

    @property
    def memory_images(self) -> dict[str, str]:
        """Weight files: bare name -> text."""
        return merged_images(self._roms)

    def elaborate(self, platform: object) -> Module:
        """Share out activations and weights among the chains."""
        m = Module()
        folding, bits = self._folding, self._folding.dsp_packing.stored_bits
        second = self._second_half(m)
        activations = self._activations(m, second)
        weights = self._weights(m)
        go_on = self._go_on(m, second)
        for index, chain in enumerate(self._chains):
            column, number = divmod(index, folding.chains)
            name = f"column_{column}_chain_{number}"
            m.submodules[name] = chain
            units = range(folding.chain_units)
            first = folding.group_of(column) * (folding.simd // 2) + number * folding.chain_units
            terms = [word.word_select(index, bits) for word in weights]
            words = [self._halves(m, second, i, terms[2 * i], terms[2 * i + 1], f"{name}_weights_{i}") for i in units]
            m.d.comb += [
                chain.activations.eq(Cat(activations[first:][: folding.chain_units])),
                chain.weights.eq(Cat(words)),
                chain.go_on.eq(go_on.replicate(folding.chain_units)),
                self.sums.word_select(index, len(chain.sums)).eq(chain.sums),
            ]
        return m

    def _second_half(self, m: Module) -> Signal:
        """1 in the second half of each cycle of "sync"; it runs through resets."""
        toggle, before = Signal(reset_less=True), Signal(reset_less=True)
        second = Signal(reset_less=True, attrs={"max_fanout": FAST_FANOUT})
        m.d.sync += toggle.eq(~toggle)
        # In the first half the toggle has just changed, and its copy not yet.
        m.d.fast += [before.eq(toggle), second.eq(toggle ^ before)]
        return second

    def _halves(self, m: Module, second: Value, unit: int, first_term: Value, second_term: Value, name: str) -> Signal:
        """A unit's register in the fast domain: its two terms in turn, each in the half in which it is its turn."""
        late = self._folding.fast_cycle(2 * unit) % 2
        terms = (second_term, first_term) if late else (first_term, second_term)
        register = Signal(len(first_term), name=name, reset_less=True)
        m.d.fast += register.eq(Mux(second, terms[1], terms[0]))
        return register

    def _activations(self, m: Module, second: Value) -> list[Value]:
        """Operands of each unit of each chain, for all columns of a group; one group behind the other."""
        folding = self._folding
        late = [
            delayed(m, operand, folding.term_delay(term % folding.cascade), name=f"operand_{term}")
            for term, operand in enumerate(operands_of(m, folding, self.codes))
        ]
        return [
            self._halves(
                m, second, unit % folding.chain_units, late[2 * unit], late[2 * unit + 1], f"activations_{unit}"
            )
            for unit in range(folding.inputs // 2)
        ]

    def _weights(self, m: Module) -> list[Value]:
        """Word of each term of a chain, for all chains, beside its activations."""
        folding = self._folding
        if self._constant is not None:
            return constant_words(folding, self._constant)
        addresses = [delayed(m, self.weight, operand_latency(folding) - 2, name="weight")]
        for i in range(folding.term_delay(folding.cascade - 1)):
            addresses.append(delayed(m, addresses[-1], 1, name=f"weight_late_{i}"))
        words = []
        for term, rom in enumerate(self._roms):
            m.submodules[f"weights_{term}"] = rom
            m.d.comb += rom.addr.eq(addresses[folding.term_delay(term)])
            words.append(rom.data)
        return words

    def _go_on(self, m: Module, second: Value) -> Signal:
        """Of the last unit: a sum goes on with each second term, and with the first one where it does in "sync"."""
        folding, unit = self._folding, self._folding.chain_units - 1
        cycles = operand_latency(folding) + folding.term_delay(2 * unit)
        late = delayed(m, self.go_on, cycles, name="go_on")
        return self._halves(m, second, unit, late, Const(1, 1), "go_on_fast")
