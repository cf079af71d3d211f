"""All multipliers of a convolution without DSPs: products in look-up tables and the trees that add them."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Const, Module, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mixq.packing import SoftMultipliers
from mixq.plan.folding import Folding
from mixq.plan.matrix_search import constant_matrix
from mixq.plan.weight_order import layer_matrix
from rtl_gen.adder_tree import Term, sum_terms, tree_latency
from rtl_gen.constant_matrix import ConstantMatrixUnit
from rtl_gen.convolution_constants import IntArray, weight_words
from rtl_gen.line_buffer import LINE_BUFFER_LATENCY
from rtl_gen.names import joined_name
from rtl_gen.pipeline import delayed
from rtl_gen.rom import Rom, merged_images
from rtl_gen.soft_product import product_latency, soft_products


def soft_packing(folding: Folding) -> SoftMultipliers:
    """Return the multipliers of a folding without DSPs. Raises: TypeError for another."""
    if not isinstance(folding.packing, SoftMultipliers):
        raise TypeError(f"packing must be multipliers without DSPs, not {folding.packing!r}")
    return folding.packing


def _members(folding: Folding, sum_bits: int) -> dict[str, Any]:
    packing = folding.packing
    return {
        "weight": In(range(folding.weight_depth)),
        "codes": In(unsigned(folding.inputs * packing.pixels * packing.act_bits)),
        "go_on": In(1),
        "sums": Out(unsigned(folding.columns * packing.positions * sum_bits)),
    }


class SoftArray(wiring.Component):
    """A multiplier of look-up tables for every weight and pixel of a step, and a tree for each sum.

    Parameters: folding; weights (C_out, C_in / groups, K, K), C_in in the order of the stream; sum_bits, which hold
    every finished sum: all sums are modulo 2^sum_bits; name, of the layer, for the memory file.

    Members
    -------
    weight, codes, go_on: as of :class:`rtl_gen.mac_array.MacArray`; every step is read, so that go_on tells nothing.
    sums: of each step, sum_bits each, index output channel of the fold * positions + position, first lowest;
    :attr:`latency` cycles after the position. Those that no output has a share of are 0.
    """

    def __init__(self, folding: Folding, weights: IntArray, *, sum_bits: int, name: str) -> None:
        self._folding = folding
        self._packing = soft_packing(folding)
        self._bits = sum_bits
        words = weight_words(folding, weights)
        self._words = [self._joined(words[:, :, address]) for address in range(folding.weight_depth)]
        self._rom: Rom | None = None
        if folding.weight_depth > 1:
            self._rom = Rom(
                joined_name(name, "weights_0"),
                folding.weight_width,
                folding.weight_depth,
                self._words,
                style=folding.weight_style,
                output_register=True,
            )
        super().__init__(_members(folding, sum_bits))

    def _joined(self, words: IntArray) -> int:
        """Words (columns, terms) as one, column * terms + term, first lowest."""
        bits = self._packing.stored_bits
        return sum(int(word) << (bits * index) for index, word in enumerate(words.reshape(-1).tolist()))

    @property
    def latency(self) -> int:
        """Cycles from the position to its sums."""
        return LINE_BUFFER_LATENCY + product_latency(self._packing) + self._tree_latency

    @property
    def _tree_latency(self) -> int:
        """Cycles of the tree of a sum in the middle, which has the most terms."""
        packing = self._packing
        return tree_latency(self._folding.simd * min(packing.pixels, packing.taps))

    @property
    def memory_images(self) -> dict[str, str]:
        """Weight file: bare name -> text."""
        return merged_images([] if self._rom is None else [self._rom])

    def elaborate(self, platform: object) -> Module:
        """Multiply, and add up what belongs to the same output."""
        m = Module()
        folding, packing = self._folding, self._packing
        word = self._word(m)
        bits = packing.weight_format.width
        low, high = packing.product_format.low, packing.product_format.high
        for column in range(folding.columns):
            terms: list[list[Term]] = [[] for _ in range(packing.positions)]
            for term in range(folding.simd):
                place = folding.input_term(folding.group_of(column), term)
                codes = self.codes.word_select(place, packing.pixels * packing.act_bits)
                activations = [codes.word_select(n, packing.act_bits) for n in range(packing.pixels)]
                for tap in range(packing.taps):
                    weight = word.word_select((column * folding.simd + term) * packing.taps + tap, bits)
                    name = f"product_{column}_{term}_{tap}"
                    for n, product in enumerate(soft_products(m, packing, weight, activations, name=name)):
                        terms[n + tap].append(Term(product, low, high))
            for position, own in enumerate(terms):
                if not folding.uses(position):
                    continue
                index = column * packing.positions + position
                total = sum_terms(m, own, width=self._bits, name=f"sum_{index}")
                early = self._tree_latency - tree_latency(len(own))
                late = delayed(m, total, early, name=f"sum_{index}_late")
                m.d.comb += self.sums.word_select(index, self._bits).eq(late)
        return m

    def _word(self, m: Module) -> Value:
        """All weights of a step, in the cycle of its codes."""
        if self._rom is None:
            return Const(self._words[0], self._folding.weight_width)
        m.submodules.weights_0 = self._rom
        m.d.comb += self._rom.addr.eq(delayed(m, self.weight, LINE_BUFFER_LATENCY - self._rom.latency, name="weight"))
        return self._rom.data


class ConstantArray(wiring.Component):
    """The multipliers of a layer that uses the same weights in every cycle: one constant matrix.

    Parameters and members as of :class:`SoftArray`.
    """

    def __init__(self, folding: Folding, weights: IntArray, *, sum_bits: int) -> None:
        packing = soft_packing(folding)
        elements = layer_matrix(folding, weights)
        matrix = constant_matrix(elements, packing.act_format, interleaved=packing.pixels)
        self._unit = ConstantMatrixUnit(matrix, sum_bits)
        super().__init__(_members(folding, sum_bits))

    @property
    def latency(self) -> int:
        """Cycles from the position to its sums."""
        return LINE_BUFFER_LATENCY + self._unit.latency

    @property
    def memory_images(self) -> dict[str, str]:
        """None: the weights are in the adders."""
        return {}

    def elaborate(self, platform: object) -> Module:
        """Join the codes and the matrix."""
        m = Module()
        m.submodules.matrix = unit = self._unit
        m.d.comb += [unit.codes.eq(self.codes), self.sums.eq(unit.sums)]
        return m
