"""Requantisation by multiplication in LUTs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mixq.formats import IntFormat
from mixq.plan.memories import memory_style
from rtl_gen.adder_tree import Term, sum_terms, tree_latency
from rtl_gen.booth import BoothAddend, booth_digits, booth_rows, booth_sum
from rtl_gen.interfaces import merged_images
from rtl_gen.names import joined_name
from rtl_gen.pipeline import delayed
from rtl_gen.requantise_unit import RequantiseUnit, amaranth_shape
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
        """Format of x * m + B, over the whole range of x and the pairs that occur. ValueError above 64 bits."""
        ends = self.input_format.low, self.input_format.high
        sums = [x * m + b for x in ends for m, b in zip(self.multipliers, self.constants, strict=True)]
        if not -(1 << 63) <= min(sums) <= max(sums) < 1 << 63:
            raise ValueError(f"multiplier must keep x * multiplier + bias in 64 bits, not {min(sums)}..{max(sums)}")
        return IntFormat.for_range(min(sums), max(sums), signed=True)

    @property
    def same_multiplier(self) -> bool:
        """Whether all channels share the multiplier."""
        return len(set(self.multipliers)) == 1

    @property
    def same_constant(self) -> bool:
        """Whether all channels share the constant."""
        return len(set(self.constants)) == 1

    def fields(self) -> dict[str, tuple[IntFormat, tuple[int, ...]]]:
        """Return what a memory must hold: the format and the values, one a group, of each changing number."""
        numbers = {
            "multiplier": (self.multiplier_format, self.multipliers),
            "constant": (self.constant_format, self.constants),
        }
        return {name: pair for name, pair in numbers.items() if len(set(pair[1])) > 1}


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
    """One channel of several pixels a cycle: y = clamp((x * multiplier + constant) >> shift).

    A multiplier that all channels share becomes the shifted terms of its canonical signed form (a power of two:
    wires), added in pairs. Another one is taken two bits at a time (:mod:`rtl_gen.booth`). The clamp has a
    register more.

    Parameters: ``numbers``; ``pixels``; ``latency``: cycles to give the result in, ``minimum_latency(numbers)``
    at least. Members: ``x{pixel}``, and with them ``multiplier`` and ``constant`` (ignored where the numbers do
    not change); ``y{pixel}``, ``latency`` cycles later.
    """

    def __init__(self, numbers: LaneNumbers, *, pixels: int, latency: int) -> None:
        self._numbers = numbers
        self._pixels = pixels
        self._slack = latency - self.minimum_latency(numbers)
        if self._slack < 0:
            raise ValueError(f"latency must be at least {self.minimum_latency(numbers)}, not {latency!r}")
        members: dict[str, Any] = {
            "multiplier": In(amaranth_shape(numbers.multiplier_format)),
            "constant": In(amaranth_shape(numbers.constant_format)),
        }
        for pixel in range(pixels):
            members[f"x{pixel}"] = In(amaranth_shape(numbers.input_format))
            members[f"y{pixel}"] = Out(numbers.output_format.width)
        super().__init__(members)

    @staticmethod
    def minimum_latency(numbers: LaneNumbers) -> int:
        """Return the cycles of a lane with these numbers."""
        if numbers.same_multiplier:
            digits = signed_digits(numbers.multipliers[0])
            return tree_latency(len(digits) + _adds_constant(numbers, digits)) + 1
        return booth_rows(numbers.multiplier_format, numbers.sum_format) + 1

    def elaborate(self, platform: Any) -> Module:
        """Multiply, add, shift and clamp."""
        m = Module()
        numbers = self._numbers
        constant: Any = self.constant
        if numbers.same_constant:
            constant = Const(numbers.constants[0], signed(numbers.constant_format.width))
        if not numbers.same_multiplier:
            rows = booth_rows(numbers.multiplier_format, numbers.sum_format)
            digits = booth_digits(m, self.multiplier, rows)
        for pixel in range(self._pixels):
            x = getattr(self, f"x{pixel}")
            if numbers.same_multiplier:
                total = self._shared_multiplier(m, x, constant, f"sum{pixel}")
            else:
                addend = BoothAddend(constant, numbers.constant_format)
                total = booth_sum(
                    m, x, numbers.input_format, digits, addend, result=numbers.sum_format, name=f"pixel{pixel}"
                )
            code = self._clamped(m, total, f"code{pixel}")
            m.d.comb += getattr(self, f"y{pixel}").eq(code)
        return m

    def _shared_multiplier(self, m: Module, x: Any, constant: Any, name: str) -> Any:
        """Return x * m + B for the one m."""
        numbers, bounds = self._numbers, self._numbers.constant_format
        digits = signed_digits(numbers.multipliers[0])
        extended = Signal(signed(numbers.input_format.width + (not numbers.input_format.signed)), name=f"x_{name}")
        m.d.comb += extended.eq(x)
        ends = numbers.input_format.low, numbers.input_format.high
        terms = [Term(extended, *ends, shift, negative) for shift, negative in digits]
        if _adds_constant(numbers, digits):
            terms.append(Term(constant, bounds.low, bounds.high))
        return sum_terms(m, terms, width=numbers.sum_format.width, name=name)

    def _clamped(self, m: Module, total: Any, name: str) -> Any:
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
        result = Signal(numbers.output_format.width, name=name, reset_less=True)
        m.d.sync += result.eq(code)
        return delayed(m, result, self._slack, name=name)


def _adds_constant(numbers: LaneNumbers, digits: list[tuple[int, bool]]) -> bool:
    """Whether the constant is a term beside the digits': it is not 0, or is needed to subtract from."""
    return any(numbers.constants) or all(negative for _, negative in digits)


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
            for format, values in numbers.fields().values():
                mask = (1 << format.width) - 1
                words = [word | (value & mask) << width for word, value in zip(words, values, strict=True)]
                width += format.width
        if not width:
            return None
        style = memory_style(width, self.groups)
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
            lane = MultiplyLane(numbers, pixels=self._pixels, latency=self._lane_latency)
            m.submodules[f"lane{index}"] = lane
            for name, (format, _) in numbers.fields().items():
                assert self._rom is not None
                m.d.comb += getattr(lane, name).eq(self._rom.data[start : start + format.width])
                start += format.width
            for pixel in range(self._pixels):
                m.d.comb += getattr(lane, f"x{pixel}").eq(self.accumulator(x, pixel, index))
                self.place(m, pixel, index, getattr(lane, f"y{pixel}"))
        self.drive_valid(m)
        return m
