"""Least resources of additions, and of requantisations on their own, whose widths are open.

What an addition takes follows from the widths of all layers whose sums it adds, which are too many to list together.
Sums are told apart here by their bits alone, those of weights and input together; an addition by the bits of the widest
sums, which its multipliers and its shift follow from. Of all widths with the same bits the least is taken of each kind
of resource: a design never takes less, and hardly ever much more.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import TypeVar

import numpy as np

from mixq.board import REPORT_KEYS
from mixq.formats import IntFormat
from mixq.graph import Requantise, Tensor, accumulator_format
from mixq.networks import NetworkTable
from mixq.packing import WeightRange
from mixq.plan.choices import FloatArray, simple_stage, vector
from mixq.plan.join_costs import product_resources, sum_ways
from mixq.plan.stage_features import Constants
from mixq.plan.units import Unit
from mixq.plan.untrained_branches import Term, layer_node, layer_term, sum_shift, term_constants
from mixq.plan.untrained_values import IntArray, code_tensor


@dataclass(frozen=True)
class Alternative:
    """Integers that may come: the term that they are in a sum, and their format."""

    term: Term
    format: IntFormat


@dataclass(frozen=True)
class LayerSums:
    """The sums of a layer for each of its pairs of widths."""

    shape: tuple[int, int, int]
    of: dict[tuple[int, int], Alternative]

    @property
    def alternatives(self) -> list[Alternative]:
        """Of all pairs."""
        return list(self.of.values())

    @cached_property
    def formats(self) -> dict[int, IntFormat]:
        """A format that stands for all sums of so many bits: as wide as the narrowest of them."""
        found: dict[int, int] = {}
        for own in self.of.values():
            found[own.term.bits] = min(own.format.width, found.get(own.term.bits, own.format.width))
        return {bits: named_format(bits, width) for bits, width in found.items()}


def named_format(bits: int, width: int) -> IntFormat:
    """A format of ``width`` that no other number of bits has."""
    return IntFormat(max(width, bits.bit_length() + 1), True, 0, bits)


def layer_sums(
    table: NetworkTable,
    number: int,
    widths: Iterable[tuple[int, int]],
    shape: tuple[int, int, int],
    weight_range: WeightRange,
) -> LayerSums:
    """The sums of a weighted layer, of this shape, for pairs of widths of its weights and its input."""
    found = {}
    for weight_bits, act_bits in widths:
        codes = IntFormat(act_bits, False)
        _, options = layer_node(table, number, weight_bits, codes, weight_range)
        weights = options["weights"]
        term = layer_term("sums", number, weight_bits, codes, weights)
        found[weight_bits, act_bits] = Alternative(term, accumulator_format(weights, codes))
    return LayerSums(shape, found)


Key = TypeVar("Key", bound=Hashable)

Way = tuple[int, str | None]
"""Channels of a beat, and the implementation of the requantisation."""


def requantised(sums: LayerSums, out_bits: int) -> dict[int, dict[Way, FloatArray]]:
    """Least costs of stages of their own that make codes of a layer's sums, by the bits of these and by their ways."""
    found: dict[int, dict[Way, FloatArray]] = {}
    target = code_tensor("codes", sums.shape, out_bits)
    for own in sums.alternatives:
        shift = sum_shift(own.term.bits, 1)
        multiplier, bias = term_constants(own.term, 1, out_bits, shift)
        node = Requantise("alone", "sums", "codes", multiplier=multiplier, bias=bias, shift=shift)
        stage = simple_stage(Unit(node, None, (Tensor("sums", sums.shape, own.format, 1.0),), target))
        for choice, cost in zip(stage.choices, stage.costs, strict=True):
            _lower(found.setdefault(own.term.bits, {}), (choice.lanes, choice.method), cost)
    return found


