"""Requantisation by multiplication in LUTs: rows of partial products and a pipelined adder tree."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mixq.formats import IntFormat
from rtl_gen.adder_tree import Term, sum_terms, tree_latency
from rtl_gen.interfaces import merged_images
from rtl_gen.names import joined_name
from rtl_gen.pipeline import delayed
from rtl_gen.requantise_unit import RequantiseUnit, amaranth_shape, rom_style
from rtl_gen.requantise_values import RequantiseValues
from rtl_gen.rom import Rom


@dataclass(frozen=True)
class LaneNumbers:
    """Multipliers m and constants B of the channels that one lane sees, reduced: y = clamp((x*m + B) >> shift).

    A power of two that all multipliers share is taken out of the shift, the multipliers and the constants
    (rounded down), which changes no result: floor((x * m * 2^z + B) / 2^T) = floor((x * m + floor(B / 2^z)) /
    2^(T - z)).
    """

    multipliers: tuple[int, ...]
    constants: tuple[int, ...]
    shift: int
    input_format: IntFormat
    output_format: IntFormat

    @classmethod
    def of(cls, values: RequantiseValues, lane: int, lanes: int) -> LaneNumbers:
        """Return the numbers of a lane."""
        channels = values.lane_channels(lane, lanes)
        multipliers = [values.multiplier[channel] for channel in channels]
        twos = min([values.shift] + [(m & -m).bit_length() - 1 for m in multipliers if m])
        return cls(
            tuple(m >> twos for m in multipliers),
            tuple(values.constant(channel) >> twos for channel in channels),
            values.shift - twos,
            values.input_format,
            values.output_format,
        )

    @cached_property
    def multiplier_format(self) -> IntFormat:
        """Format of the multipliers."""
        return IntFormat.for_range(min(self.multipliers), max(self.multipliers))

    @cached_property
    def constant_format(self) -> IntFormat:
        """Format of the constants."""
        return IntFormat.for_range(min(self.constants), max(self.constants), signed=True)

    @cached_property
    def sum_format(self) -> IntFormat:
        """Format of x * m + B, over the whole range of x and the pairs that occur."""
        ends = self.input_format.low, self.input_format.high
        sums = [x * m + b for x in ends for m, b in zip(self.multipliers, self.constants, strict=True)]
        return IntFormat.for_range(min(sums), max(sums), signed=True)

    @property
    def same_multiplier(self) -> bool:
        """Whether all channels share the multiplier."""
        return len(set(self.multipliers)) == 1

    @property
    def same_constant(self) -> bool:
        """Whether all channels share the constant."""
        return len(set(self.constants)) == 1

    def fields(self) -> list[tuple[IntFormat, tuple[int, ...]]]:
        """Return what a memory must hold: the format and the values, one a group, of each changing number."""
        varying = []
        if not self.same_multiplier:
            varying.append((self.multiplier_format, self.multipliers))
        if not self.same_constant:
            varying.append((self.constant_format, self.constants))
        return varying


def signed_digits(value: int) -> list[tuple[int, bool]]:
    """Return (shift, negative) of the digits of the canonical signed form of ``value``: no two adjacent.

    >>> signed_digits(7)
    [(0, True), (3, False)]
    """
    digits, shift, sign = [], 0, value < 0
    rest = abs(value)
    while rest:
        if rest & 1:
            digit = 2 - (rest & 3)
            digits.append((shift, (digit < 0) != sign))
            rest -= digit
        rest >>= 1
        shift += 1
    return digits


class MultiplyLane(wiring.Component):
    """One accumulator a cycle: y = clamp((x * multiplier + constant) >> shift).

    A multiplier that all channels share becomes the shifted terms of its canonical signed form (a power of two:
    wires); another one is taken two bits at a time: rows x * (0..3), one carry chain each, registered. Terms,
    rows and the constant are added in pairs, a register after each level; the clamp has one more.

    Parameters: ``numbers``; ``latency``: cycles to give the result in, ``minimum_latency(numbers)`` at least.
    Members: ``x``; ``multiplier`` and ``constant`` (ignored where the numbers do not change), with ``x``;
    ``y``, ``latency`` cycles later.
    """

    def __init__(self, numbers: LaneNumbers, *, latency: int) -> None:
        self._numbers = numbers
        self._slack = latency - self.minimum_latency(numbers)
        if self._slack < 0:
            raise ValueError(f"latency must be at least {self.minimum_latency(numbers)}, not {latency!r}")
        super().__init__(
            {
                "x": In(amaranth_shape(numbers.input_format)),
                "multiplier": In(amaranth_shape(numbers.multiplier_format)),
                "constant": In(amaranth_shape(numbers.constant_format)),
                "y": Out(numbers.output_format.width),
            }
        )

    @staticmethod
    def minimum_latency(numbers: LaneNumbers) -> int:
        """Return the cycles of a lane with these numbers."""
        if numbers.same_multiplier:
            terms = len(signed_digits(numbers.multipliers[0]))
            return tree_latency(terms + MultiplyLane._adds_constant(numbers)) + 1
        rows = -(-numbers.multiplier_format.width // 2)
        return 1 + tree_latency(rows + MultiplyLane._adds_constant(numbers)) + 1

    @staticmethod
    def _adds_constant(numbers: LaneNumbers) -> bool:
        """Whether the constant is a term: it is not always 0, or is needed to subtract from."""
        digits = signed_digits(numbers.multipliers[0]) if numbers.same_multiplier else [(0, False)]
        return any(numbers.constants) or all(negative for _, negative in digits)

    def elaborate(self, platform: Any) -> Module:
        """Add the terms, shift and clamp."""
        m = Module()
        numbers = self._numbers
        x = Signal(signed(IntFormat.for_range(*self._x_range(), signed=True).width))
        m.d.comb += x.eq(self.x)
        terms = self._shared_terms(x) if numbers.same_multiplier else self._rows(m, x)
        if self._adds_constant(numbers):
            low, high = numbers.constant_format.low, numbers.constant_format.high
            constant: Any = self.constant
            if numbers.same_constant:
                constant = Const(low, signed(numbers.constant_format.width))
            elif not numbers.same_multiplier:
                constant = delayed(m, constant, 1, name="constant")
            terms.append(Term(constant, low, high))
        total = sum_terms(m, terms, width=numbers.sum_format.width, name="sum")
        self._clamp(m, total)
        return m

    def _x_range(self) -> tuple[int, int]:
        return self._numbers.input_format.low, self._numbers.input_format.high

    def _shared_terms(self, x: Any) -> list[Term]:
        """Return the terms of x * m for the one m."""
        digits = signed_digits(self._numbers.multipliers[0])
        return [Term(x, *self._x_range(), shift, negative) for shift, negative in digits]

    def _rows(self, m: Module, x: Any) -> list[Term]:
        """Return the registered rows x * digit, two bits of the multiplier each."""
        low, high = self._x_range()
        multiplier, format = self.multiplier, self._numbers.multiplier_format
        rows = []
        for at in range(0, format.width, 2):
            bits = min(2, format.width - at)
            top = format.signed and at + bits == format.width
            weights = [1, 2][:bits]
            if top:
                weights[-1] = -weights[-1]
            digits = [0, *weights, sum(weights)]
            ends = [end * digit for end in (low, high) for digit in (min(digits), max(digits))]
            terms = [Mux(multiplier[at + bit], x, 0) << bit for bit in range(bits)]
            width = IntFormat.for_range(min(ends), max(ends), signed=True).width
            row = Signal(signed(width), name=f"row{at}", reset_less=True)
            total = terms[0] if not (top and bits == 1) else -terms[0]
            if bits == 2:
                total = terms[0] - terms[1] if top else terms[0] + terms[1]
            m.d.sync += row.eq(total)
            rows.append(Term(row, min(ends), max(ends), at))
        return rows

    def _clamp(self, m: Module, total: Any) -> None:
        """Shift, clamp and register."""
        numbers = self._numbers
        low, high = numbers.output_format.low, numbers.output_format.high
        shifted = total >> numbers.shift
        least, most = numbers.sum_format.low >> numbers.shift, numbers.sum_format.high >> numbers.shift
        code: Any = shifted
        if most > high:
            above = shifted > high
            if low >= 0 and high & (high + 1) == 0:
                # The bits above a full range of codes say the same, without a carry chain.
                above = ~shifted[-1] & shifted[high.bit_length() :].any()
            code = Mux(above, high, code)
        if least < low:
            code = Mux(shifted[-1] if low == 0 else shifted < low, low, code)
        result = Signal(numbers.output_format.width, reset_less=True)
        m.d.sync += result.eq(code)
        m.d.comb += self.y.eq(delayed(m, result, self._slack, name="result"))


class MultiplyUnit(RequantiseUnit):
    """Requantisation by multiplication, without DSPs.

    Multipliers and constants that change from group to group come from one memory, a word a group, that all
    pixels share. No step between two registers has more than one carry chain, at most as wide as
    x * multiplier + constant.

    ``latency``: the memory's 1 or 2 cycles (0 where nothing changes) and that of the slowest
    :class:`MultiplyLane`. For the rest see :class:`rtl_gen.requantise_unit.RequantiseUnit`.
    """

    def __init__(self, values: RequantiseValues, *, name: str, pixels: int = 1, lanes: int = 1) -> None:
        super().__init__(values, name=name, pixels=pixels, lanes=lanes)
        self._numbers = [LaneNumbers.of(values, lane, lanes) for lane in range(lanes)]
        self._lane_latency = max(MultiplyLane.minimum_latency(numbers) for numbers in self._numbers)
        self._rom = self._parameters()

    def _parameters(self) -> Rom | None:
        words, width = [0] * self.groups, 0
        for numbers in self._numbers:
            for format, values in numbers.fields():
                mask = (1 << format.width) - 1
                words = [word | (value & mask) << width for word, value in zip(words, values, strict=True)]
                width += format.width
        if not width:
            return None
        style = rom_style(width, self.groups)
        name = joined_name(self._name, "parameters")
        return Rom(name, width, self.groups, words, style=style, output_register=style == "block")

    @property
    def latency(self) -> int:
        """Cycles from ``valid`` to ``y_valid``."""
        return (self._rom.latency if self._rom else 0) + self._lane_latency

    @property
    def memory_images(self) -> dict[str, str]:
        """Memory files: bare file name -> text."""
        return merged_images([self._rom] if self._rom else [])

    def elaborate(self, platform: Any) -> Module:
        """Instantiate the memory and the lanes."""
        m = Module()
        x, start = self.x, 0
        if self._rom:
            m.submodules.parameters = self._rom
            m.d.comb += self._rom.addr.eq(self.group)
            x = delayed(m, x, self._rom.latency, name="x")
        for index, numbers in enumerate(self._numbers):
            lanes = [MultiplyLane(numbers, latency=self._lane_latency) for _ in range(self._pixels)]
            targets = [name for name, same in self._changing(numbers) if not same]
            for name, (format, _) in zip(targets, numbers.fields(), strict=True):
                assert self._rom is not None
                part = self._rom.data[start : start + format.width]
                m.d.comb += [getattr(lane, name).eq(part) for lane in lanes]
                start += format.width
            for pixel, lane in enumerate(lanes):
                m.submodules[f"pixel{pixel}_lane{index}"] = lane
                m.d.comb += lane.x.eq(self.accumulator(x, pixel, index))
                self.place(m, pixel, index, lane.y)
        self.drive_valid(m)
        return m

    @staticmethod
    def _changing(numbers: LaneNumbers) -> list[tuple[str, bool]]:
        return [("multiplier", numbers.same_multiplier), ("constant", numbers.same_constant)]
