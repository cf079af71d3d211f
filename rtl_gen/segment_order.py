"""Addresses of a memory whose words leave in another order than they came, and are replaced as they leave."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mixq.plan.spatial_shapes import BlockRows
from rtl_gen.counters import incremented, loop_counter


class SegmentOrder(wiring.Component):
    """Walks over the segments of a block of rows in the order that a stride tells, block after block.

    Segment k of a block lies at place ``k * p mod (N - 1)``, the last one at N - 1, where N is the number of segments
    and p the stride. The first block is written with p = 1. A block that is written with stride p, and of which
    every Q-th segment is wanted (Q in a row, so that the segments below each other come together), is read with stride
    ``p * Q mod (N - 1)``: and that is where its segment number Q was written. The next block is written to the places
    as they become free, with the stride of the reader. So N places are enough.

    Source: transposing a matrix of b x Q in place: element k goes to ``k * Q mod (b * Q - 1)``, the last one stays.

    Parameters: ``rows``, of two segments a row at least.

    Members: ``step``: a beat is done. ``stride``: of the next block in words, read while its first segment is walked.
    ``address`` of the beat, ``last_beat`` of its segment; ``segment``, its number, ``first`` and ``last`` of the block;
    ``following``: the address of the next segment, from the segment's second cycle on.
    """

    def __init__(self, rows: BlockRows) -> None:
        self._rows = rows
        words = rows.words
        super().__init__(
            {
                "step": In(1),
                "stride": In(range(words)),
                "address": Out(range(words)),
                "last_beat": Out(1),
                "segment": Out(range(rows.segments)),
                "first": Out(1, init=1),
                "last": Out(1),
                "following": Out(range(words)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Count beats and segments; add the stride modulo the place of the last segment."""
        m = Module()
        rows, segments = self._rows, self._rows.segments
        modulus = (segments - 1) * rows.beats
        done, before_last = Signal(), Signal()
        last_beat = loop_counter(m, self.step, Signal(range(rows.beats), name="beat"), rows.beats)
        last = loop_counter(m, done, self.segment, segments)
        base, stride = Signal(range(rows.words)), Signal(range(rows.words), reset_less=True)
        less = Signal(signed(len(stride) + 1), reset_less=True)
        m.d.comb += [self.last_beat.eq(last_beat), self.last.eq(last), done.eq(self.step & last_beat)]
        # Both sums at a time, so that none stands behind the other's comparison.
        far, near = base + stride, base + less
        m.d.sync += self.following.eq(Mux(near[-1], far, near))
        with m.If(before_last):
            m.d.sync += self.following.eq(modulus)
        with m.If(last):
            m.d.sync += self.following.eq(0)
        with m.If(self.first):
            m.d.sync += [self.following.eq(self.stride), stride.eq(self.stride), less.eq(self.stride - modulus)]
        with m.If(self.step):
            m.d.sync += self.address.eq(Mux(last_beat, self.following, incremented(self.address)))
        with m.If(done):
            m.d.sync += [base.eq(self.following), self.first.eq(last), before_last.eq(self.segment == segments - 3)]
        return m