class Addition:
    """Least costs of an addition whose codes have ``out_bits`` and whose widest sums have ``largest`` bits.

    unit: it, with any widths. alternatives: of each input, what may come there.
    """

    def __init__(
        self, unit: Unit, alternatives: Sequence[Sequence[Alternative]], *, largest: int, out_bits: int
    ) -> None:
        self._unit, self._largest, self._out_bits = unit, largest, out_bits
        self._shift = sum_shift(largest, len(alternatives))
        # Of each input: what may come, its multipliers, and its biases.
        self._inputs = [
            [
                (own, *term_constants(own.term, len(alternatives), out_bits, self._shift))
                for own in given
                if own.term.bits <= largest
            ]
            for given in alternatives
        ]

    def products(self, number: int, lanes: int) -> dict[int, FloatArray]:
        """Of the multipliers of an input, by the bits of what comes there."""
        found: dict[int, FloatArray] = {}
        for own, factors, _ in self._inputs[number]:
            _lower(found, own.term.bits, vector(product_resources(own.format, factors.tolist(), lanes)))
        return found

    def ways(self, lanes: int) -> dict[Way, FloatArray]:
        """Of all behind the products, by implementation."""
        ones = np.ones(self._unit.target.shape[0], np.int64)
        target = replace(self._unit.target, format=IntFormat(self._out_bits, False))
        found: dict[Way, FloatArray] = {}
        for bias in self._biases.values():
            node = Requantise("sum_act", "sums", "codes", multiplier=ones, bias=bias, shift=self._shift)
            unit = replace(self._unit, requantise=node, target=target)
            for width in self._widths:
                for method, resources in sum_ways(unit, IntFormat(width, True), lanes):
                    _lower(found, (lanes, method), vector(resources))
        return found

    def whole(self, lanes: int) -> dict[Way, FloatArray]:
        """Of the whole addition, whatever comes beside the widest sums."""
        least = np.zeros(len(REPORT_KEYS))
        for number in range(len(self._inputs)):
            least = least + np.minimum.reduce(list(self.products(number, lanes).values()))
        return {way: cost + least for way, cost in self.ways(lanes).items()}

    @cached_property
    def _biases(self) -> dict[Constants, IntArray]:
        """Those of the first input that are of different sizes."""
        ones = [1] * self._unit.target.shape[0]
        return {Constants.of(ones, bias.tolist()): bias for _, _, bias in self._inputs[0]}

    @cached_property
    def _widths(self) -> range:
        """Widths that the sums may have."""
        ends = [[_ends(given, choose) for given in self._inputs] for choose in (np.minimum, np.maximum)]
        chosen = [bits for bits in product(*ends[0]) if max(bits) == self._largest]
        narrowest, widest = (
            [_width([own[number] for own, number in zip(side, bits, strict=True)]) for bits in chosen] for side in ends
        )
        return range(min(narrowest), max(widest) + 1)


def largest_bits(alternatives: Sequence[Sequence[Alternative]]) -> list[int]:
    """Bits that the widest of several integers may have, rising."""
    bits = [{own.term.bits for own in given} for given in alternatives]
    first = max(min(own) for own in bits)
    return sorted(number for number in set().union(*bits) if number >= first)


def _ends(
    given: Sequence[tuple[Alternative, IntArray, IntArray]], choose: Callable[[IntArray, IntArray], IntArray]
) -> dict[int, tuple[IntArray, IntArray]]:
    """How far products reach below and above 0 in each channel, by the bits of what is multiplied."""
    found: dict[int, tuple[IntArray, IntArray]] = {}
    for own, factors, _ in given:
        low, high = own.format.low * factors, own.format.high * factors
        down, up = -np.minimum(low, high), np.maximum(low, high)
        before = found.get(own.term.bits, (down, up))
        found[own.term.bits] = choose(before[0], down), choose(before[1], up)
    return found


def _width(parts: Sequence[tuple[IntArray, IntArray]]) -> int:
    """Width of sums of products that reach so far."""
    down, up = (int(np.sum([part[end] for part in parts], axis=0).max()) for end in (0, 1))
    return IntFormat.for_range(min(-down, 0), max(up, 0), signed=True, min_width=2).width


def _lower(found: dict[Key, FloatArray], key: Key, cost: FloatArray) -> None:
    found[key] = np.minimum(found[key], cost) if key in found else cost
