"""Where in the line buffer the multipliers read: kept step by step, so that nothing is multiplied or compared."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from mixq.plan.folding import Folding
from rtl_gen.counters import advanced, carry_places

_LUT_INPUTS = 6


class Ends(data.StructLayout):
    """Which loops of :class:`mixq.plan.folding.Folding` the current step ends, all inner ones included.

    They say so in each cycle, from registers, whether the step is done in it or has to wait.

    word: input channels; tap_pass: a pass over the taps, with its kernel rows; group: all groups of output channels of
    a group of pixels; row; frame. share, where ``folding.splits_inputs``: output channels that read the same words.
    """

    def __init__(self, folding: Folding) -> None:
        loops = ["word", "tap_pass", *(["share"] * folding.splits_inputs), "group", "row", "frame"]
        super().__init__(dict.fromkeys(loops, 1))


def scheduled(m: Module, step: Value, position: Signal, values: Sequence[int], *, name: str) -> Value:
    """The value that belongs to ``position``, 0 to ``len(values) - 1``, which ``step`` moves on; signed where needed.

    A register that changes with the position, where neighbouring values differ: few of them should.
    """
    if len(set(values)) == 1:
        return Const(values[0])
    register = _value_register(values, name)
    with m.If(step):
        _follow(m, position, register, values, [*values[1:], values[0]])
    return register


def scheduled_late(m: Module, position: Signal, values: Sequence[int], *, cycles: int, name: str) -> Value:
    """Like :func:`scheduled`, but a cycle behind the position, so that nothing waits for what moves that.

    cycles: that a position lasts, at least 2. Positions that a look-up table does not tell apart are told a cycle
    before where there is time for it.
    """
    if len(set(values)) == 1:
        return Const(values[0])
    register = _value_register(values, name)
    before = [values[-1], *values[:-1]]
    if len(position) <= _LUT_INPUTS or cycles < 3:
        _follow(m, position, register, before, values)
        return register
    for at, (old, new) in enumerate(zip(before, values, strict=True)):
        if old != new:
            here = Signal(name=f"{name}_{at}")
            m.d.sync += here.eq(position == at)
            with m.If(here):
                m.d.sync += register.eq(new)
    return register


def _value_register(values: Sequence[int], name: str) -> Signal:
    return Signal(range(min(*values, 0), max(values) + 1), init=values[0], name=name)


def _follow(m: Module, position: Signal, register: Signal, before: Sequence[int], after: Sequence[int]) -> None:
    """Where the value after a position is another than that before, take it over."""
    with m.Switch(position):
        for at, (old, new) in enumerate(zip(before, after, strict=True)):
            if old != new:
                with m.Case(at):
                    m.d.sync += register.eq(new)


def moved(m: Module, slot: Signal, distance: int, slots: int, *, name: str) -> Signal:
    """``slot + distance`` modulo ``slots``, looked up."""
    target = Signal(range(slots), name=name)
    with m.Switch(slot):
        for at in range(slots):
            with m.Case(at):
                m.d.comb += target.eq((at + distance) % slots)
    return target


def offset_counter(m: Module, step: Value, *, word_end: Value, group_end: Value, row_end: Value, words: int) -> Signal:
    """Address within a row of words, for as many turns through the same words as end without ``group_end``.

    The ends are those of the current step, see :class:`Ends`.
    """
    offset, base = Signal(range(words), name="offset"), Signal(range(words), name="base")
    bits = len(carry_places(len(offset)))
    carries, base_carries = Signal(bits, name="offset_carries"), Signal(bits, name="base_carries")
    following = advanced(offset, carries)
    with m.If(step):
        again = Mux(word_end & ~group_end, Cat(base, base_carries), following)
        m.d.sync += Cat(offset, carries).eq(Mux(row_end, 0, again))
    with m.If(step & group_end):
        m.d.sync += Cat(base, base_carries).eq(Mux(row_end, 0, following))
    return offset


class ReadPosition(wiring.Component):
    """Place of the current step's words in the ring of rows, and which of their codes lie in the image.

    Parameters: folding.

    Members
    -------
    step: the current step is done. ends, row, group, kernel_row: of the current step.
    offset: address within a row. slot: of the first kernel row; of the current one where they come one by one.
    rows_valid, pixels_valid: a bit for each kernel row read at a time, and for each pixel of a group. top_valid: the
    first kernel row lies in the image. group_valid: the group lies in it, at least in part.
    """

    def __init__(self, folding: Folding) -> None:
        self._folding = folding
        shape, scan = folding.shape, folding.scan
        super().__init__(
            {
                "step": In(1),
                "ends": In(Ends(folding)),
                "row": In(range(scan.out_rows)),
                "group": In(range(scan.steps)),
                "kernel_row": In(range(shape.kernel // folding.rows)),
                "offset": Out(range(scan.groups * folding.line_words)),
                "slot": Out(range(folding.buffer_rows)),
                "rows_valid": Out(folding.rows),
                "pixels_valid": Out(folding.packing.pixels),
                "top_valid": Out(1),
                "group_valid": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Follow the ends of the loops."""
        m = Module()
        words = self._folding.scan.groups * self._folding.line_words
        read_on = self.ends.share if self._folding.splits_inputs else self.ends.group
        offset = offset_counter(
            m, self.step, word_end=self.ends.word, group_end=read_on, row_end=self.ends.row, words=words
        )
        m.d.comb += self.offset.eq(offset)
        self._slots(m)
        self._rows(m)
        self._pixels(m)
        return m

    def _slots(self, m: Module) -> None:
        """Slot of the ring that is read: of the output row's first kernel row, or of each kernel row in turn."""
        folding, shape, scan = self._folding, self._folding.shape, self._folding.scan
        slots = folding.buffer_rows
        first = Signal(range(slots), init=shape.tops[0] % slots)
        next_row = moved(m, first, shape.stride, slots, name="next_row")
        next_frame = moved(m, first, scan.rows - (scan.out_rows - 1) * shape.stride, slots, name="next_frame")
        following = Mux(self.ends.frame, next_frame, next_row)
        with m.If(self.step & self.ends.row):
            m.d.sync += first.eq(following)
        if shape.kernel == folding.rows:
            m.d.comb += self.slot.eq(first)
            return
        current = Signal(range(slots), init=first.init)
        below = moved(m, current, shape.dilation, slots, name="below")
        with m.If(self.step & self.ends.word):
            m.d.sync += current.eq(Mux(self.ends.row, following, Mux(self.ends.tap_pass, first, below)))
        m.d.comb += self.slot.eq(current)

    def _rows(self, m: Module) -> None:
        """Kernel rows in the image, looked up by the output row."""
        folding, shape, scan = self._folding, self._folding.shape, self._folding.scan
        if not shape.pads_rows:
            m.d.comb += [self.rows_valid.eq((1 << folding.rows) - 1), self.top_valid.eq(1)]
            return
        rows = range(scan.rows)
        valid = [sum((top + k * shape.dilation in rows) << k for k in range(shape.kernel)) for top in shape.tops]
        inside = Signal(shape.kernel, name="rows")
        m.d.comb += [
            inside.eq(scheduled(m, self.step & self.ends.row, self.row, valid, name="rows")),
            self.top_valid.eq(inside[0]),
        ]
        m.d.comb += self.rows_valid.eq(inside if folding.rows > 1 else inside.bit_select(self.kernel_row, 1))

    def _pixels(self, m: Module) -> None:
        """Pixels in the image, looked up by the group."""
        folding, pixels = self._folding, self._folding.packing.pixels
        if folding.merged_rows:
            m.d.comb += [self.pixels_valid.eq((1 << pixels) - 1), self.group_valid.eq(1)]
            return
        counts = [max(0, min(pixels, folding.shape.width - group * pixels)) for group in range(folding.scan.steps)]
        masks = [(1 << count) - 1 for count in counts]
        mask = scheduled(m, self.step & self.ends.group, self.group, masks, name="pixels")
        m.d.comb += [self.pixels_valid.eq(mask), self.group_valid.eq(mask[0])]
