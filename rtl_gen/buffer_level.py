"""How far the writer of a line buffer is ahead of its reader, counted in groups of pixels."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mixq.plan.folding import Folding
from rtl_gen.counters import loop_counter, up_down
from rtl_gen.read_position import Ends, scheduled, scheduled_late

_MOST_AHEAD = 3
"""Groups that the scout is ahead of the reader at most. Where the reader takes one in a cycle it is none."""


class BufferLevel(wiring.Component):
    """Says when a group of pixels and those below it in the kernel are there, and when there is room for another.

    Groups are counted along the rows, frame behind frame. A group may be read when the last one that the kernel touches
    has been written. That is looked up in order, some groups before the reader comes to them, by a *scout*; its lead
    over the reader is counted. A place is free again when no later group of the frame touches it.

    Both distances are one carry chain each, and their signs are the answers.

    Parameters: folding.

    Members
    -------
    written: a group has been written with the beat of this cycle. step, ends, row, top_valid, group_valid: of the
    reader, see :class:`rtl_gen.read_position.ReadPosition`.
    granted: the reader's group is there. room: there is one for the writer's group. Both follow from registers.
    """

    def __init__(self, folding: Folding) -> None:
        self._folding = folding
        super().__init__(
            {
                "written": In(1),
                "step": In(1),
                "ends": In(Ends(folding)),
                "row": In(range(folding.scan.out_rows)),
                "top_valid": In(1),
                "group_valid": In(1),
                "granted": Out(1),
                "room": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Two counters and the scout."""
        m = Module()
        self._supply(m)
        self._room(m)
        return m

    def _supply(self, m: Module) -> None:
        """Groups written beyond the one that the scout asks for; negative where that is not there yet."""
        scan = self._folding.scan
        newest = [self._newest(row) for row in range(scan.out_rows)]
        after = [*newest[1:], scan.rows + newest[0]]
        moves = [(b - a) * scan.groups - (scan.groups - 1) for a, b in zip(newest, after, strict=True)]
        # Groups of padding alone, behind a row, need nothing more.
        inner = [int(not scan.groups - 1 <= group < scan.steps - 1) for group in range(scan.steps)]
        first = newest[0] * scan.groups
        lead = Signal(
            signed(_bits(max(first + 1, 1, *moves), self._folding.buffer_rows * scan.groups)), init=-first - 1
        )
        ahead = Signal(range(_MOST_AHEAD + 1))
        advance, group_end = Signal(), self.step & self.ends.group
        group, row = Signal(range(scan.steps), name="scout_group"), Signal(range(scan.out_rows), name="scout_row")
        last = loop_counter(m, advance, group, scan.steps)
        if len(set(moves)) > 1:
            loop_counter(m, advance & last, row, scan.out_rows)
        row_moves = [-move for move in moves]
        if scan.steps > 1:
            # It is needed at a row's last group.
            move = scheduled_late(m, row, row_moves, cycles=scan.steps, name="scout_row_move")
        else:
            move = scheduled(m, advance & last, row, row_moves, name="scout_row_move")
        step = scheduled(m, advance, group, [-step for step in inner], name="scout_step")
        following = Signal.like(lead, name="lead_after")
        m.d.comb += [
            advance.eq(~lead[-1] & (ahead != _MOST_AHEAD)),
            following.eq(_moved(lead, Mux(advance, Mux(last, move, step), 0), self.written)),
        ]
        m.d.sync += lead.eq(following)
        up_down(m, ahead, up=advance, down=group_end)
        found = (advance & ~group_end) | (ahead > 1) | ((ahead == 1) & (advance | ~group_end))
        m.d.sync += self.granted.eq(found | ~following[-1])

    def _room(self, m: Module) -> None:
        """Places free beside the one that the writer is at; negative where it has none."""
        shape, scan = self._folding.shape, self._folding.scan
        # Where rows are merged there is no padding.
        tops = range(scan.out_rows) if self._folding.merged_rows else shape.tops
        starts = [max(top, 0) * scan.groups for top in tops]
        # At its last group a row has freed all but that, where its first kernel row lies in the image at all.
        ends = [top * scan.groups + min(scan.steps - 1, scan.groups) if top >= 0 else 0 for top in tops]
        moves = [b - a for a, b in zip(ends, [*starts[1:], scan.rows * scan.groups + starts[0]], strict=True)]
        ring = self._folding.buffer_rows * scan.groups
        free = Signal(signed(_bits(1, ring + max(moves))), init=ring - 1)
        row_moves = [move - 1 for move in moves]
        cycles = scan.steps * self._folding.weight_depth
        if cycles > 1:
            # It is needed with a row's last step.
            move = scheduled_late(m, self.row, row_moves, cycles=cycles, name="row_move")
        else:
            move = scheduled(m, self.step & self.ends.row, self.row, row_moves, name="row_move")
        freed = self.top_valid & self.group_valid & self.ends.group
        # A write takes a place: of -1 and the carry that is not there. What a step changes is made of early bits, and
        # meets the late one that says whether it is done in the look-up tables of the chain.
        bits = len(free)
        moved = Mux(self.ends.row, ~_extended(move, bits), freed.replicate(bits))
        m.d.sync += free.eq(_moved(free, ~(moved & self.step.replicate(bits)), ~self.written))
        m.d.comb += self.room.eq(~free[-1])

    def _newest(self, row: int) -> int:
        """Last row of the frame that an output row needs."""
        shape = self._folding.shape
        return min(row * shape.stride - shape.sides[0] + shape.extent, self._folding.scan.rows) - 1


def _bits(below: int, most: int) -> int:
    """Bits of a signed number from -below to most."""
    return max((below - 1).bit_length(), most.bit_length()) + 1


def _moved(value: Value, change: Value, carry: Value) -> Value:
    """``value + change + carry`` in one chain, into which the carry comes from below."""
    bits = len(value)
    return (Cat(Const(1, 1), value) + Cat(carry, _extended(change, bits)))[1 : bits + 1]


def _extended(value: Value, bits: int) -> Value:
    """A signed or unsigned value in so many bits."""
    sign = value[-1] if value.shape().signed else Const(0, 1)
    return value[:bits] if len(value) >= bits else Cat(value, sign.replicate(bits - len(value)))
