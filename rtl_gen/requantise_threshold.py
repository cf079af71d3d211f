"""Codes by comparison with thresholds, those of a requantisation or explicit ones: a pipelined binary search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.utils import ceil_log2

from mixq.formats import IntFormat
from mixq.plan.memories import memory_style
from mixq.plan.sum_widths import threshold_format
from rtl_gen.interfaces import merged_images
from rtl_gen.names import joined_name
from rtl_gen.pipeline import delayed
from rtl_gen.requantise_unit import RequantiseUnit, Values, amaranth_shape
from rtl_gen.rom import Rom


@dataclass(frozen=True)
class _LaneTable:
    """Thresholds of the channels that one lane sees, one row a channel group.

    ``format``: of u and of the thresholds. ``complement``: of each group. ``rows``: thresholds, filled up
    with ones that are never reached to one less than a power of two.
    """

    format: IntFormat
    complement: tuple[bool, ...]
    rows: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, values: Values, lane: int, lanes: int) -> _LaneTable:
        channels = values.lane_channels(lane, lanes)
        falling = [values.falls(channel) for channel in channels]
        format = threshold_format(values.input_format, rises=not all(falling), falls=any(falling))
        low, high = format.low, format.high - 1
        rows = [values.thresholds(channel, low, high)[1] for channel in channels]
        size = (1 << ceil_log2(values.steps + 1)) - 1
        padded = tuple(row + (high + 1,) * (size - len(row)) for row in rows)
        return cls(format, tuple(falling), padded)

    @property
    def mixed(self) -> bool:
        """Whether some channels rise and some fall."""
        return len(set(self.complement)) == 2

    def word(self, group: int, level: int, prefix: int) -> int:
        """Return the threshold of a node of the search tree, with the complement bit above it at level 0."""
        levels = len(self.rows[0]).bit_length()
        index = ((2 * prefix + 1) << (levels - level - 1)) - 1
        word = self.rows[group][index] & ((1 << self.format.width) - 1)
        if level == 0 and self.mixed:
            word |= int(self.complement[group]) << self.format.width
        return word

    def word_width(self, level: int) -> int:
        """Bits of a word of a level."""
        return self.format.width + (level == 0 and self.mixed)

    def words(self, level: int) -> list[int]:
        """Return the memory of a level: address group * 2^level + the bits found so far."""
        return [self.word(group, level, prefix) for group in range(len(self.rows)) for prefix in range(1 << level)]


class ThresholdUnit(RequantiseUnit):
    """Binary search among the thresholds of a channel: 2^bits - 1 of them for every code of so many bits.

    Each level reads one threshold (from constants where there is one group and one threshold, else from a
    memory) and compares: one bit of the count of those that are reached, most significant first. Level
    ``n`` has a memory of 2^n thresholds a channel for every pixel and lane; the first level's is shared by all of
    them. Where the channels begin with different codes, these come from a memory behind the last level and are
    added.

    ``latency``: for each bit of the count the memory's 1 or 2 cycles (0 for constants) and 1 for the
    comparison; at least 1; and 2 or 3 for codes of each channel's own. For the rest see
    :class:`rtl_gen.requantise_unit.RequantiseUnit`.
    """

    def __init__(self, values: Values, *, name: str, pixels: int = 1, lanes: int = 1) -> None:
        super().__init__(values, name=name, pixels=pixels, lanes=lanes)
        self._tables = [_LaneTable.of(values, lane, lanes) for lane in range(lanes)]
        self._levels = ceil_log2(values.steps + 1)
        self._latencies = [self._level_latency(level) for level in range(self._levels)]
        self._roms = self._memories()
        self._bases = self._base_memory()

    def _style(self, level: int) -> str:
        depth = self.groups << level
        if level == 0:
            return memory_style(sum(table.word_width(0) for table in self._tables), depth)
        return memory_style(max(table.word_width(level) for table in self._tables), depth)

    def _level_latency(self, level: int) -> int:
        if self.groups << level == 1:
            return 1
        # A block RAM is slow: its own output register comes before the comparison.
        return 3 if self._style(level) == "block" else 2

    def _memories(self) -> dict[tuple[int, ...], Rom]:
        """Memories: the first level's at (0,), all lanes side by side; the others at (level, pixel, lane)."""
        roms: dict[tuple[int, ...], Rom] = {}
        if self.groups > 1 and self._levels:
            words, width = [0] * self.groups, 0
            for table in self._tables:
                words = [word | new << width for word, new in zip(words, table.words(0), strict=True)]
                width += table.word_width(0)
            roms[0,] = self._rom(joined_name(self._name, "level0"), width, words, self._style(0))
        for level in range(1, self._levels):
            for lane, table in enumerate(self._tables):
                words = table.words(level)
                name = joined_name(self._name, f"level{level}", f"lane{lane}")
                for pixel in range(self._pixels):
                    width = table.word_width(level)
                    roms[level, pixel, lane] = self._rom(name, width, words, self._style(level))
        return roms

    def _base_memory(self) -> Rom | None:
        """Memory of the codes that the channels begin with, all lanes side by side; None where a lane has but one."""
        bases = [
            [self.values.base(channel) for channel in self.values.lane_channels(lane, self._lanes)]
            for lane in range(self._lanes)
        ]
        if all(len(set(row)) == 1 for row in bases):
            return None
        width = self.values.output_format.width
        words = [
            sum((base & (1 << width) - 1) << lane * width for lane, base in enumerate(group))
            for group in zip(*bases, strict=True)
        ]
        style = memory_style(width * self._lanes, self.groups)
        return self._rom(joined_name(self._name, "bases"), width * self._lanes, words, style)

    @staticmethod
    def _rom(name: str, width: int, words: list[int], style: str) -> Rom:
        return Rom(name, width, len(words), words, style=style, output_register=style == "block")

    @property
    def latency(self) -> int:
        """Cycles from ``valid`` to ``y_valid``."""
        return max(1, sum(self._latencies)) + (0 if self._bases is None else self._bases.latency + 1)

    @property
    def memory_images(self) -> dict[str, str]:
        """Memory files: bare file name -> text."""
        return merged_images([*self._roms.values(), *([] if self._bases is None else [self._bases])])

    def elaborate(self, platform: Any) -> Module:
        """Chain the levels: each one adds a bit to the codes of all pixels and lanes."""
        m = Module()
        positions = [(pixel, lane) for pixel in range(self._pixels) for lane in range(self._lanes)]
        x = {at: self.accumulator(self.x, *at) for at in positions}
        codes: dict[tuple[int, int], Any] = dict.fromkeys(positions, Const(0, 0))
        group: Any = self.group
        for level in range(self._levels):
            words = self._read(m, level, group, codes)
            wait = self._latencies[level] - 1
            for at in positions:
                label = f"level{level}_pixel{at[0]}_lane{at[1]}"
                table = self._tables[at[1]]
                u = delayed(m, x[at], wait, name=f"x_{label}")
                word = words[at]
                if level == 0:
                    u = self._rising(m, table, u, word, label)
                shape = amaranth_shape(table.format)
                reached = Signal(name=f"reached_{label}", reset_less=True)
                threshold = Signal(shape, name=f"threshold_{label}")
                m.d.comb += threshold.eq(word[: table.format.width])
                m.d.sync += reached.eq(u >= threshold)
                x[at] = delayed(m, u, 1, name=f"u_{label}")
                codes[at] = Cat(reached, delayed(m, codes[at], wait + 1, name=f"code_{label}"))
            group = delayed(m, group, wait + 1, name=f"group_level{level}")
        self._place_codes(m, group, codes)
        self.drive_valid(m)
        return m

    def _place_codes(self, m: Module, group: Any, counts: dict[tuple[int, int], Any]) -> None:
        """Drive the codes of counts of thresholds that are reached; group: that of the counts."""
        shift = self.values.scale - 1
        added = {at: Cat(Const(0, shift), count) for at, count in counts.items()}
        rom, width = self._bases, self.values.output_format.width
        if rom is None:
            for at, count in added.items():
                self.place(m, *at, self.values.base(at[1]) + count)
            return
        m.submodules.bases = rom
        m.d.comb += rom.addr.eq(group)
        for (pixel, lane), count in added.items():
            label = f"pixel{pixel}_lane{lane}"
            late = delayed(m, count, rom.latency, name=f"count_{label}")
            code = Signal(width, name=f"sum_{label}", reset_less=True)
            m.d.sync += code.eq(rom.data.word_select(lane, width) + late)
            self.place(m, pixel, lane, code)

    def _rising(self, m: Module, table: _LaneTable, x: Any, word: Any, label: str) -> Any:
        """Return u: x, or its complement in the channels whose multiplier is negative."""
        extended = Signal(amaranth_shape(table.format), name=f"extended_{label}")
        m.d.comb += extended.eq(x)
        if table.mixed:
            return Mux(word[table.format.width], ~extended, extended)
        return ~extended if table.complement[0] else extended

    def _read(self, m: Module, level: int, group: Any, codes: dict[tuple[int, int], Any]) -> dict[Any, Any]:
        """Return the word of each pixel and lane, a memory's latency after ``group`` and ``codes``."""
        if self.groups << level == 1:
            return {
                (pixel, lane): Const(self._tables[lane].word(0, 0, 0), self._tables[lane].word_width(0))
                for pixel, lane in codes
            }
        words = {}
        if level == 0:
            m.submodules.level0 = rom = self._roms[0,]
            m.d.comb += rom.addr.eq(group)
            start = 0
            for lane, table in enumerate(self._tables):
                width = table.word_width(0)
                words.update({(pixel, lane): rom.data[start : start + width] for pixel in range(self._pixels)})
                start += width
            return words
        for pixel, lane in codes:
            rom = self._roms[level, pixel, lane]
            m.submodules[f"level{level}_pixel{pixel}_lane{lane}"] = rom
            prefix = codes[pixel, lane]
            m.d.comb += rom.addr.eq(Cat(prefix, group) if self.groups > 1 else prefix)
            words[pixel, lane] = rom.data
        return words
